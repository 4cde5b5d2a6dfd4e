package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/fault"
)

// busConnectTimeout is how long a broker may be away before tail gives up.
const busConnectTimeout = 10 * time.Second

func (a *app) busCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bus",
		Short: "Look at the event bus",
	}
	c.AddCommand(a.busTailCommand())
	return c
}

func (a *app) busTailCommand() *cobra.Command {
	var t tail
	c := &cobra.Command{
		Use:   "tail [PATTERN...]",
		Short: "Print events as they happen",
		Long: `Print the events whose topic matches a pattern, until interrupted. A pattern is made of tokens joined by dots; * is
any one token, > at the end any number of them. Without a pattern, everything is printed.

In JSON, one line is one event in its envelope.`,
		Example: `  decnet bus tail 'decky.>' 'attacker.*.started'
  decnet bus tail --since 1h --count 100 -o json`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			t.app, t.patterns = a, args
			return t.run(c)
		},
	}
	a.readyFlags(c)
	a.outputFlag(c)
	a.timeoutFlag(c, "stop after this long (default: never); an error if --count is not reached")
	c.PersistentFlags().Lookup("timeout").DefValue = "0s" // in the help only; see limit
	c.Flags().StringVar(&a.flags.natsURL, "nats-url", "", "NATS of the installation (environment: DECNET_NATS_URL; else the ready file)")
	c.Flags().StringVar(&t.since, "since", "", "begin with stored events: a duration such as 10m, or a time in RFC 3339")
	c.Flags().IntVar(&t.count, "count", 0, "stop after this many events (default: never)")
	return c
}

// tail is one execution of the command.
type tail struct {
	app      *app
	patterns []string
	since    string
	count    int
	seen     int
}

var errEnough = errors.New("enough events")

func (t *tail) run(c *cobra.Command) error {
	from, err := t.begin(time.Now())
	if err != nil {
		return err
	}
	if len(t.patterns) == 0 {
		t.patterns = []string{">"}
	}
	for _, p := range t.patterns {
		if err := bus.ValidatePattern(p); err != nil {
			return usagef("pattern %s: %s", Clean(p), fault.From(err).Message)
		}
	}
	url, err := t.app.findBus(c)
	if err != nil {
		return err
	}
	ctx, cancel := t.app.openEnded(c)
	defer cancel()
	b, err := t.connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	t.seen = 0
	if err := b.Tail(ctx, t.patterns, from, t.print); err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return t.app.shortfall(c.Context(), t.seen, t.count)
}

// begin returns the zero time for new events only.
func (t *tail) begin(now time.Time) (time.Time, error) {
	if t.count < 0 {
		return time.Time{}, usagef("--count must not be negative")
	}
	if t.since == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(t.since); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339, t.since)
	if err != nil {
		return time.Time{}, usagef("--since must be a duration such as 10m or a time such as 2026-01-31T18:00:00Z")
	}
	return at, nil
}

func (t *tail) connect(ctx context.Context, url string) (*bus.Bus, error) {
	limited, cancel := context.WithTimeout(ctx, busConnectTimeout)
	defer cancel()
	log := slog.New(slog.NewTextHandler(quietWriter{t.app.env.Stderr}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	b, err := bus.Connect(limited, url, "decnet-cli-tail", bus.ReadOnly(), bus.WithLogger(log))
	if err != nil && fault.KindOf(err) == fault.Unavailable {
		return nil, &unreachableError{what: "the event bus", cause: rootCause(err)}
	}
	return b, err
}

// quietWriter cleans lines of a logger, whose text handler leaves some characters as they are.
type quietWriter struct{ w io.Writer }

func (q quietWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(q.w, Clean(trimLineBreak(p))+"\n"); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (t *tail) print(e bus.Envelope) error {
	var err error
	if t.app.format() == outputJSON {
		err = t.printJSON(e)
	} else {
		err = t.printLine(e)
	}
	t.seen++
	if err == nil && t.seen == t.count {
		return errEnough
	}
	return err
}

// printJSON does not use Encode, which refuses what a foreign producer left out.
func (t *tail) printJSON(e bus.Envelope) error {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return fmt.Errorf("event %s: %w", Clean(e.ID), err)
	}
	return t.app.writeBody(line.Bytes())
}

func (t *tail) printLine(e bus.Envelope) error {
	line := fmt.Sprintf("%s  %s  %s", e.Time().Format("15:04:05.000"), cell(string(e.Topic)), Clean(string(e.Payload)))
	return writeLines(t.app.env.Stdout, t.app.clipLine(line))
}

// findBus returns the address of the bus, which may hold a token and is never printed.
func (a *app) findBus(c *cobra.Command) (string, error) {
	if a.flags.natsURL != "" {
		return a.flags.natsURL, nil
	}
	if v := a.env.lookup("DECNET_NATS_URL"); v != "" {
		return v, nil
	}
	ready, _, err := a.findReady(c)
	if err != nil {
		return "", &unreachableError{what: "an event bus; give --nats-url, DECNET_NATS_URL or --ready-file", cause: plain(err)}
	}
	return ready.NATSURL, nil
}
