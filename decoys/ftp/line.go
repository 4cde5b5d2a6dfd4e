package ftp

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"time"
)

const (
	maxLine = 4096
	maxVerb = 32
)

var errTooLong = errors.New("line is too long")

// lines reads command lines. What came of a line is kept when a deadline passes.
type lines struct {
	c   net.Conn
	buf []byte
}

// next returns the next line without its end. After errTooLong nothing more can be read.
func (l *lines) next(deadline time.Time) (string, error) {
	_ = l.c.SetReadDeadline(deadline)
	for {
		if i := bytes.IndexByte(l.buf, '\n'); i >= 0 && i <= maxLine {
			line := string(bytes.TrimSuffix(l.buf[:i], []byte{'\r'}))
			l.buf = l.buf[i+1:]
			return line, nil
		}
		if len(l.buf) > maxLine {
			return "", errTooLong
		}
		var chunk [1024]byte
		n, err := l.c.Read(chunk[:])
		if l.buf = append(l.buf, chunk[:n]...); n == 0 && err != nil {
			return "", err
		}
	}
}

// Parse splits a command line. The verb is in upper case, without the X of RFC 775 and without the Telnet commands that some clients put
// before ABOR; what cannot be a verb comes back as it is, cut. The argument has no NUL.
func Parse(line string) (verb, arg string) {
	for len(line) > 1 && line[0] == 0xff {
		line = line[2:]
		if len(line) > 0 && line[0] == 0xf2 { // the mark that was sent out of band
			line = line[1:]
		}
	}
	verb, arg, _ = strings.Cut(line, " ")
	verb = strings.ToUpper(verb[:min(len(verb), maxVerb)])
	switch verb {
	case "XCUP":
		verb = "CDUP"
	case "XCWD", "XMKD", "XPWD", "XRMD":
		verb = verb[1:]
	}
	return verb, strings.ReplaceAll(arg, "\x00", "")
}
