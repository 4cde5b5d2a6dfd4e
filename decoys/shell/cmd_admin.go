package shell

import (
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/vfs"
)

// cmdShell runs bash and sh: a command with -c, a script, standard input, or interactively.
// script runs file content as a shell script.
// nestedAs runs text in a new shell that inherits streams, directory, environment and budget.
// subshell runs a shell on standard input, with prompts when that is the terminal.
func cmdSu(c *call) int {
	o, rest := c.flags("cs")
	name := "root"
	for _, r := range rest {
		if r != "-" {
			name = r
			break
		}
	}
	u, ok := c.s.find(name)
	if !ok {
		return c.fail(1, "user %s does not exist or the user entry does not contain all the required fields", name)
	}
	if c.sh.user.UID != 0 {
		if !c.askPassword("Password: ") {
			return 130
		}
		c.wait(1500 * time.Millisecond)
		return c.fail(1, "Authentication failure")
	}
	if cmd, ok := o["c"]; ok {
		return c.nested(u, cmd, nil)
	}
	if strings.HasSuffix(u.Shell, "nologin") {
		c.printf("This account is currently not available.\n")
		return 1
	}
	return c.subshell(u, "bash")
}

// askPassword reads a line without echo and forgets it.
func (c *call) askPassword(prompt string) bool {
	fmt.Fprint(c.s.o.Err, prompt)
	if c.s.tty != nil {
		c.s.tty.setEcho(false)
		defer c.s.tty.setEcho(true)
	}
	_, err := c.s.in.readLine(c.ctx)
	if c.s.tty == nil {
		fmt.Fprintln(c.s.o.Err)
	}
	return err == nil
}

func cmdSudo(c *call) int {
	o, rest := sudoArgs(c.args)
	if len(rest) == 0 && !has(o, "l", "i", "s", "v", "k", "V") {
		fmt.Fprint(c.err, "usage: sudo -h | -K | -k | -V\nusage: sudo [-AbEHknPS] [-u user] [VAR=value] [command]\n")
		return 1
	}
	me := c.sh.user
	if me.UID != 0 && !has(o, "n") {
		names, ids := c.s.groups(me.Name)
		member := false
		for _, g := range ids {
			member = member || names[g] == "sudo" || names[g] == "wheel"
		}
		if !c.askPassword("[sudo] password for " + me.Name + ": ") {
			return 1
		}
		if !member {
			fmt.Fprintf(c.err, "%s is not in the sudoers file.\n", me.Name)
			return 1
		}
	} else if me.UID != 0 {
		return c.fail(1, "a password is required")
	}
	if has(o, "l") {
		c.printf("Matching Defaults entries for %s on %s:\n    env_reset, mail_badpass\n\nUser %s may run the following commands on %s:\n    (ALL : ALL) ALL\n", me.Name, c.s.m.Host.Hostname, me.Name, c.s.m.Host.Hostname)
		return 0
	}
	name := "root"
	if o["u"] != "" {
		name = o["u"]
	}
	u, ok := c.s.find(name)
	if !ok {
		return c.fail(1, "unknown user %s", name)
	}
	if len(rest) == 0 {
		return c.subshell(u, "bash")
	}
	return c.nested(u, quoteAll(rest), nil)
}

// sudoArgs stops at the first operand, whose own options belong to it.
func sudoArgs(args []string) (map[string]string, []string) {
	o := map[string]string{}
	for i := 1; i < len(args); i++ {
		switch a := args[i]; {
		case a == "--":
			return o, args[i+1:]
		case a == "-u" && i+1 < len(args):
			i++
			o["u"] = args[i]
		case strings.HasPrefix(a, "-"):
			for _, r := range strings.TrimLeft(a, "-") {
				o[string(r)] = ""
			}
		default:
			return o, args[i:]
		}
	}
	return o, nil
}

// quoteAll makes one command line of words.
// cmdPrefix runs the rest of the line: nohup, nice, timeout, time, env, setsid, stdbuf.
func cmdPasswd(c *call) int {
	name := c.sh.user.Name
	if len(c.args) > 1 && !strings.HasPrefix(c.args[1], "-") {
		name = c.args[1]
	}
	if _, ok := c.s.find(name); !ok {
		return c.fail(1, "user '%s' does not exist", name)
	}
	if c.sh.user.UID != 0 {
		if !c.askPassword("Current password: ") {
			return 1
		}
		c.wait(time.Second)
		fmt.Fprint(c.err, "passwd: Authentication token manipulation error\npasswd: password unchanged\n")
		return 10
	}
	if !c.askPassword("New password: ") || !c.askPassword("Retype new password: ") {
		return 1
	}
	fmt.Fprint(c.err, "passwd: password updated successfully\n")
	return 0
}

func cmdUseradd(c *call) int {
	o, rest := c.flags("dsgGpcu")
	if len(rest) == 0 {
		fmt.Fprintf(c.err, "Usage: %s [options] LOGIN\n", c.args[0])
		return 2
	}
	name := rest[len(rest)-1]
	if c.sh.user.UID != 0 {
		fmt.Fprintf(c.err, "%s: Permission denied.\n%s: cannot lock /etc/passwd; try again later.\n", c.args[0], c.args[0])
		return 1
	}
	if _, ok := c.s.find(name); ok {
		return c.fail(9, "user '%s' already exists", name)
	}
	if strings.ContainsAny(name, ":/\n ") {
		return c.fail(3, "invalid user name '%s'", clipText(name))
	}
	uid := 1000
	for _, u := range c.s.users() {
		if u.UID >= uid && u.UID < 60000 {
			uid = u.UID + 1
		}
	}
	home, sh := "/home/"+name, "/bin/sh"
	if o["d"] != "" {
		home = o["d"]
	}
	if o["s"] != "" {
		sh = o["s"]
	}
	c.appendTo("/etc/passwd", fmt.Sprintf("%s:x:%d:%d::%s:%s\n", name, uid, uid, home, sh))
	c.appendTo("/etc/group", fmt.Sprintf("%s:x:%d:\n", name, uid))
	c.appendTo("/etc/shadow", name+":!:19900:0:99999:7:::\n")
	if has(o, "m") || c.args[0] == "adduser" {
		_ = c.s.fs.Mkdir(c.cred(), home, 0o755)
		_ = c.s.fs.Chown(c.cred(), home, uid, uid)
	}
	return 0
}

func (c *call) appendTo(p, text string) {
	if h, err := c.s.fs.Open(vfs.Cred{}, p, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644); err == nil {
		_, _ = io.WriteString(h, text)
		_ = h.Close()
	}
}

func cmdCrontab(c *call) int {
	o, rest := c.flags("u")
	file := "/var/spool/cron/crontabs/" + c.sh.user.Name
	switch {
	case has(o, "l"):
		b, err := c.s.fs.ReadFile(vfs.Cred{}, file)
		if err != nil {
			fmt.Fprintf(c.err, "no crontab for %s\n", c.sh.user.Name)
			return 1
		}
		c.printf("%s", b)
	case has(o, "r"):
		if c.s.fs.Remove(vfs.Cred{}, file) != nil {
			fmt.Fprintf(c.err, "no crontab for %s\n", c.sh.user.Name)
			return 1
		}
	case has(o, "e"):
		fmt.Fprintln(c.err, "no crontab for "+c.sh.user.Name+" - using an empty one")
	default:
		var data []byte
		r := c.in
		if len(rest) > 0 && rest[0] != "-" {
			if r = c.source(rest[0]); r == nil {
				return 1
			}
		}
		data, _ = io.ReadAll(io.LimitReader(r, 1<<20))
		if h, err := c.s.fs.Open(vfs.Cred{}, file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err == nil {
			_, _ = h.Write(data)
			_ = h.Close()
			c.s.captured(path.Clean(file), data, "crontab", strings.Join(c.args, " "))
		}
	}
	return 0
}

func cmdSystemctl(c *call) int {
	_, rest := c.flags("")
	h := c.s.m.Host
	verb, unit := "list-units", ""
	if len(rest) > 0 {
		verb = rest[0]
	}
	if len(rest) > 1 {
		unit = strings.TrimSuffix(rest[1], ".service")
	}
	if c.args[0] == "service" {
		verb, unit = unit, strings.TrimSuffix(verb, ".service")
	}
	known := unit == h.SSHUnit || unit == "sshd" || unit == "cron" || unit == "rsyslog"
	switch verb {
	case "status":
		if !known {
			fmt.Fprintf(c.err, "Unit %s.service could not be found.\n", unit)
			return 4
		}
		c.printf("● %s.service - %s\n     Loaded: loaded (/lib/systemd/system/%s.service; enabled; preset: enabled)\n     Active: active (running) since %s; %s ago\n   Main PID: 640 (%s)\n", unit, map[bool]string{true: "OpenBSD Secure Shell server", false: unit}[strings.Contains(unit, "ssh")], unit, h.Started.Format("Mon 2006-01-02 15:04:05 MST"), since(h.Uptime()), unit)
	case "is-active":
		c.printf("%s\n", map[bool]string{true: "active", false: "inactive"}[known])
	case "start", "stop", "restart", "reload", "enable", "disable", "mask":
		if c.sh.user.UID != 0 {
			fmt.Fprintf(c.err, "Failed to %s %s.service: Interactive authentication required.\n", verb, unit)
			return 1
		}
		if !known {
			if _, err := c.s.fs.Stat(vfs.Cred{}, "/etc/systemd/system/"+unit+".service", true); err != nil {
				fmt.Fprintf(c.err, "Failed to %s %s.service: Unit %s.service not found.\n", verb, unit, unit)
				return 5
			}
		}
	case "daemon-reload":
	default:
		c.printf("  UNIT                 LOAD   ACTIVE SUB     DESCRIPTION\n  cron.service         loaded active running Regular background program processing daemon\n  %s.service          loaded active running OpenBSD Secure Shell server\n\n2 loaded units listed.\n", h.SSHUnit)
	}
	return 0
}

func cmdPackage(c *call) int {
	_, rest := c.flags("o")
	verb := ""
	if len(rest) > 0 {
		verb = rest[0]
	}
	if c.sh.user.UID != 0 && (verb == "install" || verb == "update" || verb == "upgrade" || verb == "add") {
		fmt.Fprintf(c.err, "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)\nE: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), are you root?\n")
		return 100
	}
	switch h := c.s.m.Host; {
	case verb == "update" && h.PackageTool == "apt":
		for _, repo := range []string{"", "-updates", "-security"} {
			if c.wait(700*time.Millisecond) != 0 {
				return 130
			}
			c.printf("Err:1 http://deb.%s.org/%s %s%s InRelease\n  Temporary failure resolving 'deb.%s.org'\n", h.Release.ID, h.Release.ID, h.Codename, repo, h.Release.ID)
		}
		c.printf("Reading package lists... Done\nW: Some index files failed to download. They have been ignored, or old ones used instead.\n")
	case h.PackageTool == "apt" && (verb == "install" || verb == "upgrade"):
		c.printf("Reading package lists... Done\nBuilding dependency tree... Done\nReading state information... Done\n")
		if verb == "install" && len(rest) > 1 {
			fmt.Fprintf(c.err, "E: Unable to locate package %s\n", rest[1])
			return 100
		}
		c.printf("0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n")
	case verb == "":
		c.printf("%s %s\n", c.args[0], "(amd64)")
	default:
		if !c.delay(c.args[0], 4*time.Second) {
			return 130
		}
		fmt.Fprintf(c.err, "Error: Failed to download metadata for repo 'baseos': Cannot prepare internal mirrorlist: Curl error (6): Couldn't resolve host name\n")
		return 1
	}
	return 0
}

func cmdTar(c *call) int {
	args := strings.Join(c.args[1:], " ")
	if strings.Contains(args, "x") || strings.Contains(args, "t") {
		for _, a := range c.args[1:] {
			if _, err := c.s.fs.Stat(c.cred(), c.abs(a), true); err == nil {
				fmt.Fprintf(c.err, "gzip: stdin: unexpected end of file\ntar: Child returned status 1\ntar: Error is not recoverable: exiting now\n")
				return 2
			}
		}
		f := c.args[len(c.args)-1]
		fmt.Fprintf(c.err, "tar (child): %s: Cannot open: No such file or directory\ntar (child): Error is not recoverable: exiting now\ntar: Child returned status 2\ntar: Error is not recoverable: exiting now\n", f)
		return 2
	}
	if len(c.args) < 3 {
		fmt.Fprint(c.err, "tar: You must specify one of the '-Acdtrux', '--delete' or '--test-label' options\nTry 'tar --help' or 'tar --usage' for more information.\n")
		return 2
	}
	if err := c.save(c.args[2], c.s.m.Host.ID.Bytes(10240, "tar"), 0); err != nil {
		return c.fail(2, "%s: Cannot open: %s", c.args[2], reason(err))
	}
	return 0
}
