package redis

import (
	"context"
	"strconv"
	"strings"
)

// command is one entry of the table. arity counts the name; negative means at least. run is called with the server's lock held,
// blocking without.
type command struct {
	arity             int
	run               func(c *client, args []string)
	blocking          func(ctx context.Context, c *client, args []string)
	write             bool
	control           bool // runs inside MULTI instead of being queued
	since, sinceMinor int
}

// commands is filled in init, because EXEC refers to it.
var commands map[string]command

func init() {
	commands = map[string]command{
		"ping": {arity: -1, run: ping}, "echo": {arity: 2, run: func(c *client, a []string) { c.bulk(a[1]) }},
		"quit": {arity: -1, control: true, run: func(c *client, _ []string) { c.ok(); c.quit = true }},
		"auth": {arity: -2, run: auth}, "hello": {arity: -1, run: hello, since: 6}, "select": {arity: 2, run: selectDB},
		"reset": {arity: 1, control: true, run: reset, since: 6, sinceMinor: 2},

		"multi": {arity: 1, control: true, run: multi}, "exec": {arity: 1, control: true, run: exec}, "discard": {arity: 1, control: true, run: discard},
		"watch": {arity: -2, control: true, run: okCommand}, "unwatch": {arity: 1, run: okCommand},

		"info": {arity: -1, run: info}, "config": {arity: -2, run: configCommand}, "command": {arity: -1, run: commandCommand},
		"client": {arity: -2, run: clientCommand}, "dbsize": {arity: 1, run: dbsize}, "time": {arity: 1, run: timeCommand},
		"save": {arity: 1, run: save}, "bgsave": {arity: -1, run: bgsave}, "lastsave": {arity: 1, run: lastsave}, "bgrewriteaof": {arity: 1, run: rewriteAOF},
		"slaveof": {arity: 3, run: replicaOf}, "replicaof": {arity: 3, run: replicaOf, since: 5}, "role": {arity: 1, run: role},
		"replconf": {arity: -1, run: okCommand}, "psync": {arity: -3, run: psync}, "sync": {arity: 1, run: psync},
		"module": {arity: -2, run: module, since: 4}, "debug": {arity: -2, blocking: debug}, "monitor": {arity: 1, run: monitor},
		"shutdown": {arity: -1, run: shutdown}, "flushall": {arity: -1, write: true, run: flush}, "flushdb": {arity: -1, write: true, run: flush},
		"slowlog": {arity: -2, run: slowlog}, "latency": {arity: -2, run: latency}, "memory": {arity: -2, run: memory, since: 4},
		"cluster": {arity: -2, run: func(c *client, _ []string) { c.fail("ERR This instance has cluster support disabled") }},
		"acl":     {arity: -2, run: acl, since: 6}, "eval": {arity: -3, run: eval}, "evalsha": {arity: -3, run: evalsha}, "script": {arity: -2, run: script},
		"function": {arity: -2, run: function, since: 7}, "lolwut": {arity: -1, run: lolwut, since: 5},
		"subscribe": {arity: -2, control: true, run: subscribe}, "psubscribe": {arity: -2, control: true, run: subscribe},
		"unsubscribe": {arity: -1, control: true, run: unsubscribe}, "punsubscribe": {arity: -1, control: true, run: unsubscribe},
		"publish": {arity: 3, run: zero}, "pubsub": {arity: -2, run: emptyList}, "wait": {arity: 3, run: zero},

		"keys": {arity: 2, run: keys}, "scan": {arity: -2, run: scan}, "randomkey": {arity: 1, run: randomKey}, "type": {arity: 2, run: typeOf},
		"exists": {arity: -2, run: exists}, "del": {arity: -2, run: del}, "unlink": {arity: -2, run: del, since: 4}, "ttl": {arity: 2, run: ttl}, "pttl": {arity: 2, run: ttl},
		"expire": {arity: -3, run: expire, write: true}, "pexpire": {arity: -3, run: expire, write: true}, "expireat": {arity: -3, run: expire, write: true},
		"pexpireat": {arity: -3, run: expire, write: true}, "persist": {arity: 2, run: persist, write: true}, "rename": {arity: 3, run: rename, write: true},
		"renamenx": {arity: 3, run: rename, write: true}, "move": {arity: 3, run: move, write: true}, "object": {arity: -2, run: object},
		"dump": {arity: 2, run: dump}, "copy": {arity: -3, run: copyKey, write: true, since: 6, sinceMinor: 2}, "swapdb": {arity: 3, run: okCommand, since: 4}, "touch": {arity: -2, run: exists},

		"get": {arity: 2, run: get}, "set": {arity: -3, run: set, write: true}, "setnx": {arity: 3, run: setnx, write: true}, "setex": {arity: 4, run: setex, write: true},
		"psetex": {arity: 4, run: setex, write: true}, "getset": {arity: 3, run: getset, write: true}, "getdel": {arity: 2, run: getdel, write: true, since: 6, sinceMinor: 2},
		"mget": {arity: -2, run: mget}, "mset": {arity: -3, run: mset, write: true}, "append": {arity: 3, run: appendTo, write: true}, "strlen": {arity: 2, run: strlen},
		"incr": {arity: 2, run: incr, write: true}, "decr": {arity: 2, run: incr, write: true}, "incrby": {arity: 3, run: incr, write: true},
		"decrby": {arity: 3, run: incr, write: true}, "getrange": {arity: 4, run: getrange}, "substr": {arity: 4, run: getrange}, "setrange": {arity: 4, run: setrange, write: true},

		"lpush": {arity: -3, run: push, write: true}, "rpush": {arity: -3, run: push, write: true}, "lpop": {arity: -2, run: pop, write: true}, "rpop": {arity: -2, run: pop, write: true},
		"llen": {arity: 2, run: lengthOf(kindList)}, "lrange": {arity: 4, run: lrange}, "lindex": {arity: 3, run: lindex},
		"sadd": {arity: -3, run: sadd, write: true}, "srem": {arity: -3, run: srem, write: true}, "smembers": {arity: 2, run: smembers}, "sismember": {arity: 3, run: sismember},
		"scard": {arity: 2, run: lengthOf(kindSet)}, "hset": {arity: -4, run: hset, write: true}, "hmset": {arity: -4, run: hset, write: true},
		"hget": {arity: 3, run: hget}, "hmget": {arity: -3, run: hmget}, "hgetall": {arity: 2, run: hgetall}, "hkeys": {arity: 2, run: hkeys}, "hvals": {arity: 2, run: hkeys},
		"hlen": {arity: 2, run: lengthOf(kindHash)}, "hexists": {arity: 3, run: hexists}, "hdel": {arity: -3, run: srem, write: true},
		"hscan": {arity: -3, run: scanMembers}, "sscan": {arity: -3, run: scanMembers}, "zscan": {arity: -3, run: scanMembers},
		"zadd": {arity: -4, run: zadd, write: true}, "zrange": {arity: -4, run: zrange}, "zrevrange": {arity: -4, run: zrange}, "zscore": {arity: 3, run: zscore},
		"zcard": {arity: 2, run: lengthOf(kindZSet)}, "zrem": {arity: -3, run: zrem, write: true},
	}
}

func okCommand(c *client, _ []string) { c.ok() }
func zero(c *client, _ []string)      { c.integer(0) }
func emptyList(c *client, _ []string) { c.array(0) }

func ping(c *client, args []string) {
	switch len(args) {
	case 1:
		c.simple("PONG")
	case 2:
		c.bulk(args[1])
	default:
		c.fail("ERR wrong number of arguments for 'ping' command")
	}
}

func selectDB(c *client, args []string) {
	n, ok := c.integerArg(args[1], "invalid DB index")
	switch {
	case !ok:
	case n < 0 || n >= databases:
		c.fail("ERR DB index is out of range")
	default:
		c.db = int(n)
		c.ok()
	}
}

// integerArg parses a number; the reply to a bad one is the common text, or before 6.2 a text of its own.
func (c *client) integerArg(s, old string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		if old != "" && !c.s.v.atLeast(6, 2) {
			c.fail("ERR " + old)
		} else {
			c.fail(errInteger)
		}
	}
	return n, err == nil
}

func multi(c *client, _ []string) {
	if c.multi {
		c.fail("ERR MULTI calls can not be nested")
		return
	}
	c.multi = true
	c.ok()
}

func (c *client) endMulti() { c.multi, c.failed, c.queue, c.queued = false, false, nil, 0 }

func discard(c *client, _ []string) {
	if !c.multi {
		c.fail("ERR DISCARD without MULTI")
		return
	}
	c.endMulti()
	c.ok()
}

func exec(c *client, _ []string) {
	queue, failed := c.queue, c.failed
	switch {
	case !c.multi:
		c.fail("ERR EXEC without MULTI")
		return
	case failed:
		c.endMulti()
		c.fail("EXECABORT Transaction discarded because of previous errors.")
		return
	}
	c.endMulti()
	c.array(len(queue))
	for _, args := range queue {
		cmd := commands[strings.ToLower(args[0])]
		if cmd.run == nil {
			c.fail("ERR command is not allowed in a transaction")
			continue
		}
		cmd.run(c, args)
	}
}

func reset(c *client, _ []string) {
	c.endMulti()
	c.db, c.name, c.proto, c.authed = 0, "", 2, c.s.settings["requirepass"] == ""
	c.simple("RESET")
}
