package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
)

func TestShared(t *testing.T) {
	t.Parallel()
	s := newSystem(harness.StartUp(t))
	for name, test := range map[string]func(*testing.T, *system){
		"Tour":                     tour,
		"IntruderIsKnown":          func(t *testing.T, s *system) { intruderIsKnown(t, s, "known-01") },
		"OneKeyOneOperation":       oneKeyOneOperation,
		"AddsAndRemovesOfOneDecky": addsAndRemoves,
		"BothPortsTaken":           bothPortsTaken,
		"RealPortTaken":            realPortTaken,
		"HostileInput":             hostileInput,
		"SecretsStayInside":        secretsStayInside,
		"KilledDecoyIsHealed":      killedDecoyIsHealed,
		"HopelessIsQuarantined":    hopelessProcess,
		"TemporalTellsTheStory":    temporalTellsTheStory,
		"CommandLine":              commandLine,
		"Configurations":           configurations,
		"FiftyApplies":             fiftyApplies,
		"PastOfRandomChanges":      pastOfRandomChanges,
		"EndMovedNearAndFar":       endMovedNearAndFar,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

// tour is what the first operator does: a decky, a service, an intruder, and all of it gone again.
func tour(t *testing.T, s *system) {
	const password = "tour-pw"
	body := map[string]any{"name": "tour-01", "services": []string{}}
	s.must(t, http.StatusCreated, http.MethodPost, "/deckies", body)
	require.True(t, strings.HasPrefix(s.decky(t, "tour-01").IP, "127.66."), "an address of the pool is given")
	s.addSSH(t, "tour-01", map[string]any{"password": password})
	d := s.decky(t, "tour-01")

	intrude(t, s, d, password)

	where := endpoint(t, d)
	s.must(t, http.StatusOK, http.MethodDelete, "/deckies/tour-01/services/ssh", nil)
	require.False(t, open(where), "the port is closed")
	require.Empty(t, s.decky(t, "tour-01").Endpoints)
	s.must(t, http.StatusOK, http.MethodDelete, "/deckies/tour-01", nil)
	require.Equal(t, http.StatusNotFound, s.try(t, http.MethodGet, "/deckies/tour-01", nil).Status)
	s.must(t, http.StatusCreated, http.MethodPost, "/deckies", body)
	require.NotEqual(t, d.UUID, s.decky(t, "tour-01").UUID, "the name is free, the decky is another")
}

// intrude logs in, runs commands, uploads a file, and looks at what was kept of it.
func intrude(t *testing.T, s *system, d harness.Decky, password string) {
	t.Helper()
	_, code := openssh(t, d, "wrong", "", "id")
	require.Equal(t, 5, code, "sshpass says that the password was refused")
	out, code := openssh(t, d, password, "", "id -un; exit 7")
	require.Equal(t, "root\n", out)
	require.Equal(t, 7, code)
	out, _ = openssh(t, d, password, "echo seen-$((40+2))\nexit\n", "-tt")
	require.Contains(t, out, "seen-42")

	tool := filepath.Join(t.TempDir(), "dropper.sh")
	const content = "#!/bin/sh\necho payload of the tour\n"
	require.NoError(t, os.WriteFile(tool, []byte(content), 0o600))
	out, code = stock(t, password, "", "scp", "-P", strconv.Itoa(endpoint(t, d).Port), tool, "root@"+d.IP+":/tmp/dropper.sh")
	require.Zero(t, code, out)

	spool := filepath.Join(s.Dir, "artifacts", d.Name, "ssh")
	eventually(t, func() bool { return holds(t, filepath.Join(spool, "*_dropper.sh"), content) }, "the upload is captured")
	recordings := filepath.Join(spool, "transcripts", "sessions-*.jsonl")
	eventually(t, func() bool { return holds(t, recordings, "seen-42") }, "the terminal session is recorded")
}

// holds reports whether a file that matches the pattern contains text.
func holds(t testing.TB, pattern, text string) bool {
	t.Helper()
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), text) {
			return true
		}
	}
	return false
}

func bothPortsTaken(t *testing.T, s *system) {
	before := s.create(t, "taken-01")
	first, second := occupy(t, before.IP, 22), occupy(t, before.IP, 22+s.PortOffset)
	body := map[string]any{"name": "ssh"}

	answer := s.must(t, http.StatusBadGateway, http.MethodPost, "/deckies/taken-01/services", body)
	var problem struct {
		Type, Detail string
		OperationID  string `json:"operation_id"`
	}
	require.NoError(t, answer.Decode(&problem))
	require.Equal(t, "urn:decnet:fault:operation-failed", problem.Type)
	require.Contains(t, problem.Detail, "ssh")
	require.NotContains(t, string(answer.Body), s.Dir, "the cause is safe to show")
	op := s.operation(t, problem.OperationID)
	undone(t, s, before, op)
	require.Equal(t, "failed", op.State)
	require.NotEmpty(t, op.Step("converge").Detail)
	failedInTemporal(t, s, op)

	require.NoError(t, first.Close())
	require.NoError(t, second.Close())
	s.must(t, http.StatusCreated, http.MethodPost, "/deckies/taken-01/services", body)
	out, code := openssh(t, s.decky(t, "taken-01"), "admin", "", "id -un")
	require.Zero(t, code, out)
}

// undone checks that an operation left its decky as it was.
func undone(t *testing.T, s *system, before harness.Decky, op harness.Operation) {
	t.Helper()
	for _, step := range []string{"discard", "undo"} {
		require.Equal(t, "succeeded", op.Step(step).State, "%s of %+v", step, op)
	}
	require.Empty(t, op.Step("activate").State)
	require.Equal(t, before, s.decky(t, before.Name), "the decky is unchanged")
	require.Len(t, s.decoysOf(before), len(before.Services))
}

func realPortTaken(t *testing.T, s *system) {
	d := s.create(t, "fallback-01")
	occupy(t, d.IP, 22)
	s.addSSH(t, "fallback-01", nil)
	d = s.decky(t, "fallback-01")
	require.Equal(t, 22+s.PortOffset, endpoint(t, d).Port)
	out, code := openssh(t, d, "admin", "", "id -un")
	require.Zero(t, code, out)
}

func killedDecoyIsHealed(t *testing.T, s *system) {
	d := s.create(t, "heal-01", "ssh")
	pids := s.decoysOf(d)
	require.Len(t, pids, 1)
	require.NoError(t, syscall.Kill(pids[0], syscall.SIGKILL))
	var repairs []harness.Operation
	eventually(t, func() bool {
		repairs = s.operations(t, "decky", "heal-01", "kind", "reconcile")
		return len(repairs) > 0 && repairs[0].EndedAt != nil
	}, "a repair was made")
	require.Equal(t, "observer", repairs[0].Actor)
	require.Equal(t, "succeeded", repairs[0].State)
	after := s.decky(t, "heal-01")
	require.Equal(t, "running", after.State)
	require.Len(t, s.decoysOf(d), 1)
	require.NotEqual(t, pids, s.decoysOf(d))
	out, code := openssh(t, after, "admin", "", "id -un")
	require.Zero(t, code, out)
}
