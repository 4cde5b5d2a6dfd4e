package boot

import (
	"context"
	"errors"
	"sync"
	"time"
)

const pulseEvery = time.Second

// ErrClosed is why a Converge ended whose Runtime was closed.
var ErrClosed = errors.New("runtime is closed")

// Pulse reports progress of one Converge and ends it when the Runtime closes.
type Pulse struct {
	report func(step string)
	cancel context.CancelCauseFunc
	done   sync.WaitGroup
	quit   chan struct{}

	mu  sync.Mutex
	now string
}

// StartPulse begins with the step "converge". The returned context ends when closed does; Stop must be called.
func StartPulse(ctx context.Context, closed <-chan struct{}, report func(string)) (context.Context, *Pulse) {
	p := &Pulse{report: report, quit: make(chan struct{})}
	ctx, p.cancel = context.WithCancelCause(ctx)
	p.Step("converge")
	p.done.Go(func() { p.run(closed) })
	return ctx, p
}

func (p *Pulse) run(closed <-chan struct{}) {
	t := time.NewTicker(pulseEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.mu.Lock()
			p.report(p.now)
			p.mu.Unlock()
		case <-closed:
			p.cancel(ErrClosed)
			return
		case <-p.quit:
			return
		}
	}
}

// Step reports the step Converge has come to; the same one again is left to the ticker.
func (p *Pulse) Step(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == name {
		return
	}
	p.now = name
	p.report(name)
}

// Stop ends reporting and waits for the last report.
func (p *Pulse) Stop() {
	close(p.quit)
	p.done.Wait()
	p.cancel(nil)
}
