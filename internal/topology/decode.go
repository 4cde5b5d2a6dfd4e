package topology

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

// MaxPayloadBytes bounds the payload of an edit.
const MaxPayloadBytes = 256 << 10

// payloadAt is where DecodeOp finds the fields it refuses.
const payloadAt = "body.payload"

// DecodeOp reads an edit. An unknown one is an Unprocessable fault (unknown_op). A payload that is no object, names a
// field that the edit does not have, names one twice or gives it a value of another type is one as well
// (payload_invalid), which names every such field; names are compared exactly. A payload above MaxPayloadBytes is
// TooLarge (payload_too_large).
func DecodeOp(op string, payload json.RawMessage) (Op, error) {
	read, ok := readers[op]
	if !ok {
		return nil, fault.New(fault.Unprocessable, "unknown_op", "there is no such operation on a topology").
			With(fault.Field{Location: "body.op", Message: "must be one of " + strings.Join(Ops(), ", ")})
	}
	if len(payload) > MaxPayloadBytes {
		return nil, fault.New(fault.TooLarge, "payload_too_large", "the payload must be at most %d bytes", MaxPayloadBytes)
	}
	d := &decoder{}
	decoded := read(d, payload)
	if len(d.refused) > 0 {
		return nil, fault.New(fault.Unprocessable, "payload_invalid", "the payload is not one of %s: %s %s", op,
			d.refused[0].Location, d.refused[0].Message).With(d.refused...)
	}
	return decoded, nil
}

// Ops returns the names of the edits, sorted.
func Ops() []string {
	names := make([]string, 0, len(readers))
	for name := range readers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// readers fill what the types of op.go are made of.
var readers = map[string]func(*decoder, json.RawMessage) Op{
	OpAddLAN: func(d *decoder, raw json.RawMessage) Op {
		var o AddLAN
		d.object(payloadAt, raw, fields{"name": &o.Name, "subnet": &o.Subnet, "is_dmz": &o.DMZ, "x": &o.X, "y": &o.Y})
		return o
	},
	OpRemoveLAN: func(d *decoder, raw json.RawMessage) Op {
		var o RemoveLAN
		d.object(payloadAt, raw, fields{"name": &o.LAN})
		return o
	},
	OpUpdateLAN: func(d *decoder, raw json.RawMessage) Op {
		var o UpdateLAN
		d.object(payloadAt, raw, fields{"name": &o.LAN, "x": &o.X, "y": &o.Y, "patch": fields{
			"name": &o.Patch.Name, "subnet": &o.Patch.Subnet, "is_dmz": &o.Patch.DMZ,
		}})
		return o
	},
	OpAddDecky: func(d *decoder, raw json.RawMessage) Op {
		var o AddDecky
		d.object(payloadAt, raw, fields{
			"name": &o.Name, "lan": &o.LAN, "services": &o.Services, "service_config": &o.Configs,
			"archetype": &o.Archetype, "forwards_l3": &o.ForwardsL3, "ip": &o.IP, "x": &o.X, "y": &o.Y,
		})
		return o
	},
	OpAttachDecky: func(d *decoder, raw json.RawMessage) Op {
		var o AttachDecky
		d.object(payloadAt, raw, fields{"decky": &o.Decky, "lan": &o.LAN, "ip": &o.IP, "forwards_l3": &o.ForwardsL3})
		return o
	},
	OpDetachDecky: func(d *decoder, raw json.RawMessage) Op {
		var o DetachDecky
		d.object(payloadAt, raw, fields{"decky": &o.Decky, "lan": &o.LAN})
		return o
	},
	OpRemoveDecky: func(d *decoder, raw json.RawMessage) Op {
		var o RemoveDecky
		d.object(payloadAt, raw, fields{"decky": &o.Decky})
		return o
	},
	OpUpdateDecky: func(d *decoder, raw json.RawMessage) Op {
		var o UpdateDecky
		p := &o.Patch
		d.object(payloadAt, raw, fields{
			"decky": &o.Decky, "services": &o.Services, "x": &o.X, "y": &o.Y, "force": &o.Force, "patch": fields{
				"name": &p.Name, "archetype": &p.Archetype, "forwards_l3": &p.ForwardsL3, "ips_by_lan": &p.IPs, "service_config": &p.Configs,
			},
		})
		return o
	},
}

// fields are the members an object may have: a pointer to the value, or fields of its own.
type fields map[string]any

// decoder collects what it refuses.
type decoder struct{ refused []fault.Field }

func (d *decoder) refuse(at, why string) {
	d.refused = append(d.refused, fault.Field{Location: at, Message: why})
}

// object fills f from an object. Null stands for an absent member.
func (d *decoder) object(at string, raw json.RawMessage, f fields) {
	list, err := members(raw)
	if err != nil {
		d.refuse(at, err.Error())
		return
	}
	for _, m := range list {
		to, known := f[m.key]
		switch {
		case !known:
			d.refuse(at, "must not have a field"+quoted(m.key)+"; it may have "+strings.Join(f.names(), ", "))
		case string(m.value) == "null":
		default:
			d.value(at+"."+m.key, m.value, to)
		}
	}
}

func (d *decoder) value(at string, raw json.RawMessage, to any) {
	switch to := to.(type) {
	case fields:
		d.object(at, raw, to)
	case **[]Address:
		d.addresses(at, raw, to)
	case *map[string]service.Config:
		d.configs(at, raw, to)
	case **map[string]service.Config:
		*to = &map[string]service.Config{}
		d.configs(at, raw, *to)
	default:
		if err := json.Unmarshal(raw, to); err != nil {
			d.refuse(at, "has a value of another type")
		}
	}
}

// addresses reads an object of addresses by LAN; its order is that of the addresses.
func (d *decoder) addresses(at string, raw json.RawMessage, to **[]Address) {
	list, err := members(raw)
	if err != nil {
		d.refuse(at, err.Error())
		return
	}
	addresses := []Address{}
	for _, m := range list {
		a := Address{LAN: m.key}
		if err := json.Unmarshal(m.value, &a.IP); err != nil || string(m.value) == "null" {
			d.refuse(at, "must give an address as text for every LAN")
			return
		}
		addresses = append(addresses, a)
	}
	*to = &addresses
}

func (d *decoder) configs(at string, raw json.RawMessage, to *map[string]service.Config) {
	list, err := members(raw)
	if err != nil {
		d.refuse(at, err.Error())
		return
	}
	configs := make(map[string]service.Config, len(list))
	for _, m := range list {
		c := service.Config{}
		if err := json.Unmarshal(m.value, &c); err != nil {
			d.refuse(at, "must give an object for every service")
			return
		}
		configs[m.key] = c
	}
	*to = configs
}

func (f fields) names() []string {
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_]{1,32}$`)

// quoted returns the name of a refused field where it is harmless to repeat, "" otherwise.
func quoted(key string) string {
	if !plainKey.MatchString(key) {
		return ""
	}
	return " " + key
}

type member struct {
	key   string
	value json.RawMessage
}

var (
	errNoObject = errors.New("must be an object")
	errTwice    = errors.New("must not name a field twice")
)

// members returns what an object consists of, in its order.
func members(raw json.RawMessage) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errNoObject
	}
	var list []member
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return nil, errNoObject
		}
		if seen[key] {
			return nil, errTwice
		}
		seen[key] = true
		m := member{key: key}
		if err := dec.Decode(&m.value); err != nil {
			return nil, errNoObject
		}
		list = append(list, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, errNoObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errNoObject
	}
	return list, nil
}
