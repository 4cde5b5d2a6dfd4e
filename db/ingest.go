package db

import (
	"context"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/ingest"
)

// IngestBatch is what one transaction of an ingester stores: rows, events of the outbox, and how far the source of the lines
// is dealt with, all or nothing.
type IngestBatch struct {
	// Extractions are in the order of their lines. Events of imports are stored once, whoever reads them again; of our own
	// decoys the cursor sees to that.
	Extractions []ingest.Extraction
	// Cursors has one of a file at most.
	Cursors   []IngestCursor
	Sequences []IngestSequence
	Outcomes  []IngestOutcome
	// Import is set when the lines are those of an import.
	Import *ImportProgress
}

// IngestCursor moves the cursor of one file of decoy output.
type IngestCursor struct {
	HostID  string
	DeckyID uuid.UUID
	Service string
	// File is the hash of the file's first line, in hex.
	File string
	// From is where the cursor must be, 0 for a file not met before; if it is elsewhere another ingester has been at work, and
	// nothing of the batch is stored (a Conflict fault, `cursor_moved`).
	From, To int64
}

// IngestSequence stores the line numbers seen of a decoy.
type IngestSequence struct {
	DeckyID  uuid.UUID
	Service  string
	Sequence ingest.Sequence
}

// Outcome is what became of a line.
type Outcome string

// Outcomes. OutcomeMissing counts lines that were never read.
const (
	OutcomeStored      Outcome = "stored"
	OutcomeDroppedApp  Outcome = "dropped_app"
	OutcomeDroppedRate Outcome = "dropped_rate"
	OutcomeSelfCheck   Outcome = "self_check"
	OutcomeRepeated    Outcome = "repeated"
	OutcomeMalformed   Outcome = "malformed"
	OutcomeTooLong     Outcome = "too_long"
	OutcomeMissing     Outcome = "missing"
)

// IngestOutcome counts lines of one decoy.
type IngestOutcome struct {
	DeckyKey string
	Service  string
	Outcome  Outcome
	Lines    int64
}

// ImportProgress says how far an import is, in the terms of its reader; From and the running state are compared and set (a
// Conflict fault, `import_moved`). Empty is `{}`, where an import begins.
type ImportProgress struct {
	ID        uuid.UUID
	From, To  json.RawMessage
	BytesRead int64
	Report    json.RawMessage
}

// IngestResult tells what a batch changed.
type IngestResult struct {
	// Stored are events, Duplicates those of imports that were there already.
	Stored, Duplicates int
	NewAttackers       int
	EndedSessions      int
}

// Ingest stores a batch and what follows from it, or nothing of it. It does not change the batch. Any number of ingesters and
// imports may store at the same time.
func (s *Store) Ingest(ctx context.Context, b IngestBatch) (IngestResult, error) {
	var result IngestResult
	err := s.InTx(ctx, func(tx *Tx) error {
		in := &ingestion{tx: tx, batch: b}
		if err := tx.q.PlanIngest(ctx); err != nil {
			return err
		}
		for _, step := range []func(context.Context) error{
			in.takePlace, in.lockSlots, in.leaveOutDuplicates, in.meetAttackers, in.storeEvents, in.foldSessions, in.storeCommands,
			in.storeBounties, in.storeArtifacts, in.storeCredentials, in.updateAttackers, in.publish, in.keepPlace, in.noteActivity,
		} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		result = in.result
		return nil
	})
	if err != nil {
		return IngestResult{}, err
	}
	return result, nil
}

// ingestion is one try to store a batch. Its steps run in the order of the locks they take.
type ingestion struct {
	tx    *Tx
	batch IngestBatch
	// kept are the batch's extractions without those of lines imported before.
	kept      []*ingest.Extraction
	attackers attackerRows
	outbox    []Event
	result    IngestResult
}

// storable returns a text as Postgres can keep it. Parsers and importers spell control characters, so that it is the text
// itself; but one text Postgres refuses would hold up everything behind it for ever.
func storable(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", `\x00`)
}
