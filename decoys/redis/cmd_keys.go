package redis

import (
	"strconv"
	"strings"
	"time"
)

// typed returns the value of a key when it is missing or of a kind; otherwise it replies the error and reports false.
func (c *client) typed(key string, k kind) (*value, bool) {
	v := c.s.db.get(c.db, key)
	if v != nil && v.kind != k {
		c.fail(errWrongType)
		return nil, false
	}
	return v, true
}

func dbsize(c *client, _ []string) { c.integer(int64(len(c.s.db.list(c.db)))) }

func keys(c *client, args []string) {
	var found []string
	for _, k := range c.s.db.list(c.db) {
		if Match(args[1], k) {
			found = append(found, k)
		}
	}
	c.bulks(found)
}

// scanOptions reads MATCH, COUNT and TYPE.
func (c *client) scanOptions(args []string) (match string, count int, of string, ok bool) {
	match, count = "*", 10
	for i := 0; i < len(args); i += 2 {
		if i+1 >= len(args) {
			c.fail(errSyntax)
			return "", 0, "", false
		}
		switch strings.ToLower(args[i]) {
		case "match":
			match = args[i+1]
		case "type":
			of = strings.ToLower(args[i+1])
		case "count":
			n, valid := c.integerArg(args[i+1], "")
			if !valid {
				return "", 0, "", false
			}
			if count = int(min(n, maxKeys)); count < 1 {
				c.fail(errSyntax)
				return "", 0, "", false
			}
		default:
			c.fail(errSyntax)
			return "", 0, "", false
		}
	}
	return match, count, of, true
}

func scan(c *client, args []string) {
	cursor, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		c.fail("ERR invalid cursor")
		return
	}
	match, count, of, ok := c.scanOptions(args[2:])
	if !ok {
		return
	}
	page, next := ScanStep(c.s.db.list(c.db), cursor, count)
	var found []string
	for _, k := range page {
		if v := c.s.db.get(c.db, k); v != nil && Match(match, k) && (of == "" || string(v.kind) == of) {
			found = append(found, k)
		}
	}
	c.array(2)
	c.bulk(strconv.FormatUint(next, 10))
	c.bulks(found)
}

// scanMembers answers HSCAN, SSCAN and ZSCAN. Small containers come whole, as they do from the real server.
func scanMembers(c *client, args []string) {
	name := strings.ToLower(args[0])
	v, ok := c.typed(args[1], map[string]kind{"hscan": kindHash, "sscan": kindSet, "zscan": kindZSet}[name])
	if !ok {
		return
	}
	if _, err := strconv.ParseUint(args[2], 10, 64); err != nil {
		c.fail("ERR invalid cursor")
		return
	}
	match, _, _, ok := c.scanOptions(args[3:])
	if !ok {
		return
	}
	c.array(2)
	c.bulk("0")
	c.bulks(scanned(v, match))
}

func scanned(v *value, match string) []string {
	var found []string
	if v == nil {
		return nil
	}
	members := v.members()
	if v.kind == kindZSet {
		members = v.ranked()
	}
	for _, m := range members {
		if !Match(match, m) {
			continue
		}
		found = append(found, m)
		switch v.kind {
		case kindHash:
			found = append(found, v.fields[m])
		case kindZSet:
			found = append(found, number(v.scores[m]))
		default:
		}
	}
	return found
}

func randomKey(c *client, _ []string) {
	list := c.s.db.list(c.db)
	if len(list) == 0 {
		c.null()
		return
	}
	c.bulk(list[int(c.s.commands)%len(list)])
}

func typeOf(c *client, args []string) {
	if v := c.s.db.get(c.db, args[1]); v != nil {
		c.simple(string(v.kind))
		return
	}
	c.simple("none")
}

func exists(c *client, args []string) {
	n := int64(0)
	for _, k := range args[1:] {
		if c.s.db.get(c.db, k) != nil {
			n++
		}
	}
	c.integer(n)
}

func del(c *client, args []string) {
	n := int64(0)
	for _, k := range args[1:] {
		if c.s.db.get(c.db, k) != nil && c.s.db.remove(c.db, k) {
			n++
		}
	}
	c.s.dirty += n
	c.integer(n)
}

func ttl(c *client, args []string) {
	v := c.s.db.get(c.db, args[1])
	switch {
	case v == nil:
		c.integer(-2)
	case v.expires.IsZero():
		c.integer(-1)
	case strings.EqualFold(args[0], "pttl"):
		c.integer(v.expires.Sub(c.s.host.Now()).Milliseconds())
	default:
		c.integer(int64((v.expires.Sub(c.s.host.Now()) + 500*time.Millisecond) / time.Second))
	}
}

// maxSeconds keeps times representable; the real limit is not far away.
const maxSeconds = int64(1) << 33

func expire(c *client, args []string) {
	n, ok := c.integerArg(args[2], "")
	if !ok {
		return
	}
	name := strings.ToLower(args[0])
	unit, at := time.Second, c.s.host.Now()
	if strings.HasPrefix(name, "p") {
		unit = time.Millisecond
	}
	if n > maxSeconds || n < -maxSeconds {
		c.fail(c.s.v.expiry(name))
		return
	}
	if strings.HasSuffix(name, "at") {
		at = time.Unix(0, 0)
	}
	v := c.s.db.get(c.db, args[1])
	if v == nil {
		c.integer(0)
		return
	}
	c.s.dirty++
	if v.expires = at.Add(time.Duration(n) * unit); !v.expires.After(c.s.host.Now()) {
		c.s.db.remove(c.db, args[1])
	}
	c.integer(1)
}

func persist(c *client, args []string) {
	v := c.s.db.get(c.db, args[1])
	had := v != nil && !v.expires.IsZero()
	if had {
		v.expires = time.Time{}
	}
	c.boolean(had)
}

func rename(c *client, args []string) {
	v := c.s.db.get(c.db, args[1])
	if v == nil {
		c.fail(errNoKey)
		return
	}
	nx := strings.EqualFold(args[0], "renamenx")
	if nx && c.s.db.get(c.db, args[2]) != nil {
		c.integer(0)
		return
	}
	c.s.db.remove(c.db, args[1])
	c.s.db.put(c.db, args[2], v)
	c.s.dirty++
	if nx {
		c.integer(1)
		return
	}
	c.ok()
}

func move(c *client, args []string) {
	to, ok := c.integerArg(args[2], "")
	v := c.s.db.get(c.db, args[1])
	switch {
	case !ok:
	case to < 0 || to >= databases:
		c.fail("ERR DB index is out of range")
	case int(to) == c.db:
		c.fail("ERR source and destination objects are the same")
	case v == nil || c.s.db.get(int(to), args[1]) != nil:
		c.integer(0)
	default:
		c.s.db.remove(c.db, args[1])
		c.s.db.put(int(to), args[1], v)
		c.integer(1)
	}
}

func flush(c *client, args []string) {
	if len(args) > 1 && !strings.EqualFold(args[1], "async") && !strings.EqualFold(args[1], "sync") {
		c.fail(errSyntax)
		return
	}
	if strings.EqualFold(args[0], "flushdb") {
		c.s.db.flush(c.db)
	} else {
		for i := range databases {
			c.s.db.flush(i)
		}
	}
	c.s.dirty++
	c.ok()
}

// object answers what can be seen from outside.
func object(c *client, args []string) {
	sub := strings.ToLower(args[1])
	if sub == "help" || len(args) != 3 {
		c.fail(c.s.v.subcommand("object", args[1]))
		return
	}
	v := c.s.db.get(c.db, args[2])
	switch {
	case v == nil && c.s.v.atLeast(7, 0):
		c.null()
	case v == nil:
		c.fail(errNoKey)
	case sub == "encoding":
		c.bulk(c.encoding(v))
	case sub == "refcount":
		c.integer(1)
	case sub == "idletime":
		c.integer(int64(len(args[2])) * 7 % 900)
	case sub == "freq":
		c.fail("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
	default:
		c.fail(c.s.v.subcommand("object", args[1]))
	}
}

func (c *client) encoding(v *value) string {
	small := "ziplist"
	if c.s.v.atLeast(7, 0) {
		small = "listpack"
	}
	switch v.kind {
	case kindString:
		if _, err := strconv.ParseInt(v.text, 10, 64); err == nil {
			return "int"
		}
		if len(v.text) <= 44 {
			return "embstr"
		}
		return "raw"
	case kindList:
		return "quicklist"
	case kindSet:
		return "hashtable"
	default:
		if v.len() <= 128 {
			return small
		}
		return map[kind]string{kindHash: "hashtable", kindZSet: "skiplist"}[v.kind]
	}
}

func copyKey(c *client, args []string) {
	v := c.s.db.get(c.db, args[1])
	replace := len(args) == 4 && strings.EqualFold(args[3], "replace")
	switch {
	case len(args) > 3 && !replace:
		c.fail(errSyntax)
	case args[1] == args[2]:
		c.fail("ERR source and destination objects are the same")
	case v == nil || (!replace && c.s.db.get(c.db, args[2]) != nil):
		c.integer(0)
	default:
		c.s.db.put(c.db, args[2], v.clone())
		c.integer(1)
	}
}
