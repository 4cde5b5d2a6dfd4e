// Package replay shows recordings of terminal sessions.
//
// What an intruder's programs wrote is meant for a terminal and may be meant against the one who looks: so nothing of it is
// passed on as it came. It is read by a parser, and what is known to be harmless is written anew ([Filter]), or what it leaves on
// the lines is written as text ([Text]). The package opens no files and knows no terminal; it writes where it is told.
package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// Cast is a recording as asciicast v2 has it, without what went in from the keyboard.
type Cast struct {
	Width, Height int
	Events        []Event
}

// Event is one piece of output. At counts from the beginning and never goes back.
type Event struct {
	At   time.Duration
	Text string
}

// ErrNoCast is returned for what does not begin like an asciicast of version 2.
var ErrNoCast = errors.New("this is no recording in asciicast v2")

// longest bounds the time within a recording: what lasts longer is damaged.
const longest = 365 * 24 * time.Hour

// Parse reads a recording. When it is damaged further on, what comes before is returned with an error.
func Parse(content []byte) (Cast, error) {
	d := json.NewDecoder(bytes.NewReader(content))
	var header struct {
		Version int `json:"version"`
		Width   int `json:"width"`
		Height  int `json:"height"`
	}
	if err := d.Decode(&header); err != nil || header.Version != 2 {
		return Cast{}, ErrNoCast
	}
	c := Cast{Width: header.Width, Height: header.Height}
	for at := time.Duration(0); ; {
		var line []json.RawMessage
		err := d.Decode(&line)
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		var kind, text string
		var seconds float64
		if err != nil || len(line) < 3 || json.Unmarshal(line[0], &seconds) != nil ||
			json.Unmarshal(line[1], &kind) != nil || json.Unmarshal(line[2], &text) != nil {
			return c, fmt.Errorf("the recording is damaged behind %d pieces of output", len(c.Events))
		}
		at = max(at, duration(seconds))
		if kind == "o" {
			c.Events = append(c.Events, Event{At: at, Text: text})
		}
	}
}

func duration(seconds float64) time.Duration {
	return time.Duration(math.Min(math.Max(seconds, 0), longest.Seconds()) * float64(time.Second))
}
