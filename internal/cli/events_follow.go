package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

const followHelp = `With --follow, new events are printed as they come, oldest first, until interrupted. No event is printed twice. None is left out
that can be read within --overlap of its own time; what comes later than that, such as an import or the log of a decoy that was cut
off, is in the list but not in what is followed. While the API is away nothing is lost. In JSON, one line is one event.`

const (
	followPage    = 500
	followPages   = 200 // of one look
	followFirst   = 10
	shortestLook  = 100 * time.Millisecond
	usualLook     = time.Second
	usualOverlap  = 30 * time.Second
	longestRetry  = 10 * time.Second
	followNoLimit = 0
)

// follow is one execution of events --follow. It looks again and again for what is not older than overlap before the newest that
// the API received, and forgets what is: times and ids alone are no order to go on from, for events become readable in another.
type follow struct {
	on       bool
	interval time.Duration
	overlap  time.Duration
	count    int

	session *session
	path    string
	query   url.Values
	floor   time.Time            // what is older is not looked at
	newest  time.Time            // received by the API
	known   map[string]time.Time // events not older than floor, by id
	printed int
}

func (f *follow) flags(c *cobra.Command) {
	fs := c.Flags()
	fs.BoolVar(&f.on, "follow", false, "print the newest events, then those that come")
	fs.DurationVar(&f.interval, "interval", usualLook, "with --follow, how often to look")
	fs.DurationVar(&f.overlap, "overlap", usualOverlap, "with --follow, how late an event may come")
	fs.IntVar(&f.count, "count", followNoLimit, "with --follow, stop after this many events (default: never)")
}

// instead follows when that was asked for.
func (f *follow) instead(s *session, q *query, values url.Values) (bool, error) {
	if !f.on {
		for _, name := range []string{"interval", "overlap", "count"} {
			if s.cmd.Flags().Changed(name) {
				return false, usagef("--%s needs --follow", name)
			}
		}
		return false, nil
	}
	switch {
	case q.to != "" || q.cursor != "" || q.all || q.export.given(s.cmd):
		return true, usagef("--follow goes without --to, --cursor, --all and what belongs to files")
	case f.interval < shortestLook || f.overlap <= 0 || f.count < 0:
		return true, usagef("--interval must be %s or more, --overlap positive and --count not negative", shortestLook)
	}
	if _, err := q.page.query(url.Values{}); err != nil {
		return true, err
	}
	return true, f.run(s, q, values)
}

func (f *follow) run(s *session, q *query, values url.Values) error {
	f.session, f.path, f.query = s, q.path, values
	f.floor, f.newest, f.known, f.printed = time.Time{}, time.Time{}, map[string]time.Time{}, 0
	first := followFirst
	if q.limit > 0 {
		first = q.limit
	}
	if from := values.Get("from"); from != "" {
		at, err := time.Parse(time.RFC3339Nano, from)
		if err != nil {
			return err
		}
		f.floor, first = at, -1
	}
	ctx, cancel := s.openEnded(s.cmd)
	defer cancel()
	if err := f.each(ctx, first); err != nil && !errors.Is(err, errEnough) {
		return s.refused(err)
	}
	return s.shortfall(s.cmd.Context(), f.printed, f.count)
}

// each prints at most the first newest of what is there (all if negative), then everything that comes, until ctx ends.
func (f *follow) each(ctx context.Context, first int) error {
	begun := false
	wait, away := f.interval, false
	for {
		fresh, err := f.look(ctx, !begun && first >= 0)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (!begun || final(err)):
			return err
		case err != nil:
			if !away {
				f.session.note("the events cannot be read, trying again: %s", Clean(plain(err).Error()))
			}
			away, wait = true, min(2*wait, longestRetry)
		default:
			if away {
				f.session.note("the events can be read again")
			}
			if !begun && first >= 0 {
				fresh = fresh[max(0, len(fresh)-first):]
			}
			begun, away, wait = true, false, f.interval
		}
		if err := f.print(fresh); err != nil {
			return err
		}
		if !pause(ctx, wait) {
			return nil
		}
	}
}

// seen is an event and how it came.
type seen struct {
	eventView
	raw json.RawMessage
}

// look returns what is new, oldest first, and moves the floor. What it returns is known from then on; after an error nothing
// has changed. recent keeps the first look from reading what will not be printed.
func (f *follow) look(ctx context.Context, recent bool) ([]seen, error) {
	var fresh []seen
	floor, newest, cursor := f.floor, f.newest, ""
	for n := 0; ; n++ {
		page, next, err := f.page(ctx, floor, cursor)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if _, ok := f.known[e.ID]; !ok {
				fresh = append(fresh, e)
			}
			// What is not in this look became readable after its first page was read.
			if n == 0 && e.ReceivedAt != nil && e.ReceivedAt.After(newest) {
				newest = *e.ReceivedAt
			}
		}
		if len(page) == 0 || next == "" || next == cursor {
			break
		}
		oldest := page[len(page)-1].Time
		if recent && oldest.Before(newest.Add(-f.overlap)) {
			break
		}
		if n == followPages {
			f.session.note("too many events at once: those before %s are left out", exact(oldest))
			floor = *oldest
			break
		}
		cursor = next
	}
	f.advance(fresh, floor, newest)
	slices.Reverse(fresh)
	return fresh, nil
}

// page reads events that are not older than floor, newest first.
func (f *follow) page(ctx context.Context, floor time.Time, cursor string) ([]seen, string, error) {
	q := url.Values{"limit": {strconv.Itoa(followPage)}}
	for name, values := range f.query {
		q[name] = values
	}
	if !floor.IsZero() {
		q.Set("from", floor.UTC().Format(time.RFC3339Nano))
	}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	r, err := f.session.client.get(ctx, f.path+"?"+q.Encode())
	if err != nil {
		return nil, "", err
	}
	var l struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := r.decode(&l); err != nil {
		return nil, "", err
	}
	list := make([]seen, len(l.Items))
	for i, raw := range l.Items {
		list[i].raw = raw
		if err := (reply{body: raw}).decode(&list[i].eventView); err != nil {
			return nil, "", err
		}
		if list[i].ID == "" || list[i].Time == nil {
			return nil, "", errors.New("an event has no id or no time; is this decnet's API?")
		}
	}
	return list, nextCursor(r), nil
}

// advance keeps in mind what the next look will find again.
func (f *follow) advance(fresh []seen, floor, newest time.Time) {
	f.newest = newest
	f.floor = floor
	if behind := newest.Add(-f.overlap); !newest.IsZero() && behind.After(floor) {
		f.floor = behind
	}
	for _, e := range fresh {
		f.known[e.ID] = *e.Time
	}
	for id, at := range f.known {
		if at.Before(f.floor) {
			delete(f.known, id)
		}
	}
}

func (f *follow) print(events []seen) error {
	for _, e := range events {
		var err error
		if f.session.format() == outputJSON {
			var line bytes.Buffer
			if err = json.Compact(&line, e.raw); err == nil {
				err = f.session.writeBody(line.Bytes())
			}
		} else {
			err = writeLines(f.session.env.Stdout, f.session.clipLine(e.line()))
		}
		if err != nil {
			return err
		}
		if f.printed++; f.printed == f.count {
			return errEnough
		}
	}
	return nil
}

func (e eventView) line() string {
	return fmt.Sprintf("%s  %s  %s  %s  %s  %s  %s", cell(e.ID), precise(e.Time), cell(e.place()), cell(e.Service), cell(e.Type), cell(e.AttackerIP), Clean(e.detail()))
}
