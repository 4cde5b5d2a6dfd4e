package activities

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/activity"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/internal/temporalfault"
)

// heartbeatEvery is a third of the heartbeat timeout of Converge.
const heartbeatEvery = 2 * time.Second

// Runtime holds what touches the decoys of one host. All fields but Listening are required.
type Runtime struct {
	Store   *db.Store
	Runtime runtime.Runtime
	Now     func() time.Time
	Log     *slog.Logger
	// Listening reports whether the host listens on a port that a topology's gateway would publish; nil where none is published.
	Listening func(service.Port) bool
	// Look compares reality with desired state and asks for repairs.
	Look func(context.Context) error
}

// ConvergeInput names the decky, and the operation whose steps tell the progress. Undo marks the way back.
type ConvergeInput struct {
	DeckyID     uuid.UUID `json:"decky_id"`
	OperationID uuid.UUID `json:"operation_id"`
	Undo        bool      `json:"undo,omitempty"`
}

// Converge makes the decoys of a decky match what the database wants now, and verifies them.
//
// Idempotency: desired state is read inside an exclusive lock on the decky, never taken from the input, and decoys that
// match are not touched; a late attempt finds newer desired state and does that.
func (r *Runtime) Converge(ctx context.Context, in ConvergeInput) error {
	stop := beat(ctx)
	defer stop()
	lock, err := r.Store.WaitLock(ctx, "decky/"+in.DeckyID.String())
	if err != nil {
		return temporalfault.Wrap(err)
	}
	defer lock.Release()
	steps := &stepper{r: r, operation: in.OperationID, attempt: int(activity.GetInfo(ctx).Attempt), undo: in.Undo}
	err = r.converge(ctx, in.DeckyID, steps)
	if stepErr := steps.end(ctx, err); err == nil {
		err = stepErr
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // cancelled or out of time: not a verdict about the decoy
	}
	return temporalfault.Wrap(err)
}

func (r *Runtime) converge(ctx context.Context, id uuid.UUID, steps *stepper) error {
	steps.to(ctx, operation.Prepare)
	if err := r.Runtime.Prepare(ctx); err != nil {
		return err
	}
	want, err := r.desired(ctx, id)
	if err != nil {
		return err
	}
	steps.to(ctx, operation.Converge)
	if err := r.networks(ctx, want); err != nil {
		return err
	}
	return r.reach(ctx, want, func(step string) { steps.to(ctx, operation.Step(step)) })
}

// reach makes the decoys of one decky match and records where they are reached.
func (r *Runtime) reach(ctx context.Context, want runtime.Decky, progress func(step string)) error {
	id := want.ID
	endpoints, err := r.Runtime.Converge(ctx, want, runtime.Hooks{Progress: progress, SelfCheck: r.selfCheck})
	if err != nil {
		r.Log.WarnContext(ctx, "decky did not converge", "decky_id", id, "err", err)
		return err
	}
	known := make([]decky.Endpoint, len(endpoints))
	for i, e := range endpoints {
		known[i] = decky.Endpoint(e)
	}
	return r.Store.ReplaceEndpoints(ctx, id, known)
}

func (r *Runtime) selfCheck(ctx context.Context, p runtime.Probe) error {
	return r.Store.RecordSelfCheck(ctx, db.SelfCheck{DeckyID: p.DeckyID, Service: p.Service, Local: p.Local, Remote: p.Remote})
}

// Observe compares what runs on the host with what should, and asks for repairs.
//
// Idempotency: it changes nothing itself; the repairs it asks for are dropped while one is open.
func (r *Runtime) Observe(ctx context.Context) error {
	return temporalfault.Wrap(r.Look(ctx))
}

// beat heartbeats until the returned function is called, so that a dead worker is noticed within the timeout. details are
// asked for every time.
func beat(ctx context.Context, details ...func() any) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(heartbeatEvery)
		defer ticker.Stop()
		for {
			told := make([]any, len(details))
			for i, f := range details {
				told[i] = f()
			}
			activity.RecordHeartbeat(ctx, told...)
			select {
			case <-done:
				return
			case <-ticker.C:
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// stepper writes the steps of a Converge as they begin and end. Writing them is best effort while the work goes on.
type stepper struct {
	mu        sync.Mutex
	r         *Runtime
	operation uuid.UUID
	attempt   int
	undo      bool
	current   operation.StepRecord
}

// to ends the current step and begins another; the way back is one step.
func (s *stepper) to(ctx context.Context, step operation.Step) {
	if s.undo {
		step = operation.Undo
	}
	if step == s.current.Name {
		return
	}
	if s.current.Name != "" {
		_ = s.finish(ctx, operation.StepSucceeded, "")
	}
	s.current = operation.StepRecord{Name: step, State: operation.StepRunning, StartedAt: s.r.Now(), Attempt: s.attempt}
	_ = s.write(ctx)
}

// say changes the detail of the current step while it goes on. It may be called from several goroutines.
func (s *stepper) say(ctx context.Context, detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.Detail = detail
	_ = s.write(ctx)
}

func (s *stepper) end(ctx context.Context, err error) error {
	if s.current.Name == "" {
		return nil
	}
	state, detail := operation.StepSucceeded, s.current.Detail
	if err != nil {
		state, detail = operation.StepFailed, fault.From(err).Message
	}
	return s.finish(ctx, state, detail)
}

func (s *stepper) finish(ctx context.Context, state operation.StepState, detail string) error {
	now := s.r.Now()
	s.current.State, s.current.EndedAt, s.current.Detail = state, &now, detail
	return s.write(ctx)
}

func (s *stepper) write(ctx context.Context) error {
	err := s.r.Store.RecordStep(ctx, s.operation, s.current)
	if err != nil {
		s.r.Log.WarnContext(ctx, "step not recorded", "operation_id", s.operation, "err", err)
	}
	return err
}
