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
	statuses, err := o.Runtime.Observe(ctx)
	if err != nil {
		return 0, err
	}
	deckies, err := o.Store.AllDeckies(ctx)
	if err != nil {
		return 0, err
	}
	repairs, waiting := due(Drift(deckies, statuses), deckies, started)
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
	return drift, o.Store.RecordPass(ctx, db.ObserverPass{HostID: o.HostID, StartedAt: started, Decoys: len(statuses), Drift: drift})
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
	}, operation.Request{})
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
// is left of them must go. Decoys of deckies nobody knows are put into the fleet's scope.
func Drift(deckies []decky.Decky, statuses []runtime.Status) []Repair {
	running := map[uuid.UUID][]runtime.Status{}
	for _, s := range statuses {
		running[s.DeckyID] = append(running[s.DeckyID], s)
	}
	var repairs []Repair
	for _, d := range deckies {
		// Nothing of a planned decky runs and nothing of it is owed, whatever its state.
		idle := d.Planned && len(running[d.ID]) == 0
		if reason := differs(activities.Desired(d), d.State, running[d.ID]); reason != "" && !idle {
			repairs = append(repairs, Repair{DeckyID: d.ID, Scope: d.Scope, Name: d.Name, Reason: reason})
		}
		delete(running, d.ID)
	}
	for _, s := range statuses {
		if _, left := running[s.DeckyID]; left {
			repairs = append(repairs, Repair{DeckyID: s.DeckyID, Scope: decky.FleetScope, Reason: "decoys of a decky that does not exist"})
			delete(running, s.DeckyID)
		}
	}
	return repairs
}

// differs says what is wrong with a decky, "" when nothing is.
func differs(want runtime.Decky, state decky.State, have []runtime.Status) string {
	switch {
	case want.Removed && (len(have) > 0 || state != decky.TornDown):
		return "it should be gone"
	case want.Removed:
		return ""
	case state != decky.Running:
		return fmt.Sprintf("it is %s with nothing under way", state)
	}
	found := map[string]runtime.Status{}
	for _, s := range have {
		if _, twice := found[s.Service]; twice {
			return s.Service + " runs twice"
		}
		found[s.Service] = s
	}
	for _, s := range want.Services {
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
