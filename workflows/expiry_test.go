package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/temporalfault"
	"github.com/decnet/decnet/workflows"
)

var expiryActivity *activities.Expiry

// service is a temporary service in the time-skipping environment: when it ends according to Postgres, and what was done.
type service struct {
	env  *testsuite.TestWorkflowEnvironment
	in   activities.ExpireInput
	zero time.Time

	at      time.Time // zero: it stays
	gone    bool
	fails   int // so many removals fail
	takes   time.Duration
	answer  func(context.Context, activities.ExpireInput) (activities.ExpireResult, error)
	calls   []time.Duration // when the activity ran, from the start
	removed []time.Duration // when a removal was asked for
}

func newService(t *testing.T, after time.Duration) *service {
	t.Helper()
	s := &service{env: quietSuite().NewTestWorkflowEnvironment()}
	s.env.RegisterActivity(expiryActivity)
	s.env.RegisterWorkflow(workflows.TemporaryService)
	s.zero = s.env.Now()
	s.at = s.zero.Add(after)
	s.in.Expiry = decky.Expiry{ID: uuid.New(), Scope: "fleet", DeckyID: uuid.New(), Decky: "web-01", Service: "ssh", At: s.at}
	s.answer = s.expire
	return s
}

// expire does what the activity does with the state of Postgres.
func (s *service) expire(_ context.Context, in activities.ExpireInput) (activities.ExpireResult, error) {
	now := s.env.Now()
	s.calls = append(s.calls, now.Sub(s.zero))
	switch {
	case s.gone || s.at.IsZero():
		return activities.ExpireResult{Done: true}, nil
	case s.at.After(now):
		return activities.ExpireResult{Next: s.at}, nil
	case in.Last != uuid.Nil && s.fails > 0 && len(s.removed) == in.Attempt:
		s.fails--
		return activities.ExpireResult{Next: now.Add(5 * time.Second), Attempt: in.Attempt, Last: uuid.Nil}, nil
	}
	s.removed = append(s.removed, now.Sub(s.zero))
	if s.fails == 0 {
		s.gone = true
	}
	return activities.ExpireResult{Next: now.Add(2 * time.Second), Attempt: in.Attempt + 1, Last: uuid.New()}, nil
}

// change moves the end at a time and tells the timer, as the API does.
func (s *service) change(when, to time.Duration) {
	s.env.RegisterDelayedCallback(func() {
		s.at = s.zero.Add(to)
		if to == 0 {
			s.at = time.Time{}
		}
		s.env.SignalWorkflow(workflows.SignalExpiryChanged, nil)
	}, when)
}

func (s *service) execute() {
	s.env.OnActivity(expiryActivity.Expire, mock.Anything, mock.Anything).After(s.takes).Return(
		func(ctx context.Context, in activities.ExpireInput) (activities.ExpireResult, error) {
			return s.answer(ctx, in)
		})
	s.env.ExecuteWorkflow(workflows.TemporaryService, s.in)
}

func (s *service) run(t *testing.T) {
	t.Helper()
	s.execute()
	require.True(t, s.env.IsWorkflowCompleted())
	require.NoError(t, s.env.GetWorkflowError())
}

func TestTemporaryService_EndsOnTime(t *testing.T) {
	t.Parallel()
	s := newService(t, 30*24*time.Hour)
	s.run(t)
	require.Equal(t, []time.Duration{30 * 24 * time.Hour}, s.removed)
	require.Len(t, s.calls, 2, "it looks once more and ends")
}

func TestTemporaryService_ThatIsOverdueEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := newService(t, -time.Hour)
	s.run(t)
	require.Equal(t, []time.Duration{0}, s.removed)
}

func TestTemporaryService_Extended(t *testing.T) {
	t.Parallel()
	s := newService(t, time.Hour)
	s.change(59*time.Minute, 3*time.Hour)
	s.change(2*time.Hour, 4*time.Hour)
	s.run(t)
	require.Equal(t, []time.Duration{4 * time.Hour}, s.removed)
}

// The time may be changed without a signal: while Temporal was away, or by another process.
func TestTemporaryService_ExtendedSilently(t *testing.T) {
	t.Parallel()
	s := newService(t, time.Hour)
	s.at = s.zero.Add(2 * time.Hour)
	s.run(t)
	require.Equal(t, []time.Duration{2 * time.Hour}, s.removed)
	require.Equal(t, time.Hour, s.calls[0])
}

func TestTemporaryService_Shortened(t *testing.T) {
	t.Parallel()
	s := newService(t, 10*time.Hour)
	s.change(time.Minute, 30*time.Minute)
	s.run(t)
	require.Equal(t, []time.Duration{30 * time.Minute}, s.removed)
}

func TestTemporaryService_Cleared(t *testing.T) {
	t.Parallel()
	s := newService(t, 10*time.Hour)
	s.change(time.Minute, 0)
	s.run(t)
	require.Empty(t, s.removed)
	require.Equal(t, []time.Duration{time.Minute}, s.calls, "it ends with the wish, not with its time")
}

func TestTemporaryService_RemovalThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := newService(t, time.Hour)
	s.fails = 3
	s.run(t)
	require.Len(t, s.removed, 4)
	require.Equal(t, time.Hour, s.removed[0])
	for i := range 3 {
		require.Equal(t, 7*time.Second, s.removed[i+1]-s.removed[i])
	}
}

func TestTemporaryService_WaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	s := newService(t, time.Hour)
	failures := 5
	s.answer = func(ctx context.Context, in activities.ExpireInput) (activities.ExpireResult, error) {
		if failures--; failures >= 0 {
			return activities.ExpireResult{}, temporalfault.Wrap(fault.New(fault.Unavailable, "database_unavailable", "the database does not answer"))
		}
		return s.expire(ctx, in)
	}
	s.run(t)
	require.Len(t, s.removed, 1)
}

// A signal that comes while the activity runs may tell of what the activity did not see yet.
func TestTemporaryService_SignalWhileTheActivityRuns(t *testing.T) {
	t.Parallel()
	s := newService(t, time.Hour)
	first := true
	s.takes = time.Second
	s.answer = func(ctx context.Context, in activities.ExpireInput) (activities.ExpireResult, error) {
		if first { // it read that the service stays
			first = false
			return activities.ExpireResult{Done: true}, nil
		}
		return s.expire(ctx, in)
	}
	s.change(time.Hour+500*time.Millisecond, 2*time.Hour)
	s.run(t)
	require.False(t, first)
	require.Equal(t, []time.Duration{2*time.Hour + time.Second}, s.removed)
}

// Clocks that disagree about whether the time has come must not spin.
func TestTemporaryService_ClockOfTheWorkerBehind(t *testing.T) {
	t.Parallel()
	s := newService(t, time.Hour)
	calls := 0
	s.answer = func(ctx context.Context, in activities.ExpireInput) (activities.ExpireResult, error) {
		if calls++; s.env.Now().Before(s.at.Add(2 * time.Second)) {
			return activities.ExpireResult{Next: s.at}, nil
		}
		return s.expire(ctx, in)
	}
	s.run(t)
	require.Equal(t, []time.Duration{time.Hour + 2*time.Second}, s.removed)
	require.Less(t, calls, 30)
}

func TestTemporaryService_ContinuesAsNew(t *testing.T) {
	t.Parallel()
	s := newService(t, time.Hour)
	s.fails = 1
	s.env.SetContinueAsNewSuggested(true)
	s.execute()
	require.True(t, s.env.IsWorkflowCompleted())
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, s.env.GetWorkflowError(), &next)
	var carried activities.ExpireInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &carried))
	require.Equal(t, 1, carried.Attempt)
	require.NotEqual(t, uuid.Nil, carried.Last)
	want := s.in.Expiry
	want.At = s.zero.Add(time.Hour + 2*time.Second)
	require.True(t, want.At.Equal(carried.Expiry.At), "the pause goes on")
	want.At, carried.Expiry.At = time.Time{}, time.Time{}
	require.Equal(t, want, carried.Expiry)
}

// TestMutation_StartsTheTimers has one that can be started and one that runs already.
func TestMutation_StartsTheTimers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := b.env.Now().Add(time.Hour)
	fresh := decky.Expiry{ID: uuid.New(), Scope: "fleet", DeckyID: b.begun.DeckyID, Decky: "web-01", Service: "ssh", At: at}
	known := fresh
	known.ID, known.Service = uuid.New(), "http"
	b.begun.Expiries = []decky.Expiry{fresh, known}
	b.begin()
	b.converge(false, nil)
	b.env.OnActivity(lane.Activate, mock.Anything, mock.Anything).Return(nil).Once()
	b.env.RegisterWorkflow(workflows.TemporaryService)
	is := func(e decky.Expiry) any {
		return mock.MatchedBy(func(in activities.ExpireInput) bool { return in.Expiry.ID == e.ID && in.Expiry.Service == e.Service })
	}
	b.env.OnWorkflow(workflows.TemporaryService, mock.Anything, is(fresh)).Return(nil).Once()
	b.env.OnWorkflow(workflows.TemporaryService, mock.Anything, is(known)).Return(testsuite.ErrMockStartChildWorkflowFailed).Once()
	out, err := b.run(t)
	require.NoError(t, err)
	require.Equal(t, operation.Succeeded, out.State)
}

func TestMutation_SaveAsksNoDecoy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.begun.Kind, b.begun.Unaffected = operation.SaveConfig, true
	b.begin()
	b.env.OnActivity(lane.Activate, mock.Anything, mock.Anything).Return(nil).Once()
	out, err := b.run(t)
	require.NoError(t, err)
	require.Equal(t, operation.Succeeded, out.State)
}

func TestMutation_SaveThatIsInterruptedAsksNoDecoyEither(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.begun.Kind, b.begun.Unaffected, b.begun.Outcome = operation.SaveConfig, true, activities.Interrupted
	b.begin()
	b.undone(operation.Failed, "interrupted")
	_, err := b.run(t)
	require.ErrorContains(t, err, "interrupted")
}
