package shell

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// What one command line may use up.
const (
	maxLineBytes   = 64 << 10
	maxOutput      = 16 << 20
	maxSteps       = 500_000
	freeSteps      = 4000
	maxNesting     = 4000 // calls of functions, eval and the like, which grow the Go stack
	maxVarBytes    = 32 << 10
	maxAllVars     = 4 << 20
	maxArgBytes    = 1 << 20
	maxDepth       = 8 // shells within shells
	lineDeadline   = time.Hour
	slowStep       = time.Millisecond
	maxHistory     = 1000
	maxHistoryLine = 4096
)

var errBudget = errors.New("killed")

// budget counts what one command line uses, over all its goroutines and nested shells.
type budget struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	steps   atomic.Int64
	nesting atomic.Int64
	out     atomic.Int64
}

func newBudget(ctx context.Context) (*budget, func()) {
	ctx, stop := context.WithTimeout(ctx, lineDeadline)
	b := &budget{}
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	return b, func() { b.cancel(nil); stop() }
}

// step charges one call. Beyond the free ones each costs time, so that a busy loop burns the intruder's time and not
// our processor.
func (b *budget) step(ctx context.Context) error {
	n := b.steps.Add(1)
	if n > maxSteps {
		b.cancel(errBudget)
		return errBudget
	}
	if n > freeSteps {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(slowStep):
		}
	}
	return ctx.Err()
}

// nest charges a call that may recurse.
func (b *budget) nest() bool { return b.nesting.Add(1) <= maxNesting }

// spend charges output.
func (b *budget) spend(n int) error {
	if b.out.Add(int64(n)) > maxOutput {
		b.cancel(errBudget)
		return errBudget
	}
	return b.ctx.Err()
}

// meter charges what is written through it to the current line.
type meter struct {
	sh *shell
	w  io.Writer
}

func (m meter) Write(p []byte) (int, error) {
	if b := m.sh.b.Load(); b != nil {
		if err := b.spend(len(p)); err != nil {
			return 0, err
		}
	}
	return m.w.Write(p)
}
