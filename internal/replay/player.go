package replay

import (
	"context"
	"io"
	"time"
)

// Player writes a recording in its own time.
type Player struct {
	Out io.Writer
	// Speed is how many times as fast as it happened, more than 0.
	Speed float64
	// MaxIdle bounds the time between two events of the recording; 0 is no bound.
	MaxIdle time.Duration
	Now     func() time.Time
	// Wait returns false when the context ended before the time was over.
	Wait func(context.Context, time.Duration) bool
}

// Play writes what rewrite makes of each piece of output when it is due. It returns nil when ctx ended before.
func (p Player) Play(ctx context.Context, c Cast, rewrite func(string) string) error {
	start := p.Now()
	var before, due time.Duration
	for _, e := range c.Events {
		gap := e.At - before
		if p.MaxIdle > 0 {
			gap = min(gap, p.MaxIdle)
		}
		before = e.At
		due += time.Duration(float64(gap) / p.Speed)
		if d := due - p.Now().Sub(start); d > 0 && !p.Wait(ctx, d) || ctx.Err() != nil {
			return nil
		}
		if _, err := io.WriteString(p.Out, rewrite(e.Text)); err != nil {
			return err
		}
	}
	return nil
}
