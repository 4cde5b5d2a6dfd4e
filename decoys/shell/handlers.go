package shell

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/interp"

	"github.com/decnet/decnet/decoys/vfs"
)

// own is the prefix that routes a builtin of the interpreter to our implementation instead.
const own = "\x00"

// replaced are builtins whose answers of the interpreter would give it away or touch the real process.
var replaced = map[string]bool{
	"kill": true, "jobs": true, "fg": true, "bg": true, "history": true, "help": true, "type": true, "ulimit": true, "umask": true,
	"hash": true, "times": true, "fc": true, "suspend": true, "enable": true, "newgrp": true, "logout": true, "bind": true, "compgen": true,
	"complete": true, "compopt": true, "caller": true, "disown": true,
}

// call runs before every simple command, builtins and functions included.
func (sh *shell) call(ctx context.Context, args []string) ([]string, error) {
	hc := interp.HandlerCtx(ctx)
	b := sh.b.Load()
	if b == nil {
		return args, nil
	}
	if err := b.step(ctx); err != nil {
		return nil, err
	}
	for len(args) > 1 && (args[0] == "command" || args[0] == "builtin") && (!strings.HasPrefix(args[1], "-") || args[1] == "-p") {
		if args = args[1:]; args[0] == "-p" && len(args) > 1 {
			args = args[1:]
		}
	}
	if b.steps.Load()%16 == 0 || args[0] == tickName || args[0] == printable(tickName) {
		if err := sh.checkVars(hc.Env); err != nil {
			return nil, err
		}
	}
	total := 0
	for _, a := range args {
		total += len(a)
	}
	if total > maxArgBytes {
		return sh.say(126, "%s%s: Argument list too long", sh.prefix(), clipText(args[0])), nil
	}
	return sh.intercept(hc, b, args)
}

// say returns a call that prints a message to standard error and fails with the given status.
func (sh *shell) say(status int, format string, a ...any) []string {
	return []string{own + "say", itoa(status), fmt.Sprintf(format, a...)}
}

func (sh *shell) intercept(hc interp.HandlerContext, b *budget, args []string) ([]string, error) {
	name := args[0]
	switch {
	case replaced[name]:
		return append([]string{own + name}, args[1:]...), nil
	case name == "command" && len(args) > 1:
		return append([]string{own + "command"}, args[1:]...), nil
	case name == "echo": // the interpreter's knows no options in one word
		return append([]string{own + name}, args[1:]...), nil
	case name == "printf":
		return sh.checkPrint(b, args)
	case name == "pwd":
		return []string{"pwd"}, nil
	case name == "cd":
		return sh.checkCd(hc, args), nil
	case name == "exit" && len(args) > 1:
		return sh.checkExit(args), nil
	case name == "eval" && len(args) > 1:
		return sh.checkEval(b, args)
	case name == "trap" && len(args) > 2:
		text, err := reprint(args[1], &sh.funcs)
		if err != nil {
			text = ":"
		}
		return append([]string{"trap", text}, args[2:]...), nil
	case (name == "source" || name == ".") && len(args) > 1:
		return sh.checkSource(hc, b, args)
	case name == "alias":
		for i, a := range args {
			args[i] = strings.NewReplacer("<(", "", ">(", "", "$$", "1").Replace(a)
		}
	case name == "read" && hc.Stdin == sh.stdinR && sh.stdinW != nil:
		sh.feedRead(hc)
	case name == "exec" && len(args) > 1 && strings.HasPrefix(args[1], "-"):
		return append([]string{"exec"}, args[2:]...), nil
	case name == "set":
		return withoutTrace(args), nil
	}
	if _, ok := sh.funcs.Load(name); ok && !b.nest() {
		return nil, sh.crash(b)
	}
	return args, nil
}

func (sh *shell) crash(b *budget) error {
	b.cancel(errBudget)
	return errBudget
}

func clipText(s string) string { return s[:min(len(s), 200)] }

// checkPrint charges output of builtins and refuses widths that only serve to exhaust memory.
func (sh *shell) checkPrint(b *budget, args []string) ([]string, error) {
	n := 0
	for _, a := range args {
		n += len(a)
	}
	if len(args) > 1 {
		digits := 0
		for _, c := range args[1] {
			if c >= '0' && c <= '9' {
				digits++
			} else {
				digits = 0
			}
			if digits > 4 || c == '*' {
				return sh.say(1, "%sprintf: %s: Result too large", sh.prefix(), clipText(args[1])), nil
			}
		}
	}
	return args, b.spend(n)
}

func (sh *shell) checkCd(hc interp.HandlerContext, args []string) []string {
	for len(args) > 1 && (args[1] == "-L" || args[1] == "-P" || args[1] == "--") {
		args = append(args[:1:1], args[2:]...)
	}
	if len(args) > 2 {
		return sh.say(1, "%scd: too many arguments", sh.prefix())
	}
	dir := hc.Env.Get("HOME").String()
	if len(args) == 2 {
		dir = args[1]
	}
	if dir == "-" {
		if dir = hc.Env.Get("OLDPWD").String(); dir == "" {
			return sh.say(1, "%scd: OLDPWD not set", sh.prefix())
		}
	}
	if dir == "" {
		return []string{":"}
	}
	i, err := sh.s.fs.Stat(sh.cred(), vfs.Clean(hc.Dir, dir), true)
	if err == nil && !i.IsDir() {
		return sh.say(1, "%scd: %s: Not a directory", sh.prefix(), clipText(dir))
	}
	if err == nil {
		err = sh.s.fs.Access(sh.cred(), vfs.Clean(hc.Dir, dir), 1)
	}
	if err != nil {
		return sh.say(1, "%scd: %s: %s", sh.prefix(), clipText(dir), reason(err))
	}
	return args
}

func (sh *shell) checkExit(args []string) []string {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		fmt.Fprintf(sh.err, "%sexit: %s: numeric argument required\n", sh.prefix(), clipText(args[1]))
		n = 2
	}
	return []string{"exit", itoa(n & 255)}
}

func (sh *shell) checkEval(b *budget, args []string) ([]string, error) {
	if !b.nest() {
		return nil, sh.crash(b)
	}
	text, err := reprint(strings.Join(args[1:], " "), &sh.funcs)
	if err != nil {
		return sh.say(2, "%seval: syntax error: unexpected end of file", sh.prefix()), nil
	}
	return []string{"eval", text}, nil
}

// checkSource turns sourcing into eval, so that the text passes through reprint.
func (sh *shell) checkSource(hc interp.HandlerContext, b *budget, args []string) ([]string, error) {
	if !b.nest() {
		return nil, sh.crash(b)
	}
	text, err := sh.s.fs.ReadFile(sh.cred(), vfs.Clean(hc.Dir, args[1]))
	if err != nil {
		return sh.say(1, "%s%s: %s", sh.prefix(), clipText(args[1]), reason(err)), nil
	}
	code, err := reprint(string(text), &sh.funcs)
	if err != nil {
		return sh.say(2, "%s%s: cannot execute binary file", sh.prefix(), clipText(args[1])), nil
	}
	return []string{"eval", code}, nil
}

// feedRead moves one line of real input into the pipe that the interpreter's read builtin reads from.
func (sh *shell) feedRead(hc interp.HandlerContext) {
	b := sh.b.Load()
	line, err := sh.s.in.readLine(b.ctx)
	if err != nil && len(line) == 0 {
		line = []byte("\n")
	}
	if len(line) > 0 && line[len(line)-1] != '\n' {
		line = append(line, '\n')
	}
	_, _ = sh.stdinW.Write(line[:min(len(line), 4096)])
}

// call is what a command gets.
type call struct {
	ctx  context.Context
	sh   *shell
	s    *Session
	args []string // args[0] is the command's name
	in   io.Reader
	out  *sink
	err  *sink
	dir  string
	hc   interp.HandlerContext
}

// sink remembers that its reader is gone, which ends a command like SIGPIPE would.
type sink struct {
	ctx  context.Context
	sh   *shell
	w    io.Writer
	dead bool
}

func (k *sink) Write(p []byte) (int, error) {
	if k.dead {
		return 0, io.ErrClosedPipe
	}
	if err := k.ctx.Err(); err != nil {
		k.dead = true
		return 0, err
	}
	if _, metered := k.w.(meter); !metered {
		if err := k.sh.b.Load().spend(len(p)); err != nil {
			k.dead = true
			return 0, err
		}
	}
	n, err := k.w.Write(p)
	if err != nil {
		k.dead = true
	}
	return n, err
}

type command func(*call) int

// exec runs every command that is neither a function nor a builtin of the interpreter.
func (sh *shell) exec(ctx context.Context, args []string) (err error) {
	hc := interp.HandlerCtx(ctx)
	defer func() {
		if recover() != nil {
			err = interp.ExitStatus(139)
		}
	}()
	if sh.b.Load() == nil {
		return interp.ExitStatus(1)
	}
	c := &call{ctx: ctx, sh: sh, s: sh.s, args: args, dir: hc.Dir, hc: hc}
	c.out, c.err = &sink{ctx: ctx, sh: sh, w: hc.Stdout}, &sink{ctx: ctx, sh: sh, w: hc.Stderr}
	c.in = sh.input(ctx, hc)
	if n := c.run(); n != 0 {
		return interp.ExitStatus(uint8(n))
	}
	return ctx.Err()
}

// input returns the command's standard input. The session's own is read lazily, so that a command that does not read
// leaves what was typed ahead for the next prompt.
func (sh *shell) input(ctx context.Context, hc interp.HandlerContext) io.Reader {
	f, ok := hc.Stdin.(*os.File)
	switch {
	case !ok || f == nil:
		return strings.NewReader("")
	case f == sh.stdinR && sh.stdinW != nil:
		return inputReader{sh.s.in, ctx}
	}
	return fileReader{f, ctx}
}

// fileReader reads a pipe until the line is interrupted.
type fileReader struct {
	f   *os.File
	ctx context.Context
}

func (r fileReader) Read(p []byte) (int, error) {
	stop := context.AfterFunc(r.ctx, func() { _ = r.f.SetReadDeadline(past) })
	defer stop()
	return r.f.Read(p)
}

func (c *call) run() int {
	name := c.args[0]
	switch name {
	case tickName, printable(tickName):
		return c.hc.LastExitStatus
	case own + "say":
		n, _ := strconv.Atoi(c.args[1])
		fmt.Fprintln(c.err, c.args[2])
		return n
	}
	if strings.HasSuffix(name, "_x") && strings.HasPrefix(name, "__") {
		name = own + strings.TrimSuffix(name[2:], "_x")
	}
	if f, ok := internals[name]; ok {
		c.args[0] = strings.TrimPrefix(name, own)
		return f(c)
	}
	return c.program(name)
}

// program finds a command by name or path and runs it.
func (c *call) program(name string) int {
	p := name
	if !strings.Contains(name, "/") {
		if p = c.lookPath(name); p == "" {
			return c.notFound(name)
		}
	}
	abs := vfs.Clean(c.dir, p)
	i, err := c.s.fs.Stat(c.sh.cred(), abs, true)
	switch {
	case err != nil:
		fmt.Fprintf(c.err, "%s%s: %s\n", c.sh.prefix(), clipText(name), reason(err))
		return 127
	case i.IsDir():
		fmt.Fprintf(c.err, "%s%s: Is a directory\n", c.sh.prefix(), clipText(name))
		return 126
	case c.s.fs.Access(c.sh.cred(), abs, 1) != nil:
		fmt.Fprintf(c.err, "%s%s: Permission denied\n", c.sh.prefix(), clipText(name))
		return 126
	}
	return c.execute(abs)
}

func (c *call) execute(abs string) int {
	real, err := c.s.fs.Real(c.sh.cred(), abs)
	if err != nil {
		real = abs
	}
	data, _ := c.s.fs.ReadFile(vfs.Cred{}, real)
	base := abs[strings.LastIndexByte(abs, '/')+1:]
	if tag, ok := strings.CutPrefix(string(data[min(len(data), stubTagAt):min(len(data), stubTagAt+40)]), stubTag); ok {
		tag, _, _ = strings.Cut(tag, "\x00")
		if tag == "busybox" && base != "busybox" {
			tag = base
		}
		if f, ok := programs[tag]; ok {
			return f(c)
		}
		return 0
	}
	return c.foreign(abs, data)
}

// foreign runs what an intruder brought along: scripts are interpreted, programs fail.
func (c *call) foreign(abs string, data []byte) int {
	if len(data) > 4 && string(data[:4]) == "\x7fELF" {
		fmt.Fprintf(c.err, "%s%s: cannot execute binary file: Exec format error\n", c.sh.prefix(), clipText(c.args[0]))
		return 126
	}
	line, _, _ := strings.Cut(string(data[:min(len(data), 200)]), "\n")
	if strings.HasPrefix(line, "#!") && !strings.Contains(line, "sh") {
		f := strings.Fields(line[2:])
		if len(f) == 0 || programs[baseShell(f[len(f)-1])] == nil {
			fmt.Fprintf(c.err, "%s%s: cannot execute: required file not found\n", c.sh.prefix(), clipText(c.args[0]))
			return 127
		}
		c.args = append([]string{baseShell(f[len(f)-1]), abs}, c.args[1:]...)
		return programs[c.args[0]](c)
	}
	return c.script(abs, data, c.args[1:])
}

func (c *call) notFound(name string) int {
	switch {
	case c.sh.s.m.Host.PackageTool == "apk":
		fmt.Fprintf(c.err, "-ash: %s: not found\n", clipText(name))
	case c.sh.dash():
		fmt.Fprintf(c.err, "%s%s: not found\n", c.sh.prefix(), clipText(name))
	default:
		fmt.Fprintf(c.err, "%s%s: command not found\n", c.sh.prefix(), clipText(name))
	}
	return 127
}

// lookPath searches PATH for an executable.
func (c *call) lookPath(name string) string {
	for _, d := range strings.Split(c.hc.Env.Get("PATH").String(), ":") {
		p := vfs.Clean(c.dir, d) + "/" + name
		if i, err := c.s.fs.Stat(c.sh.cred(), p, true); err == nil && !i.IsDir() && i.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// withoutTrace removes the tracing option, which would print rewritten code.
func withoutTrace(args []string) []string {
	out := []string{"set"}
	for i, a := range args[1:] {
		if len(a) > 1 && (a[0] == '-' || a[0] == '+') && a != "--" && (i == 0 || args[i] != "-o") {
			if a = strings.NewReplacer("x", "", "v", "").Replace(a); len(a) < 2 {
				continue
			}
		}
		if a == "xtrace" || a == "verbose" {
			a = "pipefail"
		}
		out = append(out, a)
	}
	return out
}
