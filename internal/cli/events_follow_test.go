package cli_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/cli"
)

// eventLog answers GET /events as the API does: newest first by time and id, page by page.
type eventLog struct {
	mu     sync.Mutex
	events []logged
	looks  int
	// before is called with the number of each first page, before it is read.
	before func(l *eventLog, look int)
	// status is what to answer instead, 0 for the events.
	status int
}

type logged struct {
	id             int
	time, received time.Time
}

// add makes an event readable that happened at a second and was received at another.
func (l *eventLog) add(id int, happened, received float64) {
	second := func(s float64) time.Time {
		return time.Unix(1767323000, 0).Add(time.Duration(s * float64(time.Second)))
	}
	l.events = append(l.events, logged{id, second(happened), second(received)})
}

func (l *eventLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := r.URL.Query()
	if q.Get("cursor") == "" {
		l.looks++
		if l.before != nil {
			l.before(l, l.looks)
		}
	}
	if l.status != 0 {
		write(w, l.status, problem("refused", l.status, "not now"))
		return
	}
	list := slices.Clone(l.events)
	slices.SortFunc(list, func(a, b logged) int { return cmp.Or(b.time.Compare(a.time), b.id-a.id) })
	from, _ := time.Parse(time.RFC3339Nano, q.Get("from"))
	list = slices.DeleteFunc(list, func(e logged) bool { return e.time.Before(from) })
	start, _ := strconv.Atoi(q.Get("cursor"))
	limit, _ := strconv.Atoi(q.Get("limit"))
	end := min(start+limit, len(list))
	next := "null"
	if end < len(list) {
		next = fmt.Sprintf(`"%d"`, end)
	}
	var items []string
	for _, e := range list[start:end] {
		items = append(items, fmt.Sprintf(`{"id":"%d", "time":%q,"received_at":%q,"type":"x"}`, e.id, e.time.UTC().Format(time.RFC3339Nano), e.received.UTC().Format(time.RFC3339Nano)))
	}
	write(w, 200, `{"items":[`+strings.Join(items, ",")+`],"next_cursor":`+next+`}`)
}

// followed runs events --follow until look number enough, and returns the ids in the order they were printed.
func followed(t *testing.T, l *eventLog, enough int, args ...string) (ids []int, stderr string) {
	t.Helper()
	api := newAPI(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	inner := l.before
	l.before = func(l *eventLog, look int) {
		if inner != nil {
			inner(l, look)
		}
		if look > enough {
			cancel()
		}
	}
	api.on("GET /events", l.ServeHTTP)
	b := setup(t, api)
	b.ctx = ctx
	out, stderr, err := b.run(append([]string{"events", "--follow", "--interval", "100ms", "-o", "table"}, args...)...)
	require.NoError(t, err)
	for line := range strings.Lines(out) {
		id, err := strconv.Atoi(strings.Fields(line)[0])
		require.NoError(t, err)
		ids = append(ids, id)
	}
	return ids, stderr
}

func TestFollow_NothingTwiceAndNothingLostThatIsNotTooLate(t *testing.T) {
	t.Parallel()
	l := &eventLog{before: func(l *eventLog, look int) {
		switch look {
		case 1:
			for i := 1; i <= 15; i++ {
				l.add(i, float64(i)/10, 2)
			}
		case 2:
			l.add(17, 3, 3) // two of the same time, the second id first
			l.add(16, 3, 3)
		case 3:
			l.add(18, 2.5, 4) // older than what was printed
			l.add(19, 3, 4)   // the same time once more
		case 4:
			l.add(20, 40, 40)
		case 5:
			l.add(21, 10, 41) // just not too late
			l.add(22, 9.9, 41)
		case 6:
			l.add(23, 500, 42) // a clock that is ahead moves nothing
		case 7:
			l.add(24, 43, 43)
		}
	}}
	ids, _ := followed(t, l, 8)
	require.Equal(t, []int{6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24}, ids)
}

func TestFollow_FromATimeAndPageByPage(t *testing.T) {
	t.Parallel()
	l := &eventLog{}
	for i := range 1200 {
		l.add(i, float64(i), float64(i))
	}
	l.before = func(l *eventLog, look int) {
		if look == 2 {
			for i := 1200; i < 2300; i++ {
				l.add(i, 1200+float64(i)/1000, 1202)
			}
		}
	}
	ids, _ := followed(t, l, 3, "--from", time.Unix(1767323100, 0).UTC().Format(time.RFC3339))
	want := make([]int, 2200)
	for i := range want {
		want[i] = 100 + i
	}
	require.Equal(t, want, ids)
}

func TestFollow_RandomDelays(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	l := &eventLog{}
	last := 0
	l.before = func(l *eventLog, look int) {
		for range random.IntN(300) {
			last++
			received := float64(look) * 5
			l.add(last, received-random.Float64()*29, received)
		}
	}
	ids, _ := followed(t, l, 8, "--from", "2020-01-01 00:00")
	slices.Sort(ids)
	require.Equal(t, slices.Compact(slices.Clone(ids)), ids, "nothing twice")
	require.GreaterOrEqual(t, len(ids), 300)
	for i, id := range ids {
		require.Equal(t, i+1, id, "nothing is left out")
	}
}

func TestFollow_ThroughAnAbsence(t *testing.T) {
	t.Parallel()
	l := &eventLog{before: func(l *eventLog, look int) {
		l.status = 0
		switch look {
		case 1:
			l.add(1, 1, 1)
		case 2:
			l.add(2, 2, 2)
			l.status = http.StatusServiceUnavailable
		case 3:
			l.add(3, 3, 3)
		}
	}}
	ids, stderr := followed(t, l, 4)
	require.Equal(t, []int{1, 2, 3}, ids)
	require.Equal(t, 1, strings.Count(stderr, "cannot be read, trying again: refused: not now"))
	require.Equal(t, 1, strings.Count(stderr, "can be read again"))
}

func TestFollow_EndsWhenRefusedEnoughOrLate(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	l := &eventLog{before: func(l *eventLog, look int) {
		l.add(look, float64(look), float64(look))
		if look == 2 {
			l.status = http.StatusForbidden
		}
	}}
	api.on("GET /events", l.ServeHTTP)
	b := setup(t, api)
	_, _, err := b.run("events", "--follow", "--interval", "100ms", "-o", "table")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.ErrorContains(t, err, "not now")

	l.status, l.before = 0, nil
	out, _, err := b.run("events", "--follow", "--count", "2", "-o", "json")
	require.NoError(t, err)
	requireVerbatim(t, `{"id":"1","time":"2026-01-02T03:03:21Z","received_at":"2026-01-02T03:03:21Z","type":"x"}`, strings.Split(out, "\n")[0])
	require.Equal(t, 2, strings.Count(out, "\n"))

	_, _, err = b.run("events", "--follow", "--interval", "100ms", "--count", "5", "--timeout", "250ms")
	require.ErrorContains(t, err, "2 of 5 events came in 250ms")

	b.env = append(b.env, "DECNET_API_URL=http://127.0.0.1:1/api/v1")
	_, _, err = b.run("events", "--follow")
	require.Equal(t, cli.ExitUnreachable, cli.ExitCode(err))
}
