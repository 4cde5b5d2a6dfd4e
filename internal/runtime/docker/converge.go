package docker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
	"github.com/decnet/decnet/internal/topology"
)

// unit is one decoy as a Converge sees it.
type unit struct {
	ref boot.Ref
	id  string // of its container, "" until it is made
	rec record
}

// convergence is the state of one Converge.
type convergence struct {
	r     *Runtime
	d     runtime.Decky
	scope compose.Scope
	pulse *boot.Pulse
	check func(context.Context, runtime.Probe) error // Hooks.SelfCheck, serialised

	baseID string // of the base that stays; "" when one must be made
	ports  hostPorts
	kept   []*unit
	start  []runtime.Service
	remove []container.Summary // services before bases
	drop   []boot.Ref          // not desired: to be removed from disk
}

// Converge implements runtime.Runtime. A container is left alone when it runs, has the desired revision, lives in the
// namespace of the base that stays and was verified. One that was ready but not yet verified is verified now and
// replaced when it does not answer. Everything else is stopped and removed first; then what is missing is started.
//
// On failure the failed decoys are stopped; their siblings stay. Progress and SelfCheck are called from other
// goroutines, never twice at once.
func (r *Runtime) Converge(ctx context.Context, d runtime.Decky, h runtime.Hooks) ([]runtime.Endpoint, error) {
	if err := r.validate(d); err != nil {
		return nil, err
	}
	ctx, pulse := boot.StartPulse(ctx, r.closed, h.Progress)
	defer pulse.Stop()
	unlock, err := r.locks.Lock(ctx, d.ID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var mu sync.Mutex
	c := &convergence{r: r, d: d, pulse: pulse, check: func(ctx context.Context, probe runtime.Probe) error {
		mu.Lock()
		defer mu.Unlock()
		return h.SelfCheck(ctx, probe)
	}}
	return c.run(ctx)
}

// validate refuses what cannot run here.
func (r *Runtime) validate(d runtime.Decky) error {
	if err := boot.Check(d); err != nil {
		return err
	}
	if d.Removed {
		return nil
	}
	if _, ok := topology.IDFromScope(d.Scope); ok != inTopology(d) {
		return fault.New(fault.Invalid, "network_invalid", "a decky of a topology is on its networks, one of the fleet is not")
	}
	if inTopology(d) {
		return checkAttachments(d)
	}
	if !r.opts.Network.Subnet.Contains(d.IP) {
		return fault.New(fault.Unprocessable, "decky_address_unsupported",
			"with the docker runtime a decky's address must lie in %s", r.opts.Network.Subnet)
	}
	return nil
}

func (c *convergence) run(ctx context.Context) ([]runtime.Endpoint, error) {
	var err error
	if c.d, err = c.r.settle(ctx, c.d); err != nil {
		return nil, err
	}
	if c.scope, err = c.r.render(ctx, c.d); err != nil {
		return nil, err
	}
	if err := c.plan(ctx); err != nil {
		return nil, err
	}
	if err := c.verifyAdopted(ctx); err != nil {
		return nil, err
	}
	c.pulse.Step("converge")
	if err := c.clear(ctx); err != nil {
		return nil, err
	}
	if c.d.Removed {
		return nil, os.RemoveAll(c.r.dirs.Decky(c.d.ID))
	}
	if err := c.raiseBase(ctx); err != nil {
		return nil, err
	}
	started, err := c.startAll(ctx)
	if err != nil {
		return nil, err
	}
	return c.endpoints(started), nil
}

// plan compares what runs with what should.
func (c *convergence) plan(ctx context.Context) error {
	list, err := c.r.containers(ctx, c.d.ID)
	if err != nil {
		return err
	}
	desired := map[string]runtime.Service{}
	if !c.d.Removed {
		for _, s := range c.d.Services {
			desired[s.Name] = s
		}
	}
	var bases []container.Summary
	for _, s := range list {
		if s.Labels[compose.LabelRole] != compose.RoleBase {
			continue
		}
		if c.baseID == "" && c.keepsBase(s) {
			c.baseID, c.ports = s.ID, portsOf(s)
			continue
		}
		bases = append(bases, s)
	}
	for _, s := range list {
		if s.Labels[compose.LabelRole] != compose.RoleBase {
			c.planService(ctx, s, desired)
		}
	}
	c.remove = append(c.remove, bases...)
	for _, s := range c.d.Services {
		if _, missing := desired[s.Name]; missing {
			c.start = append(c.start, s)
		}
	}
	return c.planDisk()
}

func (c *convergence) keepsBase(s container.Summary) bool {
	if c.d.Removed || s.State != container.StateRunning {
		return false
	}
	for _, k := range c.scope.Deckies {
		if k.ID == c.d.ID {
			return s.Labels[compose.LabelBase] == c.scope.BaseHash(k)
		}
	}
	return false
}

// planService keeps a service container, and takes its service out of what is missing, or has it removed.
func (c *convergence) planService(ctx context.Context, s container.Summary, missing map[string]runtime.Service) {
	id := boot.Ref{Decky: c.d.ID, Service: s.Labels[compose.LabelService]}
	want, ok := missing[id.Service]
	v := c.r.view(ctx, s, c.baseID)
	if ok && v.ready && s.Labels[compose.LabelRevision] == strconv.FormatInt(want.Revision, 10) &&
		boot.Serves(v.rec.Endpoints, c.d.IP, want.Ports) {
		c.kept = append(c.kept, &unit{ref: id, id: s.ID, rec: v.rec})
		delete(missing, id.Service)
		return
	}
	c.remove = append(c.remove, s)
}

func (c *convergence) planDisk() error {
	present, err := c.r.dirs.OnDisk(c.d.ID)
	if err != nil {
		return err
	}
	for _, id := range present {
		if _, ok := c.service(id.Service); !ok || c.d.Removed {
			c.drop = append(c.drop, id)
		}
	}
	return nil
}

func (c *convergence) service(name string) (runtime.Service, bool) {
	for _, s := range c.d.Services {
		if s.Name == name {
			return s, true
		}
	}
	return runtime.Service{}, false
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
			s, _ := c.service(u.ref.Service)
			c.start = append(c.start, s)
			c.remove = append([]container.Summary{{ID: u.id, Labels: map[string]string{
				compose.LabelService: u.ref.Service, compose.LabelRole: compose.RoleService, compose.LabelDeckyKey: c.d.Key,
			}}}, c.remove...)
		default:
			return err
		}
	}
	c.kept = kept
	return nil
}

// clear stops and removes what must go: services first, side by side, then bases, then folders.
func (c *convergence) clear(ctx context.Context) error {
	var services, bases []container.Summary
	for _, s := range c.remove {
		if s.Labels[compose.LabelRole] == compose.RoleBase {
			bases = append(bases, s)
		} else {
			services = append(services, s)
		}
	}
	for _, group := range [][]container.Summary{services, bases} {
		if err := all(group, func(s container.Summary) error { return c.takeDown(ctx, s) }); err != nil {
			return err
		}
	}
	for _, id := range c.drop {
		if err := os.RemoveAll(c.r.dirs.Decoy(id)); err != nil {
			return fmt.Errorf("remove service %s: %w", id.Service, err)
		}
	}
	return nil
}

// all calls fn for every item at once and joins the errors.
func all[T any](items []T, fn func(T) error) error {
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	for i, item := range items {
		wg.Go(func() { errs[i] = fn(item) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// takeDown stops a container, keeps its log and removes it.
func (c *convergence) takeDown(ctx context.Context, s container.Summary) error {
	if err := c.r.stop(ctx, s.ID); err != nil {
		return err
	}
	if s.Labels[compose.LabelRole] == compose.RoleService {
		if err := c.r.keepLog(ctx, c.d, s); err != nil {
			return err
		}
	}
	if err := c.r.remove(ctx, s.ID); err != nil {
		return err
	}
	c.r.log.InfoContext(ctx, "container removed", "decky_id", c.d.ID, "service", s.Labels[compose.LabelService], "container", s.ID)
	return nil
}

// raiseBase makes the decky's base when none stays, and contains its namespace where the host's rules do not reach.
func (c *convergence) raiseBase(ctx context.Context) error {
	if c.baseID == "" {
		if err := c.makeBase(ctx); err != nil {
			return err
		}
		list, err := c.r.containers(ctx, c.d.ID)
		if err != nil {
			return err
		}
		for _, s := range list {
			if s.Labels[compose.LabelRole] == compose.RoleBase && s.State == container.StateRunning {
				c.baseID, c.ports = s.ID, portsOf(s)
			}
		}
		if c.baseID == "" {
			return fault.New(fault.OperationFailed, "container_start_failed", "the base container of %s ended at once", c.d.Key)
		}
	}
	if inTopology(c.d) {
		return c.connectBase(ctx)
	}
	_, err := c.r.containNamespace(ctx, c.baseID)
	return err
}

func (c *convergence) endpoints(started []*unit) []runtime.Endpoint {
	eps := []runtime.Endpoint{}
	for _, u := range append(c.kept, started...) {
		eps = append(eps, u.rec.Endpoints...)
	}
	boot.SortEndpoints(eps)
	return c.ports.locate(eps)
}

// config is what a decoy reads. It listens on its decky's address only; in a topology on every address of its namespace,
// because its decky joins and leaves networks while it runs.
func (c *convergence) config(s runtime.Service, bootID uuid.UUID) boot.Config {
	uid, gid := c.r.users.Owner(c.d.ID)
	cfg := boot.NewConfig(c.d, s, bootID, boot.User{UID: uid, GID: gid}, func(ip netip.Addr, port uint16) []string {
		if inTopology(c.d) {
			ip = netip.IPv4Unspecified()
		}
		return []string{netip.AddrPortFrom(ip, port).String()}
	})
	cfg.Spool, cfg.State = compose.SpoolPath, compose.StatePath
	return cfg
}
