package redis

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

func (c *client) simple(s string) { c.out.WriteString("+" + s + "\r\n") }

func (c *client) ok() { c.simple("OK") }

// fail writes an error; line ends would end the reply.
func (c *client) fail(s string) {
	c.out.WriteString("-" + strings.NewReplacer("\r", " ", "\n", " ").Replace(s) + "\r\n")
}

func (c *client) integer(n int64) { c.out.WriteString(":" + strconv.FormatInt(n, 10) + "\r\n") }

func (c *client) boolean(b bool) {
	if b {
		c.integer(1)
		return
	}
	c.integer(0)
}

// bulk writes a string. A reply that grows beyond maxReply ends the connection, as output buffer limits do.
func (c *client) bulk(s string) {
	if c.out.Len()+len(s) > maxReply {
		c.quit = true
		return
	}
	c.out.WriteString("$" + strconv.Itoa(len(s)) + "\r\n")
	c.out.WriteString(s)
	c.out.WriteString("\r\n")
}

func (c *client) null() {
	if c.proto == 3 {
		c.out.WriteString("_\r\n")
		return
	}
	c.out.WriteString("$-1\r\n")
}

func (c *client) array(n int) { c.out.WriteString("*" + strconv.Itoa(n) + "\r\n") }

// pairs starts a map of n entries, which RESP2 knows as a list of twice as many.
func (c *client) pairs(n int) {
	if c.proto == 3 {
		c.out.WriteString("%" + strconv.Itoa(n) + "\r\n")
		return
	}
	c.array(2 * n)
}

func (c *client) set(n int) {
	if c.proto == 3 {
		c.out.WriteString("~" + strconv.Itoa(n) + "\r\n")
		return
	}
	c.array(n)
}

func (c *client) bulks(list []string) {
	c.array(len(list))
	for _, s := range list {
		c.bulk(s)
	}
}

const (
	errSyntax    = "ERR syntax error"
	errInteger   = "ERR value is not an integer or out of range"
	errFloat     = "ERR value is not a valid float"
	errWrongType = "WRONGTYPE Operation against a key holding the wrong kind of value"
	errNoKey     = "ERR no such key"
)

// show passes a command to the connections that monitor, in the form of MONITOR. Slow ones miss lines.
func (s *Server) show(from *client, args []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := ""
	for _, c := range s.clients {
		if c.watch == nil || c == from {
			continue
		}
		if line == "" {
			line = monitorLine(s.host.Now(), from, args)
		}
		select {
		case c.watch <- line:
		default:
		}
	}
}

func monitorLine(at time.Time, from *client, args []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "+%d.%06d [%d %s:%s]", at.Unix(), at.Nanosecond()/1000, from.db, from.Src, from.Port)
	for _, a := range args[:min(len(args), 64)] {
		b.WriteString(" " + represent(cut(a, 1024)))
	}
	return b.String() + "\r\n"
}

// represent quotes a string as Redis logs show it.
func represent(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c >= ' ' && c < 0x7f:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// monitor starts passing lines on. The caller holds the server's lock.
func (c *client) monitor() {
	if c.watch != nil {
		return
	}
	c.watch = make(chan string, 256)
	go func(lines <-chan string) {
		for line := range lines {
			c.writing.Lock()
			_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
			_, err := c.Write([]byte(line))
			c.writing.Unlock()
			if err != nil {
				_ = c.Close()
			}
		}
	}(c.watch)
}
