package recording

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

// castVersion is that of asciicast.
const castVersion = 2

type castHeader struct {
	Version   int               `json:"version"`
	Width     int               `json:"width"`
	Height    int               `json:"height"`
	Timestamp int64             `json:"timestamp,omitempty"`
	Command   string            `json:"command,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
}

// WriteCast writes what is left of a recording as asciicast v2, line by line. An error of w ends it.
func WriteCast(w io.Writer, r *Reader) error {
	h := r.Header()
	env := map[string]string{}
	if h.Shell != "" {
		env["SHELL"] = h.Shell
	}
	if h.Term != "" {
		env["TERM"] = h.Term
	}
	line, err := appendJSON(nil, castHeader{
		Version: castVersion, Width: h.Width, Height: h.Height, Timestamp: h.Timestamp, Command: h.Command, Env: env,
	})
	for err == nil {
		if _, err = w.Write(append(line, '\n')); err != nil {
			return err
		}
		var e Event
		e, err = r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			line, err = appendEvent(line[:0], e)
		}
	}
	return err
}

func appendEvent(b []byte, e Event) ([]byte, error) {
	b = append(b, '[')
	b = strconv.AppendFloat(b, e.T, 'f', 6, 64)
	b = append(b, `, "`...)
	b = append(b, e.Channel)
	b = append(b, `", `...)
	b, err := appendJSON(b, e.Data)
	return append(b, ']'), err
}

// appendJSON leaves <, > and & as they are: a terminal's output is full of them.
func appendJSON(b []byte, v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return b, err
	}
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte{'\n'})...), nil
}

func isCharacter(b []byte) bool {
	r, n := utf8.DecodeRune(b)
	return r != utf8.RuneError && n == len(b)
}
