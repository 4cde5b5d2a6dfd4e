package redis

import (
	"math"
	"strconv"
	"strings"
	"time"
)

func (c *client) store(key, text string, expires time.Time) {
	c.s.db.put(c.db, key, &value{kind: kindString, text: text[:min(len(text), maxValue)], expires: expires})
	c.s.dirty++
}

func get(c *client, args []string) {
	v, ok := c.typed(args[1], kindString)
	if !ok {
		return
	}
	c.text(v)
}

func (c *client) text(v *value) {
	if v == nil {
		c.null()
		return
	}
	c.bulk(v.text)
}

// setOptions are the options of SET.
type setOptions struct {
	nx, xx, get, keep bool
	expires           time.Time
}

func set(c *client, args []string) {
	var o setOptions
	if why := o.parse(c, args[3:]); why != "" {
		c.fail(why)
		return
	}
	old := c.s.db.get(c.db, args[1])
	if o.get && old != nil && old.kind != kindString {
		c.fail(errWrongType)
		return
	}
	refused := (o.nx && old != nil) || (o.xx && old == nil)
	if !refused {
		if o.keep && old != nil {
			o.expires = old.expires
		}
		c.store(args[1], args[2], o.expires)
	}
	switch {
	case o.get:
		c.text(old)
	case refused:
		c.null()
	default:
		c.ok()
	}
}

func (o *setOptions) parse(c *client, args []string) string {
	for i := 0; i < len(args); i++ {
		switch opt := strings.ToLower(args[i]); {
		case opt == "nx":
			o.nx = true
		case opt == "xx":
			o.xx = true
		case opt == "get" && c.s.v.atLeast(6, 2):
			o.get = true
		case opt == "keepttl" && c.s.v.atLeast(6, 0):
			o.keep = true
		case (opt == "ex" || opt == "px" || opt == "exat" || opt == "pxat") && i+1 < len(args):
			i++
			if why := o.expiry(c, opt, args[i]); why != "" {
				return why
			}
		default:
			return errSyntax
		}
	}
	if o.nx && o.xx {
		return errSyntax
	}
	return ""
}

func (o *setOptions) expiry(c *client, opt, arg string) string {
	n, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		return errInteger
	}
	if n <= 0 || n > maxSeconds {
		return c.s.v.expiry("set")
	}
	unit, from := time.Second, c.s.host.Now()
	if opt[0] == 'p' {
		unit = time.Millisecond
	}
	if strings.HasSuffix(opt, "at") {
		from = time.Unix(0, 0)
	}
	o.expires = from.Add(time.Duration(n) * unit)
	return ""
}

func setnx(c *client, args []string) {
	free := c.s.db.get(c.db, args[1]) == nil
	if free {
		c.store(args[1], args[2], time.Time{})
	}
	c.boolean(free)
}

func setex(c *client, args []string) {
	n, ok := c.integerArg(args[2], "")
	if !ok {
		return
	}
	name := strings.ToLower(args[0])
	if n <= 0 || n > maxSeconds {
		c.fail(c.s.v.expiry(name))
		return
	}
	unit := time.Second
	if name == "psetex" {
		unit = time.Millisecond
	}
	c.store(args[1], args[3], c.s.host.Now().Add(time.Duration(n)*unit))
	c.ok()
}

func getset(c *client, args []string) {
	v, ok := c.typed(args[1], kindString)
	if !ok {
		return
	}
	c.text(v)
	c.store(args[1], args[2], time.Time{})
}

func getdel(c *client, args []string) {
	v, ok := c.typed(args[1], kindString)
	if !ok {
		return
	}
	c.text(v)
	c.s.db.remove(c.db, args[1])
}

func mget(c *client, args []string) {
	c.array(len(args) - 1)
	for _, k := range args[1:] {
		v := c.s.db.get(c.db, k)
		if v != nil && v.kind != kindString {
			v = nil
		}
		c.text(v)
	}
}

func mset(c *client, args []string) {
	if len(args)%2 == 0 {
		c.fail("ERR wrong number of arguments for 'mset' command")
		return
	}
	for i := 1; i < len(args) && !c.s.db.full(); i += 2 {
		c.store(args[i], args[i+1], time.Time{})
	}
	c.ok()
}

func appendTo(c *client, args []string) {
	v, ok := c.typed(args[1], kindString)
	if !ok {
		return
	}
	var old string
	var expires time.Time
	if v != nil {
		old, expires = v.text, v.expires
	}
	if len(old)+len(args[2]) > maxValue {
		c.fail("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
		return
	}
	c.store(args[1], old+args[2], expires)
	c.integer(int64(len(old) + len(args[2])))
}

func strlen(c *client, args []string) {
	v, ok := c.typed(args[1], kindString)
	switch {
	case !ok:
	case v == nil:
		c.integer(0)
	default:
		c.integer(int64(len(v.text)))
	}
}

// incr answers INCR, DECR, INCRBY and DECRBY.
func incr(c *client, args []string) {
	by := int64(1)
	if len(args) == 3 {
		n, ok := c.integerArg(args[2], "")
		if !ok {
			return
		}
		by = n
	}
	if strings.HasPrefix(strings.ToLower(args[0]), "decr") {
		by = -by
	}
	v, ok := c.typed(args[1], kindString)
	if !ok {
		return
	}
	now, expires := int64(0), time.Time{}
	if v != nil {
		expires = v.expires
		if now, ok = c.integerArg(v.text, ""); !ok {
			return
		}
	}
	if (by > 0 && now > math.MaxInt64-by) || (by < 0 && now < math.MinInt64-by) {
		c.fail("ERR increment or decrement would overflow")
		return
	}
	c.store(args[1], strconv.FormatInt(now+by, 10), expires)
	c.integer(now + by)
}

// window turns a pair of possibly negative indices into a slice of a sequence of n; it is empty when from > to.
func window(from, to int64, n int) (int, int) {
	size := int64(n)
	if from < 0 {
		from = max(size+max(from, -size), 0)
	}
	if to < 0 {
		to = size + max(to, -size-1)
	}
	to = min(to, size-1)
	if from > to || from >= size {
		return 0, 0
	}
	return int(from), int(to) + 1
}

func getrange(c *client, args []string) {
	from, ok := c.integerArg(args[2], "")
	if !ok {
		return
	}
	to, ok := c.integerArg(args[3], "")
	if !ok {
		return
	}
	v, ok := c.typed(args[1], kindString)
	switch {
	case !ok:
	case v == nil:
		c.bulk("")
	default:
		a, b := window(from, to, len(v.text))
		c.bulk(v.text[a:b])
	}
}

func setrange(c *client, args []string) {
	at, ok := c.integerArg(args[2], "")
	if !ok {
		return
	}
	v, ok := c.typed(args[1], kindString)
	switch {
	case !ok:
		return
	case at < 0:
		c.fail("ERR offset is out of range")
		return
	case at+int64(len(args[3])) > maxValue:
		c.fail("ERR string exceeds maximum allowed size (512MB)")
		return
	}
	var b []byte
	var expires time.Time
	if v != nil {
		b, expires = []byte(v.text), v.expires
	}
	if need := int(at) + len(args[3]); need > len(b) {
		b = append(b, make([]byte, need-len(b))...)
	}
	copy(b[at:], args[3])
	c.store(args[1], string(b), expires)
	c.integer(int64(len(b)))
}
