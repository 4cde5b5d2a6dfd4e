package boot_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
)

func say(text string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
}

func layout(t *testing.T) boot.Layout {
	t.Helper()
	l, err := boot.NewLayout(filepath.Join(t.TempDir(), "decoys"), t.TempDir())
	require.NoError(t, err)
	return l
}

func TestKeepLog_WhatWasKeptStaysWhenThereIsNothingToReplaceItWith(t *testing.T) {
	t.Parallel()
	l, r, id := layout(t), boot.Ref{Decky: uuid.New(), Service: "ssh"}, uuid.New()
	require.NoError(t, l.KeepLog(r, "web-01", id, say("half")))
	require.NoError(t, l.KeepLog(r, "web-01", id, say("whole")))
	gone := errors.New("gone")
	require.ErrorIs(t, l.KeepLog(r, "web-01", id, func(io.Writer) error { return gone }), gone)
	kept, err := os.ReadFile(l.KeptLog(r, "web-01", id))
	require.NoError(t, err)
	require.Equal(t, "whole", string(kept))
	entries, err := os.ReadDir(filepath.Dir(l.KeptLog(r, "web-01", id)))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestKeptLogs_TellWhoseTheyAreInTheOrderTheyEnded(t *testing.T) {
	t.Parallel()
	l, r := layout(t), boot.Ref{Decky: uuid.New(), Service: "docker_api"}
	none, err := l.KeptLogs()
	require.NoError(t, err)
	require.Empty(t, none)
	var want []runtime.Output
	for n := range 3 {
		id := uuid.New()
		require.NoError(t, l.KeepLog(r, "web-01", id, say("x\n")))
		path := l.KeptLog(r, "web-01", id)
		at := time.Now().Add(time.Duration(n) * time.Minute)
		require.NoError(t, os.Chtimes(path, at, at))
		want = append(want, runtime.Output{
			DeckyID: r.Decky, DeckyKey: "web-01", Service: "docker_api", Format: runtime.OutputLines, Files: []string{path}, Ended: true,
		})
	}
	dir := filepath.Dir(want[0].Files[0])
	for _, other := range []string{"notes.log", uuid.NewString() + ".log.part", uuid.NewString()} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, other), []byte("x"), 0o600))
	}
	got, err := l.KeptLogs()
	require.NoError(t, err)
	require.Equal(t, want, got)
	decoys, err := l.OnDisk(uuid.Nil)
	require.NoError(t, err)
	require.Empty(t, decoys, "what is kept is no decoy")
}
