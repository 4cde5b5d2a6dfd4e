package shell

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"
)

var past = time.Unix(1, 0)

const maxTypeAhead = 256 << 10

// ErrInterrupted is returned to a reader of the terminal when Ctrl-C was typed.
var ErrInterrupted = errors.New("interrupted")

// TTY is the pretended terminal between a channel and a shell: it echoes, edits lines and turns keys into signals. Feed
// is called by the reader of the channel, Write by whoever prints; both are safe for concurrent use.
type TTY struct {
	out io.Writer

	mu        sync.Mutex
	wake      chan struct{}
	buf       []byte
	eof       bool
	cols      int
	rows      int
	foreign   bool // a command runs: cooked mode with echo
	noEcho    bool
	interrupt context.CancelFunc
	pending   []byte // cooked line being typed while a command runs
	unechoed  int    // bytes of buf typed before the command took the terminal
}

// NewTTY returns a terminal of the given size that prints to out.
func NewTTY(out io.Writer, cols, rows int) *TTY {
	t := &TTY{out: out, wake: make(chan struct{}, 1)}
	t.Resize(cols, rows)
	return t
}

// Resize sets the window size; nonsense becomes 80x24.
func (t *TTY) Resize(cols, rows int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cols <= 0 || cols > 1000 {
		cols = 80
	}
	if rows <= 0 || rows > 1000 {
		rows = 24
	}
	t.cols, t.rows = cols, rows
}

// Size returns columns and rows.
func (t *TTY) Size() (cols, rows int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cols, t.rows
}

// Write prints with line feeds turned into CR LF.
func (t *TTY) Write(p []byte) (int, error) {
	if _, err := t.out.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Feed takes bytes that were typed.
func (t *TTY) Feed(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range p {
		if t.foreign {
			t.cooked(c)
		} else if len(t.buf) < maxTypeAhead {
			t.buf = append(t.buf, c)
		}
	}
	t.signal()
}

// Close ends the input. What was typed before is still carried out, and a command that runs goes on: a client that
// pipes its input into a terminal session has sent it all before the first command ran. The end of the session is told by its
// context.
func (t *TTY) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.eof = true
	t.signal()
}

func (t *TTY) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// cooked handles one key while a command runs.
func (t *TTY) cooked(c byte) {
	switch c {
	case 3, 28:
		t.echo("^C\n")
		t.pending, t.buf = nil, nil
		if t.interrupt != nil {
			t.interrupt()
		}
		return
	case 4:
		t.buf = append(t.buf, t.pending...)
		if len(t.pending) == 0 {
			t.buf = append(t.buf, 4)
		}
		t.pending = nil
		return
	case 127, 8:
		if len(t.pending) > 0 {
			t.pending = t.pending[:len(t.pending)-1]
			t.echo("\b \b")
		}
		return
	case '\r', '\n':
		t.echo("\n")
		t.buf = append(append(t.buf, t.pending...), '\n')
		t.pending = nil
		return
	}
	if len(t.buf)+len(t.pending) < maxTypeAhead {
		t.pending = append(t.pending, c)
		switch {
		case c == 27:
			t.echo("^[")
		case c >= 32 || c == '\t':
			t.echo(string(rune(c)))
		}
	}
}

func (t *TTY) echo(s string) {
	if !t.noEcho || s == "\n" || s == "^C\n" {
		_, _ = t.out.Write(bytes.ReplaceAll([]byte(s), []byte("\n"), []byte("\r\n")))
	}
}

// running switches between line editing and cooked mode. What was typed but not entered stays for the next prompt; a Ctrl-C that
// came right behind the line is meant for the command.
func (t *TTY) running(on bool, interrupt context.CancelFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.foreign, t.interrupt, t.noEcho, t.unechoed = on, interrupt, false, len(t.buf)
	if on && len(t.buf) > 0 && (t.buf[0] == 3 || t.buf[0] == 28) {
		t.cooked(t.buf[0])
	}
	if !on {
		t.buf = append(t.buf, t.pending...)
		t.pending = nil
	}
}

func (t *TTY) setEcho(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noEcho = !on
}

// key returns the next raw byte for the line editor.
func (t *TTY) key(ctx context.Context) (byte, error) {
	for {
		t.mu.Lock()
		if len(t.buf) > 0 {
			c := t.buf[0]
			t.buf = t.buf[1:]
			if t.unechoed > 0 && t.foreign {
				if t.unechoed--; c != 4 {
					t.echo(strings.ReplaceAll(string(rune(c)), "\r", "\n"))
				}
			}
			t.mu.Unlock()
			return c, nil
		}
		eof := t.eof
		t.mu.Unlock()
		if eof {
			return 0, io.EOF
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-t.wake:
		}
	}
}

// lazyInput is the session's standard input for commands.
type lazyInput struct {
	tty   *TTY
	mu    sync.Mutex
	rest  []byte
	flush bool // rest is complete without a line feed
	data  chan []byte
	done  chan struct{}
	once  sync.Once
}

func newLazyInput(t *TTY, in io.Reader) *lazyInput {
	l := &lazyInput{tty: t, data: make(chan []byte), done: make(chan struct{})}
	if t == nil && in != nil {
		go l.pump(in)
	}
	return l
}

// pump reads the channel one buffer ahead; it ends with the channel or the session.
func (l *lazyInput) pump(in io.Reader) {
	defer close(l.data)
	for {
		buf := make([]byte, 16<<10)
		n, err := in.Read(buf)
		if n > 0 {
			select {
			case l.data <- buf[:n]:
			case <-l.done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *lazyInput) close() { l.once.Do(func() { close(l.done) }) }

// read returns what has been entered, at most len(p) bytes, waiting for at least one.
func (l *lazyInput) read(ctx context.Context, p []byte) (int, error) {
	if l.tty != nil {
		return l.readTTY(ctx, p)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rest) == 0 {
		select {
		case b, ok := <-l.data:
			if !ok {
				return 0, io.EOF
			}
			l.rest = b
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-l.done:
			return 0, io.EOF
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// readTTY hands out whole lines, as a terminal does; Ctrl-D ends the input or what has been typed so far.
func (l *lazyInput) readTTY(ctx context.Context, p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.rest) == 0 || l.rest[len(l.rest)-1] != '\n' && !l.flush {
		c, err := l.tty.key(ctx)
		if err != nil {
			l.rest = nil
			return 0, err
		}
		if c == 4 {
			if len(l.rest) == 0 {
				return 0, io.EOF
			}
			l.flush = true
			break
		}
		if c == '\r' { // typed ahead, before the command took the terminal
			c = '\n'
		}
		l.rest = append(l.rest, c)
	}
	n := copy(p, l.rest)
	if l.rest = l.rest[n:]; len(l.rest) == 0 {
		l.rest, l.flush = nil, false
	}
	return n, nil
}

// readLine returns one line with its line feed, or what there was before the end.
func (l *lazyInput) readLine(ctx context.Context) ([]byte, error) {
	var line []byte
	var one [1]byte
	for len(line) < maxLineBytes {
		n, err := l.read(ctx, one[:])
		if n > 0 {
			if line = append(line, one[0]); one[0] == '\n' {
				return line, nil
			}
		}
		if err != nil {
			return line, err
		}
	}
	return line, nil
}

type inputReader struct {
	l   *lazyInput
	ctx context.Context
}

func (r inputReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return r.l.read(r.ctx, p)
}
