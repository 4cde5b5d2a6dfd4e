package docker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
	"github.com/decnet/decnet/internal/runtime/docker/containment"
)

const (
	maxStartBytes = 1 << 20 // read of a boot's log in search of its outcome
	abandonGrace  = 10 * time.Second
)

// startAll starts everything that is missing in one go, waits for all of it and returns the faults of all.
func (c *convergence) startAll(ctx context.Context) ([]*unit, error) {
	if len(c.start) == 0 {
		return nil, nil
	}
	units := make([]*unit, len(c.start))
	names := make([]string, len(c.start))
	for i, s := range c.start {
		u, err := c.write(s)
		if err != nil {
			return nil, err
		}
		units[i], names[i] = u, compose.ContainerName(c.d.Key, s.Name)
	}
	if err := c.r.up(ctx, c.scope, c.d, names); err != nil {
		return nil, errors.Join(err, c.giveUp(ctx, units, err))
	}
	if err := c.identify(ctx, units); err != nil {
		return nil, err
	}
	err := all(units, func(u *unit) error { return c.bringUp(ctx, u) })
	return units, err
}

// write puts the files of a new boot in place.
func (c *convergence) write(s runtime.Service) (*unit, error) {
	u := &unit{ref: boot.Ref{Decky: c.d.ID, Service: s.Name}, rec: record{
		DeckyKey: c.d.Key, Service: s.Name, Revision: s.Revision, BootID: uuid.New(),
	}}
	if inTopology(c.d) {
		u.rec.Address = c.d.IP
	}
	uid, gid := c.r.users.Owner(c.d.ID)
	if err := c.r.dirs.Prepare(u.ref, c.d.Key, uid, gid); err != nil {
		return nil, err
	}
	if err := c.r.dirs.writeConfig(u.ref, c.config(s, u.rec.BootID)); err != nil {
		return nil, err
	}
	return u, c.r.dirs.WriteRecord(u.ref, u.rec)
}

// giveUp stops whatever was started of units although starting them failed. An engine that is away is left alone.
func (c *convergence) giveUp(ctx context.Context, units []*unit, cause error) error {
	if fault.KindOf(cause) == fault.Unavailable {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonGrace)
	defer cancel()
	if err := c.identify(ctx, units); err != nil {
		return err
	}
	for _, u := range units {
		c.fail(ctx, u, cause)
	}
	return nil
}

// identify finds the containers of units.
func (c *convergence) identify(ctx context.Context, units []*unit) error {
	list, err := c.r.containers(ctx, c.d.ID)
	if err != nil {
		return err
	}
	for _, u := range units {
		for _, s := range list {
			if s.Labels[compose.LabelRole] == compose.RoleService && s.Labels[compose.LabelService] == u.ref.Service {
				u.id, u.rec.Container = s.ID, s.ID
			}
		}
		if err := c.r.dirs.WriteRecord(u.ref, u.rec); err != nil {
			return err
		}
		c.r.log.InfoContext(ctx, "container started",
			"decky_id", c.d.ID, "service", u.ref.Service, "revision", u.rec.Revision, "container", u.id)
	}
	return nil
}

// bringUp waits until a decoy is ready and verifies it. A decoy that fails is stopped and left to be looked at; one whose
// self check could not be announced stays, to be verified by the next Converge.
func (c *convergence) bringUp(ctx context.Context, u *unit) error {
	err := c.becomeReady(ctx, u)
	if err != nil {
		c.fail(ctx, u, err)
		return err
	}
	if err = c.verify(ctx, u); boot.BlamesDecoy(err) {
		c.fail(ctx, u, err)
	}
	return err
}

func (c *convergence) becomeReady(ctx context.Context, u *unit) error {
	if u.id == "" {
		return boot.StartFailed(u.ref.Service, "its container is gone")
	}
	out, err := c.r.awaitReady(ctx, u)
	if err != nil {
		return err
	}
	if !out.Ready {
		return boot.StartFailed(u.ref.Service, out.Failure)
	}
	out.Endpoints = u.rec.located(out.Endpoints)
	if s, _ := c.service(u.ref.Service); !boot.Serves(out.Endpoints, c.d.IP, s.Ports) {
		return boot.StartFailed(u.ref.Service, "it does not listen where it should")
	}
	u.rec.Ready, u.rec.Endpoints = true, out.Endpoints
	return c.r.dirs.WriteRecord(u.ref, u.rec)
}

// fail stops a decoy that did not come up and notes why, for Observe.
func (c *convergence) fail(ctx context.Context, u *unit, cause error) {
	c.abandon(ctx, []*unit{u})
	u.rec.Ready, u.rec.Endpoints, u.rec.Failure = false, nil, failureOf(cause)
	if err := c.r.dirs.WriteRecord(u.ref, u.rec); err != nil {
		c.r.log.WarnContext(ctx, "failure of a decoy was not recorded",
			"decky_id", u.ref.Decky, "service", u.ref.Service, "err", err)
	}
}

// abandon stops half-started decoys even though their Converge was cancelled.
func (c *convergence) abandon(ctx context.Context, units []*unit) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonGrace)
	defer cancel()
	_ = all(units, func(u *unit) error {
		if u.id == "" {
			return nil
		}
		c.r.ending.Store(u.id, struct{}{})
		_, err := c.r.engine.ContainerKill(ctx, u.id, client.ContainerKillOptions{Signal: "KILL"})
		return err // one that is not there or ended already is as it should be
	})
}

// verify proves that a decoy answers and records it.
func (c *convergence) verify(ctx context.Context, u *unit) error {
	c.pulse.Step("verify")
	v := boot.Verifier{DeckyID: u.ref.Decky, Service: u.ref.Service, Source: c.r.hostAddressFor(c.d), Announce: c.check}
	if err := c.r.connect(ctx, c.baseID, c.d, v, u.rec.Endpoints); err != nil {
		return err
	}
	state, err := c.r.engine.ContainerInspect(ctx, u.id, client.ContainerInspectOptions{})
	if err != nil {
		return engineError(ctx, "look at container", err)
	}
	if !state.Container.State.Running {
		return boot.StartFailed(u.ref.Service, "it ended right after it became ready ("+exitOf(state.Container.State)+")")
	}
	u.rec.Verified = true
	return c.r.dirs.WriteRecord(u.ref, u.rec)
}

// connect verifies from the bridge's own address. A macvlan network does not let its host in, so there the connection is
// made from inside the decky's namespace.
func (r *Runtime) connect(ctx context.Context, baseID string, d runtime.Decky, v boot.Verifier, eps []runtime.Endpoint) error {
	if inTopology(d) || r.opts.Network.Driver != compose.Macvlan {
		return v.Verify(ctx, eps)
	}
	path, err := r.namespace(ctx, baseID)
	if err != nil {
		return err
	}
	v.Source = d.IP
	nsErr := containment.InNamespace(path, func() { err = v.Verify(ctx, eps) })
	if nsErr != nil {
		return fmt.Errorf("verify service %s: %w", v.Service, nsErr)
	}
	return err
}

// hostAddressFor returns the host's own address on a decky's network.
func (r *Runtime) hostAddressFor(d runtime.Decky) netip.Addr {
	if inTopology(d) {
		return d.Networks[0].Gateway
	}
	return r.opts.Network.Gateway
}

func exitOf(s *container.State) string {
	if s.OOMKilled {
		return "out of memory"
	}
	return "exit status " + strconv.Itoa(s.ExitCode)
}

// awaitReady reads a container's log until the decoy reports the outcome of its start or ends or the time is over.
func (r *Runtime) awaitReady(ctx context.Context, u *unit) (boot.Outcome, error) {
	limited, cancel := context.WithTimeout(ctx, r.opts.ReadyTimeout)
	defer cancel()
	out, done, err := r.readOutcome(limited, u.id, u.rec.expected(), true)
	switch {
	case done:
		return out, nil
	case ctx.Err() != nil:
		return out, fmt.Errorf("start service %s: %w", u.ref.Service, context.Cause(ctx))
	case limited.Err() != nil:
		return boot.Outcome{Failure: "it did not become ready in time"}, nil
	case err != nil:
		return out, err
	}
	state, err := r.engine.ContainerInspect(ctx, u.id, client.ContainerInspectOptions{})
	if err != nil {
		return out, engineError(ctx, "look at container", err)
	}
	return boot.Outcome{Failure: "it ended (" + exitOf(state.Container.State) + ")"}, nil
}

// readOutcome looks for the outcome of a start in a container's log; done is false when the log ends without it.
func (r *Runtime) readOutcome(ctx context.Context, id string, want boot.Expected, follow bool) (out boot.Outcome, done bool, err error) {
	logs, err := r.engine.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, Follow: follow})
	if err != nil {
		return out, false, engineError(ctx, "read log of container", err)
	}
	lines, w := io.Pipe()
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, err := stdcopy.StdCopy(w, io.Discard, logs)
		_ = w.CloseWithError(err) // nil reads as the end of the log
	}()
	defer func() {
		_ = lines.Close()
		_ = logs.Close()
		<-copied
	}()
	in := bufio.NewReader(io.LimitReader(lines, maxStartBytes))
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				return out, false, nil
			}
			return out, false, engineError(ctx, "read log of container", err)
		}
		if out, done := boot.ParseOutcome(line[:len(line)-1], want); done {
			return out, true, nil
		}
	}
}
