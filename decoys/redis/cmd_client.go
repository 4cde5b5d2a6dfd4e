package redis

import (
	"fmt"
	"net"
	"sort"
	"strconv"
	"strings"
)

func commandCommand(c *client, args []string) {
	switch {
	case len(args) == 1:
		c.array(0)
	case strings.EqualFold(args[1], "count"):
		c.integer(map[bool]int64{true: 240, false: 224}[c.s.v.atLeast(7, 0)])
	case strings.EqualFold(args[1], "docs") && c.s.v.atLeast(7, 0):
		c.pairs(0)
	case strings.EqualFold(args[1], "info"), strings.EqualFold(args[1], "list") && c.s.v.atLeast(7, 0):
		c.array(0)
	default:
		c.fail(c.s.v.subcommand("command", args[1]))
	}
}

func clientCommand(c *client, args []string) {
	switch sub := strings.ToLower(args[1]); {
	case sub == "id":
		c.integer(c.id)
	case sub == "getname" && c.name == "":
		c.null()
	case sub == "getname":
		c.bulk(c.name)
	case sub == "setname" && len(args) == 3:
		if strings.ContainsFunc(args[2], func(r rune) bool { return r <= ' ' || r > '~' }) {
			c.fail("ERR Client names cannot contain spaces, newlines or special characters.")
			return
		}
		c.name = cut(args[2], 256)
		c.ok()
	case sub == "list":
		c.clientList()
	case sub == "info" && c.s.v.atLeast(6, 2):
		c.bulk(c.describe() + "\n")
	case sub == "setinfo" && c.s.v.atLeast(7, 2), sub == "reply", sub == "pause", sub == "unpause", sub == "no-evict", sub == "tracking", sub == "no-touch":
		c.ok()
	case sub == "kill":
		c.fail("ERR No such client")
	default:
		c.fail(c.s.v.subcommand("client", args[1]))
	}
}

func (c *client) clientList() {
	ids := make([]int64, 0, len(c.s.clients))
	for id := range c.s.clients {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(c.s.clients[id].describe() + "\n")
	}
	c.bulk(b.String())
}

// describe is a line of CLIENT LIST. The caller holds the server's lock.
func (c *client) describe() string {
	now, cmd := c.s.host.Now(), c.last
	line := fmt.Sprintf("id=%d addr=%s", c.id, net.JoinHostPort(c.Src, c.Port))
	middle, tail := " multi=-1 qbuf=26 qbuf-free=32742 obl=0 oll=0 omem=0", ""
	if c.s.v.atLeast(6, 2) {
		line += " laddr=" + c.LocalAddr().String()
		middle, tail = " multi=-1 qbuf=26 qbuf-free=40928 argv-mem=10 obl=0 oll=0 omem=0 tot-mem=61466", " user=default redir=-1"
	}
	sub := ""
	if c.s.v.atLeast(7, 0) {
		middle, tail = " multi=-1 qbuf=26 qbuf-free=20448 argv-mem=10 multi-mem=0 rbs=16384 rbp=16384 obl=0 oll=0 omem=0 tot-mem=37658", tail+" resp="+strconv.Itoa(c.proto)
		sub = " ssub=0"
		if cmd == "client" {
			cmd = "client|list"
		}
	}
	return line + fmt.Sprintf(" fd=%d name=%s age=%d idle=0 flags=N db=%d sub=%d psub=0%s", 8+c.id%40, c.name, int(now.Sub(c.opened).Seconds()), c.db, c.subs, sub) +
		middle + " events=r cmd=" + cmd + tail
}

func subscribe(c *client, args []string) {
	for _, ch := range args[1:] {
		c.subs++
		c.array(3)
		c.bulk(strings.ToLower(args[0]))
		c.bulk(ch)
		c.integer(int64(c.subs))
	}
}

func unsubscribe(c *client, args []string) {
	c.subs = max(c.subs-max(len(args)-1, 1), 0)
	c.array(3)
	c.bulk(strings.ToLower(args[0]))
	if len(args) > 1 {
		c.bulk(args[1])
	} else {
		c.null()
	}
	c.integer(int64(c.subs))
}
