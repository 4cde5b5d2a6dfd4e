package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
)

// others is how many deckies are changed while one is past help.
const others = 20

// hopelessProcess takes the ports of a decoy that died, so that no other can take its place.
func hopelessProcess(t *testing.T, s *system) {
	hopeless(t, s, "lost-01", func(d harness.Decky) (release func()) {
		pids := s.decoysOf(d)
		require.Len(t, pids, 1)
		second := occupy(t, d.IP, 22+s.PortOffset)
		require.NoError(t, syscall.Kill(pids[0], syscall.SIGKILL))
		var first net.Listener
		require.Eventually(t, func() (ok bool) {
			first, ok = listen(d.IP, 22)
			return ok
		}, patience, time.Millisecond, "the port is faster taken than the decoy is back")
		return func() { _, _ = first.Close(), second.Close() }
	})
}

// hopeless has a decky whose ssh decoy cannot come back: steal ends it and takes what it needs. The decky ends in quarantine
// while others are changed as ever, and comes back when it is told to and the cause is gone.
func hopeless(t *testing.T, s *system, name string, steal func(d harness.Decky) (release func())) {
	t.Helper()
	release := steal(s.create(t, name, "ssh"))

	var wg sync.WaitGroup
	for i := range others {
		wg.Go(func() { s.changeUndisturbed(t, name+"-other-"+itoa(i)) })
	}
	wg.Wait()
	began := time.Now()
	eventually(t, func() bool { return s.decky(t, name).State == "quarantined" }, "it is given up")
	t.Logf("quarantined %s after the others were done", time.Since(began).Round(time.Second))
	d := s.decky(t, name)
	require.Contains(t, d.StateReason, "5 repairs in a row failed, the last one: service ssh did not start")
	repairs := s.operations(t, "decky", name, "kind", "reconcile")
	require.Len(t, repairs, 5)
	for _, r := range repairs {
		require.Equal(t, "failed", r.State)
	}
	s.quiet(t) // a decky that waits for a person is no reason to wait

	release()
	s.quiet(t)
	require.Equal(t, "quarantined", s.decky(t, name).State, "only a person decides that the cause is gone")
	s.must(t, http.StatusOK, http.MethodPost, "/deckies/"+name+"/unquarantine", nil)
	d = s.decky(t, name)
	require.Equal(t, "running", d.State)
	require.Empty(t, d.StateReason)
	require.True(t, open(endpoint(t, d)))
}

func listen(ip string, port int) (net.Listener, bool) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", net.JoinHostPort(ip, itoa(port)))
	return l, err == nil
}

// changeUndisturbed takes a decky through its life.
func (s *system) changeUndisturbed(t *testing.T, name string) {
	for _, step := range []struct {
		status       int
		method, path string
		body         any
	}{
		{http.StatusCreated, http.MethodPost, "/deckies", map[string]any{"name": name, "services": []string{"redis"}, "ip": s.ip()}},
		{http.StatusCreated, http.MethodPost, "/deckies/" + name + "/services", map[string]any{"name": "http"}},
		{http.StatusOK, http.MethodDelete, "/deckies/" + name + "/services/redis", nil},
		{http.StatusOK, http.MethodDelete, "/deckies/" + name, nil},
	} {
		answer, err := s.Do(harness.Within(t, 2*patience), step.method, step.path, step.body, "Prefer", "wait=60")
		if err == nil && answer.Status == http.StatusAccepted { // nobody had time for it yet
			err = s.awaitSuccess(answer.Header.Get("Decnet-Operation"))
		} else if err == nil && answer.Status != step.status {
			err = errors.New(string(answer.Body))
		}
		if err != nil {
			t.Errorf("%s %s: %v", step.method, step.path, err)
			return
		}
	}
}

func (s *system) awaitSuccess(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		var op harness.Operation
		answer, err := s.Do(ctx, http.MethodGet, "/operations/"+id, nil)
		if err == nil {
			err = answer.Decode(&op)
		}
		switch {
		case err != nil:
			return err
		case op.State == "succeeded":
			return nil
		case op.EndedAt != nil:
			return fmt.Errorf("%s: %v", op.State, op.Fault)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
