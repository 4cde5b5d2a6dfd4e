package api

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
)

const (
	defaultKeepAlive      = 15 * time.Second
	defaultStreamsPerUser = 5
	// leaseLife is for how long a stream of a process that died counts against its user. It is extended several times
	// within it.
	leaseLife = 30 * time.Second
	// snapshotLimit bounds reading what a stream begins with.
	snapshotLimit = 15 * time.Second
	deckyBatch    = 500
)

// EventLog is where live events come from; *bus.Bus is one. Its methods are described there.
type EventLog interface {
	Locate(ctx context.Context, patterns []string, after bus.Position) (at bus.Position, held bool, err error)
	Follow(ctx context.Context, patterns []string, behind bus.Position, fn func(bus.Step) error) error
}

// EventBody is the data of a live event.
type EventBody struct {
	Topic   string          `json:"topic" doc:"The whole topic; the event's name is its end"`
	Type    string          `json:"type"`
	TS      float64         `json:"ts" doc:"Seconds since 1970"`
	Payload json.RawMessage `json:"payload" doc:"An object"`
}

// FleetSnapshotBody is what the fleet's stream begins with.
type FleetSnapshotBody struct {
	Deckies  []DeckyBody     `json:"deckies" nullable:"false"`
	InFlight []OperationBody `json:"in_flight" nullable:"false" doc:"Operations that have not ended, oldest first"`
}

// TopologySnapshotBody is what a topology's stream begins with.
type TopologySnapshotBody struct {
	TopologyID string             `json:"topology_id"`
	Status     string             `json:"status"`
	Version    int64              `json:"version"`
	InFlight   []TopologyEditBody `json:"in_flight" nullable:"false" doc:"Edits that have not ended: first those that are pending, then those being applied"`
}

// StreamErrorBody is the data of the event that precedes the end of a stream that failed.
type StreamErrorBody struct {
	Message string `json:"message"`
}

// StreamInput is how a stream is asked for besides its path.
type StreamInput struct {
	LastEventID string `header:"Last-Event-ID" doc:"The id of the last event seen. The stream goes on behind it; when it cannot, it begins with a snapshot"`
	Resume      string `query:"last_event_id" doc:"Last-Event-ID for clients that cannot set it; the header wins"`
	Ticket      string `query:"ticket" doc:"From /auth/sse-ticket, in place of the Authorization header"`
}

// lastSeen returns the id of the last event the client saw, as it says.
func (in StreamInput) lastSeen() string {
	if in.LastEventID != "" {
		return in.LastEventID
	}
	return in.Resume
}

type topologyStreamInput struct {
	StreamInput
	TopologyID string `path:"topology_id" pattern:"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$" doc:"A UUID in lower case"`
}

// feed is what a stream shows.
type feed struct {
	patterns []string
	// wants picks among the events that match the patterns.
	wants    func(bus.Envelope) bool
	snapshot func(context.Context) (any, error)
}

func (s *server) registerStreams() {
	if s.opts.SSEKeepAlive <= 0 {
		s.opts.SSEKeepAlive = defaultKeepAlive
	}
	if s.opts.SSEMaxPerUser <= 0 {
		s.opts.SSEMaxPerUser = defaultStreamsPerUser
	}
	s.streams = prometheus.NewGauge(prometheus.GaugeOpts{Name: "decnet_event_streams", Help: "Open event streams."})
	s.deps.Metrics.MustRegister(s.streams)
	s.registerTickets()
	registerStream(s, get("stream-fleet", "/deckies/events", "Follow the fleet: a snapshot, then events as they happen", "deckies"),
		reflect.TypeFor[FleetSnapshotBody](), s.fleetStream)
	registerStream(s, get("stream-topology", "/topologies/{topology_id}/events",
		"Follow a topology: a snapshot, then events as they happen", "topologies"),
		reflect.TypeFor[TopologySnapshotBody](), s.topologyStream)
}

// registerStream adds an operation whose answer is a stream of events.
func registerStream[I any](
	s *server, op huma.Operation, snapshot reflect.Type, handle func(context.Context, *I) (*huma.StreamResponse, error),
) {
	s.endless[template(op.Path)] = true
	op.Security = []map[string][]string{{"bearer": {}}, {"ticket": {}}}
	s.documentStream(&op, snapshot)
	registerBehind(s, s.door(viewer, s.identifyReader), viewer, op, handle)
}

// documentStream describes the frames of a stream.
func (s *server) documentStream(op *huma.Operation, snapshot reflect.Type) {
	schemas := s.api.OpenAPI().Components.Schemas
	frame := func(title, name string, data reflect.Type) *huma.Schema {
		event := &huma.Schema{Type: huma.TypeString, Description: "The topic from its third part on; deckies' begin with decky."}
		if name != "" {
			event = &huma.Schema{Type: huma.TypeString, Enum: []any{name}}
		}
		return &huma.Schema{Title: title, Type: huma.TypeObject, Required: []string{"event", "data"}, Properties: map[string]*huma.Schema{
			"id":    {Type: huma.TypeString, Description: "To be sent as Last-Event-ID; survives restarts of everything"},
			"event": event,
			"data":  schemas.Schema(data, true, ""),
		}}
	}
	op.Responses = map[string]*huma.Response{"200": {
		Description: "Server-sent events. A comment line comes after 15 s of silence. Whoever reads too slowly is disconnected and resumes.",
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{
			Type: huma.TypeArray, Items: &huma.Schema{OneOf: []*huma.Schema{
				frame("Snapshot", "snapshot", snapshot), frame("Event", "", reflect.TypeFor[EventBody]()),
				frame("Failure", "error", reflect.TypeFor[StreamErrorBody]()),
			}},
		}}},
	}}
}

func (s *server) fleetStream(ctx context.Context, in *StreamInput) (*huma.StreamResponse, error) {
	return s.openStream(ctx, in.lastSeen(), feed{
		patterns: []string{bus.RootDecky + ".>"},
		wants:    func(e bus.Envelope) bool { return topologyOf(e) == "" },
		snapshot: func(ctx context.Context) (any, error) { return s.fleetSnapshot(ctx) },
	})
}

func (s *server) fleetSnapshot(ctx context.Context) (FleetSnapshotBody, error) {
	body := FleetSnapshotBody{Deckies: []DeckyBody{}, InFlight: []OperationBody{}}
	for after, more := "", true; more; {
		batch, err := s.deps.Store.Deckies(ctx, decky.FleetScope, after, deckyBatch)
		if err != nil {
			return body, err
		}
		for _, d := range batch {
			body.Deckies = append(body.Deckies, toDeckyBody(d))
			after = d.Name
		}
		more = len(batch) == deckyBatch
	}
	ops, err := s.deps.Store.OpenOperationsOf(ctx, decky.FleetScope)
	for _, op := range ops {
		body.InFlight = append(body.InFlight, s.toOperationBody(op))
	}
	return body, err
}

func (s *server) topologyStream(ctx context.Context, in *topologyStreamInput) (*huma.StreamResponse, error) {
	id := uuid.MustParse(in.TopologyID)
	limited, cancel := context.WithTimeout(ctx, snapshotLimit)
	defer cancel()
	if _, err := s.topologySnapshot(limited, id); err != nil {
		return nil, err
	}
	return s.openStream(ctx, in.lastSeen(), feed{
		patterns: []string{bus.RootTopology + "." + in.TopologyID + ".>", bus.RootDecky + ".>"},
		wants: func(e bus.Envelope) bool {
			return e.Topic.Root() == bus.RootTopology || topologyOf(e) == in.TopologyID
		},
		snapshot: func(ctx context.Context) (any, error) { return s.topologySnapshot(ctx, id) },
	})
}

// maxInFlight bounds how many edits a snapshot tells of.
const maxInFlight = 500

func (s *server) topologySnapshot(ctx context.Context, id uuid.UUID) (TopologySnapshotBody, error) {
	t, err := s.deps.Store.Topology(ctx, id)
	if err != nil {
		return TopologySnapshotBody{}, err
	}
	body := TopologySnapshotBody{TopologyID: t.ID.String(), Status: string(t.Status), Version: t.Version, InFlight: []TopologyEditBody{}}
	for _, state := range []string{editPending, editApplying} {
		ops, err := s.deps.Store.Edits(ctx, id, editStates[state], 0, maxInFlight)
		if err != nil {
			return TopologySnapshotBody{}, err
		}
		for _, op := range ops {
			body.InFlight = append(body.InFlight, toTopologyEditBody(t, op))
		}
	}
	return body, nil
}

// topologyOf returns the topology an event says it is about, "" for the fleet. What says so in another way than by a
// string is of nobody.
func topologyOf(e bus.Envelope) string {
	var fields map[string]json.RawMessage // not a struct, which would take other spellings of the key too
	var id *string
	if json.Unmarshal(e.Payload, &fields) != nil {
		return "?"
	}
	raw, given := fields["topology_id"]
	switch {
	case !given:
		return ""
	case json.Unmarshal(raw, &id) != nil, id != nil && *id == "":
		return "?"
	case id == nil:
		return ""
	}
	return *id
}

// eventName returns a topic without what it is about: decky.<event> for deckies, the rest from the third part on for
// others. A topic of fewer parts is its own name.
func eventName(topic string) string {
	parts := strings.SplitN(topic, ".", 3)
	switch {
	case len(parts) < 3:
		return topic
	case parts[0] == bus.RootDecky:
		return bus.RootDecky + "." + parts[2]
	}
	return parts[2]
}

// openStream counts the stream against its user, then answers with it. Nothing is sent before.
func (s *server) openStream(ctx context.Context, lastSeen string, f feed) (*huma.StreamResponse, error) {
	p, lease := principalOf(ctx), uuid.New()
	limited, cancel := context.WithTimeout(ctx, authLimit)
	defer cancel()
	after, err := s.deps.Store.TakeStreamLease(limited, lease, p.user.ID, s.opts.SSEMaxPerUser, leaseLife)
	switch {
	case err != nil:
		return nil, err
	case after > 0:
		return nil, &retryError{after: after, err: fault.New(fault.RateLimited, "too_many_streams",
			"at most %d event streams may be open at a time", s.opts.SSEMaxPerUser)}
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		defer s.endLease(ctx.Context(), lease)
		s.serveStream(ctx, stream{server: s, feed: f, who: p, lease: lease, lastSeen: lastSeen})
	}}, nil
}

func (s *server) endLease(ctx context.Context, id uuid.UUID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), authLimit)
	defer cancel()
	if err := s.deps.Store.EndStreamLease(ctx, id); err != nil {
		s.deps.Log.WarnContext(ctx, "an ended stream counts until its lease expires", "err", err)
	}
}
