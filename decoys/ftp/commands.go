package ftp

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/tcp"
	"github.com/decnet/decnet/decoys/vfs"
)

// Limits of attacker text in events.
const (
	maxLoggedArg  = 1024
	maxLoggedUser = 255
)

type handler func(ctx context.Context, c *conn, cmd, arg string)

// handlers are the commands any of the servers knows; which of them, its product says.
var handlers map[string]handler

func init() {
	handlers = map[string]handler{
		"USER": doUser, "PASS": doPass, "QUIT": doQuit, "AUTH": doAuth, "SYST": reply("syst"), "NOOP": reply("noop"), "FEAT": reply("feat"), "HELP": doHelp, "ALLO": reply("allo"), "ABOR": doAbort,
		"ACCT": reply("acct"), "REIN": reply("acct"), "SMNT": reply("acct"), "CLNT": reply("clnt"), "OPTS": doOptions, "TYPE": doType, "MODE": doMode, "STRU": doStructure, "STAT": doStatus,
		"PWD": doPwd, "CWD": doCwd, "CDUP": doCdup, "SIZE": doSize, "MDTM": doModified, "MLST": doMlst, "REST": doRestart, "SITE": doSite,
		"MKD": doMkdir, "RMD": doRmdir, "DELE": doDelete, "RNFR": doRenameFrom, "RNTO": doRenameTo,
		"HOST": reply("rnto first"), // out of order as well, once somebody is logged in
		"PASV": doPassive, "EPSV": doExtendedPassive, "PORT": doPort, "EPRT": doPort,
		"LIST": doList, "NLST": doList, "MLSD": doList, "RETR": doRetrieve, "STOR": doStore, "APPE": doStore, "STOU": doStore,
	}
}

func reply(k key) handler {
	return func(_ context.Context, c *conn, cmd, arg string) { c.say(k, "cmd", cmd, "arg", arg) }
}

// execute reports and answers one command line.
func (c *conn) execute(ctx context.Context, line string) {
	cmd, arg := Parse(line)
	c.report(cmd, arg)
	if cmd == "" {
		c.say("empty")
		return
	}
	run, known := handlers[cmd]
	known = known && c.p.knows(cmd)
	switch {
	case c.loggedIn && cmd == "AUTH":
		c.say("auth in")
	case cmd == "AUTH":
		c.say("auth")
	case !known && !c.loggedIn:
		c.say("unknown early", "cmd", cmd)
	case !known:
		c.say("unknown", "cmd", cmd)
	case !c.loggedIn && !c.p.beforeLogin(cmd):
		c.say("login first")
	default:
		run(ctx, c, cmd, arg)
		if cmd != "RNFR" {
			c.rename = ""
		}
		if cmd != "REST" && cmd != "PASV" && cmd != "EPSV" && cmd != "TYPE" && cmd != "RETR" {
			c.offset = 0
		}
	}
}

// report writes the event of a command. Passwords have an event of their own.
func (c *conn) report(cmd, arg string) {
	text := cmd
	if cmd == "PASS" {
		arg = ""
	}
	if arg != "" {
		text += " " + arg
	}
	args := eventlog.NewItems(2 * maxLoggedArg)
	if arg != "" {
		args.Add(eventlog.Quote(arg, maxLoggedArg/8))
	}
	c.Emit("command", eventlog.F("src_port", c.Port), eventlog.F("cmd", cmd), eventlog.F("args", args.List()), eventlog.F("command", cut(text, maxLoggedArg)))
}

func cut(s string, n int) string { return s[:min(len(s), n)] }

func doUser(_ context.Context, c *conn, _, arg string) {
	user := strings.TrimSpace(arg)
	switch {
	case c.loggedIn:
		c.say("user again")
		return
	case user == "":
		c.say("user missing")
		return
	}
	c.Emit("user", eventlog.F("src_port", c.Port), eventlog.F("username", cut(user, maxLoggedUser)))
	c.user = user
	switch {
	case !c.s.anonymous || !isAnonymous(user):
		c.say("user", "arg", user)
	case c.p.anonymousAtOnce:
		c.attempt("", true)
		c.enter(true)
	default:
		c.say("user anonymous", "arg", user)
	}
}

// attempt reports a login attempt.
func (c *conn) attempt(password string, ok bool) {
	outcome := "failure"
	if ok {
		outcome = "success"
	}
	user := cut(c.user, maxLoggedUser)
	fields := append([]eventlog.Field{eventlog.F("src_port", c.Port), eventlog.F("username", user), eventlog.F("principal", user)}, tcp.Secret("plaintext", password)...)
	c.Emit("auth_attempt", append(fields, eventlog.F("outcome", outcome))...)
}

func doPass(ctx context.Context, c *conn, _, arg string) {
	switch {
	case c.loggedIn:
		c.say("pass again")
		return
	case c.user == "":
		c.say("user first")
		return
	}
	anonymous := c.s.anonymous && isAnonymous(c.user)
	ok := anonymous || c.s.accepts(c.user, arg)
	c.attempt(arg, ok)
	if ok {
		c.s.forgive(c.Src)
		c.enter(anonymous)
		return
	}
	c.user = ""
	c.tries++
	select {
	case <-time.After(c.s.o.FailDelay(c.s.failed(c.Src))):
	case <-ctx.Done():
		c.quit = true
		return
	}
	c.say("refused")
	if c.tries >= c.p.maxTries {
		c.say("too many")
		c.quit = true
	}
}

// enter opens the share.
func (c *conn) enter(anonymous bool) {
	c.loggedIn, c.anonymous, c.fs = true, anonymous, c.s.tree()
	c.cred = vfs.Cred{UID: uidOwner, GID: uidOwner}
	k := key("in")
	if anonymous {
		c.cred, k = vfs.Cred{UID: uidNobody, GID: uidNobody}, "in anonymous"
	}
	c.say(k, "user", c.user)
}

func doQuit(_ context.Context, c *conn, _, _ string) {
	c.say("quit", "up", kilo(c.up), "down", kilo(c.down))
	c.quit = true
}

func kilo(n int64) string { return strconv.FormatInt((n+1023)/1024, 10) }

func doAuth(_ context.Context, c *conn, _, _ string) { c.say("auth") }

func doHelp(_ context.Context, c *conn, _, arg string) {
	if topic := strings.ToUpper(strings.TrimSpace(arg)); topic != "" && c.p.text["help on"] != "" && c.p.knows(topic) {
		c.say("help on", "arg", topic)
		return
	}
	c.say("help", "hostname", c.s.o.Host.Hostname)
}

func doAbort(_ context.Context, c *conn, _, _ string) {
	c.closeData()
	c.say("abor")
}

func doOptions(_ context.Context, c *conn, _, arg string) {
	switch name, _, _ := strings.Cut(strings.ToUpper(arg), " "); name {
	case "UTF8", "UTF-8":
		c.say("utf8")
	case "MLST":
		c.say("opts mlst")
	default:
		c.say("opts no")
	}
}

func (c *conn) typeName() string {
	if c.ascii {
		return "ASCII"
	}
	if c.p == &pureftpd {
		return "8-bit binary"
	}
	return "BINARY"
}

func doType(_ context.Context, c *conn, _, arg string) {
	switch strings.ToUpper(strings.TrimSpace(arg)) {
	case "A", "A N":
		c.ascii = true
		c.say("type A")
	case "I", "L 8", "L8":
		c.ascii = false
		c.say("type I")
	default:
		c.say("type no", "arg", arg, "type", c.typeName())
	}
}

func doMode(_ context.Context, c *conn, _, arg string) {
	if strings.EqualFold(strings.TrimSpace(arg), "S") {
		c.say("mode")
		return
	}
	c.say("mode no", "arg", arg)
}

func doStructure(_ context.Context, c *conn, _, arg string) {
	if strings.EqualFold(strings.TrimSpace(arg), "F") {
		c.say("stru")
		return
	}
	c.say("stru no", "arg", arg)
}

func doStatus(_ context.Context, c *conn, _, arg string) {
	if strings.TrimSpace(arg) == "" {
		c.say("stat", "src", c.Src, "user", c.user, "type", c.typeName(), "n", strconv.FormatInt(c.s.active.Load(), 10), "version", versionOf(c.s.o.Host))
		return
	}
	options := ""
	if c.p == &vsftpd || c.p == &proftpd {
		options = "-a "
	}
	list, _, err := c.list(options+arg, true)
	if err != nil {
		c.say("stat no", "arg", arg)
		return
	}
	if c.p == &proftpd {
		list = " " + strings.TrimSuffix(strings.ReplaceAll(list, "\n", "\n "), " ")
	}
	c.say("stat list", "arg", arg, "list", list)
}

func doRestart(_ context.Context, c *conn, _, arg string) {
	n, err := strconv.ParseInt(strings.TrimSpace(arg), 10, 64)
	if err != nil || n < 0 {
		c.offset = 0
		c.say("rest no")
		return
	}
	c.offset = n
	c.say("rest", "n", strconv.FormatInt(n, 10))
}

func doSite(_ context.Context, c *conn, _, arg string) {
	verb, rest, _ := strings.Cut(strings.TrimSpace(arg), " ")
	switch strings.ToUpper(verb) {
	case "":
		c.say("site missing")
	case "HELP":
		c.say("site help", "hostname", c.s.o.Host.Hostname)
	case "CHMOD":
		perm, name, _ := strings.Cut(strings.TrimSpace(rest), " ")
		bits, err := strconv.ParseUint(perm, 8, 12)
		if err == nil {
			err = c.fs.Chmod(c.cred, c.abs(name), fsMode(bits))
		}
		if err != nil {
			c.say("site chmod no", "arg", arg, "name", name)
			return
		}
		c.say("site chmod", "name", name)
	default:
		c.say("site", "arg", verb)
	}
}

// doPort refuses active transfers: the decoy connects to nobody. Where the client wanted to have its data is worth an event.
func doPort(_ context.Context, c *conn, cmd, arg string) {
	at, ok := ParsePort(cmd, arg)
	fields := []eventlog.Field{eventlog.F("src_port", c.Port), eventlog.F("cmd", cmd), eventlog.F("args", cut(arg, 128))}
	if !ok {
		c.Emit("port_request", fields...)
		c.say("port bad", "cmd", cmd)
		return
	}
	c.Emit("port_request", append(fields, eventlog.F("dest", at.Addr().String()), eventlog.Int("dest_port", at.Port()))...)
	c.say("port", "cmd", cmd)
}

// ParsePort reads the argument of PORT (RFC 959) or EPRT (RFC 2428).
func ParsePort(cmd, arg string) (netip.AddrPort, bool) {
	if cmd == "EPRT" {
		arg = strings.TrimSpace(arg)
		if len(arg) < 2 {
			return netip.AddrPort{}, false
		}
		f := strings.Split(arg, arg[:1])
		if len(f) != 5 || f[1] != "1" && f[1] != "2" {
			return netip.AddrPort{}, false
		}
		addr, err := netip.ParseAddr(f[2])
		port, perr := strconv.ParseUint(f[3], 10, 16)
		return netip.AddrPortFrom(addr, uint16(port)), err == nil && perr == nil && addr.Zone() == "" && addr.Is4() == (f[1] == "1")
	}
	f := strings.Split(strings.TrimSpace(arg), ",")
	if len(f) != 6 {
		return netip.AddrPort{}, false
	}
	var b [6]byte
	for i, part := range f {
		n, err := strconv.ParseUint(strings.TrimSpace(part), 10, 8)
		if err != nil {
			return netip.AddrPort{}, false
		}
		b[i] = byte(n)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), uint16(b[4])<<8|uint16(b[5])), true
}
