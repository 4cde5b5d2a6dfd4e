package process

import (
	"context"
	"errors"
	"sync"
	"time"
)

const pulseEvery = time.Second

var errClosed = errors.New("runtime is closed")

// pulse reports progress of one Converge and ends it when the Runtime closes.
type pulse struct {
	report func(step string)
	cancel context.CancelCauseFunc
	done   sync.WaitGroup
	quit   chan struct{}

	mu  sync.Mutex
	now string
}

func (r *Runtime) startPulse(ctx context.Context, report func(string)) (context.Context, *pulse) {
	p := &pulse{report: report, quit: make(chan struct{})}
	ctx, p.cancel = context.WithCancelCause(ctx)
	p.step("converge")
	p.done.Go(func() { p.run(r.closed) })
	return ctx, p
}

func (p *pulse) run(closed <-chan struct{}) {
	t := time.NewTicker(pulseEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.mu.Lock()
			p.report(p.now)
			p.mu.Unlock()
		case <-closed:
			p.cancel(errClosed)
			return
		case <-p.quit:
			return
		}
	}
}

// step reports the step Converge has come to; the same one again is left to the ticker.
func (p *pulse) step(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == name {
		return
	}
	p.now = name
	p.report(name)
}

func (p *pulse) stop() {
	close(p.quit)
	p.done.Wait()
	p.cancel(nil)
}
