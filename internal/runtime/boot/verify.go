package boot

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
)

const connectTimeout = 3 * time.Second

// Codes of the faults that say a decoy is no good; both are OperationFailed.
const (
	CodeStartFailed = "decoy_start_failed"
	CodeUnreachable = "decoy_unreachable"
)

// StartFailed is the fault for a decoy that did not come up; detail must be safe to show.
func StartFailed(service, detail string) *fault.Error {
	return fault.New(fault.OperationFailed, CodeStartFailed, "service %s did not start: %s", service, detail)
}

// BlamesDecoy tells a decoy that is no good from a check that could not be made.
func BlamesDecoy(err error) bool {
	f, ok := fault.As(err)
	return ok && (f.Code == CodeUnreachable || f.Code == CodeStartFailed)
}

// Verifier connects to decoys to prove that they answer.
type Verifier struct {
	DeckyID uuid.UUID
	Service string
	// Source is the address connections come from.
	Source netip.Addr
	// Announce is runtime.Hooks.SelfCheck, serialised.
	Announce func(context.Context, runtime.Probe) error
}

// Verify connects to every tcp endpoint of a decoy. A udp endpoint cannot be asked without speaking its protocol; that the
// decoy names it in its ready line, after binding it, is taken as proof. Only an endpoint that does not answer yields CodeUnreachable;
// errors of the hook and of ctx come back as they are.
func (v Verifier) Verify(ctx context.Context, eps []runtime.Endpoint) error {
	for _, e := range eps {
		if e.Protocol != "tcp" {
			continue
		}
		if err := v.connect(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// connect binds, announces its address, connects and closes. The address must be announced before the first packet,
// or ingest could see the connection before it knows whose it is.
func (v Verifier) connect(ctx context.Context, e runtime.Endpoint) error {
	dialing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var hookErr error
	var timer *time.Timer
	d := net.Dialer{ControlContext: func(_ context.Context, _, _ string, raw syscall.RawConn) error {
		local, err := v.bind(raw)
		if err != nil {
			return err
		}
		hookErr = v.Announce(ctx, runtime.Probe{
			DeckyID: v.DeckyID, Service: v.Service, Protocol: e.Protocol, Local: local, Remote: e.Listen,
		})
		timer = time.AfterFunc(connectTimeout, func() { cancel(context.DeadlineExceeded) })
		return hookErr
	}}
	conn, err := d.DialContext(dialing, e.Protocol, e.Listen.String())
	if timer != nil {
		timer.Stop()
	}
	switch {
	case err == nil:
		return conn.Close()
	case hookErr != nil:
		return fmt.Errorf("announce self check of service %s: %w", v.Service, hookErr)
	case ctx.Err() != nil:
		return fmt.Errorf("verify service %s: %w", v.Service, context.Cause(ctx))
	}
	return v.unreachable(e).Wrap(err)
}

func (v Verifier) unreachable(e runtime.Endpoint) *fault.Error {
	return fault.New(fault.OperationFailed, CodeUnreachable,
		"service %s started but does not answer on %s %s", v.Service, e.Protocol, e.Listen)
}

func (v Verifier) bind(raw syscall.RawConn) (local netip.AddrPort, err error) {
	ctlErr := raw.Control(func(fd uintptr) {
		if err = unix.Bind(int(fd), &unix.SockaddrInet4{Addr: v.Source.As4()}); err != nil {
			return
		}
		var sa unix.Sockaddr
		if sa, err = unix.Getsockname(int(fd)); err != nil {
			return
		}
		if in, ok := sa.(*unix.SockaddrInet4); ok {
			local = netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
		}
	})
	if ctlErr != nil {
		err = ctlErr
	}
	if err != nil {
		return local, fmt.Errorf("bind self check: %w", err)
	}
	return local, nil
}
