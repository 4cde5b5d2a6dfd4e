package e2e_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
)

func (s *system) expire(t testing.TB, decky, service string, at *time.Time) {
	t.Helper()
	s.must(t, http.StatusOK, http.MethodPut, "/deckies/"+decky+"/services/"+service+"/expiry", map[string]any{"expires_at": at})
}

// removal waits for the removal of a service whose time is up.
func (s *system) removal(t testing.TB, decky, service string) (op harness.Operation) {
	t.Helper()
	eventually(t, func() bool {
		found := s.operations(t, "decky", decky, "service", service, "kind", "remove_service", "actor", "expiry", "state", "succeeded")
		if len(found) > 0 {
			op = found[0]
		}
		return len(found) > 0
	}, "%s of %s ends", service, decky)
	return op
}

// servicesEndOnTime measures how long after their time services are gone whose lanes are idle then.
func servicesEndOnTime(t *testing.T, s *system) {
	const deckies, pause = 4, 2 * time.Second
	services := []string{"ssh", "http", "redis"}
	ends := map[[2]string]time.Time{}
	names := []string{}
	for i := range deckies {
		names = append(names, s.create(t, "brief-0"+itoa(i), services...).Name)
	}
	s.quiet(t)
	first := time.Now().Add(5 * time.Second)
	for i, name := range names {
		for j, service := range services {
			at := first.Add(time.Duration(j)*pause*2 + time.Duration(i)*pause/2).UTC().Truncate(time.Millisecond)
			s.expire(t, name, service, &at)
			ends[[2]string{name, service}] = at
		}
	}
	var over []time.Duration
	for key, at := range ends {
		op := s.removal(t, key[0], key[1])
		require.False(t, op.EndedAt.Before(at), "never too early")
		over = append(over, op.EndedAt.Sub(at).Round(time.Millisecond))
	}
	slices.Sort(over)
	t.Logf("%d services were gone after their time by %v", len(over), over)
	require.Less(t, over[len(over)/2], time.Second, "the median; single ones may meet a busy machine")
	require.Less(t, over[len(over)-1], 5*time.Second)
	for _, name := range names {
		d := s.decky(t, name)
		require.Empty(t, d.Services)
		require.Empty(t, s.pids(d))
	}
}

// endMovedNearAndFar sets ends and takes them away on a running system.
func endMovedNearAndFar(t *testing.T, s *system) {
	soon, far := time.Now().Add(4*time.Second), time.Now().Add(time.Hour)
	s.create(t, "moved-01", "http", "redis")
	s.must(t, http.StatusCreated, http.MethodPost, "/deckies/moved-01/services", map[string]any{"name": "ssh", "expires_at": far})
	s.expire(t, "moved-01", "http", &soon)
	s.expire(t, "moved-01", "redis", &soon)
	s.expire(t, "moved-01", "http", nil)
	s.expire(t, "moved-01", "redis", &far)
	s.expire(t, "moved-01", "ssh", &soon)
	require.Equal(t, "expiry", s.removal(t, "moved-01", "ssh").Actor)
	d := s.decky(t, "moved-01")
	require.Equal(t, []string{"http", "redis"}, []string{d.Services[0].Name, d.Services[1].Name})
	require.Empty(t, s.operations(t, "decky", "moved-01", "actor", "expiry", "service", "http"))
	require.Empty(t, s.operations(t, "decky", "moved-01", "actor", "expiry", "service", "redis"))
}

// endWhileEverythingIsDown kills the process before the time of a service and starts it again after it.
func endWhileEverythingIsDown(t *testing.T, s *system) {
	s.create(t, "overdue-01", "ssh", "http")
	at := time.Now().Add(3 * time.Second)
	s.expire(t, "overdue-01", "ssh", &at)
	s.Kill()
	eventually(t, func() bool { return len(s.Parts()) == 0 }, "Postgres and Temporal go with their parent")
	time.Sleep(time.Until(at.Add(time.Second)))
	s.Start()
	ready := time.Now()
	op := s.removal(t, "overdue-01", "ssh")
	took := op.EndedAt.Sub(ready).Round(time.Millisecond)
	t.Logf("gone %s after the system was ready", took)
	require.Less(t, took, 5*time.Second)
	d := s.decky(t, "overdue-01")
	require.Len(t, d.Services, 1)
	require.Len(t, s.pids(d), 1)
}
