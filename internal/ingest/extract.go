package ingest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Extractor applies the extraction rules of bus sheet 5.6. It is immutable and safe for concurrent use.
type Extractor struct {
	trusted []netip.Prefix
}

// NewExtractor returns an extractor that takes no proxy header from the trusted networks seriously.
func NewExtractor(trusted []netip.Prefix) *Extractor {
	return &Extractor{trusted: slices.Clone(trusted)}
}

// TrustedProxies reads a comma-separated list of addresses and networks; what is neither is ignored. An address is itself
// only, whatever its version.
func TrustedProxies(list string) []netip.Prefix {
	var out []netip.Prefix
	for _, item := range strings.Split(list, ",") {
		item = strings.TrimSpace(item)
		if p, err := netip.ParsePrefix(item); err == nil {
			out = append(out, p.Masked())
		} else if a := parseAddr(item); a.IsValid() {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

// NewEvent returns the event of a record, which it keeps; the gate and the sessions need no more.
func NewEvent(src Source, r *Record) Event {
	e := Event{Record: r, Source: src, Service: serviceOf(src, r), Class: Classify(r.Type)}
	if sid := r.Fields.Get("sid"); sessionPattern.MatchString(sid) {
		e.Session = sid
	}
	e.Key = eventKey(src, r)
	return e
}

var (
	sessionPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	servicePattern = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)
)

// serviceOf prefers what the control plane knows. Else the helpers of a service, which log under names of their own, say
// which it is.
func serviceOf(src Source, r *Record) string {
	if src.Service != "" {
		return src.Service
	}
	if s := r.Fields.Get("service"); (r.App == "sessrec" || r.App == "auth-helper") && servicePattern.MatchString(s) {
		return s
	}
	return r.App
}

// eventKey includes the line's text, because a decoy that restarts within a boot numbers its lines anew. Imported lines are
// known by their text alone: files are concatenated and rotated before they are imported.
func eventKey(src Source, r *Record) Hash {
	if src.Imported() {
		return keyOf(src.DeckyKey, r.Raw)
	}
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], r.Line)
	return keyOf(src.DeckyKey, src.Service, r.Boot, string(n[:]), r.Raw)
}

// keyOf hashes texts so that no two lists are the same bytes.
func keyOf(parts ...string) Hash {
	size := 0
	for _, p := range parts {
		size += len(p) + 8
	}
	b := make([]byte, 0, size)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	return sha256.Sum256(b)
}

// Extract returns what a record yields. A record of nobody yields its event only: a bounty must belong to an attacker.
// Prober records belong to their target.
func (x *Extractor) Extract(src Source, r *Record) Extraction {
	out := Extraction{Event: NewEvent(src, r)}
	if !r.Attacker.IsValid() || r.App == appMutator {
		return out
	}
	e := extraction{Extraction: &out, fields: r.Fields}
	e.credential()
	e.command()
	e.headers(x.trusted)
	e.fingerprints()
	e.artifact()
	e.probe()
	return out
}

// extraction is an Extraction being filled.
type extraction struct {
	*Extraction
	fields Fields
}

func (e *extraction) problem(part, reason string) {
	e.Problems = append(e.Problems, Problem{Part: part, Reason: reason})
}

// payload is the payload of a bounty; encoding/json sorts its keys.
type payload map[string]any

// circumstances are the keys of a payload that say when a fact was seen, not what it is.
var circumstances = []string{"method", "path", "remote_port"}

// bounty adds a bounty whose key leaves circumstances out, or every request would be a bounty of its own.
func (e *extraction) bounty(t BountyType, kind string, p payload) {
	raw := encode(p)
	identity := raw
	for _, k := range circumstances {
		if _, ok := p[k]; ok {
			p = maps.Clone(p)
			maps.DeleteFunc(p, func(k string, _ any) bool { return slices.Contains(circumstances, k) })
			identity = encode(p)
			break
		}
	}
	e.Bounties = append(e.Bounties, Bounty{
		Type: t, Attacker: e.Event.Attacker, Kind: kind, Payload: raw, Key: keyOf(string(t), e.Event.AttackerText(), string(identity)),
	})
}

func encode(p payload) []byte {
	raw, err := json.Marshal(p)
	if err != nil { // never, of texts, truth values, lists and maps of them
		panic(err)
	}
	return raw
}

func (e *extraction) fingerprint(kind string, p payload) {
	p["fingerprint_type"] = kind
	e.bounty(BountyFingerprint, kind, p)
}

// set copies fields under their own names; what is missing is null.
func (e *extraction) set(p payload, keys ...string) payload {
	for _, k := range keys {
		if v, ok := e.fields.Lookup(k); ok {
			p[k] = v
		} else {
			p[k] = nil
		}
	}
	return p
}

// setSome copies fields of which the empty text is null too.
func (e *extraction) setSome(p payload, keys ...string) payload {
	for _, k := range keys {
		p[k] = e.orNull(k)
	}
	return p
}

func (e *extraction) orNull(key string) any {
	if v := e.fields.Get(key); v != "" {
		return v
	}
	return nil
}

func (e *extraction) has(key string) bool { return e.fields.Get(key) != "" }
