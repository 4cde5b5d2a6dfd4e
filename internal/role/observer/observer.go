// Package observer compares the decoys of a host with what the database wants and asks for repairs. It changes nothing
// itself: a repair is an ordinary operation in the decky's lane, and is not asked for while that lane is busy.
package observer

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/clock"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/runtime"
)

// Actor is who asks for repairs.
const Actor = "observer"

const (
	// settleTime lets changes that come together be looked at together.
	settleTime = 100 * time.Millisecond
	// spacing is the least time between two requests for a repair of one decky that the database does not space itself.
	spacing = 3 * time.Second
	retry   = time.Second
)

// Dispatcher takes repairs.
type Dispatcher interface {
	Accept(ctx context.Context, op operation.Operation, request operation.Request) (operation.Operation, error)
}

// Observer watches one host. All exported fields are required.
type Observer struct {
	Store      *db.Store
	Runtime    runtime.Runtime
	Dispatcher Dispatcher
	HostID     string
	Log        *slog.Logger
	Now        func() time.Time

	mu     sync.Mutex              // one pass at a time
	asked  map[uuid.UUID]time.Time // last repair asked for, by decky
	before int                     // drift of the last pass, to log changes only
}

// Run looks at start, after a decoy ended by itself, after operations and when a role started, until ctx ends. A schedule
// asks for the rest.
func (o *Observer) Run(ctx context.Context) error {
	ended, stop := o.Store.Wakes(ctx, "operation_ended", "role_started")
	defer stop()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		case <-o.Runtime.Exits():
			clock.Sleep(ctx, settleTime)
		case <-ended:
			clock.Sleep(ctx, settleTime)
		}
		drift, err := o.pass(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			o.Log.WarnContext(ctx, "observer pass failed, nothing was changed", "err", err)
			again.Reset(retry)
		case drift > 0:
			again.Reset(spacing)
		}
	}
}

// Look makes one pass. An unreachable runtime or database is an error and changes nothing.
func (o *Observer) Look(ctx context.Context) error {
	_, err := o.pass(ctx)
	return err
}

func (o *Observer) pass(ctx context.Context) (drift int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	started, err := o.Store.Now(ctx)
	if err != nil {
		return 0, err
	}
	busy, err := o.Store.BusyLanes(ctx)
	if err != nil {
		return 0, err
	}
	seen, err := o.Runtime.Observe(ctx)
	if err != nil {
		return 0, err
	}
	deckies, err := o.Store.AllDeckies(ctx)
	if err != nil {
		return 0, err
	}
	repairs, waiting := due(Drift(deckies, seen), deckies, started)
	for _, r := range repairs {
		if busy[[2]string{r.Scope, r.DeckyID.String()}] || busy[[2]string{r.Scope, operation.WholeScope}] {
			continue
		}
		drift++
		if err := o.ask(ctx, r); err != nil {
			return drift, err
		}
	}
	drift += waiting
	o.report(ctx, drift)
	return drift, o.Store.RecordPass(ctx, db.ObserverPass{HostID: o.HostID, StartedAt: started, Decoys: len(seen.Decoys), Drift: drift})
}

// due keeps the repairs whose time has come and counts those that wait. A decky in quarantine waits for a person: it is
// neither.
func due(repairs []Repair, deckies []decky.Decky, now time.Time) (ready []Repair, waiting int) {
	known := make(map[uuid.UUID]decky.Decky, len(deckies))
	for _, d := range deckies {
		known[d.ID] = d
	}
	for _, r := range repairs {
		switch d := known[r.DeckyID]; {
		case d.State == decky.Quarantined:
		case d.RepairAfter.After(now):
			waiting++
		default:
			ready = append(ready, r)
		}
	}
	return ready, waiting
}

func (o *Observer) report(ctx context.Context, drift int) {
	if drift != o.before {
		o.Log.InfoContext(ctx, "observer pass", "drift", drift)
	}
	o.before = drift
}

// ask requests one repair, unless one was requested a moment ago.
func (o *Observer) ask(ctx context.Context, r Repair) error {
	if o.asked == nil {
		o.asked = map[uuid.UUID]time.Time{}
	}
	now := o.Now()
	if now.Sub(o.asked[r.DeckyID]) < spacing {
		return nil
	}
	for id, at := range o.asked {
		if now.Sub(at) >= spacing {
			delete(o.asked, id)
		}
	}
	o.asked[r.DeckyID] = now
	o.Log.WarnContext(ctx, "decky drifted", "decky_id", r.DeckyID, "reason", r.Reason)
	_, err := o.Dispatcher.Accept(ctx, operation.Operation{
		ID: uuid.Must(uuid.NewV7()), Scope: r.Scope, Lane: r.DeckyID.String(), Kind: operation.Reconcile, Actor: Actor,
		State: operation.Received, DeckyID: r.DeckyID, Decky: r.Name, RequestHash: []byte{},
	}, operation.Request{Reason: r.Reason})
	return err
}

// Repair is one decky that is not as it should be.
type Repair struct {
	DeckyID uuid.UUID
	Scope   string
	Name    string
	Reason  string
}

// Drift compares desired deckies with what runs. Deckies that have neither an active revision nor decoys count too: what
// is left of them must go. What belongs to deckies nobody knows is put into the fleet's scope.
func Drift(deckies []decky.Decky, seen runtime.Observation) []Repair {
	found := map[uuid.UUID]*have{}
	var order []uuid.UUID
	of := func(id uuid.UUID) *have {
		if found[id] == nil {
			found[id] = &have{}
			order = append(order, id)
		}
		return found[id]
	}
	for _, s := range seen.Decoys {
		h := of(s.DeckyID)
		h.decoys = append(h.decoys, s)
	}
	for _, b := range seen.Bases {
		h := of(b.DeckyID)
		h.bases++
		h.based = h.based || b.Running
	}
	var repairs []Repair
	for _, d := range deckies {
		h := of(d.ID)
		h.based = h.based || seen.Baseless
		// Nothing of a planned decky runs and nothing of it is owed, whatever its state.
		idle := d.Planned && len(h.decoys)+h.bases == 0
		if reason := differs(activities.Desired(d), d.State, *h); reason != "" && !idle {
			repairs = append(repairs, Repair{DeckyID: d.ID, Scope: d.Scope, Name: d.Name, Reason: reason})
		}
		delete(found, d.ID)
	}
	for _, id := range order {
		if _, left := found[id]; left {
			repairs = append(repairs, Repair{DeckyID: id, Scope: decky.FleetScope, Reason: "decoys of a decky that does not exist"})
		}
	}
	return repairs
}

// have is what a host has of one decky.
type have struct {
	decoys []runtime.Status
	bases  int
	based  bool // one of them runs, or none is needed
}

// differs says what is wrong with a decky, "" when nothing is.
func differs(want runtime.Decky, state decky.State, have have) string {
	switch {
	case want.Removed && (len(have.decoys) > 0 || have.bases > 0 || state != decky.TornDown):
		return "it should be gone"
	case want.Removed:
		return ""
	case state != decky.Running:
		return fmt.Sprintf("it is %s with nothing under way", state)
	case !have.based:
		return "its base does not run"
	}
	return decoysDiffer(want.Services, have.decoys)
}

func decoysDiffer(want []runtime.Service, have []runtime.Status) string {
	found := map[string]runtime.Status{}
	for _, s := range have {
		if _, twice := found[s.Service]; twice {
			return s.Service + " runs twice"
		}
		found[s.Service] = s
	}
	for _, s := range want {
		status, ok := found[s.Name]
		switch {
		case !ok || !status.Running:
			return s.Name + " does not run"
		case status.Revision != s.Revision:
			return fmt.Sprintf("%s runs revision %d instead of %d", s.Name, status.Revision, s.Revision)
		case !status.Ready:
			return s.Name + " is not ready"
		}
		delete(found, s.Name)
	}
	for name := range found {
		return name + " runs although it should not"
	}
	return ""
}
