package cli_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/cli"
)

const (
	snapshotData = `{"deckies":[{"name":"web-01"},{"name":"db-01"}],"in_flight":[]}`
	hostileData  = `{"topic":"decky.web-01.traffic","type":"x","ts":1767323045.5,"payload":{"banner":"\u001b[2J<b>` + "\u202e" + `","topology_id":null}}`
	plainData    = `{"topic":"decky.h:web-01.state","type":"state","ts":1767323046,"payload":{"state":"running"}}`
)

// frames answers with a stream of these frames, then ends it; the ids seen go to lastIDs.
func (f *fakeAPI) frames(lastIDs *[]string, perConnection ...string) {
	turn := 0
	f.on("GET /deckies/events", func(w http.ResponseWriter, r *http.Request) {
		*lastIDs = append(*lastIDs, r.Header.Get("Last-Event-ID"))
		if turn == len(perConnection) {
			write(w, http.StatusUnauthorized, problem("unauthorized", http.StatusUnauthorized, "no more"))
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, ": keepalive\n\n"+perConnection[turn])
		turn++
	})
}

func sseFrame(id, name, data string) string {
	return fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", id, name, data)
}

func TestWatch_GoesOnWhereItWasAndEndsWhenRefused(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	var ids []string
	api.frames(&ids,
		sseFrame("a-1-a", "snapshot", snapshotData)+sseFrame("a-2-a", "decky.traffic", hostileData)+"id: a-3-a\nevent: cut",
		sseFrame("a-3-a", "decky.state", plainData))
	b := setup(t, api)
	out, errOut, err := b.run("deckies", "watch", "-o", "table")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.ErrorContains(t, err, "unauthorized")
	require.Equal(t, []string{"", "a-2-a", "a-3-a"}, ids)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 3)
	require.Equal(t, "now           2 deckies, 0 operations under way", lines[0])
	require.Equal(t, `03:04:05.500  decky.traffic  web-01  {"banner":"\u001b[2J<b>\u202e","topology_id":null}`, lines[1])
	require.Equal(t, `03:04:06.000  decky.state  h:web-01  {"state":"running"}`, lines[2])
	require.Contains(t, errOut, "the connection is lost, trying again: the stream ended")
	require.Contains(t, errOut, "the connection is back")
	require.Equal(t, "Bearer "+token, api.calls[0].auth)
}

func TestWatch_JSONIsTheDataAsItCame(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	var ids []string
	api.frames(&ids, sseFrame("a-1-a", "snapshot", snapshotData)+sseFrame("a-2-a", "decky.traffic", hostileData))
	b := setup(t, api)
	out, _, err := b.run("deckies", "watch", "-o", "json", "--count", "2")
	require.NoError(t, err)
	requireVerbatim(t, snapshotData+"\n"+hostileData+"\n", out)
	require.Len(t, ids, 1)
}

func TestWatch_AFailureOfTheStreamIsNoLine(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	var ids []string
	api.frames(&ids, "event: error\ndata: {\"message\":\"Stream interrupted\"}\n\n", sseFrame("a-1-a", "snapshot", "{"))
	out, errOut, err := setup(t, api).run("deckies", "watch", "-o", "table", "--count", "1")
	require.NoError(t, err)
	require.Equal(t, "now           {\n", out)
	require.Contains(t, errOut, "could not go on")
}

func TestWatch_Refusals(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /deckies/events", http.StatusTooManyRequests, problem("too_many_streams", http.StatusTooManyRequests, "at most 5"))
	out, _, err := setup(t, api).run("deckies", "watch", "-o", "json")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.Contains(t, out, "too_many_streams", "a refusal is printed as it came")

	b := setup(t, nil)
	b.env = append(b.env, "DECNET_API_URL=http://127.0.0.1:1/api/v1", "DECNET_TOKEN=x")
	_, _, err = b.run("deckies", "watch")
	require.Equal(t, cli.ExitUnreachable, cli.ExitCode(err))

	_, _, err = b.run("deckies", "watch", "--count", "-1")
	require.Equal(t, cli.ExitUsage, cli.ExitCode(err))
}

func TestWatch_WaitsAsLongAsItIsAskedTo(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	var at []time.Time
	api.on("GET /deckies/events", func(w http.ResponseWriter, _ *http.Request) {
		at = append(at, time.Now())
		switch len(at) {
		case 2:
			w.Header().Set("Retry-After", "1")
			write(w, http.StatusTooManyRequests, problem("too_many_streams", http.StatusTooManyRequests, "at most 5"))
		default:
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, sseFrame("a-1-a", "snapshot", snapshotData))
		}
	})
	_, _, err := setup(t, api).run("deckies", "watch", "--count", "2")
	require.NoError(t, err)
	require.Len(t, at, 3)
	require.GreaterOrEqual(t, at[2].Sub(at[1]), time.Second)
}

func TestWatch_EndsQuietlyWhenInterruptedAndLoudlyWhenLate(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	open := make(chan struct{}, 1)
	api.on("GET /deckies/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, sseFrame("a-1-a", "snapshot", snapshotData))
		_ = http.NewResponseController(w).Flush()
		open <- struct{}{}
		<-r.Context().Done()
	})
	b := setup(t, api)
	ctx, cancel := context.WithCancel(t.Context())
	b.ctx = ctx
	go func() { <-open; cancel() }()
	_, _, err := b.run("deckies", "watch")
	require.NoError(t, err)

	b.ctx = t.Context()
	_, _, err = b.run("deckies", "watch", "--count", "2", "--timeout", "300ms")
	require.ErrorContains(t, err, "1 of 2 events came in 300ms")
}

const labSnapshot = `{"topology_id":"` + labID + `","status":"active","version":7,"in_flight":[` +
	`{"id":"m-2","op":"add_lan","state":"pending"},{"id":"m-1","op":"remove_decky","state":"applying"}]}`

func TestWatch_ATopologyIsFoundByItsName(t *testing.T) {
	t.Parallel()
	api := newLab(t)
	turn, lastID := 0, ""
	api.on("GET "+atLab+"/events", func(w http.ResponseWriter, r *http.Request) {
		turn++
		w.Header().Set("Content-Type", "text/event-stream")
		if turn == 1 {
			_, _ = io.WriteString(w, sseFrame("a-1-a", "snapshot", labSnapshot))
			return
		}
		lastID = r.Header.Get("Last-Event-ID")
		_, _ = io.WriteString(w, sseFrame("a-2-a", "mutation.applied",
			`{"topic":"topology.`+labID+`.mutation.applied","type":"mutation.applied","ts":1767323045.5,"payload":{"op":"add_lan","name":"\u001b[2J"}}`))
	})
	b := setup(t, api)
	out, errOut, err := b.run("topologies", "watch", "lab", "-o", "table", "--count", "2")
	require.NoError(t, err)
	require.Equal(t, "now           active, version 7, 2 edits under way: add_lan pending, remove_decky applying\n"+
		"03:04:05.500  mutation.applied  "+labID+`  {"op":"add_lan","name":"\u001b[2J"}`+"\n", out)
	require.Contains(t, errOut, "the connection is back")
	require.Equal(t, "a-1-a", lastID)

	turn = 0
	out, _, err = b.run("topologies", "watch", labID, "--count", "1")
	require.NoError(t, err)
	requireVerbatim(t, labSnapshot+"\n", out)
}

func TestWatch_ATopologyThatIsNotThere(t *testing.T) {
	t.Parallel()
	b := setup(t, newLab(t))
	_, _, err := b.run("topologies", "watch", "other", "--count", "1")
	require.ErrorContains(t, err, "there is no topology other")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))

	_, _, err = b.run("topologies", "watch")
	require.Equal(t, cli.ExitUsage, cli.ExitCode(err))
}
