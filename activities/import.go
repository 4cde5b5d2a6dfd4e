package activities

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/google/uuid"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/imports"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/ingest/foreign"
	"github.com/decnet/decnet/internal/temporalfault"
)

const (
	// importBatch is how many entries are stored at once, importBatchBytes about how much text of theirs.
	importBatch      = 2000
	importBatchBytes = 4 << 20
	// importAttempts is after how many attempts an error that nobody foresaw ends an import.
	importAttempts = 10
)

// ImportStore is what an import needs of the database; *db.Store is one.
type ImportStore interface {
	Import(ctx context.Context, id uuid.UUID) (imports.Import, error)
	ImportInput(ctx context.Context, im imports.Import) *imports.Input
	Ingest(ctx context.Context, b db.IngestBatch) (db.IngestResult, error)
	EndImport(ctx context.Context, id uuid.UUID, state imports.State, f *fault.Error) (bool, error)
	RemoveImportInput(ctx context.Context, id uuid.UUID) error
}

// Import holds what reads logs of other honeypots in. All fields are required.
type Import struct {
	Store     ImportStore
	Extractor *ingest.Extractor
	Log       *slog.Logger
}

// ImportInput names an import.
type ImportInput struct {
	ImportID uuid.UUID `json:"import_id"`
}

// EndImportInput says how an import ends that was not read to its end.
type EndImportInput struct {
	ImportID uuid.UUID     `json:"import_id"`
	State    imports.State `json:"state"`
	Fault    *fault.Error  `json:"fault,omitempty"`
}

// ImportResult is how an import ended, or in a heartbeat how far it is.
type ImportResult struct {
	State      imports.State `json:"state"`
	Fault      *fault.Error  `json:"fault,omitempty"`
	BytesRead  int64         `json:"bytes_read"`
	BytesTotal int64         `json:"bytes_total"`
	Read       int64         `json:"read"`
	Kept       int64         `json:"kept"`
	Stored     int64         `json:"stored"`
	Duplicates int64         `json:"duplicates"`
}

func importResult(im imports.Import) ImportResult {
	return ImportResult{
		State: im.State, Fault: im.Fault, BytesRead: im.BytesRead, BytesTotal: im.BytesTotal,
		Read: im.Report.Read, Kept: im.Report.Kept, Stored: im.Stored, Duplicates: im.Duplicates,
	}
}

// ReadImport stores what the log of an import tells, ends the import and removes what was uploaded. An import that has
// ended, because it was cancelled or before, is left as it is.
//
// Idempotency: the place in the log and the report move by compare-and-set in the transaction of the rows of the lines before
// it, and imported events are unique by content; an attempt goes on at the stored place, and one of two at once stores nothing.
func (i *Import) ReadImport(ctx context.Context, in ImportInput) (ImportResult, error) {
	im, err := i.Store.Import(ctx, in.ImportID)
	if err != nil {
		return ImportResult{}, temporalfault.Wrap(err)
	}
	r := &importRun{Import: i, im: im}
	r.tell()
	stop := beat(ctx, func() any { return r.progress.Load() })
	defer stop()
	if im.State.Open() {
		err = r.read(ctx)
	}
	if err == nil {
		err = i.Store.RemoveImportInput(ctx, in.ImportID)
	}
	if err == nil {
		r.im, err = i.Store.Import(ctx, in.ImportID)
	}
	if err != nil && ctx.Err() != nil {
		return ImportResult{}, ctx.Err() // cancelled or out of time: not a verdict about the log
	}
	return importResult(r.im), i.verdict(ctx, in, err)
}

// verdict makes an error that stays final after many attempts.
func (i *Import) verdict(ctx context.Context, in ImportInput, err error) error {
	if err == nil {
		return nil
	}
	attempt := activity.GetInfo(ctx).Attempt
	i.Log.WarnContext(ctx, "an import was interrupted", "import_id", in.ImportID, "attempt", attempt, "err", err)
	if fault.KindOf(err) == fault.Internal && attempt >= importAttempts {
		f := fault.New(fault.Internal, "import_failed", "the import failed again and again; the log of the worker says why")
		return temporal.NewNonRetryableApplicationError(f.Message, f.Code, nil, f)
	}
	return temporalfault.Wrap(err)
}

// importRun is one attempt at an import.
type importRun struct {
	*Import
	im       imports.Import
	progress atomic.Pointer[ImportResult]
}

// tell keeps how far the attempt is for the next heartbeat.
func (r *importRun) tell() {
	now := importResult(r.im)
	r.progress.Store(&now)
}

// read stores the rest of the log and ends the import.
func (r *importRun) read(ctx context.Context) error {
	if r.im.State != imports.Running {
		return fault.New(fault.Conflict, "import_not_uploaded", "the log is not uploaded yet")
	}
	log, err := imports.Open(r.im, r.Store.ImportInput(ctx, r.im))
	for err == nil && r.im.Position.End == "" {
		err = r.batch(ctx, log)
	}
	if err == nil {
		state, f := r.im.Position.Outcome(r.im.Report)
		_, err = r.Store.EndImport(ctx, r.im.ID, state, f)
	}
	if fault.KindOf(err) == fault.Conflict {
		return r.overtaken(ctx, err)
	}
	return err
}

// batch stores the next entries.
func (r *importRun) batch(ctx context.Context, log *imports.Reader) error {
	select {
	case <-activity.GetWorkerStopChannel(ctx):
		return fault.New(fault.Unavailable, "worker_stopping", "the worker is about to end")
	case <-ctx.Done():
		return ctx.Err()
	default:
	}
	entries, err := log.Batch(importBatch, importBatchBytes)
	if err != nil {
		return err
	}
	to, report := log.Position(), log.Report()
	stored, err := r.Store.Ingest(ctx, db.IngestBatch{
		Extractions: r.extract(entries),
		Import: &db.ImportProgress{
			ID: r.im.ID, From: imports.Encode(r.im.Position), To: imports.Encode(to), BytesRead: log.BytesRead(), Report: imports.Encode(report),
		},
	})
	if err != nil {
		return err
	}
	r.im.Position, r.im.Report, r.im.BytesRead = to, report, log.BytesRead()
	r.im.Stored += int64(stored.Stored)
	r.im.Duplicates += int64(stored.Duplicates)
	r.tell()
	activity.RecordHeartbeat(ctx, r.progress.Load())
	return nil
}

func (r *importRun) extract(entries []foreign.Entry) []ingest.Extraction {
	out := make([]ingest.Extraction, len(entries))
	for n, e := range entries {
		out[n] = r.Extractor.Extract(e.Source, e.Record)
	}
	return out
}

// overtaken tells an import that ended meanwhile, which is well, from one that another attempt works on.
func (r *importRun) overtaken(ctx context.Context, cause error) error {
	now, err := r.Store.Import(ctx, r.im.ID)
	if err != nil || !now.State.Open() {
		return err
	}
	return fault.New(fault.Unavailable, "import_overtaken", "another attempt reads the log").Wrap(cause)
}

// EndImport ends an import that is not read to its end. What was uploaded is left to recovery.
//
// Idempotency: what has ended stays as it is.
func (i *Import) EndImport(ctx context.Context, in EndImportInput) (ImportResult, error) {
	if _, err := i.Store.EndImport(ctx, in.ImportID, in.State, in.Fault); err != nil {
		return ImportResult{}, temporalfault.Wrap(err)
	}
	im, err := i.Store.Import(ctx, in.ImportID)
	return importResult(im), temporalfault.Wrap(err)
}
