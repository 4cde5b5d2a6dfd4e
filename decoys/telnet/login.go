package telnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/session"
)

const (
	loginLimit = 60 * time.Second // LOGIN_TIMEOUT of login.defs(5)
	maxTries   = 3
	maxBlank   = 10
	maxLine    = 2048
)

var errGone = errors.New("intruder left")

// dialect is what one login program says. There are three: shadow's on Debian and Ubuntu, util-linux's, busybox's.
type dialect struct {
	again    string // after a refusal, before the next prompt
	last     string // after the last one
	timedOut string
}

var (
	shadow = dialect{
		again: "\nLogin incorrect\n", last: "\nLogin incorrect\nMaximum number of tries exceeded (3)\n", timedOut: "\n\nLogin timed out after 60 seconds.\n",
	}
	utilLinux = dialect{again: "Login incorrect\n\n", last: "\nLogin incorrect\n", timedOut: "\nLogin timed out after 60 seconds.\n"}
	busybox   = dialect{again: "Login incorrect\n", last: "Login incorrect\n", timedOut: "\nLogin timed out after 60 seconds\n"}
)

func dialectOf(h *persona.Host) dialect {
	switch h.Release.ID {
	case "debian", "ubuntu":
		return shadow
	case "alpine":
		return busybox
	}
	return utilLinux
}

// pamDelay is how long a login program takes to say no.
func pamDelay() time.Duration { return 2250*time.Millisecond + rand.N(1500*time.Millisecond) }

// issue is what telnetd prints of /etc/issue.net. It writes its own carriage returns, to which the terminal adds.
func issue(h *persona.Host) string {
	text := h.Issue
	switch {
	case h.PackageTool == "apk": // there is no such file
		return "\r\r\n"
	case text == `\S`:
		text = "Linux\nKernel " + h.Kernel.Release + " on an x86_64"
	}
	return "\r\r\n" + strings.ReplaceAll(text+"\n", "\n", "\r\n\r")
}

// login asks for a name and a password until they are right or the tries are used up.
func (c *conn) login(ctx context.Context) (user string, err error) {
	defer func() {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.print(c.dialect.timedOut)
		}
	}()
	_ = c.raw.SetReadDeadline(time.Now().Add(c.s.o.LoginLimit))
	_, _ = writer{c}.Write(greeting)
	c.write([]byte(issue(c.host)))
	for try := 1; ; try++ {
		name, err := c.name()
		if err != nil {
			return "", err
		}
		c.print("Password: ")
		password, err := c.line(false)
		if err != nil {
			return "", err
		}
		ok := c.s.o.Config.Accepts(string(name), password)
		who := session.Client{Src: c.raw.Src, Port: c.raw.Port, User: string(name)}
		session.PasswordAttempt(c.s.o.Log, who, "password", password, ok)
		if ok {
			return string(name), nil
		}
		if !pause(ctx, c.s.o.FailDelay()) {
			return "", errGone
		}
		if try == maxTries {
			c.print(c.dialect.last)
			return "", errGone
		}
		c.print(c.dialect.again)
	}
}

// name asks until something is entered; line feeds of a client that says more than one for a line are no tries.
func (c *conn) name() ([]byte, error) {
	for range maxBlank {
		c.print(c.host.Hostname + " login: ")
		name, err := c.line(true)
		if err != nil || len(bytes.TrimSpace(name)) > 0 {
			return bytes.TrimSpace(name), err
		}
	}
	return nil, errGone
}

// line reads a line as the terminal driver edits it. What is typed ahead is kept, although getpass would drop it: programs that do not
// wait for the prompts show their dictionaries, too.
func (c *conn) line(echo bool) ([]byte, error) {
	var line []byte
	for {
		k, err := c.key()
		if err != nil {
			return nil, err
		}
		switch {
		case k == '\r' || k == '\n':
			c.print("\n")
			return line, nil
		case k == 3 || k == 28 || k == 4 && len(line) == 0:
			return nil, errGone
		case k == 4:
			return line, nil
		case k == 8 || k == 127:
			line = c.erase(line, 1, echo)
		case k == 21:
			line = c.erase(line, len(line), echo)
		case k != 0 && len(line) < maxLine:
			line = append(line, k)
			if echo {
				c.echo(k)
			}
		}
	}
}

func (c *conn) erase(line []byte, n int, echo bool) []byte {
	n = min(n, len(line))
	if echo {
		c.print(strings.Repeat("\b \b", n))
	}
	return line[:len(line)-n]
}

func (c *conn) echo(k byte) {
	if k < 0x20 && k != '\t' {
		c.print(fmt.Sprintf("^%c", k|0x40))
		return
	}
	c.write([]byte{k})
}

// key returns the next byte that was typed.
func (c *conn) key() (byte, error) {
	for len(c.typed) == 0 {
		if err := c.read(); err != nil {
			return 0, err
		}
	}
	k := c.typed[0]
	c.typed = c.typed[1:]
	return k, nil
}

// read waits for input and leaves what was typed in c.typed.
func (c *conn) read() error {
	n, err := c.raw.Read(c.buf[:])
	c.typed = append(c.typed, c.decoder.Decode(c.buf[:n])...)
	if n > 0 || err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return errGone
	}
	return err
}

// print writes text with the carriage returns a terminal adds.
func (c *conn) print(text string) { c.write([]byte(strings.ReplaceAll(text, "\n", "\r\n"))) }
