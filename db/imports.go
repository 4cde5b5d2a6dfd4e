package db

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/imports"
)

const (
	// ImportChunkBytes is how much of an upload is one row.
	ImportChunkBytes = 256 << 10
	// UploadSilence is after how long without a chunk an upload counts as abandoned.
	UploadSilence = 10 * time.Minute

	maxOpenImports = 100
	// readChunks are fetched at a time, removeChunks deleted in one transaction.
	readChunks   = 4
	removeChunks = 64
)

// CreateImport makes an import that waits for its upload. While too many are open the fault is RateLimited
// (too_many_imports).
func (s *Store) CreateImport(ctx context.Context, format imports.Format, name, actor string) (imports.Import, error) {
	row, err := s.queries().InsertImport(ctx, dbsqlc.InsertImportParams{
		ID: newID(), Format: string(format), Name: name, Actor: actor,
		Position: imports.Encode(imports.Position{}), MaxOpen: maxOpenImports,
	})
	if err != nil {
		return imports.Import{}, notFound(err, fault.New(fault.RateLimited, "too_many_imports", "%d imports are open already", maxOpenImports))
	}
	return toImport(row)
}

// Upload keeps what r holds as the input of an import, chunk by chunk in transactions of their own, and returns how much it
// was. Errors of r come back as they are; the fault is a Conflict (import_final) when the import ended meanwhile.
func (s *Store) Upload(ctx context.Context, id uuid.UUID, r io.Reader) (int64, error) {
	chunk := make([]byte, ImportChunkBytes)
	total := int64(0)
	for number := int32(0); number < math.MaxInt32; number++ {
		n, readErr := fill(r, chunk)
		if n > 0 {
			added, err := s.queries().AppendImportChunk(ctx, dbsqlc.AppendImportChunkParams{ID: id, Number: number, Data: chunk[:n]})
			switch {
			case err != nil:
				return total, interpret(err)
			case added == 0:
				return total, imports.Final()
			}
			total += int64(n)
		}
		switch {
		case readErr == io.EOF: //nolint:errorlint // bare by contract of io.Reader
			return total, nil
		case readErr != nil:
			return total, readErr
		}
	}
	return total, fault.New(fault.TooLarge, "import_too_large", "the log is too large")
}

// fill reads until p is full. io.ReadFull would make one of the end of r and of an upload that broke off.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// FinishUpload makes an import ready to be read. The fault is a Conflict (import_final) when it ended meanwhile.
func (s *Store) FinishUpload(ctx context.Context, id uuid.UUID) (imports.Import, error) {
	row, err := s.queries().FinishImportUpload(ctx, id)
	if err != nil {
		return imports.Import{}, notFound(err, imports.Final())
	}
	return toImport(row)
}

// Import returns one import, or a NotFound fault (import_not_found).
func (s *Store) Import(ctx context.Context, id uuid.UUID) (imports.Import, error) {
	row, err := s.queries().GetImport(ctx, id)
	if err != nil {
		return imports.Import{}, notFound(err, imports.NotFound())
	}
	return toImport(row)
}

// ImportKey is a place in the list of imports; the zero value is before the newest.
type ImportKey struct {
	Created time.Time
	ID      uuid.UUID
}

// Imports lists imports behind a place, newest first.
func (s *Store) Imports(ctx context.Context, after ImportKey, limit int) ([]imports.Import, error) {
	if after.Created.IsZero() {
		after = ImportKey{Created: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), ID: uuid.Max}
	}
	rows, err := s.queries().ListImports(ctx, dbsqlc.ListImportsParams{
		BeforeTime: after.Created, BeforeID: after.ID, MaxRows: int32(limit),
	})
	return toImports(rows, err)
}

// OpenImports lists imports that have not ended, oldest first.
func (s *Store) OpenImports(ctx context.Context, limit int) ([]imports.Import, error) {
	rows, err := s.queries().ListOpenImports(ctx, int32(limit))
	return toImports(rows, err)
}

// ImportInput returns what was uploaded of a running import, a few chunks in memory at a time. It fails with a Conflict
// (import_final) once the import has ended.
func (s *Store) ImportInput(ctx context.Context, im imports.Import) *imports.Input {
	var fetched [][]byte
	number := int32(0)
	return imports.NewInput(im.BytesTotal, func() (part []byte, err error) {
		if len(fetched) == 0 {
			fetched, err = s.queries().ReadImportChunks(ctx, dbsqlc.ReadImportChunksParams{ID: im.ID, FromNumber: number, MaxRows: readChunks})
			if err != nil {
				return nil, interpret(err)
			}
			number += int32(len(fetched))
		}
		if len(fetched) == 0 {
			return nil, imports.Final()
		}
		part, fetched = fetched[0], fetched[1:]
		return part, nil
	})
}

// EndImport ends an import unless it has ended, and reports whether it did. Its input is left for RemoveImportInput.
func (s *Store) EndImport(ctx context.Context, id uuid.UUID, state imports.State, f *fault.Error) (ended bool, err error) {
	p := dbsqlc.EndImportParams{ID: id, State: string(state)}
	if f != nil {
		p.Fault = marshal(f.Safe())
	}
	n, err := s.queries().EndImport(ctx, p)
	return n > 0, interpret(err)
}

// EndAbandonedUploads ends imports whose upload stands still.
func (s *Store) EndAbandonedUploads(ctx context.Context) error {
	_, err := s.queries().EndAbandonedUploads(ctx, dbsqlc.EndAbandonedUploadsParams{
		Fault: marshal(imports.Interrupted().Safe()), Silence: interval(UploadSilence),
	})
	return interpret(err)
}

// ImportsWithRemains lists ended imports whose input is still there.
func (s *Store) ImportsWithRemains(ctx context.Context, limit int) ([]uuid.UUID, error) {
	ids, err := s.queries().ListImportsWithRemains(ctx, int32(limit))
	return ids, interpret(err)
}

// RemoveImportInput deletes the input of an ended import in small steps; of one that is open it deletes nothing.
func (s *Store) RemoveImportInput(ctx context.Context, id uuid.UUID) error {
	for {
		n, err := s.queries().DeleteImportChunks(ctx, dbsqlc.DeleteImportChunksParams{ID: id, MaxRows: removeChunks})
		if err != nil || n == 0 {
			return interpret(err)
		}
	}
}

func toImports(rows []dbsqlc.Import, err error) ([]imports.Import, error) {
	if err != nil {
		return nil, interpret(err)
	}
	list := make([]imports.Import, len(rows))
	for i, r := range rows {
		if list[i], err = toImport(r); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func toImport(r dbsqlc.Import) (imports.Import, error) {
	im := imports.Import{
		ID: r.ID, Format: imports.Format(r.Format), Name: r.Name, Actor: r.Actor, State: imports.State(r.State),
		BytesTotal: r.BytesTotal, BytesRead: r.BytesRead, Stored: r.Stored, Duplicates: r.Duplicates,
		CreatedAt: r.CreatedAt, StartedAt: r.StartedAt, EndedAt: r.EndedAt,
	}
	for _, part := range []struct {
		raw  json.RawMessage
		into any
	}{{r.Position, &im.Position}, {r.Report, &im.Report}, {r.Fault, &im.Fault}} {
		if len(part.raw) == 0 {
			continue
		}
		if err := json.Unmarshal(part.raw, part.into); err != nil {
			return imports.Import{}, fmt.Errorf("read import %s: %w", r.ID, err)
		}
	}
	return im, nil
}
