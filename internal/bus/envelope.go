package bus

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/fault"
)

const (
	// MaxBytes is the largest encoded envelope. Producers cut attacker-controlled fields to fit.
	MaxBytes = 64 << 10
	// Version is the envelope version written by New.
	Version = 1

	maxIDBytes = 128
	// maxEpochSeconds is the end of year 9999, the last instant RFC 3339 can write.
	maxEpochSeconds = 253402300800
)

var errTooLarge = fault.New(fault.TooLarge, "event_too_large", "an event may have at most %d bytes", MaxBytes)

// Envelope is one event on the bus: a fact in the past tense. ID and TS are the producer's and survive every hop.
type Envelope struct {
	V     int     `json:"v"`
	ID    string  `json:"id"`    // identifies the event for de-duplication
	Topic Subject `json:"topic"` // on reading always the subject the transport delivered
	Type  string  `json:"type"`  // never empty from our producers
	TS    float64 `json:"ts"`    // epoch seconds, the producer's clock, microseconds kept
	// Payload is a JSON object, never null.
	Payload json.RawMessage `json:"payload"`
}

// New returns an envelope with a fresh random id. Payload must encode to a JSON object; nil is {}.
// Errors are fault Invalid or TooLarge.
func New(subject Subject, typ string, ts time.Time, payload any) (Envelope, error) {
	e := Envelope{V: Version, ID: uuid.NewString(), Topic: subject, Type: typ, TS: EpochSeconds(ts)}
	if payload == nil {
		payload = struct{}{}
	}
	raw, err := marshal(payload)
	if err != nil {
		return Envelope{}, invalidEnvelope("payload cannot be encoded").Wrap(err)
	}
	e.Payload = raw
	if _, err := e.Encode(); err != nil {
		return Envelope{}, err
	}
	return e, nil
}

// EpochSeconds returns t as the wire form of TS, to the microsecond.
func EpochSeconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// Time returns TS in UTC, to the microsecond.
func (e Envelope) Time() time.Time { return time.UnixMicro(int64(math.Round(e.TS * 1e6))).UTC() }

// Encode returns the wire form. It refuses (fault Invalid) an envelope with a bad subject, an empty type or id, a ts
// outside years 1970 to 9999 or a payload that is not an object, and (fault TooLarge) one above MaxBytes.
func (e Envelope) Encode() ([]byte, error) {
	if _, err := ParseSubject(string(e.Topic)); err != nil {
		return nil, err
	}
	switch {
	case e.V < 1:
		return nil, invalidEnvelope("v must be positive")
	case !validID(e.ID):
		return nil, invalidEnvelope("id must be 1 to %d printable ASCII characters", maxIDBytes)
	case e.Type == "" || !utf8.ValidString(e.Type):
		return nil, invalidEnvelope("type must not be empty")
	case !validTS(e.TS):
		return nil, invalidEnvelope("ts is out of range")
	case !isObject(e.Payload) || !utf8.Valid(e.Payload):
		return nil, invalidEnvelope("payload must be a JSON object in UTF-8")
	}
	data, err := marshal(e)
	if err != nil {
		return nil, invalidEnvelope("payload is not valid JSON").Wrap(err)
	}
	if len(data) > MaxBytes {
		return nil, errTooLarge
	}
	return data, nil
}

// Defaults fills what a foreign producer left out. The zero value uses the wall clock and random ids.
type Defaults struct {
	Now func() time.Time
	ID  func() string
}

// Decode reads an envelope that arrived on subject, which replaces the envelope's own topic. A missing or null v is 1,
// ts is now, id is new, type is empty and payload is {}; unknown keys are ignored, and keys are case-sensitive. A body
// that is not a JSON object, or a field of another type, is fault Invalid; one above MaxBytes is TooLarge. Bytes that
// are not UTF-8 become U+FFFD.
func Decode(subject string, data []byte, d Defaults) (Envelope, error) {
	if len(data) > MaxBytes {
		return Envelope{}, errTooLarge
	}
	if !utf8.Valid(data) {
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	}
	// A map, because struct decoding would accept "ID" for "id".
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return Envelope{}, invalidEnvelope("body must be a JSON object").Wrap(err)
	}
	if fields == nil { // the literal null
		return Envelope{}, invalidEnvelope("body must be a JSON object")
	}
	e := Envelope{Topic: Subject(subject), Payload: json.RawMessage("{}")}
	var v *int
	var ts *float64
	for key, into := range map[string]any{"v": &v, "id": &e.ID, "type": &e.Type, "ts": &ts} {
		if err := decodeField(fields[key], into); err != nil {
			return Envelope{}, invalidEnvelope("%s has the wrong type", key).Wrap(err)
		}
	}
	if raw, ok := fields["payload"]; ok && string(raw) != "null" {
		if !isObject(raw) {
			return Envelope{}, invalidEnvelope("payload must be a JSON object")
		}
		e.Payload = raw
	}
	e.V = Version
	if v != nil {
		e.V = *v
	}
	if e.ID == "" {
		e.ID = d.newID()
	}
	if ts == nil {
		e.TS = EpochSeconds(d.now())
	} else if e.TS = *ts; !validTS(e.TS) {
		return Envelope{}, invalidEnvelope("ts is out of range")
	}
	return e, nil
}

func (d Defaults) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}

func (d Defaults) newID() string {
	if d.ID == nil {
		return uuid.NewString()
	}
	return d.ID()
}

func decodeField(raw json.RawMessage, into any) error {
	if raw == nil {
		return nil
	}
	return json.Unmarshal(raw, into) // null leaves the zero value
}

// marshal is json.Marshal without HTML escaping, which would only make events larger.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

func isObject(raw json.RawMessage) bool {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	return len(raw) > 0 && raw[0] == '{'
}

// validTS is false for NaN too: no comparison with it holds.
func validTS(ts float64) bool { return ts >= 0 && ts < maxEpochSeconds }

// validID keeps ids usable as a message header.
func validID(id string) bool {
	return id != "" && len(id) <= maxIDBytes &&
		!strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

func invalidEnvelope(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "invalid_envelope", "event "+format, args...)
}
