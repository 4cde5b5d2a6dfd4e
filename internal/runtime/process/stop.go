package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/fault"
)

const (
	termGrace = 3 * time.Second
	killGrace = 5 * time.Second
)

// stop ends processes and waits until they are gone, which releases their ports: SIGTERM, then SIGKILL after termGrace.
// A cancelled ctx leaves them told to end.
func (r *Runtime) stop(ctx context.Context, procs []*proc) error {
	for _, p := range procs {
		if err := p.signal(unix.SIGTERM); err != nil {
			return fmt.Errorf("stop service %s: %w", p.ref.Service, err)
		}
	}
	deadline := time.Now().Add(termGrace)
	for _, p := range procs {
		err := p.wait(ctx, time.Until(deadline))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = r.kill(ctx, p)
		}
		if err != nil {
			return fmt.Errorf("stop service %s: %w", p.ref.Service, err)
		}
		r.log.InfoContext(ctx, "decoy stopped", "decky_id", p.ref.Decky, "service", p.ref.Service, "pid", p.pid)
	}
	return nil
}

func (r *Runtime) kill(ctx context.Context, p *proc) error {
	if err := p.signal(unix.SIGKILL); err != nil {
		return err
	}
	err := p.wait(ctx, killGrace)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fault.New(fault.OperationFailed, "decoy_stuck", "the decoy of service %s does not end", p.ref.Service)
	}
	return err
}

// abandon ends a half-started decoy even though its Converge was cancelled.
func (r *Runtime) abandon(p *proc) {
	if p == nil || p.signal(unix.SIGKILL) != nil {
		return
	}
	t := time.NewTimer(killGrace)
	defer t.Stop()
	select {
	case <-p.done:
	case <-r.closed:
	case <-t.C:
	}
}
