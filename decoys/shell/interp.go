package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"

	"github.com/decnet/decnet/decoys/vfs"
)

// shell is one running shell: the login shell, or one started by su, sudo, bash or sh.
type shell struct {
	s      *Session
	user   User
	name   string // argv[0]
	depth  int
	lines  int // read so far
	pid    int
	env    *environ
	r      *interp.Runner
	b      atomic.Pointer[budget]
	out    io.Writer
	err    io.Writer
	stdinR *os.File // stands for the terminal or the channel; filled only on demand, see lazyInput
	stdinW *os.File
	bg     atomic.Int64
	funcs  sync.Map
}

func (s *Session) newShell(u User, depth int, name string) *shell {
	return s.shellOn(u, depth, name, s.o.Out, s.o.Err, nil)
}

// shellOn makes a shell with other streams. A nil in means the session's own input.
func (s *Session) shellOn(u User, depth int, name string, out, errw io.Writer, in *os.File) *shell {
	sh := &shell{s: s, user: u, name: name, depth: depth, pid: s.m.NextPID()}
	if depth == 0 {
		sh.pid = s.pid + 1
	}
	sh.out, sh.err = meter{sh, out}, meter{sh, errw}
	sh.env = s.environment(sh)
	sh.stdinR = in
	if in == nil {
		sh.stdinR, sh.stdinW, _ = os.Pipe()
	}
	dir := u.Home
	if i, err := s.fs.Stat(u.Cred(), dir, true); err != nil || !i.IsDir() {
		dir = "/"
	}
	var stdin io.Reader
	if sh.stdinR != nil {
		stdin = sh.stdinR
	}
	r, err := interp.New(
		interp.Env(sh.env), interp.StdIO(stdin, sh.out, sh.err), setDir(dir), interp.Interactive(true),
		interp.CallHandler(sh.call), interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return sh.exec }),
		interp.OpenHandler(sh.open), interp.ReadDirHandler2(sh.readDir), interp.StatHandler(sh.stat), interp.AccessHandler(sh.access),
	)
	if err != nil {
		panic(err) // only wrong options can fail here
	}
	sh.r = r
	sh.env.noTemp = true
	r.Reset()
	sh.env.noTemp = false
	return sh
}

// setDir replaces interp.Dir, which would look at the real file system.
func setDir(dir string) interp.RunnerOption {
	return func(r *interp.Runner) error {
		r.Dir = dir
		return nil
	}
}

func (sh *shell) close() {
	if sh.stdinW != nil {
		_ = sh.stdinW.Close()
		_ = sh.stdinR.Close()
	}
}

func (sh *shell) dir() string { return sh.r.Dir }

func (sh *shell) cred() vfs.Cred { return sh.user.Cred() }

func (s *Session) environment(sh *shell) *environ {
	u := sh.user
	vars := map[string]string{
		"SHELL": u.Shell, "PWD": u.Home, "LOGNAME": u.Name, "HOME": u.Home, "USER": u.Name, "LANG": "en_US.UTF-8", "SHLVL": itoa(sh.depth + 1),
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"_":    "/usr/bin/env",
		"UID":  itoa(u.UID), "EUID": itoa(u.UID), "GID": itoa(u.GID), "HOSTNAME": s.m.Host.Hostname, "BASH_VERSION": s.m.Host.Bash,
		"BASH": u.Shell, "HISTFILE": u.Home + "/.bash_history", "HISTSIZE": "1000", "PS1": sh.firstPrompt(), "PS2": "> ", "OSTYPE": "linux-gnu",
		"MACHTYPE": "x86_64-pc-linux-gnu", "HOSTTYPE": "x86_64",
	}
	if s.m.Host.Telnet {
		vars["MAIL"] = "/var/mail/" + u.Name
	} else {
		vars["SSH_CLIENT"] = s.o.SrcIP + " " + s.o.SrcPort + " " + s.o.LocalPort
		vars["SSH_CONNECTION"] = s.o.SrcIP + " " + s.o.SrcPort + " " + s.o.LocalIP + " " + s.o.LocalPort
	}
	if s.tty != nil {
		if vars["TERM"] = s.o.Term; !s.m.Host.Telnet {
			vars["SSH_TTY"] = "/dev/" + s.ptsName
		}
		vars["COLUMNS"] = itoa(s.width())
	}
	for k, v := range s.o.Env {
		vars[k] = v
	}
	plain := map[string]bool{}
	for _, k := range strings.Fields("UID EUID GID HOSTNAME BASH_VERSION BASH HISTFILE HISTSIZE PS1 PS2 OSTYPE MACHTYPE HOSTTYPE COLUMNS") {
		plain[k] = true
	}
	hidden := map[string]string{}
	for k, v := range map[string]string{hiddenPID: itoa(sh.pid), hiddenPPID: itoa(s.pid), hiddenZero: sh.name} {
		hidden[k], hidden[printable(k)] = v, v
	}
	return &environ{vars: vars, plain: plain, hidden: hidden}
}

// runText runs a whole script and returns its exit status.
func (sh *shell) runText(ctx context.Context, text string) int {
	f, err := parse(text, &sh.funcs)
	if err != nil {
		sh.syntaxError(err, text)
		return 2
	}
	status, _ := sh.run(ctx, f)
	return status
}

// run executes parsed statements under one budget. exit tells that the shell is to end.
func (sh *shell) run(ctx context.Context, f *syntax.File) (status int, exit bool) {
	if sh.b.Load() == nil {
		b, done := newBudget(ctx)
		defer done()
		sh.b.Store(b)
		defer sh.b.Store(nil)
		ctx = b.ctx
	}
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(sh.err, "-bash: syntax error: unexpected end of file\n")
			status = 2
		}
	}()
	for _, st := range f.Stmts {
		if st.Background {
			sh.announce()
		}
		err := sh.r.Run(ctx, st)
		if es, ok := errors.AsType[interp.ExitStatus](err); ok {
			status = int(es)
		} else if err != nil {
			return sh.stopped(ctx), false
		} else {
			status = 0
		}
		if sh.r.Exited() {
			return status, true
		}
	}
	return status, false
}

// stopped tells why a line ended early.
func (sh *shell) stopped(ctx context.Context) int {
	if errors.Is(context.Cause(ctx), errBudget) {
		io.WriteString(sh.s.o.Err, "Killed\n")
		return 137
	}
	return 130
}

func (sh *shell) announce() {
	if sh.s.tty != nil && sh.depth == 0 {
		fmt.Fprintf(sh.err, "[%d] %d\n", sh.bg.Add(1), sh.s.m.NextPID())
	}
}

func (sh *shell) syntaxError(err error, text string) {
	name := sh.name
	if sh.depth > 0 || sh.s.tty == nil {
		name += ": -c"
	}
	pe, ok := errors.AsType[syntax.ParseError](err)
	if !ok {
		fmt.Fprintf(sh.err, "%s: %v\n", sh.name, err)
		return
	}
	if pe.Incomplete {
		fmt.Fprintf(sh.err, "%s: line %d: syntax error: unexpected end of file\n", name, pe.Pos.Line()+1)
		return
	}
	token := "newline"
	if o := int(pe.Pos.Offset()); o < len(text) {
		if token = strings.TrimSpace(firstToken(text[o:])); token == "" {
			token = "newline"
		}
	}
	fmt.Fprintf(sh.err, "%s: syntax error near unexpected token `%s'\n", name, token)
}

func firstToken(s string) string {
	for _, t := range []string{"&&", "||", ";;", "|", "&", ";", "(", ")", "{", "}", "<", ">"} {
		if strings.HasPrefix(s, t) {
			return t
		}
	}
	if i := strings.IndexAny(s, " \t\n;|&()<>"); i > 0 {
		return s[:i]
	}
	return s[:min(len(s), 20)]
}

// checkVars ends the line when variables have grown too large.
func (sh *shell) checkVars(env expand.Environ) error {
	total := 0
	var err error
	env.Each(func(_ string, v expand.Variable) bool {
		n := len(v.Str)
		for _, e := range v.List {
			n += len(e) + 16
		}
		for k, e := range v.Map {
			n += len(k) + len(e) + 32
		}
		total += n
		if n > maxVarBytes+maxLineBytes || total > maxAllVars {
			err = errBudget
			sh.b.Load().cancel(errBudget)
		}
		return err == nil
	})
	return err
}

// open serves redirections and $(<file).
func (sh *shell) open(ctx context.Context, path string, flag int, perm os.FileMode) (io.ReadWriteCloser, error) {
	hc := interp.HandlerCtx(ctx)
	fail := func(msg string) error {
		return &os.PathError{Op: strings.TrimSuffix(sh.prefix(), " "), Path: path, Err: errors.New(msg)}
	}
	if rest, ok := strings.CutPrefix(path, "/dev/tcp/"); ok {
		sh.download("bash", rest)
		return nil, fail("connect: Connection timed out")
	}
	if flag&os.O_APPEND != 0 {
		flag |= os.O_CREATE
	}
	h, err := sh.s.fs.Open(sh.cred(), vfs.Clean(hc.Dir, path), flag, perm)
	if err != nil {
		return nil, fail(reason(err))
	}
	if h.Info().IsDir() && flag&(os.O_WRONLY|os.O_RDWR) != 0 {
		return nil, fail("Is a directory")
	}
	if h.Device() == "tty" && sh.s.tty != nil {
		return ttyFile{sh}, nil
	}
	return &handle{File: h, sh: sh, comm: "bash"}, nil
}

// handle reports a written file when it is closed.
type handle struct {
	*vfs.File
	sh   *shell
	comm string
}

func (h *handle) Write(p []byte) (int, error) {
	if b := h.sh.b.Load(); b != nil && h.Device() == "" {
		if err := b.spend(len(p) / 4); err != nil {
			return 0, err
		}
	}
	return h.File.Write(p)
}

func (h *handle) Close() error {
	err := h.File.Close()
	if err == nil && h.Written() {
		h.sh.s.captured(h.Name(), h.Bytes(), h.comm, h.comm)
	}
	return err
}

// ttyFile is /dev/tty opened by a redirection.
type ttyFile struct{ sh *shell }

func (t ttyFile) Read([]byte) (int, error)    { return 0, io.EOF }
func (t ttyFile) Write(p []byte) (int, error) { return t.sh.out.Write(p) }
func (t ttyFile) Close() error                { return nil }

func (sh *shell) readDir(ctx context.Context, path string) ([]fs.DirEntry, error) {
	infos, err := sh.s.fs.ReadDir(sh.cred(), vfs.Clean(interp.HandlerCtx(ctx).Dir, path))
	out := make([]fs.DirEntry, 0, len(infos))
	for _, i := range infos {
		out = append(out, fs.FileInfoToDirEntry(i))
	}
	return out, err
}

func (sh *shell) stat(ctx context.Context, name string, follow bool) (fs.FileInfo, error) {
	i, err := sh.s.fs.Stat(sh.cred(), vfs.Clean(interp.HandlerCtx(ctx).Dir, name), follow)
	if err != nil {
		return nil, err
	}
	return i, nil
}

func (sh *shell) access(ctx context.Context, name string, mode interp.AccessMode) error {
	return sh.s.fs.Access(sh.cred(), vfs.Clean(interp.HandlerCtx(ctx).Dir, name), fs.FileMode(mode))
}

// isBash reports whether this shell is bash: /bin/sh is not on every distribution.
func (sh *shell) isBash() bool {
	switch h := sh.s.m.Host; strings.TrimPrefix(baseShell(sh.name), "-") {
	case "dash", "ash":
		return false
	case "sh":
		return h.PackageTool != "apt" && h.PackageTool != "apk"
	default:
		return h.PackageTool != "apk"
	}
}

// dash reports whether this shell is Debian's /bin/sh.
func (sh *shell) dash() bool { return sh.s.m.Host.PackageTool == "apt" && !sh.isBash() }

// firstPrompt is PS1 of a new shell: that of the distribution, unless the shell reads no start-up file.
func (sh *shell) firstPrompt() string {
	name := strings.TrimPrefix(baseShell(sh.name), "-")
	switch {
	case sh.dash():
		return `\$ `
	case name == "sh" && sh.isBash():
		return `\s-\v\$ `
	}
	return sh.s.m.Host.Prompt
}

// prefix starts the shell's own error messages.
func (sh *shell) prefix() string {
	if sh.dash() {
		return sh.name + ": " + itoa(max(sh.lines, 1)) + ": "
	}
	if sh.s.tty == nil && sh.depth == 0 && !strings.HasPrefix(sh.name, "-") {
		return sh.name + ": line 1: "
	}
	return sh.name + ": "
}

// reason returns the text a C library has for err.
func reason(err error) string {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		msg := e.Error()
		return strings.ToUpper(msg[:1]) + msg[1:]
	}
	return "Input/output error"
}

func (sh *shell) download(tool, url string) {
	if sh.s.o.Hooks.Download != nil {
		sh.s.o.Hooks.Download(tool, url)
	}
}
