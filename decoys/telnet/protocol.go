package telnet

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
)

// Commands and options of RFC 854, 857, 858 and 1073.
const (
	cmdSE   = 240
	cmdSB   = 250
	cmdWill = 251
	cmdWont = 252
	cmdDo   = 253
	cmdDont = 254
	cmdIAC  = 255

	// subIAC is a state, not a command: IAC within a subnegotiation.
	subIAC = 1

	optEcho = 1
	optSGA  = 3
	optNAWS = 31
)

// greeting is what the server asks for and offers, in this order and at once. It never answers what the client says to it.
var greeting = []byte{cmdIAC, cmdDo, optEcho, cmdIAC, cmdDo, optNAWS, cmdIAC, cmdWill, optEcho, cmdIAC, cmdWill, optSGA}

const (
	maxSub     = 512 // of a subnegotiation; what follows is data again
	maxOptions = 384 // of text about the client's options
)

// Decoder takes the negotiation out of what a client sends. It keeps its place between calls, so that input may be split anywhere.
type Decoder struct {
	window  func(cols, rows uint16)
	state   byte // 0, or the command whose rest is awaited
	afterCR bool
	sub     []byte
	options bytes.Buffer
}

// NewDecoder returns a decoder that reports window sizes (RFC 1073) to window, which may be nil.
func NewDecoder(window func(cols, rows uint16)) *Decoder { return &Decoder{window: window} }

// Decode returns the bytes of p that were typed, in memory of their own. CR LF and CR NUL become CR, a doubled IAC becomes one; all other
// commands are taken out.
func (d *Decoder) Decode(p []byte) []byte {
	out := make([]byte, 0, len(p))
	for _, c := range p {
		switch {
		case d.state != 0:
			out = d.command(out, c)
		case c == cmdIAC:
			d.state = cmdIAC
		case d.afterCR && (c == '\n' || c == 0):
			d.afterCR = false
		default:
			d.afterCR = c == '\r'
			out = append(out, c)
		}
	}
	return out
}

func (d *Decoder) command(out []byte, c byte) []byte {
	switch d.state {
	case cmdIAC:
		d.state = 0
		switch {
		case c == cmdIAC:
			d.afterCR = false
			return append(out, c)
		case c == cmdSB:
			d.state, d.sub = cmdSB, d.sub[:0]
		case c >= cmdWill:
			d.state = c
		}
	case cmdSB:
		if c == cmdIAC {
			d.state = subIAC
			break
		}
		d.append(c)
	case subIAC:
		switch d.state = cmdSB; c {
		case cmdIAC:
			d.append(c)
		case cmdSE:
			d.subnegotiation()
			d.state = 0
		default: // no subnegotiation has commands within; take it for the end
			d.state = cmdIAC
			return d.command(out, c)
		}
	default:
		d.note(d.state, c)
		d.state = 0
	}
	return out
}

func (d *Decoder) append(c byte) {
	if d.sub = append(d.sub, c); len(d.sub) > maxSub {
		d.state = 0
	}
}

func (d *Decoder) subnegotiation() {
	p := d.sub
	if len(p) == 5 && p[0] == optNAWS && d.window != nil {
		d.window(binary.BigEndian.Uint16(p[1:]), binary.BigEndian.Uint16(p[3:]))
	}
	d.note(append([]byte{cmdSB}, p...)...)
}

// note keeps what the client said, as hexadecimal words.
func (d *Decoder) note(b ...byte) {
	if d.options.Len()+1+2*len(b) > maxOptions {
		return
	}
	if d.options.Len() > 0 {
		d.options.WriteByte(' ')
	}
	d.options.WriteString(hex.EncodeToString(b))
}

// Options returns what the client has negotiated so far: each command as hexadecimal digits, separated by spaces.
func (d *Decoder) Options() string { return d.options.String() }

// escaper doubles IAC on the way out.
type escaper struct{ w io.Writer }

func (e escaper) Write(p []byte) (int, error) {
	if bytes.IndexByte(p, cmdIAC) < 0 {
		return e.w.Write(p)
	}
	if _, err := e.w.Write(bytes.ReplaceAll(p, []byte{cmdIAC}, []byte{cmdIAC, cmdIAC})); err != nil {
		return 0, err
	}
	return len(p), nil
}
