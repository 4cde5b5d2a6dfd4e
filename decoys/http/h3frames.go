package http

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go/quicvarint"
)

// Frames and streams of HTTP/3 (RFC 9114 sections 6.2 and 7.2, RFC 9204 section 4.2).
const (
	frameData          = 0x0
	frameHeaders       = 0x1
	frameCancelPush    = 0x3
	frameSettings      = 0x4
	framePushPromise   = 0x5
	frameGoAway        = 0x7
	frameMaxPushID     = 0xd
	framePriority      = 0xf0700
	streamControl      = 0x0
	streamPush         = 0x1
	streamQPACKEncoder = 0x2
	streamQPACKDecoder = 0x3
)

// Error codes (RFC 9114 section 8.1, RFC 9204 section 8.3).
const (
	h3NoError           h3Error = 0x100
	h3StreamCreation    h3Error = 0x103
	h3CriticalClosed    h3Error = 0x104
	h3FrameUnexpected   h3Error = 0x105
	h3FrameError        h3Error = 0x106
	h3ExcessiveLoad     h3Error = 0x107
	h3SettingsError     h3Error = 0x109
	h3MissingSettings   h3Error = 0x10a
	h3RequestIncomplete h3Error = 0x10d
	h3MessageError      h3Error = 0x10e
	qpackDecompression  h3Error = 0x200
)

// h3Error ends a connection, or with h3MessageError and h3RequestIncomplete one request.
type h3Error uint64

func (e h3Error) Error() string { return fmt.Sprintf("http3 error 0x%x", uint64(e)) }

// maxSkippedBytes is how much of an unknown frame is read and dropped.
const maxSkippedBytes = 64 << 10

// frameName spells a type for the order in which a client sent its frames.
func frameName(kind uint64) string {
	switch kind {
	case frameData:
		return "DATA"
	case frameHeaders:
		return "HEADERS"
	case frameCancelPush:
		return "CANCEL_PUSH"
	case frameSettings:
		return "SETTINGS"
	case framePushPromise:
		return "PUSH_PROMISE"
	case frameGoAway:
		return "GOAWAY"
	case frameMaxPushID:
		return "MAX_PUSH_ID"
	case framePriority:
		return "PRIORITY_UPDATE"
	}
	if kind >= 0x21 && (kind-0x21)%0x1f == 0 { // reserved to exercise servers (RFC 9114 section 7.2.8)
		return "GREASE"
	}
	return "0x" + strconv.FormatUint(kind, 16)
}

// readFrame reads the head of a frame. io.EOF means that the stream ended between frames.
func readFrame(in *bufio.Reader) (kind, length uint64, err error) {
	if _, err := in.Peek(1); err != nil {
		return 0, 0, err
	}
	if kind, err = quicvarint.Read(in); err == nil {
		length, err = quicvarint.Read(in)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = h3FrameError
	}
	return kind, length, err
}

// readPayload reads a frame of at most limit bytes.
func readPayload(in *bufio.Reader, length uint64, limit int) ([]byte, error) {
	if length > uint64(limit) {
		return nil, h3ExcessiveLoad
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(in, b); err != nil {
		return nil, cutShort(err)
	}
	return b, nil
}

// cutShort turns the end of a stream inside a frame into what it is.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return h3FrameError
	}
	return err
}

func skip(in *bufio.Reader, length uint64) error {
	if length > maxSkippedBytes {
		return h3ExcessiveLoad
	}
	_, err := io.CopyN(io.Discard, in, int64(length))
	return cutShort(err)
}

// parseSettings spells the first maxSettings settings as `id:value`.
func parseSettings(b []byte) ([]string, error) {
	var out []string
	seen := map[uint64]bool{}
	for len(b) > 0 {
		id, n, err := quicvarint.Parse(b)
		if err != nil {
			return nil, h3FrameError
		}
		value, m, err := quicvarint.Parse(b[n:])
		if err != nil {
			return nil, h3FrameError
		}
		b = b[n+m:]
		if seen[id] || (id >= 2 && id <= 5) { // twice, or of HTTP/2 (section 7.2.4.1)
			return nil, h3SettingsError
		}
		seen[id] = true
		if len(out) < maxSettings {
			out = append(out, strconv.FormatUint(id, 10)+":"+strconv.FormatUint(value, 10))
		}
	}
	return out, nil
}

// parseFields decodes a field section, which may refer to the static table only, into a request. pseudo is the order of its
// pseudo-headers. A section the imitated server would not accept is an h3MessageError; the request then holds what was read.
func parseFields(block []byte, w *web) (r *request, pseudo string, err error) {
	r = &request{framed: true, proto: "HTTP/3.0", major: 3, keepAlive: true}
	total := 0
	for next := qpack.NewDecoder().Decode(block); ; {
		f, err := next()
		if errors.Is(err, io.EOF) {
			return r, pseudo, nil
		}
		if err != nil {
			return r, pseudo, qpackDecompression
		}
		total += len(f.Name) + len(f.Value) + 32
		if total > maxH2Headers || len(r.headers) >= w.maxFields() {
			return r, pseudo, h3MessageError
		}
		if !f.IsPseudo() {
			r.headers = append(r.headers, header{f.Name, f.Value})
			continue
		}
		if len(f.Name) > 1 && len(pseudo) < 2*maxSettings {
			pseudo += "," + f.Name[1:2]
		}
		r.pseudo(f.Name, f.Value)
	}
}

// response3 is a response in frames.
func (s *Server) response3(r *request, resp *response) []byte {
	body := resp.body
	if r.method == "HEAD" || bodyless(resp.status) {
		body = nil
	}
	var block bytes.Buffer
	enc := qpack.NewEncoder(&block)
	encode := func(name, value string) { _ = enc.WriteField(qpack.HeaderField{Name: name, Value: value}) }
	encode(":status", strconv.Itoa(resp.status))
	before, after := s.fields(r, resp, s.web.frame(r, resp))
	for _, f := range append(before, after...) {
		encode(strings.ToLower(f.name), f.value)
	}
	out := quicvarint.Append(nil, frameHeaders)
	out = quicvarint.Append(out, uint64(block.Len()))
	out = append(out, block.Bytes()...)
	if len(body) > 0 {
		out = quicvarint.Append(out, frameData)
		out = quicvarint.Append(out, uint64(len(body)))
		out = append(out, body...)
	}
	return out
}
