package replay_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/replay"
)

const recording = `{"version":2,"width":80,"height":24,"timestamp":1767323045,"env":{"TERM":"xterm"}}
[0.5,"o","$ "]
[1.0,"i","l"]
[1.5,"o","ls\r\n"]
[61.5,"o","a b\r\n"]
[61.25,"r","132x50"]
[61.0,"o","$ "]
`

func TestParse_KeepsWhatWasShown(t *testing.T) {
	t.Parallel()
	c, err := replay.Parse([]byte(recording))
	require.NoError(t, err)
	require.Equal(t, replay.Cast{Width: 80, Height: 24, Events: []replay.Event{
		{500 * time.Millisecond, "$ "}, {1500 * time.Millisecond, "ls\r\n"}, {61500 * time.Millisecond, "a b\r\n"}, {61500 * time.Millisecond, "$ "},
	}}, c)
}

func TestParse_RefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "{}", "[]", `{"version":1,"stdout":[]}`, "<html>", `{"version":3}`} {
		_, err := replay.Parse([]byte(s))
		require.ErrorIs(t, err, replay.ErrNoCast, s)
	}
	for _, s := range []string{`[1,"o"]`, `["x","o","y"]`, `[1,"o",2]`, `[2,"o","y`, `{}`, `null`} {
		c, err := replay.Parse([]byte(`{"version":2}` + "\n" + `[1,"o","x"]` + "\n" + s))
		require.ErrorContains(t, err, "damaged behind 1 pieces", s)
		require.Len(t, c.Events, 1)
	}
	c, err := replay.Parse([]byte(`{"version":2}` + "\n" + `[-5,"o","x"]` + `[1e300,"o","x"]`))
	require.NoError(t, err)
	require.Equal(t, time.Duration(0), c.Events[0].At)
	require.Equal(t, 365*24*time.Hour, c.Events[1].At)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(recording))
	f.Add([]byte(`{"version":2}[1e308,"o","\u001b"][-1,"o",""]`))
	f.Fuzz(func(t *testing.T, content []byte) {
		c, _ := replay.Parse(content)
		last := time.Duration(0)
		for _, e := range c.Events {
			require.GreaterOrEqual(t, e.At, last)
			last = e.At
		}
	})
}

// fakeClock stands still but for what is waited for.
type fakeClock struct {
	now    time.Time
	waits  []time.Duration
	cancel context.CancelFunc // called at the wait of that number
	after  int
}

func (c *fakeClock) wait(_ context.Context, d time.Duration) bool {
	c.waits = append(c.waits, d)
	c.now = c.now.Add(d)
	if c.cancel != nil && len(c.waits) == c.after {
		c.cancel()
		return false
	}
	return true
}

func play(ctx context.Context, t *testing.T, clock *fakeClock, speed float64, idle time.Duration) string {
	t.Helper()
	c, err := replay.Parse([]byte(recording))
	require.NoError(t, err)
	var out strings.Builder
	p := replay.Player{Out: &out, Speed: speed, MaxIdle: idle, Now: func() time.Time { return clock.now }, Wait: clock.wait}
	require.NoError(t, p.Play(ctx, c, strings.ToUpper))
	return out.String()
}

func TestPlay_TakesTheTimeItTook(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		speed float64
		idle  time.Duration
		want  []time.Duration
	}{
		"as it was":   {1, 0, []time.Duration{500 * time.Millisecond, time.Second, time.Minute}},
		"twice":       {2, 0, []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, 30 * time.Second}},
		"half":        {0.5, 0, []time.Duration{time.Second, 2 * time.Second, 2 * time.Minute}},
		"without gap": {1, 2 * time.Second, []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second}},
		"both":        {2, 2 * time.Second, []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := &fakeClock{now: time.Unix(1, 0)}
			require.Equal(t, "$ LS\r\nA B\r\n$ ", play(t.Context(), t, clock, c.speed, c.idle))
			require.Equal(t, c.want, clock.waits)
		})
	}
}

func TestPlay_CatchesUpWhenTheTerminalIsSlow(t *testing.T) {
	t.Parallel()
	clock := &fakeClock{now: time.Unix(1, 0)}
	slow := writerFunc(func(p []byte) (int, error) {
		clock.now = clock.now.Add(700 * time.Millisecond)
		return len(p), nil
	})
	c, err := replay.Parse([]byte(recording))
	require.NoError(t, err)
	p := replay.Player{Out: slow, Speed: 1, Now: func() time.Time { return clock.now }, Wait: clock.wait}
	require.NoError(t, p.Play(t.Context(), c, strings.ToUpper))
	require.Equal(t, []time.Duration{500 * time.Millisecond, 300 * time.Millisecond, 59300 * time.Millisecond}, clock.waits)
}

func TestPlay_EndsWhenInterruptedOrTheTerminalIsGone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	clock := &fakeClock{now: time.Unix(1, 0), cancel: cancel, after: 2}
	require.Equal(t, "$ ", play(ctx, t, clock, 1, 0))

	c, err := replay.Parse([]byte(recording))
	require.NoError(t, err)
	gone := errors.New("gone")
	clock = &fakeClock{now: time.Unix(1, 0)}
	p := replay.Player{
		Out: writerFunc(func([]byte) (int, error) { return 0, gone }), Speed: 1, Now: func() time.Time { return clock.now }, Wait: clock.wait,
	}
	require.ErrorIs(t, p.Play(t.Context(), c, strings.ToUpper), gone)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
