package redis

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// open returns the container behind a key, making it when it is missing. Call grown after a change.
func (c *client) open(key string, k kind) (*value, bool) {
	v, ok := c.typed(key, k)
	if ok && v == nil {
		v = &value{kind: k, fields: map[string]string{}, scores: map[string]float64{}}
		c.s.db.put(c.db, key, v)
	}
	return v, ok
}

func lengthOf(k kind) func(*client, []string) {
	return func(c *client, args []string) {
		v, ok := c.typed(args[1], k)
		switch {
		case !ok:
		case v == nil:
			c.integer(0)
		default:
			c.integer(int64(v.len()))
		}
	}
}

func push(c *client, args []string) {
	v, ok := c.open(args[1], kindList)
	if !ok {
		return
	}
	by := 0
	for _, e := range args[2:] {
		by += len(e) + entryOverhead
	}
	if strings.EqualFold(args[0], "lpush") {
		head := slices.Clone(args[2:])
		slices.Reverse(head)
		v.list = append(head, v.list...)
	} else {
		v.list = append(v.list, args[2:]...)
	}
	c.s.db.grown(c.db, args[1], v, by)
	c.s.dirty++
	c.integer(int64(len(v.list)))
}

func pop(c *client, args []string) {
	v, ok := c.typed(args[1], kindList)
	switch {
	case !ok:
		return
	case v == nil:
		c.null()
		return
	}
	var e string
	if strings.EqualFold(args[0], "lpop") {
		e, v.list = v.list[0], v.list[1:]
	} else {
		e, v.list = v.list[len(v.list)-1], v.list[:len(v.list)-1]
	}
	c.s.db.grown(c.db, args[1], v, -len(e)-entryOverhead)
	c.bulk(e)
}

func lrange(c *client, args []string) {
	from, ok := c.integerArg(args[2], "")
	if !ok {
		return
	}
	to, ok := c.integerArg(args[3], "")
	if !ok {
		return
	}
	v, ok := c.typed(args[1], kindList)
	switch {
	case !ok:
	case v == nil:
		c.array(0)
	default:
		a, b := window(from, to, len(v.list))
		c.bulks(v.list[a:b])
	}
}

func lindex(c *client, args []string) {
	i, ok := c.integerArg(args[2], "")
	if !ok {
		return
	}
	v, ok := c.typed(args[1], kindList)
	if !ok {
		return
	}
	if v != nil && i < 0 {
		i += int64(len(v.list))
	}
	if v == nil || i < 0 || i >= int64(len(v.list)) {
		c.null()
		return
	}
	c.bulk(v.list[i])
}

func sadd(c *client, args []string) {
	v, ok := c.open(args[1], kindSet)
	if !ok {
		return
	}
	n, by := int64(0), 0
	for _, m := range args[2:] {
		if _, has := v.fields[m]; !has {
			v.fields[m] = ""
			n++
			by += len(m) + entryOverhead
		}
	}
	c.s.db.grown(c.db, args[1], v, by)
	c.s.dirty += n
	c.integer(n)
}

// srem answers SREM and HDEL.
func srem(c *client, args []string) {
	k := kindSet
	if strings.EqualFold(args[0], "hdel") {
		k = kindHash
	}
	v, ok := c.typed(args[1], k)
	if !ok {
		return
	}
	if v == nil {
		c.integer(0)
		return
	}
	n, by := int64(0), 0
	for _, m := range args[2:] {
		if old, has := v.fields[m]; has {
			delete(v.fields, m)
			n++
			by -= len(m) + len(old) + entryOverhead
		}
	}
	c.s.db.grown(c.db, args[1], v, by)
	c.integer(n)
}

func smembers(c *client, args []string) {
	v, ok := c.typed(args[1], kindSet)
	if !ok {
		return
	}
	if v == nil {
		c.set(0)
		return
	}
	c.set(v.len())
	for _, m := range v.members() {
		c.bulk(m)
	}
}

func sismember(c *client, args []string) {
	if v, ok := c.typed(args[1], kindSet); ok {
		c.boolean(v.holds(args[2]))
	}
}

func hexists(c *client, args []string) {
	if v, ok := c.typed(args[1], kindHash); ok {
		c.boolean(v.holds(args[2]))
	}
}

func (v *value) holds(member string) bool {
	if v == nil {
		return false
	}
	_, has := v.fields[member]
	return has
}

// hset answers HSET and HMSET.
func hset(c *client, args []string) {
	name := strings.ToLower(args[0])
	if len(args)%2 != 0 {
		c.fail("ERR wrong number of arguments for '" + name + "' command")
		return
	}
	v, ok := c.open(args[1], kindHash)
	if !ok {
		return
	}
	n, by := int64(0), 0
	for i := 2; i < len(args); i += 2 {
		old, has := v.fields[args[i]]
		by += len(args[i+1]) - len(old)
		if !has {
			n++
			by += len(args[i]) + entryOverhead
		}
		v.fields[args[i]] = args[i+1]
	}
	c.s.db.grown(c.db, args[1], v, by)
	c.s.dirty++
	if name == "hmset" {
		c.ok()
		return
	}
	c.integer(n)
}

func hget(c *client, args []string) {
	v, ok := c.typed(args[1], kindHash)
	if ok {
		c.field(v, args[2])
	}
}

func (c *client) field(v *value, name string) {
	if !v.holds(name) {
		c.null()
		return
	}
	c.bulk(v.fields[name])
}

func hmget(c *client, args []string) {
	v, ok := c.typed(args[1], kindHash)
	if !ok {
		return
	}
	c.array(len(args) - 2)
	for _, f := range args[2:] {
		c.field(v, f)
	}
}

func hgetall(c *client, args []string) {
	v, ok := c.typed(args[1], kindHash)
	if !ok {
		return
	}
	if v == nil {
		c.pairs(0)
		return
	}
	c.pairs(v.len())
	for _, f := range v.members() {
		c.bulk(f)
		c.bulk(v.fields[f])
	}
}

// hkeys answers HKEYS and HVALS.
func hkeys(c *client, args []string) {
	v, ok := c.typed(args[1], kindHash)
	if !ok {
		return
	}
	if v == nil {
		c.array(0)
		return
	}
	list := v.members()
	if strings.EqualFold(args[0], "hvals") {
		for i, f := range list {
			list[i] = v.fields[f]
		}
	}
	c.bulks(list)
}

// zadd supports plain pairs of score and member.
func zadd(c *client, args []string) {
	pairs := args[2:]
	if len(pairs)%2 != 0 {
		c.fail(errSyntax)
		return
	}
	scores := make([]float64, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		f, err := strconv.ParseFloat(pairs[i], 64)
		if err != nil || math.IsNaN(f) {
			c.fail(errFloat)
			return
		}
		scores = append(scores, f)
	}
	v, ok := c.open(args[1], kindZSet)
	if !ok {
		return
	}
	n, by := int64(0), 0
	for i, f := range scores {
		m := pairs[2*i+1]
		if _, has := v.scores[m]; !has {
			n++
			by += len(m) + entryOverhead
		}
		v.scores[m] = f
	}
	c.s.db.grown(c.db, args[1], v, by)
	c.integer(n)
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', 17, 64) }

// zrange answers ZRANGE and ZREVRANGE by index.
func zrange(c *client, args []string) {
	from, ok := c.integerArg(args[2], "")
	if !ok {
		return
	}
	to, ok := c.integerArg(args[3], "")
	if !ok {
		return
	}
	scores := len(args) == 5 && strings.EqualFold(args[4], "withscores")
	if len(args) > 4 && !scores {
		c.fail(errSyntax)
		return
	}
	v, ok := c.typed(args[1], kindZSet)
	if !ok {
		return
	}
	if v == nil {
		c.array(0)
		return
	}
	list := v.ranked()
	if strings.EqualFold(args[0], "zrevrange") {
		slices.Reverse(list)
	}
	a, b := window(from, to, len(list))
	var out []string
	for _, m := range list[a:b] {
		out = append(out, m)
		if scores {
			out = append(out, number(v.scores[m]))
		}
	}
	c.bulks(out)
}

func zscore(c *client, args []string) {
	v, ok := c.typed(args[1], kindZSet)
	if !ok {
		return
	}
	if v != nil {
		if f, has := v.scores[args[2]]; has {
			c.bulk(number(f))
			return
		}
	}
	c.null()
}

func zrem(c *client, args []string) {
	v, ok := c.typed(args[1], kindZSet)
	if !ok {
		return
	}
	if v == nil {
		c.integer(0)
		return
	}
	n, by := int64(0), 0
	for _, m := range args[2:] {
		if _, has := v.scores[m]; has {
			delete(v.scores, m)
			n++
			by -= len(m) + entryOverhead
		}
	}
	c.s.db.grown(c.db, args[1], v, by)
	c.integer(n)
}
