package db_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/imports"
)

// importBundle is a store with one import that waits for its upload.
type importBundle struct {
	t     *testing.T
	store *db.Store
	conn  *pgx.Conn
	im    imports.Import
}

func newImport(t *testing.T) *importBundle {
	t.Helper()
	url := dbtest.URL(t)
	store, err := db.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(store.Close)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	b := &importBundle{t: t, store: store, conn: conn}
	b.im = b.create()
	return b
}

func (b *importBundle) create() imports.Import {
	b.t.Helper()
	im, err := b.store.CreateImport(b.t.Context(), imports.Cowrie, "cowrie.json", "alice")
	require.NoError(b.t, err)
	return im
}

func (b *importBundle) upload(content []byte) {
	b.t.Helper()
	n, err := b.store.Upload(b.t.Context(), b.im.ID, bytes.NewReader(content))
	require.NoError(b.t, err)
	require.EqualValues(b.t, len(content), n)
	b.im, err = b.store.FinishUpload(b.t.Context(), b.im.ID)
	require.NoError(b.t, err)
}

func (b *importBundle) chunks() (n int) {
	b.t.Helper()
	require.NoError(b.t, b.conn.QueryRow(b.t.Context(), "SELECT count(*) FROM import_chunks").Scan(&n))
	return n
}

func (b *importBundle) exec(statement string, args ...any) {
	b.t.Helper()
	_, err := b.conn.Exec(b.t.Context(), statement, args...)
	require.NoError(b.t, err)
}

func randomBytes(n int) []byte {
	content := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range content {
		content[i] = byte(rng.Uint32())
	}
	return content
}

// trickle returns a few bytes at a time, and at the end an error of its own.
type trickle struct {
	r   io.Reader
	end error
}

func (s trickle) Read(p []byte) (int, error) {
	n, err := s.r.Read(p[:min(len(p), 7777)])
	if errors.Is(err, io.EOF) {
		err = s.end
	}
	return n, err
}

func TestUpload_ComesBackAsItWas(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, db.ImportChunkBytes, db.ImportChunkBytes + 1, 9*db.ImportChunkBytes + 5} {
		b := newImport(t)
		require.Equal(t, imports.Uploading, b.im.State)
		content := randomBytes(size)
		n, err := b.store.Upload(t.Context(), b.im.ID, trickle{bytes.NewReader(content), io.EOF})
		require.NoError(t, err)
		require.EqualValues(t, size, n)
		b.im, err = b.store.FinishUpload(t.Context(), b.im.ID)
		require.NoError(t, err)
		require.Equal(t, imports.Running, b.im.State)
		require.EqualValues(t, size, b.im.BytesTotal)
		require.NotNil(t, b.im.StartedAt)
		input := b.store.ImportInput(t.Context(), b.im)
		got, err := io.ReadAll(input)
		require.NoError(t, err)
		require.NoError(t, input.Err())
		require.True(t, bytes.Equal(content, got))
	}
}

func TestUpload_ThatBreaksOffIsNotComplete(t *testing.T) {
	t.Parallel()
	for _, broken := range []error{io.ErrUnexpectedEOF, errors.New("connection reset")} {
		b := newImport(t)
		_, err := b.store.Upload(t.Context(), b.im.ID, trickle{bytes.NewReader(randomBytes(300_000)), broken})
		require.ErrorIs(t, err, broken)
	}
}

func TestUpload_EndsWithTheImport(t *testing.T) {
	t.Parallel()
	b := newImport(t)
	ended, err := b.store.EndImport(t.Context(), b.im.ID, imports.Cancelled, nil)
	require.NoError(t, err)
	require.True(t, ended)
	_, err = b.store.Upload(t.Context(), b.im.ID, bytes.NewReader([]byte("x")))
	require.ErrorIs(t, err, imports.Final())
	_, err = b.store.FinishUpload(t.Context(), b.im.ID)
	require.ErrorIs(t, err, imports.Final())
	_, err = b.store.FinishUpload(t.Context(), uuid.New())
	require.ErrorIs(t, err, imports.Final())
	require.Zero(t, b.chunks())
}

func TestEndImport_OnceAndRemovesTheInput(t *testing.T) {
	t.Parallel()
	b := newImport(t)
	b.upload(randomBytes(70 * db.ImportChunkBytes))
	require.NoError(t, b.store.RemoveImportInput(t.Context(), b.im.ID))
	require.Equal(t, 70, b.chunks(), "of an open import nothing is removed")

	input := b.store.ImportInput(t.Context(), b.im)
	_, err := io.CopyN(io.Discard, input, 5)
	require.NoError(t, err)
	ended, err := b.store.EndImport(t.Context(), b.im.ID, imports.Failed, imports.Interrupted())
	require.NoError(t, err)
	require.True(t, ended)
	ended, err = b.store.EndImport(t.Context(), b.im.ID, imports.Succeeded, nil)
	require.NoError(t, err)
	require.False(t, ended, "what has ended stays as it is")

	_, err = io.Copy(io.Discard, input)
	require.ErrorIs(t, err, imports.Final(), "what ended is not read on")
	require.ErrorIs(t, input.Err(), imports.Final())

	remains, err := b.store.ImportsWithRemains(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, []uuid.UUID{b.im.ID}, remains)
	for range 2 {
		require.NoError(t, b.store.RemoveImportInput(t.Context(), b.im.ID))
	}
	require.Zero(t, b.chunks())
	remains, err = b.store.ImportsWithRemains(t.Context(), 10)
	require.NoError(t, err)
	require.Empty(t, remains)
	im, err := b.store.Import(t.Context(), b.im.ID)
	require.NoError(t, err)
	require.Equal(t, imports.Failed, im.State)
	require.Equal(t, "upload_interrupted", im.Fault.Code)
	require.NotNil(t, im.EndedAt)
}

func TestImportInput_MissingPartIsAnError(t *testing.T) {
	t.Parallel()
	b := newImport(t)
	b.upload(randomBytes(6 * db.ImportChunkBytes))
	b.exec("DELETE FROM import_chunks WHERE number = 5")
	input := b.store.ImportInput(t.Context(), b.im)
	_, err := io.Copy(io.Discard, input)
	require.Error(t, err, "the end must not look like the end of the log")
	require.Equal(t, err, input.Err())
}

func TestEndAbandonedUploads(t *testing.T) {
	t.Parallel()
	b := newImport(t)
	fresh, running := b.create(), b.create()
	_, err := b.store.FinishUpload(t.Context(), running.ID)
	require.NoError(t, err)
	b.exec("UPDATE imports SET touched_at = now() - interval '11 minutes' WHERE id = ANY($1)", []uuid.UUID{b.im.ID, running.ID})
	require.NoError(t, b.store.EndAbandonedUploads(t.Context()))
	for id, want := range map[uuid.UUID]imports.State{b.im.ID: imports.Failed, fresh.ID: imports.Uploading, running.ID: imports.Running} {
		im, err := b.store.Import(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, want, im.State)
	}
	open, err := b.store.OpenImports(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, open, 2)
}

func TestUpload_KeepsAnImportFromBeingAbandoned(t *testing.T) {
	t.Parallel()
	b := newImport(t)
	b.exec("UPDATE imports SET touched_at = now() - interval '11 minutes'")
	_, err := b.store.Upload(t.Context(), b.im.ID, bytes.NewReader([]byte("x")))
	require.NoError(t, err)
	require.NoError(t, b.store.EndAbandonedUploads(t.Context()))
	_, err = b.store.FinishUpload(t.Context(), b.im.ID)
	require.NoError(t, err)
}

func TestImports_KeysetPagesAreComplete(t *testing.T) {
	t.Parallel()
	b := newImport(t)
	want := []uuid.UUID{b.im.ID}
	for range 9 {
		want = append([]uuid.UUID{b.create().ID}, want...)
	}
	b.exec("UPDATE imports SET created_at = '2026-01-01' WHERE id = ANY($1)", want[3:6]) // the same instant
	want = append(append(want[:3:3], want[6:]...), want[3:6]...)
	var got []uuid.UUID
	for after := (db.ImportKey{}); ; {
		page, err := b.store.Imports(t.Context(), after, 3)
		require.NoError(t, err)
		for _, im := range page {
			got = append(got, im.ID)
			after = db.ImportKey{Created: im.CreatedAt, ID: im.ID}
		}
		if len(page) < 3 {
			break
		}
	}
	require.Equal(t, want, got)
	_, err := b.store.Import(t.Context(), uuid.New())
	require.ErrorIs(t, err, imports.NotFound())
}

func TestCreateImport_OpenOnesAreBounded(t *testing.T) {
	t.Parallel()
	b := newImport(t)
	for range 99 {
		b.create()
	}
	_, err := b.store.CreateImport(t.Context(), imports.OpenCanary, "x", "alice")
	require.Equal(t, fault.RateLimited, fault.KindOf(err))
	_, err = b.store.EndImport(t.Context(), b.im.ID, imports.Cancelled, nil)
	require.NoError(t, err)
	b.create()
}

// TestUpload_InBoundedMemory is not parallel: it measures the process.
func TestUpload_InBoundedMemory(t *testing.T) {
	b := newImport(t)
	const size, limit = 200 << 20, 24 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n, err := b.store.Upload(t.Context(), b.im.ID, io.LimitReader(zeros{}, size))
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	b.im, err = b.store.FinishUpload(t.Context(), b.im.ID)
	require.NoError(t, err)
	read, err := io.Copy(io.Discard, b.store.ImportInput(t.Context(), b.im))
	require.NoError(t, err)
	require.EqualValues(t, size, read)
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapSys)-int64(before.HeapSys), int64(limit))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
