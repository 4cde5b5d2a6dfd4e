package api_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/tmaxmax/go-sse"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/bus/bustest"
	"github.com/decnet/decnet/internal/topology"
)

const patience = 30 * time.Second

// topologyID is the one topology there is.
const topologyID = "6f9619ff-8b86-4011-b42d-00cf4fc964ff"

// liveBundle is an API behind a real listener, with a real bus.
type liveBundle struct {
	*bundle
	nats   *bustest.Server
	events *bus.Bus // publishes
	url    string
	http   *http.Client
	stop   func() // as the process does when it is told to end
}

func setupLive(t *testing.T, change ...func(*api.Deps, *api.Options)) *liveBundle {
	t.Helper()
	l := &liveBundle{nats: bustest.Start(t)}
	l.events = connect(t, l.nats.URL())
	reader := connect(t, l.nats.URL(), bus.ReadOnly())
	stopping := make(chan struct{})
	l.stop = sync.OnceFunc(func() { close(stopping) })
	change = append([]func(*api.Deps, *api.Options){func(d *api.Deps, o *api.Options) {
		d.Events, d.Stopping = reader, stopping
		o.SSEMaxPerUser = 100 // a closed stream counts for a moment
	}}, change...)
	l.bundle = setup(t, change...)
	require.NoError(t, l.store.InTx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.CreateTopology(t.Context(), topology.Topology{ID: uuid.MustParse(topologyID), Name: "maze", Mode: topology.ModeUnihost}, nil)
		return err
	}))
	server := httptest.NewServer(l.engine)
	t.Cleanup(func() {
		l.stop()
		server.Close()
	})
	l.url, l.http = server.URL+"/api/v1", server.Client()
	return l
}

func connect(t *testing.T, url string, opts ...bus.Option) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), url, "test", append(opts, bus.WithLogger(slog.New(slog.DiscardHandler)))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// publish stores an event and returns its id.
func (l *liveBundle) publish(t *testing.T, topic string, payload any) string {
	t.Helper()
	e, err := bus.New(bus.Subject(topic), "test", time.Now(), payload)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return l.events.Publish(t.Context(), e) == nil }, patience, 10*time.Millisecond)
	return e.ID
}

// ask is how a stream is opened.
type ask struct {
	path    string // "" is the fleet's
	as      auth.Role
	token   string
	lastID  string
	queryID string
	ticket  string
}

// subscriber reads one stream.
type subscriber struct {
	t      *testing.T
	status int
	header http.Header
	events chan sse.Event // closed at the end
	close  func()
}

// open returns once the answer has begun.
func (l *liveBundle) open(t *testing.T, a ask) *subscriber {
	t.Helper()
	res, cancel := l.response(t, a)
	s := &subscriber{t: t, status: res.StatusCode, header: res.Header, events: make(chan sse.Event)}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(s.events)
		for e, err := range sse.Read(res.Body, &sse.ReadConfig{MaxEventSize: 16 << 20}) {
			if err != nil {
				return
			}
			select {
			case s.events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	s.close = sync.OnceFunc(func() {
		stop()
		cancel()
		<-done
		_ = res.Body.Close()
	})
	t.Cleanup(s.close)
	return s
}

func (l *liveBundle) response(t *testing.T, a ask) (*http.Response, context.CancelFunc) {
	t.Helper()
	path := a.path
	if path == "" {
		path = "/deckies/events"
	}
	query := []string{}
	for name, value := range map[string]string{"ticket": a.ticket, "last_event_id": a.queryID} {
		if value != "" {
			query = append(query, name+"="+value)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+path+"?"+strings.Join(query, "&"), nil)
	require.NoError(t, err)
	if a.token == "" && a.as != "" {
		a.token = l.tokenOf(t, l.users[a.as])
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	if a.lastID != "" {
		req.Header.Set("Last-Event-ID", a.lastID)
	}
	res, err := l.http.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { cancel(); _ = res.Body.Close() })
	return res, cancel
}

// refusal opens a stream that must not open.
func (l *liveBundle) refusal(t *testing.T, a ask) reply {
	t.Helper()
	res, cancel := l.response(t, a)
	defer cancel()
	require.NotEqual(t, http.StatusOK, res.StatusCode)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return reply{status: res.StatusCode, header: res.Header, body: body}
}

// next returns the next event; the test fails when none comes.
func (s *subscriber) next() sse.Event {
	s.t.Helper()
	select {
	case e, ok := <-s.events:
		require.True(s.t, ok, "the stream ended")
		return e
	case <-time.After(patience):
		require.FailNow(s.t, "no event came")
		return sse.Event{}
	}
}

// ended waits for the end of the stream and returns the events before it.
func (s *subscriber) ended() []sse.Event {
	s.t.Helper()
	var rest []sse.Event
	limit := time.After(patience)
	for {
		select {
		case e, ok := <-s.events:
			if !ok {
				return rest
			}
			rest = append(rest, e)
		case <-limit:
			require.FailNow(s.t, "the stream did not end")
		}
	}
}

func body(t *testing.T, e sse.Event) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(e.Data), &v), e.Data)
	return v
}

func (l *liveBundle) ticket(t *testing.T, c call) string {
	t.Helper()
	c.method, c.path = http.MethodPost, "/auth/sse-ticket"
	r := l.do(t, c)
	require.Equal(t, http.StatusOK, r.status, "%s", r.body)
	var body api.TicketBody
	r.into(t, &body)
	require.Equal(t, 60, body.ExpiresIn)
	return body.Ticket
}
