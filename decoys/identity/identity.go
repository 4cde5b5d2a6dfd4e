// Package identity derives everything that must differ between deckies but stay the same for one of them.
//
// All values are functions of the node name and the instance id: they survive restarts and vary over the fleet. What
// must never repeat (nonces, delays) does not belong here.
package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/google/uuid"
)

// Identity is the seed of one decky. The zero value is not usable; call New.
type Identity struct {
	node string
	seed uint64
}

// New returns the identity of (node, instance). An empty node falls back to the machine's host name, then to `decky`.
func New(node, instance string) Identity {
	if node == "" {
		node, _ = os.Hostname()
	}
	if node == "" {
		node = "decky"
	}
	sum := sha256.Sum256([]byte(node + ":" + instance))
	return Identity{node: node, seed: binary.BigEndian.Uint64(sum[:8])}
}

// Seed returns the first 8 bytes, big-endian, of SHA-256(`<node>:<instance>`).
func (id Identity) Seed() uint64 { return id.seed }

// Hex returns the first n bytes, in hex, of SHA-256(`<node>:<ns>`), extended by appending SHA-256 of the running digest.
func (id Identity) Hex(n int, ns string) string {
	sum := sha256.Sum256([]byte(id.node + ":" + ns))
	out := sum[:]
	for len(out) < n {
		next := sha256.Sum256(out)
		out = append(out, next[:]...)
	}
	return hex.EncodeToString(out[:n])
}

// Bytes returns the first n bytes of the concatenation of SHA-256(`<node>:<ns>:<i>`) for i = 0, 1, ...
func (id Identity) Bytes(n int, ns string) []byte {
	var out []byte
	for i := 0; len(out) < n; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s:%s:%d", id.node, ns, i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// UUID returns the UUIDv5 of `<node>:<ns>` in the nil namespace.
func (id Identity) UUID(ns string) uuid.UUID {
	return uuid.NewSHA1(uuid.Nil, []byte(id.node+":"+ns))
}

// Rand returns a generator that yields the same sequence for the same (identity, ns) on every start. It is not safe
// for concurrent use and never a source of secrets.
func (id Identity) Rand(ns string) *rand.Rand {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s", id.seed, ns))
	return rand.New(rand.NewChaCha8(sum))
}

// Pick returns one element of choices, stable for (identity, ns). It panics when choices is empty.
func Pick[T any](id Identity, ns string, choices []T) T {
	return choices[id.Rand(ns).IntN(len(choices))]
}

// Weighted is a choice with a relative weight of at least 1.
type Weighted[T any] struct {
	Value  T
	Weight int
}

// PickWeighted returns one value, stable for (identity, ns), with probability proportional to its weight over the
// fleet. It panics when choices is empty.
func PickWeighted[T any](id Identity, ns string, choices []Weighted[T]) T {
	total := 0
	for _, c := range choices {
		total += max(c.Weight, 1)
	}
	n := id.Rand(ns).IntN(total)
	for _, c := range choices {
		if n -= max(c.Weight, 1); n < 0 {
			return c.Value
		}
	}
	return choices[len(choices)-1].Value
}

// Uptime returns how long the decky claims to have been up: an offset of 1 h to 45 d plus the time since started. It
// never decreases while the process lives.
func (id Identity) Uptime(started, now time.Time) time.Duration {
	span := int64(45*24*time.Hour - time.Hour)
	offset := time.Hour + time.Duration(id.Rand("uptime").Int64N(span)).Truncate(time.Second)
	return offset + max(now.Sub(started), 0)
}
