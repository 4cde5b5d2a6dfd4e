package redis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits of one command. The first three are Redis' own; the others bound what is kept and read of it.
const (
	maxMultibulk = 1 << 20
	maxBulk      = 512 << 20
	maxInline    = 64 << 10
	maxArgs      = 8192
	maxArgBytes  = 512 << 10
	maxKept      = 1 << 20
	maxRead      = 64 << 20
)

// protocolError is what a client is told before it is hung up on.
type protocolError struct{ text, data string }

func (e *protocolError) Error() string { return e.text }

var errTooMuch = errors.New("command is too large")

func broken(text, line string) error { return &protocolError{text, cut(line, 128)} }

// readCommand reads one command in either form. An empty one has no words.
func readCommand(in *bufio.Reader) ([]string, error) {
	first, err := in.Peek(1)
	if err != nil {
		return nil, err
	}
	if first[0] != '*' {
		return readInline(in)
	}
	line, err := readLine(in, "too big mbulk count string")
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseInt(line[1:], 10, 64)
	if err != nil || n > maxMultibulk {
		return nil, broken("invalid multibulk length", line)
	}
	return readBulks(in, n)
}

func readBulks(in *bufio.Reader, n int64) ([]string, error) {
	var args []string
	kept, read := 0, 0
	for range n {
		line, err := readLine(in, "too big bulk count string")
		if err != nil {
			return nil, err
		}
		if line == "" || line[0] != '$' {
			return nil, broken(fmt.Sprintf("expected '$', got '%s'", firstByte(line)), line)
		}
		size, err := strconv.ParseInt(line[1:], 10, 64)
		if err != nil || size < 0 || size > maxBulk {
			return nil, broken("invalid bulk length", line)
		}
		if read += int(size) + len(line); read > maxRead {
			return nil, errTooMuch
		}
		arg, err := readBulk(in, int(size), min(maxArgBytes, maxKept-kept))
		if err != nil {
			return nil, err
		}
		if len(args) < maxArgs {
			args = append(args, arg)
			kept += len(arg)
		}
	}
	return args, nil
}

func firstByte(line string) string {
	if line == "" {
		return "\r"
	}
	return line[:1]
}

// readBulk keeps at most keep bytes of a string of the given size. Memory grows with what arrives, not with what is announced.
func readBulk(in *bufio.Reader, size, keep int) (string, error) {
	var b strings.Builder
	if _, err := io.CopyN(&b, in, int64(min(size, keep))); err != nil {
		return "", err
	}
	if rest := size - b.Len(); rest > 0 {
		if _, err := io.CopyN(io.Discard, in, int64(rest)); err != nil {
			return "", err
		}
	}
	_, err := in.Discard(2)
	return b.String(), err
}

// readLine takes one line of at most maxInline bytes.
func readLine(in *bufio.Reader, tooBig string) (string, error) {
	var line []byte
	for len(line) <= maxInline {
		b, err := in.ReadByte()
		if err != nil {
			return "", err
		}
		if b == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		line = append(line, b)
	}
	return "", broken(tooBig, string(line[:128]))
}

func readInline(in *bufio.Reader) ([]string, error) {
	line, err := readLine(in, "too big inline request")
	if err != nil {
		return nil, err
	}
	args, ok := SplitInline(line)
	if !ok {
		return nil, broken("unbalanced quotes in request", line)
	}
	return args, nil
}

// SplitInline splits an inline command into words: double quotes with escapes, single quotes, blanks. It reports false for
// quotes that do not close or are followed by text. A NUL ends the line, as in C.
func SplitInline(line string) ([]string, bool) {
	line, _, _ = strings.Cut(line, "\x00")
	var args []string
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i >= len(line) || len(args) >= maxArgs {
			return args, true
		}
		word, next, ok := inlineWord(line, i)
		if !ok {
			return nil, false
		}
		args, i = append(args, word), next
	}
}

func isSpace(b byte) bool { return b == ' ' || (b >= '\t' && b <= '\r') }

func inlineWord(line string, i int) (word string, next int, ok bool) {
	var b strings.Builder
	for i < len(line) && !isSpace(line[i]) {
		switch line[i] {
		case '"', '\'':
			n, closed := inlineQuoted(&b, line[i:])
			if i += n; !closed || (i < len(line) && !isSpace(line[i])) {
				return "", 0, false
			}
			return b.String(), i, true
		default:
			b.WriteByte(line[i])
			i++
		}
	}
	return b.String(), i, true
}

// inlineQuoted reads a quoted part that starts s and returns its length.
func inlineQuoted(b *strings.Builder, s string) (n int, closed bool) {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return i + 1, true
		case s[i] == '\\' && quote == '"' && i+3 < len(s) && s[i+1] == 'x' && isHex(s[i+2]) && isHex(s[i+3]):
			v, _ := strconv.ParseUint(s[i+2:i+4], 16, 8)
			b.WriteByte(byte(v))
			i += 3
		case s[i] == '\\' && quote == '"' && i+1 < len(s):
			i++
			b.WriteByte(unescape(s[i]))
		case s[i] == '\\' && quote == '\'' && i+1 < len(s) && s[i+1] == '\'':
			i++
			b.WriteByte('\'')
		default:
			b.WriteByte(s[i])
		}
	}
	return len(s), false
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

func isHex(c byte) bool {
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')
}
