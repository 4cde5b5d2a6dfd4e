package process

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
)

// deckyNet holds every address a decky may have with this runtime.
var deckyNet = netip.MustParsePrefix("127.66.0.0/16")

// loopback is where verifying connections come from.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// unit is one decoy as a Converge sees it.
type unit struct {
	ref  boot.Ref
	proc *proc
	rec  record
}

// convergence is the state of one Converge.
type convergence struct {
	r     *Runtime
	d     runtime.Decky
	pulse *boot.Pulse
	check func(context.Context, runtime.Probe) error // Hooks.SelfCheck, serialised

	kept  []*unit           // right as they are, or adopted and to be verified
	start []runtime.Service // to be started
	stop  []*proc           // to be ended
	drop  []boot.Ref        // not desired: to be removed from disk
}

// Converge implements runtime.Runtime. A decoy is left alone when its one process has the desired revision, serves the
// desired ports, reported ready and was verified once. One that was ready but not yet verified (its Converge was killed
// in between) is verified now and replaced when it does not answer. Everything else is ended first, then what is
// missing is started, all at once.
//
// On failure the failed decoys are gone; their siblings stay. When ctx ends, decoys that were not yet ready are ended.
// Progress is called from another goroutine, never twice at once; so is SelfCheck.
func (r *Runtime) Converge(ctx context.Context, d runtime.Decky, h runtime.Hooks) ([]runtime.Endpoint, error) {
	if err := validate(d); err != nil {
		return nil, err
	}
	ctx, p := boot.StartPulse(ctx, r.closed, h.Progress)
	defer p.Stop()
	unlock, err := r.locks.Lock(ctx, d.ID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var mu sync.Mutex
	c := &convergence{r: r, d: d, pulse: p, check: func(ctx context.Context, probe runtime.Probe) error {
		mu.Lock()
		defer mu.Unlock()
		return h.SelfCheck(ctx, probe)
	}}
	return c.run(ctx)
}

// validate refuses what cannot run here.
func validate(d runtime.Decky) error {
	if err := boot.Check(d); err != nil {
		return err
	}
	if !d.Removed && len(d.Services) > 0 && !deckyNet.Contains(d.IP) {
		return fault.New(fault.Unprocessable, "decky_address_unsupported",
			"with the process runtime a decky's address must lie in %s", deckyNet)
	}
	return nil
}

func (c *convergence) run(ctx context.Context) ([]runtime.Endpoint, error) {
	if err := c.plan(); err != nil {
		return nil, err
	}
	if err := c.verifyAdopted(ctx); err != nil {
		return nil, err
	}
	c.pulse.Step("converge")
	if err := c.markStopping(); err != nil {
		return nil, err
	}
	if err := c.r.stop(ctx, c.stop); err != nil {
		return nil, err
	}
	for _, id := range c.drop {
		if err := c.remove(ctx, id); err != nil {
			return nil, err
		}
	}
	if c.d.Removed {
		return nil, os.RemoveAll(c.r.dirs.Decky(c.d.ID))
	}
	started, err := c.startAll(ctx)
	if err != nil {
		return nil, err
	}
	return c.endpoints(started), nil
}

// plan compares what runs with what should.
func (c *convergence) plan() error {
	live, err := c.r.scan()
	if err != nil {
		return err
	}
	present, err := c.r.dirs.OnDisk(c.d.ID)
	if err != nil {
		return err
	}
	desired := map[string]bool{}
	for _, s := range c.wanted() {
		desired[s.Name] = true
		c.planService(s, live)
	}
	for id, procs := range live {
		if id.Decky == c.d.ID && !desired[id.Service] {
			c.stop = append(c.stop, procs...)
		}
	}
	for _, id := range present {
		if !desired[id.Service] {
			c.drop = append(c.drop, id)
		}
	}
	return nil
}

func (c *convergence) wanted() []runtime.Service {
	if c.d.Removed {
		return nil
	}
	return c.d.Services
}

func (c *convergence) planService(s runtime.Service, live map[boot.Ref][]*proc) {
	id := boot.Ref{Decky: c.d.ID, Service: s.Name}
	v := c.r.view(id, live[id])
	c.stop = append(c.stop, v.duplicates...)
	if v.main == nil {
		c.start = append(c.start, s)
		return
	}
	if v.ready && !v.stopping() && v.rec.Revision == s.Revision && boot.Serves(v.rec.Endpoints, c.d.IP, s.Ports) {
		c.kept = append(c.kept, &unit{ref: id, proc: v.main, rec: v.rec})
		return
	}
	c.stop = append(c.stop, v.main)
	c.start = append(c.start, s)
}

// markStopping notes that decoys are about to be told to end. Should this Converge be cut short after that, an undo may
// want one of them back; it still runs then, but must not be taken for one that stays.
func (c *convergence) markStopping() error {
	for _, p := range c.stop {
		rec := c.r.dirs.readRecord(p.ref)
		if !rec.matches(c.r.kernel, p) {
			continue
		}
		rec.Stopping = true
		if err := c.r.dirs.WriteRecord(p.ref, rec); boot.IgnoreMissing(err) != nil {
			return err
		}
	}
	return nil
}

// verifyAdopted verifies kept decoys that no Converge has verified yet, and has those replaced that do not answer.
func (c *convergence) verifyAdopted(ctx context.Context) error {
	kept := c.kept[:0]
	for _, u := range c.kept {
		var err error
		if !u.rec.Verified {
			err = c.verify(ctx, u)
		}
		switch {
		case err == nil:
			kept = append(kept, u)
		case boot.BlamesDecoy(err):
			c.stop = append(c.stop, u.proc)
			c.start = append(c.start, c.service(u.ref.Service))
		default:
			return err
		}
	}
	c.kept = kept
	return nil
}

func (c *convergence) service(name string) runtime.Service {
	for _, s := range c.d.Services {
		if s.Name == name {
			return s
		}
	}
	return runtime.Service{}
}

// verify proves that a decoy answers and records it.
func (c *convergence) verify(ctx context.Context, u *unit) error {
	c.pulse.Step("verify")
	v := boot.Verifier{DeckyID: u.ref.Decky, Service: u.ref.Service, Source: loopback, Announce: c.check}
	if err := v.Verify(ctx, u.rec.Endpoints); err != nil {
		return err
	}
	if u.proc.gone() {
		return boot.StartFailed(u.ref.Service, "it ended right after it became ready ("+u.proc.exit+")")
	}
	u.rec.Verified = true
	return c.r.dirs.WriteRecord(u.ref, u.rec)
}

// startAll starts everything that is missing, waits for all of it and returns the first faults of all.
func (c *convergence) startAll(ctx context.Context) ([]*unit, error) {
	units := make([]*unit, len(c.start))
	errs := make([]error, len(c.start))
	var wg sync.WaitGroup
	for i, s := range c.start {
		wg.Go(func() { units[i], errs[i] = c.bringUp(ctx, s) })
	}
	wg.Wait()
	return units, errors.Join(errs...)
}

// bringUp starts one decoy, waits until it is ready and verifies it. A decoy that fails is ended; one whose self check
// could not be announced stays, to be verified by the next Converge.
func (c *convergence) bringUp(ctx context.Context, s runtime.Service) (*unit, error) {
	u, err := c.r.start(ctx, c.d, s)
	if err != nil {
		return nil, err
	}
	if err := c.becomeReady(ctx, u, s); err != nil {
		c.fail(ctx, u, err)
		return nil, err
	}
	if err := c.verify(ctx, u); err != nil {
		if boot.BlamesDecoy(err) {
			c.fail(ctx, u, err)
		}
		return nil, err
	}
	return u, nil
}

func (c *convergence) becomeReady(ctx context.Context, u *unit, s runtime.Service) error {
	out, err := c.r.awaitReady(ctx, u)
	if err != nil {
		return err
	}
	if !out.Ready {
		return boot.StartFailed(u.ref.Service, out.Failure)
	}
	if !boot.Serves(out.Endpoints, c.d.IP, s.Ports) {
		return boot.StartFailed(u.ref.Service, "it does not listen where it should")
	}
	u.rec.Ready, u.rec.Endpoints = true, out.Endpoints
	return c.r.dirs.WriteRecord(u.ref, u.rec)
}

// fail ends a decoy that did not come up and notes why, for Observe.
func (c *convergence) fail(ctx context.Context, u *unit, cause error) {
	c.r.abandon(u.proc)
	u.rec.Ready, u.rec.Endpoints, u.rec.Failure = false, nil, "cancelled"
	if f, ok := fault.As(cause); ok {
		u.rec.Failure = f.Message
	}
	if err := c.r.dirs.WriteRecord(u.ref, u.rec); err != nil {
		c.r.log.WarnContext(ctx, "failure of a decoy was not recorded",
			"decky_id", u.ref.Decky, "service", u.ref.Service, "err", err)
	}
}

// remove deletes a decoy's folder, keeping its log. Its processes are gone, but for a child that never reached exec,
// which the lock waits for.
func (c *convergence) remove(ctx context.Context, id boot.Ref) error {
	logFile, err := c.r.lockLog(ctx, id)
	if err != nil {
		return err
	}
	defer logFile.Close()
	rec := c.r.dirs.readRecord(id)
	if rec.BootID == uuid.Nil {
		rec.BootID = uuid.New() // unreadable record: keep the log under a name that is free
	}
	if err := c.r.dirs.keepLog(id, c.key(rec), rec.BootID); err != nil {
		return fmt.Errorf("keep log of service %s: %w", id.Service, err)
	}
	if err := os.RemoveAll(c.r.dirs.Decoy(id)); err != nil {
		return fmt.Errorf("remove service %s: %w", id.Service, err)
	}
	return nil
}

// key names the decky's artifacts; the key of a decky nobody knows any more comes from its records.
func (c *convergence) key(rec record) string {
	switch {
	case c.d.Key != "":
		return c.d.Key
	case boot.ValidKey(rec.DeckyKey):
		return rec.DeckyKey
	}
	return "orphan-" + c.d.ID.String()
}

func (c *convergence) endpoints(started []*unit) []runtime.Endpoint {
	eps := []runtime.Endpoint{}
	for _, u := range append(c.kept, started...) {
		eps = append(eps, u.rec.Endpoints...)
	}
	boot.SortEndpoints(eps)
	return eps
}
