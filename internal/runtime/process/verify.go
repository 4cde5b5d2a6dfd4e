package process

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
)

const connectTimeout = 3 * time.Second

// selfCheckFunc is Hooks.SelfCheck, serialised.
type selfCheckFunc func(context.Context, runtime.Probe) error

// verify connects to every tcp endpoint of a decoy. Only an endpoint that does not answer yields decoy_unreachable;
// errors of the hook and of ctx come back as they are.
func verify(ctx context.Context, id ref, eps []runtime.Endpoint, check selfCheckFunc) error {
	for _, e := range eps {
		if e.Protocol != "tcp" {
			continue
		}
		if err := connect(ctx, id, e, check); err != nil {
			return err
		}
	}
	return nil
}

// connect binds, announces its address, connects and closes. The address must be announced before the first packet,
// or ingest could see the connection before it knows whose it is.
func connect(ctx context.Context, id ref, e runtime.Endpoint, check selfCheckFunc) error {
	dialing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var hookErr error
	var timer *time.Timer
	d := net.Dialer{ControlContext: func(_ context.Context, _, _ string, raw syscall.RawConn) error {
		local, err := bindLoopback(raw)
		if err != nil {
			return err
		}
		hookErr = check(ctx, runtime.Probe{
			DeckyID: id.decky, Service: id.service, Protocol: e.Protocol, Local: local, Remote: e.Listen,
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
		return fmt.Errorf("announce self check of service %s: %w", id.service, hookErr)
	case ctx.Err() != nil:
		return fmt.Errorf("verify service %s: %w", id.service, context.Cause(ctx))
	}
	return unreachable(id, e).Wrap(err)
}

func unreachable(id ref, e runtime.Endpoint) *fault.Error {
	return fault.New(fault.OperationFailed, codeUnreachable,
		"service %s started but does not answer on %s %s", id.service, e.Protocol, e.Listen)
}

func bindLoopback(raw syscall.RawConn) (local netip.AddrPort, err error) {
	ctlErr := raw.Control(func(fd uintptr) {
		if err = unix.Bind(int(fd), &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
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
