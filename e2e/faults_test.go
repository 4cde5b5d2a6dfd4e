package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
)

// TestFaults has decoys that crash or hang on demand, and a Temporal that goes away at the end.
func TestFaults(t *testing.T) {
	t.Parallel()
	bin, gate := harness.NewGate(t)
	s := newSystem(harness.StartUpWith(t, bin))
	t.Run("decoys", func(t *testing.T) {
		t.Run("CrashAtStartIsUndone", func(t *testing.T) { t.Parallel(); crashAtStart(t, s, gate) })
		t.Run("CrashOfACreationLeavesNothing", func(t *testing.T) { t.Parallel(); crashOfCreation(t, s, gate) })
		t.Run("CancelQueuedAndRunning", func(t *testing.T) { t.Parallel(); cancelQueuedAndRunning(t, s, gate) })
		t.Run("ApplyThatCannotComeUpIsUndone", func(t *testing.T) { t.Parallel(); applyThatCannotComeUp(t, s, gate) })
		t.Run("CancelAfterSuccess", func(t *testing.T) { t.Parallel(); cancelAfterSuccess(t, s) })
	})
	t.Run("ServicesEndOnTime", func(t *testing.T) { servicesEndOnTime(t, s) })
	t.Run("EndWhileEverythingIsDown", func(t *testing.T) { endWhileEverythingIsDown(t, s) })
	t.Run("ManyDeckiesAtOnce", func(t *testing.T) { manyDeckies(t, s, gate) })
	t.Run("TemporalAway", func(t *testing.T) { temporalAway(t, s) })
	t.Run("TermInTheMiddleOfAMutation", func(t *testing.T) { termInTheMiddle(t, s, gate) })
}

func crashAtStart(t *testing.T, s *system, gate *harness.Gate) {
	before := s.create(t, "crash-01")
	gate.Crash("crash-01")
	answer := s.must(t, http.StatusBadGateway, http.MethodPost, "/deckies/crash-01/services", map[string]any{"name": "ssh"})
	op := s.operation(t, operationOf(t, answer))
	require.Equal(t, "failed", op.State)
	require.Equal(t, "decoy_start_failed", op.Fault.Code)
	require.Contains(t, op.Fault.Message, "it ended")
	require.NotContains(t, op.Fault.Message, "as asked for", "what a broken decoy prints is not repeated")
	undone(t, s, before, op)
	failedInTemporal(t, s, op)
	gate.Open("crash-01")
	s.addSSH(t, "crash-01", nil)
	out, code := openssh(t, s.decky(t, "crash-01"), "admin", "", "id -un")
	require.Zero(t, code, out)
}

func crashOfCreation(t *testing.T, s *system, gate *harness.Gate) {
	gate.Crash("stillborn-01")
	body := map[string]any{"name": "stillborn-01", "services": []string{"ssh"}, "ip": s.ip()}
	answer := s.must(t, http.StatusBadGateway, http.MethodPost, "/deckies", body)
	op := s.operation(t, operationOf(t, answer))
	require.Equal(t, "failed", op.State)
	require.Equal(t, http.StatusNotFound, s.try(t, http.MethodGet, "/deckies/stillborn-01", nil).Status)
	gate.Open("stillborn-01")
	s.must(t, http.StatusCreated, http.MethodPost, "/deckies", body)
	require.Len(t, s.decoysOf(s.decky(t, "stillborn-01")), 1, "its name and its address were free")
}

func cancelQueuedAndRunning(t *testing.T, s *system, gate *harness.Gate) {
	before := s.create(t, "cancel-01")
	gate.Hold("cancel-01")
	post := func() string {
		return operationOf(t, s.must(t, http.StatusAccepted, http.MethodPost, "/deckies/cancel-01/services", map[string]any{"name": "ssh"}, "Prefer", "wait=0"))
	}
	running := post()
	eventually(t, func() bool { return s.operation(t, running).Step("converge").State == "running" }, "the first converges")
	queued := post()
	for _, id := range []string{queued, running} {
		answer := s.must(t, http.StatusAccepted, http.MethodPost, "/operations/"+id+"/cancel", nil)
		require.Equal(t, "/api/v1/operations/"+id, answer.Header.Get("Location"))
		op := s.ended(t, id)
		require.Equal(t, "cancelled", op.State, "%+v", op)
		s.must(t, http.StatusConflict, http.MethodPost, "/operations/"+id+"/cancel", nil)
	}
	require.Empty(t, s.operation(t, queued).Steps, "the second never began")
	undone(t, s, before, s.operation(t, running))
	gate.Open("cancel-01")
	s.addSSH(t, "cancel-01", nil)
}

func cancelAfterSuccess(t *testing.T, s *system) {
	answer := s.must(t, http.StatusCreated, http.MethodPost, "/deckies", map[string]any{"name": "late-01", "services": []string{}, "ip": s.ip()})
	id := operationOf(t, answer)
	refused := s.must(t, http.StatusConflict, http.MethodPost, "/operations/"+id+"/cancel", nil)
	require.Contains(t, string(refused.Body), "operation_final")
	require.Equal(t, "succeeded", s.operation(t, id).State)
}

// manyDeckies holds the decoys of all deckies up: if one waited for another, there would never be many under way.
func manyDeckies(t *testing.T, s *system, gate *harness.Gate) {
	const n, together = 20, 8 // how many converge at once is bounded on purpose
	names, ids := make([]string, n), make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		names[i] = "crowd-" + itoa(i)
		gate.Hold(names[i])
		body := map[string]any{"name": names[i], "services": []string{"ssh"}, "ip": s.ip()}
		wg.Go(func() {
			answer, err := s.Do(harness.Within(t, patience), http.MethodPost, "/deckies", body, "Prefer", "wait=0")
			if err != nil || answer.Status != http.StatusAccepted {
				t.Errorf("create %s: %d %s %v", names[i], answer.Status, answer.Body, err)
			}
			ids[i] = answer.Header.Get("Decnet-Operation")
		})
	}
	wg.Wait()
	eventually(t, func() bool {
		under := 0
		for _, op := range s.operations(t, "state", "running") {
			if slices.Contains(ids, op.ID.String()) && op.Step("converge").State == "running" {
				under++
			}
		}
		return under >= together
	}, "many converge at the same time")
	for _, name := range names {
		gate.Open(name)
	}
	for i, id := range ids {
		require.Equal(t, "succeeded", s.ended(t, id).State)
		require.True(t, open(endpoint(t, s.decky(t, names[i]))))
	}
}

// temporalAway stops Temporal without ending it: connections stay and nothing answers.
func temporalAway(t *testing.T, s *system) {
	s.create(t, "patient-01")
	require.NoError(t, s.SignalChild("temporal", syscall.SIGSTOP))
	t.Cleanup(func() { _ = s.SignalChild("temporal", syscall.SIGCONT) })
	began := time.Now()
	body := map[string]any{"name": "ssh"}
	answer := s.must(t, http.StatusAccepted, http.MethodPost, "/deckies/patient-01/services", body, "Prefer", "wait=1", "Idempotency-Key", "patient")
	require.Less(t, time.Since(began), 15*time.Second, "the answer does not wait for Temporal")
	id := operationOf(t, answer)
	require.Equal(t, "/api/v1/operations/"+id, answer.Header.Get("Location"))
	require.Contains(t, string(answer.Body), `"received"`)
	root := harness.Client{URL: strings.TrimSuffix(s.URL, "/api/v1")}
	ready, err := root.Do(harness.Within(t, patience), http.MethodGet, "/readyz", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, ready.Status, "%s", ready.Body)
	var health struct{ Checks map[string]string }
	require.NoError(t, ready.Decode(&health))
	require.Equal(t, map[string]string{"postgres": "ok", "nats": "ok", "temporal": "failing"}, health.Checks, "only Temporal is blamed")

	require.NoError(t, s.SignalChild("temporal", syscall.SIGCONT))
	back := time.Now()
	require.Equal(t, "succeeded", s.ended(t, id).State)
	require.Less(t, time.Since(back), 20*time.Second, "recovery does not wait for its next regular pass")
	again := s.must(t, http.StatusCreated, http.MethodPost, "/deckies/patient-01/services", body, "Idempotency-Key", "patient")
	require.Equal(t, id, operationOf(t, again))
}

// termInTheMiddle ends the process while a decoy takes its time. The next start finishes what was begun or undoes it.
func termInTheMiddle(t *testing.T, s *system, gate *harness.Gate) {
	d := s.create(t, "halfway-01")
	gate.Hold("halfway-01")
	body := map[string]any{"name": "ssh"}
	id := operationOf(t, s.must(t, http.StatusAccepted, http.MethodPost, "/deckies/halfway-01/services", body, "Prefer", "wait=0"))
	eventually(t, func() bool { return s.operation(t, id).Step("converge").State == "running" }, "it converges")
	began := time.Now()
	require.NoError(t, s.Stop())
	require.Less(t, time.Since(began), 25*time.Second, "the drain is bounded")
	gate.Open("halfway-01")
	s.Start()
	op := s.ended(t, id)
	require.Contains(t, []string{"succeeded", "failed"}, op.State, "%+v", op)
	s.quiet(t)
	after := s.decky(t, "halfway-01")
	require.Equal(t, op.State == "succeeded", len(after.Services) == 1)
	require.Len(t, s.decoysOf(d), len(after.Services))
	require.Equal(t, "running", after.State)
}
