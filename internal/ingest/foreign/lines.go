package foreign

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

const bufferBytes = 64 << 10

// line is one line without its end.
type line struct {
	// text is valid until the next line is read; nil when tooLong.
	text    []byte
	tooLong bool
	// open is set for a last line without line feed.
	open bool
}

// lines splits a plain or gzip-compressed stream.
type lines struct {
	r   *bufio.Reader
	at  Position
	buf []byte
}

// newLines looks at the first bytes of r for gzip's magic and goes to a position of the decompressed stream.
func newLines(r io.Reader, from Position) (*lines, error) {
	br := bufio.NewReaderSize(r, bufferBytes)
	if magic, _ := br.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("open compressed log: %w", err)
		}
		br = bufio.NewReaderSize(z, bufferBytes)
	}
	l := &lines{r: br, at: from}
	if err := l.seek(from); err != nil {
		return nil, err
	}
	return l, nil
}

// seek passes over what lies before a position and makes sure that a line begins there.
func (l *lines) seek(to Position) error {
	if to == (Position{}) {
		return nil
	}
	if to.Offset < 1 || to.Line < 1 {
		return ErrPosition
	}
	if _, err := io.CopyN(io.Discard, l.r, to.Offset-1); err != nil {
		return positionError(err)
	}
	last, err := l.r.ReadByte()
	if err != nil {
		return positionError(err)
	}
	if last == '\n' {
		return nil
	}
	// The position behind a last line without line feed is good as long as that is the end.
	if _, err := l.r.Peek(1); !errors.Is(err, io.EOF) {
		return ErrPosition
	}
	return nil
}

func positionError(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrPosition
	}
	return fmt.Errorf("go to position: %w", err)
}

// next returns the next line, io.EOF after the last one. When reading fails in the middle of a line, that part is returned
// as an open line first.
func (l *lines) next() (line, error) {
	l.buf = l.buf[:0]
	var out line
	var n int
	for {
		part, err := l.r.ReadSlice('\n')
		n += len(part)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			l.keep(&out, part)
			continue
		case err != nil && n == 0:
			return line{}, err
		}
		out.open = err != nil
		if len(l.buf) == 0 && !out.tooLong {
			out.text = part // whole in the buffer of the reader: no copy
		} else {
			l.keep(&out, part)
			out.text = l.buf
		}
		break
	}
	if l.at.Offset == 0 {
		out.text = bytes.TrimPrefix(out.text, []byte("\xef\xbb\xbf"))
	}
	l.at.Offset += int64(n)
	l.at.Line++
	out.text = bytes.TrimSpace(out.text)
	if out.tooLong {
		out.text = nil
	}
	return out, nil
}

func (l *lines) keep(out *line, part []byte) {
	if out.tooLong || len(l.buf)+len(part) > MaxLineBytes {
		out.tooLong = true
		l.buf = l.buf[:0]
		return
	}
	l.buf = append(l.buf, part...)
}
