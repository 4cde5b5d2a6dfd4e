package shell

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

func cmdShell(c *call) int {
	args := c.args[1:]
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		switch {
		case args[0] == "--version":
			c.printf("GNU bash, version %s (x86_64-pc-linux-gnu)\nCopyright (C) 2022 Free Software Foundation, Inc.\n", c.s.m.Host.Bash)
			return 0
		case strings.Contains(args[0], "c") && !strings.HasPrefix(args[0], "--"):
			if len(args) < 2 {
				fmt.Fprintf(c.err, "%s: -c: option requires an argument\n", c.args[0])
				return 2
			}
			return c.nested(c.sh.user, args[1], args[2:])
		}
		args = args[1:]
	}
	if len(args) > 0 && args[0] != "-" {
		data, err := c.s.fs.ReadFile(c.cred(), c.abs(args[0]))
		if err != nil {
			fmt.Fprintf(c.err, "%s: %s: %s\n", c.args[0], args[0], reason(err))
			return 127
		}
		return c.script(c.abs(args[0]), data, args[1:])
	}
	return c.subshell(c.sh.user, c.args[0])
}

func (c *call) script(name string, data []byte, args []string) int {
	if strings.IndexByte(string(data[:min(len(data), 128)]), 0) >= 0 {
		fmt.Fprintf(c.err, "%s%s: cannot execute binary file\n", c.sh.prefix(), clipText(name))
		return 126
	}
	return c.nestedAs(c.sh.user, c.args[0], string(data), args)
}

func (c *call) nested(u User, text string, args []string) int {
	return c.nestedAs(u, c.args[0], text, args)
}

func (c *call) nestedAs(u User, name, text string, args []string) int {
	if c.sh.depth >= maxDepth {
		return c.fail(1, "fork: retry: Resource temporarily unavailable")
	}
	in, _ := c.hc.Stdin.(*os.File)
	own := in == c.sh.stdinR
	if own {
		in = nil
	}
	sh := c.s.shellOn(u, c.sh.depth+1, name, c.out, c.err, in)
	defer sh.close()
	sh.b.Store(c.sh.b.Load())
	sh.r.Dir = c.dir
	for _, kv := range exported(c.hc.Env) {
		if u.UID == c.sh.user.UID && sh.env.hidden[kv[0]] == "" && kv[0] != "SHLVL" {
			sh.env.vars[kv[0]] = kv[1]
		}
	}
	sh.r.Params = args
	return sh.runText(c.ctx, text)
}

func (c *call) subshell(u User, name string) int {
	if c.sh.depth >= maxDepth {
		return c.fail(1, "fork: retry: Resource temporarily unavailable")
	}
	if in, ok := c.hc.Stdin.(*os.File); !ok || in != c.sh.stdinR || c.sh.stdinW == nil {
		text, _ := io.ReadAll(io.LimitReader(c.in, maxLineBytes))
		if s := strings.TrimSpace(string(text)); s != "" {
			c.s.report(c.sh, s, true)
		}
		return c.nested(u, string(text), nil)
	}
	sh := c.s.newShell(u, c.sh.depth+1, name)
	defer sh.close()
	if u.UID == c.sh.user.UID {
		sh.r.Dir = c.dir
	}
	if c.s.tty != nil {
		b := c.sh.b.Load()
		c.s.tty.running(false, nil)
		defer c.s.tty.running(true, func() { b.cancel(ErrInterrupted) })
	}
	return sh.loop(c.ctx)
}

func quoteAll(words []string) string {
	var out []string
	for _, w := range words {
		out = append(out, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	return strings.Join(out, " ")
}

func cmdPrefix(c *call) int {
	rest := c.args[1:]
	for len(rest) > 0 && (strings.HasPrefix(rest[0], "-") || c.args[0] == "env" && strings.Contains(rest[0], "=")) {
		if rest[0] == "-n" || rest[0] == "-u" || rest[0] == "-s" || rest[0] == "-k" {
			rest = rest[min(1, len(rest)-1):]
		}
		rest = rest[1:]
	}
	if c.args[0] == "timeout" && len(rest) > 0 {
		rest = rest[1:]
	}
	if len(rest) == 0 {
		if c.args[0] == "env" {
			for _, kv := range exported(c.hc.Env) {
				c.printf("%s=%s\n", kv[0], kv[1])
			}
			return 0
		}
		return c.fail(125, "missing operand\nTry '%s --help' for more information.", c.args[0])
	}
	if c.args[0] == "nohup" && c.tty() {
		fmt.Fprintf(c.err, "nohup: ignoring input and appending output to 'nohup.out'\n")
	}
	if c.lookPath(rest[0]) == "" && !strings.Contains(rest[0], "/") {
		return c.fail(127, "failed to run command ‘%s’: No such file or directory", rest[0])
	}
	return c.nested(c.sh.user, quoteAll(rest), nil)
}

func cmdXargs(c *call) int {
	o, rest := c.flags("nIPLd")
	b, _ := io.ReadAll(io.LimitReader(c.in, maxLineBytes/2))
	words := strings.Fields(strings.ReplaceAll(string(b), "\x00", " "))
	if len(rest) == 0 {
		rest = []string{"echo"}
	}
	if i := o["I"]; i != "" {
		status := 0
		for _, w := range words[:min(len(words), 500)] {
			var line []string
			for _, r := range rest {
				line = append(line, strings.ReplaceAll(r, i, w))
			}
			status = max(status, c.nested(c.sh.user, quoteAll(line), nil))
		}
		return status
	}
	return c.nested(c.sh.user, quoteAll(append(rest, words...)), nil)
}

func cmdPython(c *call) int {
	h := c.s.m.Host
	arg := strings.Join(c.args[1:], " ")
	switch {
	case arg == "-V" || arg == "--version":
		c.printf("Python %s\n", h.Python)
	case strings.HasPrefix(arg, "-c") && strings.Contains(arg, "print"):
		if i, j := strings.IndexAny(arg, `"'`), strings.LastIndexAny(arg, `"'`); i >= 0 && j > i {
			c.printf("%s\n", arg[i+1:j])
		}
	case strings.Contains(arg, "socket") || strings.Contains(arg, "urllib") || strings.Contains(arg, "requests"):
		c.sh.download(c.args[0], clipText(arg))
		if !c.delay(arg, 6*time.Second) {
			return 130
		}
		fmt.Fprint(c.err, "Traceback (most recent call last):\n  File \"<string>\", line 1, in <module>\nOSError: [Errno 110] Connection timed out\n")
		return 1
	case arg == "":
		_, _ = io.Copy(io.Discard, c.in)
	case !strings.HasPrefix(arg, "-"):
		if _, err := c.s.fs.Stat(c.cred(), c.abs(c.args[1]), true); err != nil {
			fmt.Fprintf(c.err, "%s: can't open file '%s': [Errno 2] No such file or directory\n", c.args[0], c.abs(c.args[1]))
			return 2
		}
	}
	return 0
}
