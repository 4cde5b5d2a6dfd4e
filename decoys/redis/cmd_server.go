package redis

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/tcp"
)

// auth answers AUTH, which is reported whatever comes of it.
func auth(c *client, args []string) {
	if len(args) > 3 || (len(args) == 3 && !c.s.v.atLeast(6, 0)) {
		c.fail(errSyntax)
		return
	}
	user, secret := "", args[len(args)-1]
	if len(args) == 3 {
		user = args[1]
	}
	why := c.login(len(args) == 3, user, secret)
	if why == "" {
		c.ok()
		return
	}
	c.fail(why)
}

// login decides and reports; an empty text is success.
func (c *client) login(named bool, user, secret string) string {
	want, why := c.s.settings["requirepass"], ""
	switch {
	case want == "" && named && user == "default":
	case want == "" && !named && c.s.v.atLeast(6, 0):
		why = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
	case want == "" && !named:
		why = "ERR Client sent AUTH, but no password is set"
	case secret == want && (!named || user == "default"):
	case c.s.v.atLeast(6, 2):
		why = "WRONGPASS invalid username-password pair or user is disabled."
	case c.s.v.atLeast(6, 0):
		why = "WRONGPASS invalid username-password pair"
	default:
		why = "ERR invalid password"
	}
	c.authed = c.authed || why == ""
	fields := []eventlog.Field{eventlog.F("src_port", c.Port)}
	if named && user != "" {
		fields = append(fields, eventlog.F("principal", cut(user, 256)))
	}
	outcome := "failure"
	if why == "" {
		outcome = "success"
	}
	c.Emit("auth", append(append(fields, tcp.Secret("plaintext", secret)...), eventlog.F("outcome", outcome))...)
	return why
}

func hello(c *client, args []string) {
	proto, rest := c.proto, args[1:]
	if len(rest) > 0 {
		n, err := strconv.Atoi(rest[0])
		if err != nil && c.s.v.atLeast(6, 2) {
			c.fail("ERR Protocol version is not an integer or out of range")
			return
		}
		if n != 2 && n != 3 {
			c.fail("NOPROTO unsupported protocol version")
			return
		}
		proto, rest = n, rest[1:]
	}
	for len(rest) > 0 {
		switch opt := strings.ToLower(rest[0]); {
		case opt == "auth" && len(rest) >= 3:
			if why := c.login(true, rest[1], rest[2]); why != "" {
				c.fail(why)
				return
			}
			rest = rest[3:]
		case opt == "setname" && len(rest) >= 2:
			c.name, rest = cut(rest[1], 256), rest[2:]
		default:
			c.fail("ERR Syntax error in HELLO option '" + cut(rest[0], 128) + "'")
			return
		}
	}
	if !c.authed {
		c.fail("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	c.proto = proto
	c.greet()
}

func (c *client) greet() {
	c.pairs(7)
	for _, p := range [][2]string{{"server", "redis"}, {"version", c.s.v.text}} {
		c.bulk(p[0])
		c.bulk(p[1])
	}
	c.bulk("proto")
	c.integer(int64(c.proto))
	c.bulk("id")
	c.integer(c.id)
	c.bulk("mode")
	c.bulk("standalone")
	c.bulk("role")
	c.bulk(c.s.roleName())
	c.bulk("modules")
	c.array(0)
}

func (s *Server) roleName() string {
	if s.master == "" {
		return "master"
	}
	return "slave"
}

func timeCommand(c *client, _ []string) {
	now := c.s.host.Now()
	c.bulks([]string{strconv.FormatInt(now.Unix(), 10), strconv.Itoa(now.Nanosecond() / 1000)})
}

func save(c *client, _ []string) {
	c.s.lastSave, c.s.dirty = c.s.host.Now(), 0
	c.ok()
}

func bgsave(c *client, _ []string) {
	c.s.lastSave, c.s.dirty = c.s.host.Now(), 0
	c.simple("Background saving started")
}

func lastsave(c *client, _ []string) { c.integer(c.s.lastSave.Unix()) }

func rewriteAOF(c *client, _ []string) { c.simple("Background append only file rewriting started") }

// replicaOf remembers a master and never connects to it: the link stays down.
func replicaOf(c *client, args []string) {
	if strings.EqualFold(args[1], "no") && strings.EqualFold(args[2], "one") {
		c.s.master = ""
		c.ok()
		return
	}
	port, err := strconv.ParseInt(args[2], 10, 32)
	switch {
	case err != nil || (c.s.v.atLeast(7, 0) && (port < 0 || port > 65535)):
		if c.s.v.atLeast(7, 0) {
			c.fail("ERR Invalid master port")
			return
		}
		c.fail(errInteger)
	case c.s.master == net.JoinHostPort(cut(args[1], 255), args[2]):
		c.simple("OK Already connected to specified master")
	default:
		c.s.master = net.JoinHostPort(cut(args[1], 255), strconv.FormatInt(port, 10))
		c.ok()
	}
}

func role(c *client, _ []string) {
	if c.s.master == "" {
		c.array(3)
		c.bulk("master")
		c.integer(0)
		c.array(0)
		return
	}
	host, port, _ := net.SplitHostPort(c.s.master)
	n, _ := strconv.ParseInt(port, 10, 64)
	c.array(5)
	c.bulk("slave")
	c.bulk(host)
	c.integer(n)
	c.bulk("connect")
	c.integer(-1)
}

func module(c *client, args []string) {
	switch sub := strings.ToLower(args[1]); {
	case sub == "list":
		c.array(0)
	case c.s.v.atLeast(7, 0):
		c.fail(notAllowed("module"))
	case sub == "load" && len(args) >= 3:
		c.fail("ERR Error loading the extension. Please check the server logs.")
	case sub == "unload" && len(args) == 3:
		c.fail("ERR Error unloading module: no such module with that name")
	default:
		c.fail(c.s.v.subcommand("module", args[1]))
	}
}

const maxSleep = 30 * time.Second

// debug runs without the lock, because it may sleep. A real server would stop everybody meanwhile.
func debug(ctx context.Context, c *client, args []string) {
	if c.s.v.atLeast(7, 0) {
		c.fail(notAllowed("debug"))
		return
	}
	switch sub := strings.ToLower(args[1]); {
	case sub == "sleep" && len(args) == 3:
		f, _ := strconv.ParseFloat(args[2], 64)
		select {
		case <-time.After(min(time.Duration(max(f, 0)*float64(time.Second)), maxSleep)):
		case <-ctx.Done():
		}
		c.ok()
	case sub == "segfault" || sub == "panic" || sub == "restart" || sub == "crash-and-recover" || sub == "oom":
		c.quit = true
	case sub == "object" && len(args) == 3:
		c.debugObject(args[2])
	case sub == "set-active-expire" || sub == "jmap" || sub == "reload" || sub == "loadaof":
		c.ok()
	default:
		c.fail(c.s.v.subcommand("debug", args[1]))
	}
}

func (c *client) debugObject(key string) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	v := c.s.db.get(c.db, key)
	if v == nil {
		c.fail(errNoKey)
		return
	}
	c.simple(fmt.Sprintf("Value at:0x7f%010x refcount:1 encoding:%s serializedlength:%d lru:%d lru_seconds_idle:%d",
		hashOf(key)&0xffffffffff, c.encoding(v), v.len()+1, c.s.host.Now().Unix()&0xffffff, len(key)*3))
}

func monitor(c *client, _ []string) {
	c.ok()
	c.monitor()
}

func shutdown(c *client, args []string) {
	if len(args) > 2 || (len(args) == 2 && !strings.EqualFold(args[1], "save") && !strings.EqualFold(args[1], "nosave")) {
		c.fail(errSyntax)
		return
	}
	c.quit = true
}

func slowlog(c *client, args []string) {
	switch strings.ToLower(args[1]) {
	case "get":
		c.array(0)
	case "len":
		c.integer(0)
	case "reset":
		c.ok()
	default:
		c.fail(c.s.v.subcommand("slowlog", args[1]))
	}
}

func latency(c *client, args []string) {
	switch strings.ToLower(args[1]) {
	case "latest", "history":
		c.array(0)
	case "reset":
		c.integer(0)
	default:
		c.fail(c.s.v.subcommand("latency", args[1]))
	}
}

func memory(c *client, args []string) {
	switch sub := strings.ToLower(args[1]); {
	case sub == "usage" && len(args) >= 3:
		if v := c.s.db.get(c.db, args[2]); v != nil {
			c.integer(int64(v.size))
			return
		}
		c.null()
	case sub == "purge":
		c.ok()
	case sub == "doctor":
		c.bulk("Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in these conditions. Please, leave for your mission on Earth and fill it with some data. The new Sam and I will be back to our programming as soon as I finished rebooting.\n")
	default:
		c.fail(c.s.v.subcommand("memory", args[1]))
	}
}

func acl(c *client, args []string) {
	rule := "user default on nopass ~* &* +@all"
	if !c.s.v.atLeast(6, 2) {
		rule = "user default on nopass ~* +@all"
	}
	if p := c.s.settings["requirepass"]; p != "" {
		rule = strings.Replace(rule, "nopass", "#"+sha256Hex(p), 1)
	}
	switch strings.ToLower(args[1]) {
	case "whoami":
		c.bulk("default")
	case "list":
		c.bulks([]string{rule})
	case "users":
		c.bulks([]string{"default"})
	case "setuser", "deluser", "save", "load":
		c.fail("ERR This instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis configuration.")
	default:
		c.fail(c.s.v.subcommand("acl", args[1]))
	}
}

func lolwut(c *client, _ []string) { c.bulk("Redis ver. " + c.s.v.text + "\n") }
