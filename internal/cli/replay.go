package cli

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/decnet/decnet/internal/replay"
)

const (
	slowest = 0.01
	fastest = 1000
	castOf  = "application/x-asciicast"
)

// replaying is what the flags of replay say.
type replaying struct {
	speed   float64
	maxIdle time.Duration
	cast    string
	force   bool
	raw     bool
}

func (a *app) replayCommand() *cobra.Command {
	var p replaying
	c := &cobra.Command{
		Use:   "replay ID",
		Short: "Play the recording of a session",
		Long: `Play the recording of a session in this terminal, until it ends or is interrupted. Where standard output is no terminal, what the
session left on its lines is printed as text, at once.

What an attacker's programs write may be meant against the one who looks at it. So only what moves the cursor, erases, scrolls, colours
and uses the other screen is played, and the terminal is put in order at the end; --raw plays everything. With --cast the recording is
saved instead, for other players: those filter nothing.`,
		Example:           "  decnet sessions replay 0190b6c1-0000-7000-8000-000000000001 --speed 2 --max-idle 2s",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.run(func(_ context.Context, s *session, args []string) error {
			return s.replay(args[0], p)
		}),
	}
	f := c.Flags()
	f.Float64Var(&p.speed, "speed", 1, "how many times as fast, 0.01 to 1000")
	f.DurationVar(&p.maxIdle, "max-idle", 0, "shorten pauses to this (default: as they were)")
	f.StringVar(&p.cast, "cast", "", "save the recording in this file (asciicast v2; - for standard output) and play nothing")
	f.BoolVar(&p.force, "force", false, "with --cast, replace the file if it is there")
	f.BoolVar(&p.raw, "raw", false, "play everything, also what can harm the terminal or deceive who looks at it")
	return c
}

func (s *session) replay(id string, p replaying) error {
	switch {
	case !(p.speed >= slowest && p.speed <= fastest): // not a number is neither
		return usagef("--speed must be 0.01 to 1000")
	case p.maxIdle < 0:
		return usagef("--max-idle must not be negative")
	case p.force && p.cast == "":
		return usagef("--force needs --cast")
	}
	ctx := s.cmd.Context()
	k := call{method: http.MethodGet, path: sessionPath(id) + "/cast", accept: castOf}
	if p.cast != "" {
		_, err := s.save(ctx, k, saving{
			name: p.cast, force: p.force, screen: func(w io.Writer) io.Writer { return &lineCleaner{w: w, escape: escapeJSON} },
		})
		return s.refused(err)
	}
	limited, cancel := context.WithTimeout(ctx, s.flags.timeout)
	defer cancel()
	r, err := s.client.ask(limited, k)
	if err != nil {
		return s.refused(late(limited, err))
	}
	if s.flags.output == outputJSON {
		return s.writeBody(r.body)
	}
	cast, damage := replay.Parse(r.body)
	if len(cast.Events) > 0 {
		if err := s.play(ctx, cast, p); err != nil {
			return err
		}
	}
	return damage
}

// play shows what there is of a recording.
func (s *session) play(ctx context.Context, cast replay.Cast, p replaying) error {
	filter := replay.NewFilter()
	rewrite, reset := filter.Rewrite, filter.Reset
	terminal := s.env.isTerminal(s.env.Stdout)
	if !terminal {
		text := replay.NewText()
		rewrite, reset = text.Rewrite, text.Reset
	}
	if p.raw {
		s.note("warning: the recording is played as it is; it may do to this terminal what a terminal can be told to do")
		rewrite = func(text string) string { filter.Rewrite(text); return text }
		reset = func() string { return replay.HardReset + filter.Reset() }
		if !terminal {
			reset = func() string { return "" }
		}
	}
	player := replay.Player{
		Out: s.env.Stdout, Speed: p.speed, MaxIdle: p.maxIdle, Now: time.Now, Wait: pause,
	}
	if terminal {
		s.fits(cast)
	} else {
		player.Wait = func(ctx context.Context, _ time.Duration) bool { return ctx.Err() == nil }
	}
	err := player.Play(ctx, cast, rewrite)
	if _, resetErr := io.WriteString(s.env.Stdout, reset()); err == nil {
		err = resetErr
	}
	return err
}

// fits tells when the terminal is narrower than that of the session.
func (s *session) fits(cast replay.Cast) {
	if width := s.env.width(s.env.Stdout); cast.Width > width {
		s.note("the session had %d columns, this terminal has %d: some lines will look broken", cast.Width, width)
	}
}
