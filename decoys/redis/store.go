package redis

import (
	"hash/fnv"
	"maps"
	"math/bits"
	"slices"
	"sort"
	"time"
)

// Bounds of the data. Beyond them commands that write answer like a server at its memory limit.
const (
	databases     = 16
	maxKeys       = 20_000
	maxBytes      = 8 << 20
	maxValue      = 1 << 20
	entryOverhead = 64
)

// kind is the type of a value.
type kind string

const (
	kindString kind = "string"
	kindList   kind = "list"
	kindSet    kind = "set"
	kindHash   kind = "hash"
	kindZSet   kind = "zset"
)

// value is one key's content; only the part its kind names is used.
type value struct {
	kind    kind
	text    string
	list    []string
	fields  map[string]string // hash: field to value; set: member to nothing
	scores  map[string]float64
	expires time.Time
	size    int
}

// store is all databases. It is not safe for concurrent use.
type store struct {
	dbs  [databases]map[string]*value
	keys int
	size int
	now  func() time.Time
}

func newStore(now func() time.Time) *store {
	s := &store{now: now}
	for i := range s.dbs {
		s.dbs[i] = map[string]*value{}
	}
	return s
}

func (s *store) full() bool { return s.keys >= maxKeys || s.size >= maxBytes }

// get returns a live value, or nil.
func (s *store) get(db int, key string) *value {
	v := s.dbs[db][key]
	if v != nil && !v.expires.IsZero() && !s.now().Before(v.expires) {
		s.remove(db, key)
		return nil
	}
	return v
}

func (s *store) remove(db int, key string) bool {
	v, ok := s.dbs[db][key]
	if ok {
		delete(s.dbs[db], key)
		s.keys--
		s.size -= v.size
	}
	return ok
}

// put stores v and accounts for it.
func (s *store) put(db int, key string, v *value) {
	s.remove(db, key)
	v.size = v.measure() + len(key) + entryOverhead
	s.dbs[db][key] = v
	s.keys++
	s.size += v.size
}

// grown accounts for a change of the value behind key; a container without content disappears.
func (s *store) grown(db int, key string, v *value, by int) {
	v.size += by
	s.size += by
	if v.kind != kindString && v.len() == 0 {
		s.remove(db, key)
	}
}

func (v *value) clone() *value {
	n := *v
	n.list, n.fields, n.scores = slices.Clone(v.list), maps.Clone(v.fields), maps.Clone(v.scores)
	return &n
}

func (v *value) len() int {
	switch v.kind {
	case kindString:
		return len(v.text)
	case kindList:
		return len(v.list)
	case kindZSet:
		return len(v.scores)
	default:
		return len(v.fields)
	}
}

func (v *value) measure() int {
	n := len(v.text)
	for _, e := range v.list {
		n += len(e) + entryOverhead
	}
	for k, e := range v.fields {
		n += len(k) + len(e) + entryOverhead
	}
	for k := range v.scores {
		n += len(k) + entryOverhead
	}
	return n
}

// members returns the fields of a hash or the members of a set, in order of the text.
func (v *value) members() []string {
	out := make([]string, 0, len(v.fields))
	for k := range v.fields {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// ranked returns the members of a sorted set by score, then text.
func (v *value) ranked() []string {
	out := make([]string, 0, len(v.scores))
	for k := range v.scores {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b string) int {
		switch x, y := v.scores[a], v.scores[b]; {
		case x < y || (x == y && a < b):
			return -1
		case a == b:
			return 0
		}
		return 1
	})
	return out
}

// list returns the live keys of a database in the order of their hashes, which is how a hash table shows them.
func (s *store) list(db int) []string {
	keys := make([]string, 0, len(s.dbs[db]))
	for k := range s.dbs[db] {
		if s.get(db, k) != nil {
			keys = append(keys, k)
		}
	}
	mask := tableMask(len(keys))
	sort.Slice(keys, func(i, j int) bool {
		a, b := hashOf(keys[i])&mask, hashOf(keys[j])&mask
		return a < b || (a == b && keys[i] < keys[j])
	})
	return keys
}

func (s *store) flush(db int) {
	for k := range s.dbs[db] {
		s.remove(db, k)
	}
}

func hashOf(key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	x := h.Sum64()
	return x ^ x>>29
}

// tableMask is the mask of the smallest table of a power of two, at least four, that holds n entries.
func tableMask(n int) uint64 { return 1<<max(bits.Len(uint(max(n-1, 0))), 2) - 1 }

// ScanStep returns the keys of the next buckets and the cursor after them, with the reversed binary cursor of Redis. The
// cursor 0 starts and ends an iteration; any other number is valid.
func ScanStep(keys []string, cursor uint64, count int) (found []string, next uint64) {
	mask := tableMask(len(keys))
	buckets := make(map[uint64][]string, len(keys))
	for _, k := range keys {
		b := hashOf(k) & mask
		buckets[b] = append(buckets[b], k)
	}
	for visited := 0; visited < 10*count; visited++ {
		found = append(found, buckets[cursor&mask]...)
		cursor |= ^mask
		cursor = bits.Reverse64(bits.Reverse64(cursor) + 1)
		if cursor == 0 || len(found) >= count {
			break
		}
	}
	return found, cursor
}

// Match reports whether s matches a glob of Redis: * ? [set] [^set] and backslash. It takes time proportional to the product of
// the lengths at most.
func Match(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch n, ok := matchOne(pattern[p:], s[i]); {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case ok:
			p += n
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne compares one character with the first element of a pattern and returns how long that element is.
func matchOne(pattern string, c byte) (n int, ok bool) {
	if pattern == "" {
		return 0, false
	}
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		return matchSet(pattern, c)
	case '\\':
		if len(pattern) > 1 {
			return 2, pattern[1] == c
		}
	}
	return 1, pattern[0] == c
}

func matchSet(pattern string, c byte) (n int, ok bool) {
	i, not, hit := 1, false, false
	if i < len(pattern) && pattern[i] == '^' {
		not = true
		i++
	}
	for i < len(pattern) && pattern[i] != ']' {
		switch {
		case pattern[i] == '\\' && i+1 < len(pattern):
			i++
			hit = hit || pattern[i] == c
		case i+2 < len(pattern) && pattern[i+1] == '-':
			lo, hi := min(pattern[i], pattern[i+2]), max(pattern[i], pattern[i+2])
			hit = hit || (c >= lo && c <= hi)
			i += 2
		default:
			hit = hit || pattern[i] == c
		}
		i++
	}
	return min(i+1, len(pattern)), hit != not
}
