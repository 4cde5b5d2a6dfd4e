package activities

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/google/uuid"
	"go.temporal.io/sdk/activity"
	"golang.org/x/sync/errgroup"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/temporalfault"
	"github.com/decnet/decnet/internal/topology"
)

// maxDeckiesAtOnce bounds how many deckies of a topology change side by side; each holds a database connection.
const maxDeckiesAtOnce = 8

// ConvergeTopologyInput names the topology's scope, and the operation that says which of its deckies are concerned.
type ConvergeTopologyInput struct {
	Scope       string    `json:"scope"`
	OperationID uuid.UUID `json:"operation_id"`
	Undo        bool      `json:"undo,omitempty"`
}

// ConvergeTopology makes the networks of a topology and the decoys of the deckies an operation touches match what the
// database wants now. The detail of its step counts the deckies that are done.
//
// Idempotency: as Converge, for each decky; networks that match are not touched.
func (r *Runtime) ConvergeTopology(ctx context.Context, in ConvergeTopologyInput) error {
	stop := beat(ctx)
	defer stop()
	steps := &stepper{r: r, operation: in.OperationID, attempt: int(activity.GetInfo(ctx).Attempt), undo: in.Undo}
	err := r.convergeTopology(ctx, in, steps)
	if stepErr := steps.end(ctx, err); err == nil {
		err = stepErr
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return temporalfault.Wrap(err)
}

func (r *Runtime) convergeTopology(ctx context.Context, in ConvergeTopologyInput, steps *stepper) error {
	id, ok := topology.IDFromScope(in.Scope)
	if !ok {
		return topology.NotFound()
	}
	steps.to(ctx, operation.Prepare)
	if err := r.Runtime.Prepare(ctx); err != nil {
		return err
	}
	if err := r.warnOfPorts(ctx, id, steps); err != nil {
		return err
	}
	steps.to(ctx, operation.Converge)
	deckies, err := r.touched(ctx, in)
	if err != nil {
		return err
	}
	if err := r.scopeNetworks(ctx, id); err != nil {
		return err
	}
	if err := r.convergeAll(ctx, deckies, steps); err != nil {
		return err
	}
	return r.scopeNetworks(ctx, id) // those nobody is on any more go now
}

// warnOfPorts tells before a deploy which ports of gateways the host has no room for: they are offered under other numbers.
func (r *Runtime) warnOfPorts(ctx context.Context, id uuid.UUID, steps *stepper) error {
	t, err := r.Store.Topology(ctx, id)
	if err != nil || r.Listening == nil || t.Status != topology.Deploying {
		return err
	}
	g, err := r.Store.Graph(ctx, t)
	if err != nil {
		return err
	}
	issues := topology.PortCollisions(g, r.Listening)
	for _, i := range issues {
		r.Log.WarnContext(ctx, "a port of a gateway is taken on the host", "topology_id", id, "code", i.Code,
			"decky", i.Target["decky"], "port", i.Target["port"])
	}
	if len(issues) > 0 {
		steps.say(ctx, issues[0].Message)
	}
	return nil
}

// touched lists the deckies an operation concerns.
func (r *Runtime) touched(ctx context.Context, in ConvergeTopologyInput) ([]uuid.UUID, error) {
	op, err := r.Store.Operation(ctx, in.OperationID)
	if err != nil {
		return nil, err
	}
	undo, err := undoOf(op)
	if err != nil || undo.Graph != nil {
		return undo.Deckies, err
	}
	return r.Store.ScopeDeckies(ctx, in.Scope)
}

func (r *Runtime) convergeAll(ctx context.Context, deckies []uuid.UUID, steps *stepper) error {
	var done atomic.Int64
	progress := func() { steps.say(ctx, fmt.Sprintf("%d of %d deckies", done.Load(), len(deckies))) }
	progress()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(maxDeckiesAtOnce)
	for _, id := range deckies {
		g.Go(func() error {
			if err := r.convergeOne(gctx, id); err != nil {
				return err
			}
			done.Add(1)
			progress()
			return nil
		})
	}
	return g.Wait()
}

func (r *Runtime) convergeOne(ctx context.Context, id uuid.UUID) error {
	lock, err := r.Store.WaitLock(ctx, "decky/"+id.String())
	if err != nil {
		return err
	}
	defer lock.Release()
	want, err := r.desired(ctx, id)
	if err != nil {
		return err
	}
	if err := r.reach(ctx, want, func(string) {}); err != nil {
		return named(want.Name, err)
	}
	return nil
}

// named says in a fault which of many deckies it is about.
func named(decky string, err error) error {
	f, ok := fault.As(err)
	if !ok || decky == "" {
		return err
	}
	about := *f
	about.Message = decky + ": " + f.Message
	return about.Wrap(err)
}
