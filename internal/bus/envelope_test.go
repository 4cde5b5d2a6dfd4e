package bus_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/fault"
)

const topic = bus.Subject("ttp.tagged")

var noon = time.Date(2025, 6, 1, 12, 0, 0, 123456000, time.UTC)

func fixed() bus.Defaults {
	return bus.Defaults{Now: func() time.Time { return noon }, ID: func() string { return "made" }}
}

func TestEnvelope_SurvivesTheWire(t *testing.T) {
	t.Parallel()
	e, err := bus.New(topic, "tagged", noon, map[string]any{"html": "<&>", "n": 1.5})
	require.NoError(t, err)
	data, err := e.Encode()
	require.NoError(t, err)
	require.Contains(t, string(data), `"ts":1748779200.123456,`)
	require.Contains(t, string(data), `<&>`)
	got, err := bus.Decode(string(topic), data, bus.Defaults{})
	require.NoError(t, err)
	require.Equal(t, e, got)
	require.Equal(t, noon, got.Time())
}

func TestEnvelope_TimeRoundTripsToTheMicrosecond(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "micros")).UTC()
		require.Equal(t, at, bus.Envelope{TS: bus.EpochSeconds(at)}.Time())
	})
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		subject bus.Subject
		typ     string
		ts      time.Time
		payload any
		want    fault.Kind
	}{
		"bad subject":    {"nope", "x", noon, nil, fault.Invalid},
		"wildcard":       {"ttp.*", "x", noon, nil, fault.Invalid},
		"empty type":     {topic, "", noon, nil, fault.Invalid},
		"zero time":      {topic, "x", time.Time{}, nil, fault.Invalid},
		"array payload":  {topic, "x", noon, []int{1}, fault.Invalid},
		"scalar payload": {topic, "x", noon, 1, fault.Invalid},
		"null payload":   {topic, "x", noon, json.RawMessage("null"), fault.Invalid},
		"broken payload": {topic, "x", noon, json.RawMessage("{"), fault.Invalid},
		"NaN":            {topic, "x", noon, map[string]any{"n": math.NaN()}, fault.Invalid},
		"too large":      {topic, "x", noon, map[string]any{"s": strings.Repeat("x", bus.MaxBytes)}, fault.TooLarge},
	} {
		_, err := bus.New(c.subject, c.typ, c.ts, c.payload)
		require.Equal(t, c.want, fault.KindOf(err), name)
	}
	e, err := bus.New(topic, "x", noon, nil)
	require.NoError(t, err)
	require.JSONEq(t, "{}", string(e.Payload))
}

func TestEncode_RefusesHandMadeEnvelopes(t *testing.T) {
	t.Parallel()
	ok := bus.Envelope{V: 1, ID: "i", Topic: topic, Type: "x", TS: 1, Payload: json.RawMessage("{}")}
	_, err := ok.Encode()
	require.NoError(t, err)
	for name, spoil := range map[string]func(*bus.Envelope){
		"version":      func(e *bus.Envelope) { e.V = 0 },
		"no id":        func(e *bus.Envelope) { e.ID = "" },
		"header in id": func(e *bus.Envelope) { e.ID = "a\r\nNats-Rollup: all" },
		"long id":      func(e *bus.Envelope) { e.ID = strings.Repeat("x", 200) },
		"NaN":          func(e *bus.Envelope) { e.TS = math.NaN() },
		"infinite":     func(e *bus.Envelope) { e.TS = math.Inf(1) },
		"negative":     func(e *bus.Envelope) { e.TS = -1 },
		"nil payload":  func(e *bus.Envelope) { e.Payload = nil },
		"not UTF-8":    func(e *bus.Envelope) { e.Payload = json.RawMessage("{\"a\":\"\xff\"}") },
	} {
		e := ok
		spoil(&e)
		_, err := e.Encode()
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
	}
}

func TestDecode_FillsWhatIsMissing(t *testing.T) {
	t.Parallel()
	empty := bus.Envelope{V: 1, ID: "made", Topic: topic, TS: bus.EpochSeconds(noon), Payload: json.RawMessage("{}")}
	for _, body := range []string{
		`{}`, `{"v":null,"id":null,"topic":null,"type":null,"ts":null,"payload":null}`, `{"id":""}`,
		`{"topic":"other.topic","extra":[1],"ID":"no","Payload":{"a":1}}`,
	} {
		e, err := bus.Decode(string(topic), []byte(body), fixed())
		require.NoError(t, err, body)
		require.Equal(t, empty, e, body)
	}
	e, err := bus.Decode(string(topic), []byte(`{"v":2,"id":"a","type":"b","ts":1,"payload": {"x": "`+"\xff"+`"}}`), fixed())
	require.NoError(t, err)
	require.Equal(t, bus.Envelope{V: 2, ID: "a", Topic: topic, Type: "b", TS: 1, Payload: json.RawMessage(`{"x": "` + "\uFFFD" + `"}`)}, e)

	a, err := bus.Decode(string(topic), []byte(`{}`), bus.Defaults{})
	require.NoError(t, err)
	b, err := bus.Decode(string(topic), []byte(`{}`), bus.Defaults{})
	require.NoError(t, err)
	require.NotEqual(t, a.ID, b.ID)
}

func TestDecode_Refuses(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, `null`, `[]`, `[{}]`, `1`, `"x"`, `{`, `{} {}`, `{"v":"1"}`, `{"v":1.5}`, `{"id":1}`, `{"type":{}}`,
		`{"ts":"now"}`, `{"ts":NaN}`, `{"ts":1e999}`, `{"ts":1e300}`, `{"ts":-1}`, `{"payload":[]}`, `{"payload":"x"}`,
	} {
		_, err := bus.Decode(string(topic), []byte(body), fixed())
		require.Equal(t, fault.Invalid, fault.KindOf(err), body)
	}
	_, err := bus.Decode(string(topic), []byte(`{"payload":{"a":"`+strings.Repeat("x", bus.MaxBytes)+`"}}`), fixed())
	require.Equal(t, fault.TooLarge, fault.KindOf(err))
}

// Whatever Decode accepts keeps its id and time, has an object as payload, and is stable when sent on.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"v":1,"id":"x","type":"t","ts":1.5,"payload":{"a":[1]}}`, `[]`, `null`, `{"payload":null}`, `{"ts":-0}`, "{\"id\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := bus.Decode(string(topic), data, fixed())
		if err != nil {
			require.Contains(t, []fault.Kind{fault.Invalid, fault.TooLarge}, fault.KindOf(err))
			return
		}
		require.Equal(t, topic, e.Topic)
		require.NotEmpty(t, e.ID)
		require.True(t, json.Valid(e.Payload))
		require.Equal(t, byte('{'), e.Payload[0])
		wire, err := e.Encode()
		if err != nil {
			return // a foreign envelope need not satisfy what we demand of our own
		}
		again, err := bus.Decode(string(topic), wire, bus.Defaults{})
		require.NoError(t, err)
		require.Equal(t, e.ID, again.ID)
		require.Equal(t, math.Float64bits(e.TS), math.Float64bits(again.TS))
		require.JSONEq(t, string(e.Payload), string(again.Payload))
	})
}
