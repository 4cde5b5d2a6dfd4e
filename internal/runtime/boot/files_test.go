package boot_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/runtime/boot"
)

func TestKeepLog_WhatWasKeptStaysWhenThereIsNothingToReplaceItWith(t *testing.T) {
	t.Parallel()
	root, id := t.TempDir(), uuid.New()
	spool := filepath.Join(root, "web-01", "ssh")
	say := func(text string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
	}
	require.NoError(t, boot.KeepLog(spool, id, say("half")))
	require.NoError(t, boot.KeepLog(spool, id, say("whole")))
	gone := errors.New("gone")
	require.ErrorIs(t, boot.KeepLog(spool, id, func(io.Writer) error { return gone }), gone)
	kept, err := os.ReadFile(boot.KeptLog(root, "web-01", "ssh", id))
	require.NoError(t, err)
	require.Equal(t, "whole", string(kept))
	entries, err := os.ReadDir(filepath.Join(spool, "log"))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}
