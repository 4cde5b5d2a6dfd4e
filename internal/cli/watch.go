package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tmaxmax/go-sse"
)

// watch is one execution of a command that follows an event stream.
type watch struct {
	app   *app
	count int
	seen  int
	// snapshot describes the state a stream begins with, cleaned.
	snapshot func(data []byte) string
}

const watchHelp = `It begins with the state as it is, then one line is one event. A lost connection is made again, and what happened
meanwhile is told then; when that is not possible, the state as it is comes again.

In JSON, one line is the data of one event: first a snapshot, then events {topic, type, ts, payload}.`

// watchCommand returns a command that follows the stream of path until it is interrupted.
func (a *app) watchCommand(c *cobra.Command, path streamPath, snapshot func(data []byte) string) *cobra.Command {
	w := watch{app: a, snapshot: snapshot}
	c.Long = c.Short + ".\n\n" + watchHelp
	c.RunE = func(c *cobra.Command, args []string) error { return w.run(c, path, args) }
	a.timeoutFlag(c, "stop after this long (default: never); an error if --count is not reached")
	c.PersistentFlags().Lookup("timeout").DefValue = "0s" // in the help only; see limit
	c.Flags().IntVar(&w.count, "count", 0, "stop after this many lines (default: never)")
	return c
}

// streamPath finds the stream that the arguments of a command mean.
type streamPath func(ctx context.Context, s *session, args []string) (string, error)

func (a *app) deckiesWatchCommand() *cobra.Command {
	return a.watchCommand(&cobra.Command{
		Use:   "watch",
		Short: "Follow what happens to the deckies of the fleet",
		Args:  cobra.NoArgs,
	}, func(context.Context, *session, []string) (string, error) { return "/deckies/events", nil }, fleetSnapshot)
}

func (a *app) topologiesWatchCommand() *cobra.Command {
	return a.watchCommand(&cobra.Command{
		Use:               "watch TOPOLOGY",
		Short:             "Follow what happens to a topology and its deckies",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTopologies(),
	}, func(ctx context.Context, s *session, args []string) (string, error) {
		id, err := s.topologyID(ctx, args[0])
		return topologyPath(id) + "/events", err
	}, topologySnapshot)
}

func fleetSnapshot(data []byte) string {
	var v struct {
		Deckies  count `json:"deckies"`
		InFlight count `json:"in_flight"`
	}
	if json.Unmarshal(data, &v) != nil {
		return Clean(string(data))
	}
	return fmt.Sprintf("%d deckies, %d operations under way", v.Deckies, v.InFlight)
}

func topologySnapshot(data []byte) string {
	var v struct {
		Status   string `json:"status"`
		Version  int64  `json:"version"`
		InFlight []struct {
			Op    string `json:"op"`
			State string `json:"state"`
		} `json:"in_flight"`
	}
	if json.Unmarshal(data, &v) != nil {
		return Clean(string(data))
	}
	edits := make([]string, len(v.InFlight))
	for i, e := range v.InFlight {
		edits[i] = e.Op + " " + e.State
	}
	line := fmt.Sprintf("%s, version %d, %d edits under way", cell(v.Status), v.Version, len(edits))
	if len(edits) > 0 {
		line += ": " + cell(joined(edits))
	}
	return line
}

func (w *watch) run(c *cobra.Command, find streamPath, args []string) error {
	if w.count < 0 {
		return usagef("--count must not be negative")
	}
	s, err := w.app.session(c)
	if err != nil {
		return err
	}
	path, err := find(c.Context(), s, args)
	if err != nil {
		return err
	}
	ctx, cancel := w.app.openEnded(c)
	defer cancel()
	w.seen = 0
	st := stream{
		client: s.client, path: path,
		lost: func(err error) { w.app.note("the connection is lost, trying again: %s", Clean(plain(err).Error())) },
		back: func() { w.app.note("the connection is back") },
	}
	if err := st.each(ctx, w.print); err != nil && !errors.Is(err, errEnough) {
		return s.refused(err)
	}
	return w.app.shortfall(c.Context(), w.seen, w.count)
}

func (w *watch) print(e sse.Event) error {
	var err error
	switch {
	case e.Type == "error":
		w.app.note("the API could not go on with the stream") // it ends then, and is opened again
		return nil
	case w.app.format() == outputJSON:
		err = w.app.writeBody([]byte(e.Data))
	default:
		err = writeLines(w.app.env.Stdout, w.app.clipLine(w.line(e)))
	}
	w.seen++
	if err == nil && w.seen == w.count {
		return errEnough
	}
	return err
}

// clipLine cuts a cleaned line to what a person can see of it.
func (a *app) clipLine(line string) string {
	width := maxCellRunes
	if a.env.isTerminal(a.env.Stdout) {
		width = a.env.width(a.env.Stdout)
	}
	return clip(line, width)
}

// line returns an event for people: when, what it is about, what happened, and the rest as it came, all of it cleaned.
func (w *watch) line(e sse.Event) string {
	if e.Type == "snapshot" {
		return fmt.Sprintf("%-12s  %s", "now", w.snapshot([]byte(e.Data)))
	}
	var v struct {
		Topic   string          `json:"topic"`
		TS      float64         `json:"ts"`
		Payload json.RawMessage `json:"payload"`
	}
	if json.Unmarshal([]byte(e.Data), &v) != nil {
		return fmt.Sprintf("%-12s  %s  %s", "?", cell(e.Type), Clean(e.Data))
	}
	at := time.UnixMilli(int64(math.Round(v.TS * 1e3))).UTC()
	return fmt.Sprintf("%s  %s  %s  %s", at.Format("15:04:05.000"), cell(e.Type), cell(about(v.Topic)), Clean(string(v.Payload)))
}

// about returns the second part of a topic: the decky or the topology.
func about(topic string) string {
	_, rest, _ := strings.Cut(topic, ".")
	name, _, _ := strings.Cut(rest, ".")
	return name
}
