package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/decnet/decnet/decoys/vfs"
)

// loop reads and runs command lines until the end of input or exit.
func (sh *shell) loop(ctx context.Context) int {
	status := 0
	for ctx.Err() == nil {
		text, f, err := sh.readCommand(ctx)
		if err != nil {
			if sh.s.tty != nil && errors.Is(err, io.EOF) {
				fmt.Fprint(sh.s.tty, sh.farewell())
			}
			break
		}
		if strings.TrimSpace(text) == "" {
			continue
		}
		sh.lines += strings.Count(text, "\n")
		sh.s.report(sh, strings.TrimRight(text, "\n"), false)
		sh.remember(strings.TrimRight(text, "\n"))
		if f == nil {
			status = 2
			continue
		}
		var exit bool
		if status, exit = sh.runOne(ctx, f); exit {
			if sh.s.tty != nil {
				fmt.Fprint(sh.s.tty, sh.farewell())
			}
			break
		}
	}
	sh.saveHistory()
	return status
}

func (sh *shell) farewell() string {
	if strings.HasPrefix(sh.name, "-") {
		return "logout\n"
	}
	return "exit\n"
}

// runOne runs one entry with the terminal in cooked mode and Ctrl-C connected.
func (sh *shell) runOne(ctx context.Context, f *syntax.File) (int, bool) {
	b, done := newBudget(ctx)
	defer done()
	outer := sh.b.Load()
	sh.b.Store(b)
	defer sh.b.Store(outer)
	if sh.s.tty != nil {
		sh.s.tty.running(true, func() { b.cancel(ErrInterrupted) })
		defer sh.s.tty.running(false, nil)
	}
	return sh.run(b.ctx, f)
}

// readCommand reads lines until they form a complete command. A nil file means a syntax error that was reported.
func (sh *shell) readCommand(ctx context.Context) (string, *syntax.File, error) {
	text, prompt := "", sh.prompt()
	for {
		line, err := sh.readLine(ctx, prompt)
		if errors.Is(err, ErrInterrupted) {
			text, prompt = "", sh.prompt()
			continue
		}
		if err != nil && line == "" {
			if text != "" {
				sh.syntaxError(syntax.ParseError{Incomplete: true}, text)
				return text, nil, nil
			}
			return "", nil, err
		}
		text += line + "\n"
		f, perr := parse(text, &sh.funcs)
		if perr == nil {
			return text, f, nil
		}
		if !syntax.IsIncomplete(perr) || len(text) > maxLineBytes {
			sh.syntaxError(perr, text)
			return text, nil, nil
		}
		prompt = "> "
	}
}

func (sh *shell) readLine(ctx context.Context, prompt string) (string, error) {
	if sh.s.tty == nil {
		b, err := sh.s.in.readLine(ctx)
		return strings.TrimRight(string(b), "\r\n"), err
	}
	e := &editor{sh: sh, tty: sh.s.tty, prompt: prompt, hist: len(sh.s.history)}
	return e.read(ctx)
}

// prompt renders PS1 with the escapes that prompts of servers use.
func (sh *shell) prompt() string {
	if sh.s.tty == nil {
		return ""
	}
	host := sh.s.m.Host.Hostname
	short, _, _ := strings.Cut(host, ".")
	cwd := sh.dir()
	tilde := cwd
	if cwd == sh.user.Home {
		tilde = "~"
	} else if rest, ok := strings.CutPrefix(cwd, sh.user.Home+"/"); ok && sh.user.Home != "/" {
		tilde = "~/" + rest
	}
	base := tilde[strings.LastIndexByte(tilde, '/')+1:]
	if tilde == "/" {
		base = "/"
	}
	sign := "$"
	if sh.user.UID == 0 {
		sign = "#"
	}
	now := sh.s.m.Host.Now()
	return strings.NewReplacer(`${debian_chroot:+($debian_chroot)}`, "", `\u`, sh.user.Name, `\h`, short, `\H`, host, `\w`, tilde, `\W`, base,
		`\$`, sign, `\[`, "", `\]`, "", `\t`, now.Format("15:04:05"), `\n`, "\n", `\e`, "\x1b", `\033`, "\x1b", `\a`, "\a", `\s`,
		strings.TrimPrefix(sh.name, "-"), `\v`, sh.s.m.Host.Bash[:3]).Replace(sh.ps1())
}

func (sh *shell) ps1() string {
	if v, ok := sh.r.Vars["PS1"]; ok && v.IsSet() {
		return v.String()[:min(len(v.String()), 512)]
	}
	return sh.firstPrompt()
}

func (sh *shell) remember(text string) {
	s := sh.s
	if len(text) <= maxHistoryLine && !strings.HasPrefix(text, " ") && (len(s.history) == 0 || s.history[len(s.history)-1] != text) {
		s.history = append(s.history, text)
	}
	if len(s.history) > maxHistory {
		s.history = s.history[len(s.history)-maxHistory:]
	}
}

// saveHistory writes the history file as a leaving login shell does, unless the intruder prevented that.
func (sh *shell) saveHistory() {
	v, ok := sh.r.Vars["HISTFILE"]
	if sh.s.tty == nil || !strings.HasPrefix(sh.name, "-") || ok && (!v.IsSet() || v.String() == "" || v.String() == "/dev/null") {
		return
	}
	p := sh.user.Home + "/.bash_history"
	if _, err := sh.s.fs.Stat(sh.cred(), sh.user.Home, true); err != nil {
		return
	}
	if i, err := sh.s.fs.Stat(sh.cred(), p, false); err == nil && !i.Mode().IsRegular() {
		return
	}
	if h, err := sh.s.fs.Open(sh.cred(), p, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err == nil {
		_, _ = io.WriteString(h, strings.Join(sh.s.history, "\n")+"\n")
		_ = h.Close()
	}
}

// editor reads one line from the terminal, with the keys of readline that people use without thinking.
type editor struct {
	sh     *shell
	tty    *TTY
	prompt string
	line   []rune
	pos    int
	hist   int
	saved  []rune
	tabs   int
}

func (e *editor) read(ctx context.Context) (string, error) {
	io.WriteString(e.tty, e.prompt)
	for {
		c, err := e.tty.key(ctx)
		if err != nil {
			return "", err
		}
		if c != '\t' {
			e.tabs = 0
		}
		done, err := e.handle(ctx, c)
		if err != nil || done {
			return string(e.line), err
		}
	}
}

func (e *editor) handle(ctx context.Context, c byte) (done bool, err error) {
	switch c {
	case '\r', '\n':
		e.print("\n")
		return true, nil
	case 3:
		e.print("^C\n")
		return false, ErrInterrupted
	case 4:
		if len(e.line) == 0 {
			return false, io.EOF
		}
		e.deleteAt(e.pos)
	case 127, 8:
		if e.pos > 0 {
			e.move(e.pos - 1)
			e.deleteAt(e.pos)
		}
	case 1:
		e.move(0)
	case 5:
		e.move(len(e.line))
	case 2:
		e.move(e.pos - 1)
	case 6:
		e.move(e.pos + 1)
	case 11:
		e.line = e.line[:e.pos]
		e.print("\x1b[K")
	case 21:
		e.replace(e.line[e.pos:], 0)
	case 23:
		e.killWord()
	case 12:
		e.print("\x1b[H\x1b[2J" + e.prompt + string(e.line))
		e.back(len(e.line) - e.pos)
	case 16:
		e.history(-1)
	case 14:
		e.history(1)
	case '\t':
		e.complete()
	case 27:
		return false, e.escape(ctx)
	default:
		return false, e.insertByte(ctx, c)
	}
	return false, nil
}

func (e *editor) print(s string) { io.WriteString(e.tty, s) }

func (e *editor) back(n int) { e.print(strings.Repeat("\b", max(n, 0))) }

// insertByte inserts a character; a lead byte of UTF-8 pulls in the rest.
func (e *editor) insertByte(ctx context.Context, c byte) error {
	if c < 32 {
		return nil
	}
	r := rune(c)
	if c >= 0xc0 {
		buf := []byte{c}
		for n := utf8Len(c); len(buf) < n; {
			b, err := e.tty.key(ctx)
			if err != nil {
				return err
			}
			buf = append(buf, b)
		}
		r = []rune(string(buf))[0]
	}
	if len(e.line) >= maxHistoryLine*4 {
		return nil
	}
	e.line = append(e.line[:e.pos], append([]rune{r}, e.line[e.pos:]...)...)
	e.print(string(e.line[e.pos:]))
	e.pos++
	e.back(len(e.line) - e.pos)
	return nil
}

func utf8Len(c byte) int {
	switch {
	case c >= 0xf0:
		return 4
	case c >= 0xe0:
		return 3
	}
	return 2
}

func (e *editor) move(to int) {
	to = min(max(to, 0), len(e.line))
	if to < e.pos {
		e.back(e.pos - to)
	} else {
		e.print(string(e.line[e.pos:to]))
	}
	e.pos = to
}

func (e *editor) deleteAt(i int) {
	if i < len(e.line) {
		e.line = append(e.line[:i], e.line[i+1:]...)
		e.print(string(e.line[i:]) + "\x1b[K")
		e.back(len(e.line) - i)
	}
}

// replace shows another line with the cursor at pos.
func (e *editor) replace(line []rune, pos int) {
	line = append([]rune(nil), line...)
	e.back(e.pos)
	e.print(string(line) + "\x1b[K")
	e.line = line
	e.pos = len(line)
	e.move(pos)
}

func (e *editor) killWord() {
	i := e.pos
	for i > 0 && e.line[i-1] == ' ' {
		i--
	}
	for i > 0 && e.line[i-1] != ' ' {
		i--
	}
	e.replace(append(append([]rune(nil), e.line[:i]...), e.line[e.pos:]...), i)
}

func (e *editor) history(step int) {
	h := e.sh.s.history
	to := e.hist + step
	if to < 0 || to > len(h) {
		return
	}
	if e.hist == len(h) {
		e.saved = append([]rune(nil), e.line...)
	}
	next := e.saved
	if to < len(h) {
		next = []rune(h[to])
	}
	e.hist = to
	e.replace(next, len(next))
}

// escape handles the sequences of arrow and editing keys.
func (e *editor) escape(ctx context.Context) error {
	c, err := e.tty.key(ctx)
	if err != nil || c != '[' && c != 'O' {
		return err
	}
	arg := byte(0)
	for {
		if c, err = e.tty.key(ctx); err != nil {
			return err
		}
		if c < '0' || c > '?' {
			break
		}
		if arg == 0 {
			arg = c
		}
	}
	switch {
	case c == 'A':
		e.history(-1)
	case c == 'B':
		e.history(1)
	case c == 'C':
		e.move(e.pos + 1)
	case c == 'D':
		e.move(e.pos - 1)
	case c == 'H', c == '~' && (arg == '1' || arg == '7'):
		e.move(0)
	case c == 'F', c == '~' && (arg == '4' || arg == '8'):
		e.move(len(e.line))
	case c == '~' && arg == '3':
		e.deleteAt(e.pos)
	}
	return nil
}

// complete completes the word before the cursor: commands in first position, paths elsewhere.
func (e *editor) complete() {
	head := string(e.line[:e.pos])
	start := strings.LastIndexAny(head, " \t;|&<>(") + 1
	word := head[start:]
	before := strings.TrimRight(head[:start], " ")
	first := before == "" || strings.ContainsAny(before[len(before)-1:], ";|&(")
	found := e.candidates(word, first && !strings.Contains(word, "/"))
	if len(found) == 0 {
		e.print("\a")
		return
	}
	common := found[0]
	for _, f := range found[1:] {
		for !strings.HasPrefix(f, common) {
			common = common[:len(common)-1]
		}
	}
	add := strings.TrimPrefix(common, word[strings.LastIndexByte(word, '/')+1:])
	if len(found) == 1 && !strings.HasSuffix(add, "/") && !strings.HasSuffix(common, "/") {
		add += " "
	}
	for _, r := range add {
		_ = e.insertByte(context.Background(), byte(r)) //nolint:forbidigo // completes a word; nothing to wait for
	}
	if e.tabs++; add == "" && e.tabs > 1 {
		e.print("\n" + columns(found, e.sh.s.width()) + e.prompt + string(e.line))
		e.back(len(e.line) - e.pos)
	} else if add == "" {
		e.print("\a")
	}
}

func (e *editor) candidates(word string, commands bool) []string {
	sh := e.sh
	var out []string
	if commands {
		for _, d := range []string{"/usr/bin", "/usr/sbin"} {
			infos, _ := sh.s.fs.ReadDir(sh.cred(), d)
			for _, i := range infos {
				if word != "" && strings.HasPrefix(i.Name(), word) {
					out = append(out, i.Name())
				}
			}
		}
		return out
	}
	dir, base := ".", word
	if i := strings.LastIndexByte(word, '/'); i >= 0 {
		dir, base = word[:i+1], word[i+1:]
	}
	if rest, ok := strings.CutPrefix(dir, "~"); ok {
		dir = sh.user.Home + rest
	}
	abs := vfs.Clean(sh.dir(), dir)
	infos, _ := sh.s.fs.ReadDir(sh.cred(), abs)
	for _, i := range infos {
		if !strings.HasPrefix(i.Name(), base) || strings.HasPrefix(i.Name(), ".") && base == "" || !ascii(i.Name()) {
			continue
		}
		n := i.Name()
		if t, err := sh.s.fs.Stat(sh.cred(), abs+"/"+n, true); err == nil && t.IsDir() {
			n += "/"
		}
		out = append(out, n)
	}
	return out
}

func ascii(s string) bool {
	for _, c := range []byte(s) {
		if c <= 32 || c > 126 {
			return false
		}
	}
	return true
}
