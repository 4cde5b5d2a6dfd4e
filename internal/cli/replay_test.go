package cli_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/cli"
)

const cast = `{"version":2,"width":132,"height":24,"timestamp":1767323045}
[0.001,"o","$ lss\b \b\r\n"]
[0.002,"i","secret"]
[0.002,"o","\u001b]52;c;AA\u0007\u001b[?2004h\u001b[31mred\u001b[6n\u001b[0m\u001b]0;t"]
[0.003,"o","itle\u0007\u001b[?1049h\r\n"]
`

func castAPI(t *testing.T, body string) *fakeAPI {
	t.Helper()
	api := newAPI(t)
	api.on("GET /sessions/"+rowID+"/cast", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-asciicast")
		_, _ = w.Write([]byte(body))
	})
	return api
}

func TestReplay_IsTextWithoutATerminal(t *testing.T) {
	t.Parallel()
	api := castAPI(t, cast)
	b := setup(t, api)
	out, errOut, err := b.run("sessions", "replay", rowID)
	require.NoError(t, err)
	require.Equal(t, "application/x-asciicast, application/problem+json", api.seen("GET")[0].accept)
	require.Equal(t, "$ ls\nred\n", out)
	require.Empty(t, errOut)
	out, _, err = b.run("sessions", "replay", rowID, "-o", "json")
	require.NoError(t, err)
	requireVerbatim(t, cast, out)
}

func TestReplay_OnATerminalCannotHarmIt(t *testing.T) {
	t.Parallel()
	b := setup(t, castAPI(t, cast))
	b.terminals = "out"
	out, errOut, err := b.run("sessions", "replay", rowID, "--speed", "100", "--max-idle", "1s")
	require.NoError(t, err)
	require.Equal(t, "$ lss\b \b\r\n\x1b[31mred\x1b[0m\x1b[?1049h\r\n\x1b[?1049l\x1b[m\x1b[?7h\x1b[?25h\r\n", out)
	require.Equal(t, "the session had 132 columns, this terminal has 100: some lines will look broken\n", errOut)

	out, errOut, err = b.run("sessions", "replay", rowID, "--raw")
	require.NoError(t, err)
	require.Contains(t, out, "\x1b]52;c;AA\x07\x1b[?2004h")
	require.Contains(t, out, "\x1b[!p")
	require.Regexp(t, `2004;2026l\x1b\[\?1049l\x1b\[m`, out)
	require.Contains(t, errOut, "warning")
}

func TestReplay_InterruptedItLeavesTheTerminalInOrder(t *testing.T) {
	t.Parallel()
	b := setup(t, castAPI(t, `{"version":2}`+"\n"+`[0,"o","\u001b[?1049h\u001b[?25l"]`+"\n"+`[3600,"o","never"]`))
	b.terminals = "out"
	ctx, cancel := context.WithCancel(t.Context())
	b.ctx = ctx
	b.written = func(s string) {
		if s == "\x1b[?1049h\x1b[?25l" {
			cancel()
		}
	}
	out, _, err := b.run("sessions", "replay", rowID)
	require.NoError(t, err)
	require.Equal(t, "\x1b[?1049h\x1b[?25l\x1b[?1049l\x1b[m\x1b[?7h\x1b[?25h\r\n", out)
}

func TestReplay_Saved(t *testing.T) {
	t.Parallel()
	b := setup(t, castAPI(t, cast))
	file := filepath.Join(b.dir, "x.cast")
	out, _, err := b.run("sessions", "replay", rowID, "--cast", file)
	require.NoError(t, err)
	require.Empty(t, out)
	requireFile(t, file, cast)
	_, _, err = b.run("sessions", "replay", rowID, "--cast", file)
	require.ErrorContains(t, err, "is there already")
	_, _, err = b.run("sessions", "replay", rowID, "--cast", file, "--force")
	require.NoError(t, err)
}

func TestReplay_WhatIsNone(t *testing.T) {
	t.Parallel()
	api := castAPI(t, "<html>")
	api.answer("GET /sessions/x/cast", 404, problem("recording_not_found", 404, "the session has no recording"))
	b := setup(t, api)
	_, _, err := b.run("sessions", "replay", rowID)
	require.ErrorContains(t, err, "no recording in asciicast v2")
	_, _, err = b.run("sessions", "replay", "x")
	require.ErrorContains(t, err, "recording_not_found")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))

	b = setup(t, castAPI(t, cast+"[4,"))
	out, _, err := b.run("sessions", "replay", rowID)
	require.ErrorContains(t, err, "damaged behind 3 pieces")
	require.Equal(t, "$ ls\nred\n", out, "what can be read is shown")
}

const sample = "#!/bin/sh\x00\x1b[2J\n"

func artifactAPI(t *testing.T, hash string) *fakeAPI {
	t.Helper()
	api := newAPI(t)
	api.answer("GET /artifacts/6", 200, `{"id":"6","sha256":"`+hash+`","size":15,"available":true}`)
	api.on("GET /artifacts/6/content", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write([]byte(sample))
	})
	return api
}

const sampleHash = "8006355fce7384526da9f4f5162e3e92f284b4d7dba41812b59cd43d661c2fef"

func TestArtifacts_GetWritesAFileOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, artifactAPI(t, sampleHash))
	file := filepath.Join(b.dir, "table")
	_, errOut, err := b.run("artifacts", "get", "6", "--output", file)
	require.NoError(t, err)
	require.Contains(t, errOut, "15 bytes are in")
	requireFile(t, file, sample)
	_, _, err = b.run("artifacts", "get", "6", "-o", file)
	require.ErrorContains(t, err, "is there already")
	_, _, err = b.run("artifacts", "get", "6", "-o", file, "--force")
	require.NoError(t, err)

	out, _, err := b.run("artifacts", "get", "6")
	require.NoError(t, err)
	requireVerbatim(t, sample, out)
	b.terminals = "out"
	for _, to := range [][]string{nil, {"-o", "-"}} {
		out, _, err = b.run(append([]string{"artifacts", "get", "6"}, to...)...)
		require.Equal(t, cli.ExitUsage, cli.ExitCode(err))
		require.Empty(t, out)
	}
}

func TestArtifacts_GetRefusesOtherContent(t *testing.T) {
	t.Parallel()
	b := setup(t, artifactAPI(t, "00ff"))
	file := filepath.Join(b.dir, "x")
	_, _, err := b.run("artifacts", "get", "6", "-o", file)
	require.ErrorContains(t, err, "not 00ff as was reported")
	require.NoFileExists(t, file)

	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	_, _, err = b.run("artifacts", "get", "6", "-o", file, "--force")
	require.Error(t, err)
	requireFile(t, file, "mine")
}
