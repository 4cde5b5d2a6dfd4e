package db

import (
	"encoding/json"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/ingest"
)

// IngestBatch is what one transaction of an ingester stores: rows, events of the outbox, and how far the source of the lines
// is dealt with, all or nothing.
type IngestBatch struct {
	// Extractions are in the order of their lines. Events of imports are stored once, whoever reads them again; of our own
	// decoys the cursor sees to that.
	Extractions []ingest.Extraction
	Cursors     []IngestCursor
	Sequences   []IngestSequence
	Outcomes    []IngestOutcome
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

// ImportProgress says how far an import is, in the terms of its reader; From and the running state are compared and set.
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
