package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/workflows"
)

func recordConfigurations(t *testing.T) {
	s := newStage(t, sharedServer(t))
	undone := fault.New(fault.OperationFailed, "decoy_start_failed", "service ssh did not start")
	save := activities.BeginResult{Outcome: activities.Begun, Kind: operation.SaveConfig, Unaffected: true}
	apply := activities.BeginResult{Outcome: activities.Begun, Kind: operation.ApplyConfig}
	s.scenario(1, "save-config", plan{begin: save})
	save.Outcome = activities.Interrupted
	s.scenario(2, "save-config-interrupted", plan{begin: save})
	s.scenario(3, "apply-config", plan{begin: apply})
	s.scenario(4, "apply-config-undone", plan{begin: apply, forward: undone})
}

// recordTemporaryServices has services that end, after a removal that failed, as they were meant to, sooner, later, and
// never; and a change that meets a timer that runs already.
func recordTemporaryServices(t *testing.T) {
	s := newStage(t, sharedServer(t))
	add := func(n int, after time.Duration) uuid.UUID {
		e := decky.Expiry{ID: number("e", n), Scope: "fleet", DeckyID: number("d", 1), Decky: "web-01", Service: "ssh", At: time.Now().Add(after)}
		s.setEnd(e.ID, e.At)
		begin := activities.BeginResult{Outcome: activities.Begun, Expiries: []decky.Expiry{e}}
		s.plan(n, plan{begin: begin})
		s.submit(n, n)
		s.awaitClosed(n)
		return e.ID
	}
	tell := func(id uuid.UUID) {
		require.NoError(t, s.c.SignalWorkflow(t.Context(), workflows.ExpiryID(id), "", workflows.SignalExpiryChanged, nil))
	}
	closed := func(id uuid.UUID) {
		s.await("the timer ends", func() bool {
			open, err := activities.Open(t.Context(), s.c, workflows.ExpiryID(id))
			return err == nil && !open
		})
	}
	ends := add(1, time.Second)
	closed(ends)
	s.write("mutation", "add-temporary", workflows.MutationID(number("0", 1)), "")
	s.write("expiry", "ends", workflows.ExpiryID(ends), "")

	extended := add(2, time.Hour)
	s.setEnd(extended, time.Now().Add(2*time.Second))
	tell(extended)
	closed(extended)
	s.write("expiry", "shortened", workflows.ExpiryID(extended), "")

	extended = add(3, 2*time.Second)
	s.setEnd(extended, time.Now().Add(4*time.Second))
	tell(extended)
	closed(extended)
	s.write("expiry", "extended", workflows.ExpiryID(extended), "")

	cleared := add(4, time.Hour)
	s.plan(5, plan{begin: activities.BeginResult{Outcome: activities.Begun, Kind: operation.Rollback, Expiries: []decky.Expiry{{
		ID: cleared, Scope: "fleet", DeckyID: number("d", 1), Decky: "web-01", Service: "ssh", At: time.Now().Add(time.Hour),
	}}}})
	s.submit(5, 5)
	s.awaitClosed(5)
	s.write("mutation", "rollback-tells-a-timer", workflows.MutationID(number("0", 5)), "")
	s.setEnd(cleared, time.Time{})
	tell(cleared)
	closed(cleared)
	s.write("expiry", "cleared", workflows.ExpiryID(cleared), "")
}

func (s *stage) setEnd(id uuid.UUID, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends[id] = at
}

// Expire asks for a removal twice, the first of which fails.
func (s *stage) Expire(_ context.Context, in activities.ExpireInput) (activities.ExpireResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, now := s.ends[in.Expiry.ID], time.Now()
	switch {
	case at.IsZero():
		return activities.ExpireResult{Done: true}, nil
	case at.After(now):
		return activities.ExpireResult{Next: at}, nil
	case in.Attempt == 1:
		s.ends[in.Expiry.ID] = time.Time{}
	}
	return activities.ExpireResult{Next: now.Add(time.Second), Attempt: in.Attempt + 1, Last: number("b", in.Attempt)}, nil
}
