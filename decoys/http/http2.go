package http

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/decnet/decnet/decoys/eventlog"
)

const (
	preface      = http2.ClientPreface
	maxStreams   = 1000
	maxH2Headers = 32 << 10
	maxSettings  = 32
	keptPerConn  = 4 * keptBodyBytes
)

// h2 is one connection of HTTP/2. Requests are answered one after the other, in the order in which they are complete.
type h2 struct {
	*client
	framer  *http2.Framer
	encBuf  bytes.Buffer
	enc     *hpack.Encoder
	streams map[uint32]*request
	served  int
	kept    int // bytes of bodies, over all streams

	settings []string
	order    []string
	pseudo   string
	told     bool

	connWindow int64
	window     int64 // initial window of a stream
	extra      map[uint32]int64
	maxFrame   int
}

// settingsOf are what the imitated server announces.
func (w *web) settingsOf() []http2.Setting {
	if w.kind == nginx {
		return []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: 128}, {ID: http2.SettingInitialWindowSize, Val: 65536}, {ID: http2.SettingMaxFrameSize, Val: 16777215}}
	}
	return []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: 100}, {ID: http2.SettingInitialWindowSize, Val: 65535}}
}

func (c *client) newHTTP2() *h2 {
	h := &h2{client: c, streams: map[uint32]*request{}, extra: map[uint32]int64{}, connWindow: 65535, window: 65535, maxFrame: 16384}
	h.framer = http2.NewFramer(c.Conn, c.in)
	h.framer.SetMaxReadFrameSize(1 << 16)
	h.framer.MaxHeaderListSize = maxH2Headers
	h.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.enc = hpack.NewEncoder(&h.encBuf)
	return h
}

// upgradable reports whether a request asks for h2c (RFC 7540 section 3.2).
func (c *client) upgradable(r *request) bool {
	return c.s.http2 && c.s.cert == nil && r.lists("Upgrade", "h2c") && r.lists("Connection", "Upgrade") && r.count("HTTP2-Settings") == 1 && r.minor == 1
}

func (c *client) upgrade(ctx context.Context, r *request) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(r.get("HTTP2-Settings"), "="))
	if err != nil || len(raw)%6 != 0 || len(raw) > 6*maxSettings {
		return
	}
	if _, err := io.WriteString(c.Conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"); err == nil {
		c.serveHTTP2(ctx, r)
	}
}

// rejectHTTP1 is what a server of HTTP/2 alone does with anything else.
func (c *client) rejectHTTP1() {
	h := c.newHTTP2()
	if h.framer.WriteSettings(c.s.web.settingsOf()...) == nil && h.framer.WriteGoAway(0, http2.ErrCodeProtocol, nil) == nil {
		c.linger()
	}
}

// serveHTTP2 serves a connection whose preface is next; first is the request that asked for the upgrade, if any.
func (c *client) serveHTTP2(ctx context.Context, first *request) {
	h := c.newHTTP2()
	_ = c.SetDeadline(time.Now().Add(c.s.header))
	if h.framer.WriteSettings(c.s.web.settingsOf()...) != nil {
		return
	}
	if c.s.web.kind == nginx && h.framer.WriteWindowUpdate(0, 1<<31-1-65535) != nil {
		return
	}
	if b, err := c.take(len(preface)); err != nil || string(b) != preface {
		return
	}
	if first != nil {
		first.framed, first.major, first.minor, first.proto = true, 2, 0, "HTTP/2.0"
		if h.reply(ctx, 1, first) != nil {
			return
		}
	}
	for h.served < maxStreams {
		_ = c.SetDeadline(time.Now().Add(c.s.web.keepAlive() + c.s.header))
		f, err := h.framer.ReadFrame()
		if e, ok := errors.AsType[http2.StreamError](err); ok {
			if h.framer.WriteRSTStream(e.StreamID, e.Code) != nil {
				return
			}
			h.served++
			continue
		}
		if err != nil {
			h.goAway(err)
			return
		}
		if err := h.frame(ctx, f); err != nil {
			h.goAway(err)
			return
		}
	}
	_ = h.framer.WriteGoAway(uint32(2*h.served), http2.ErrCodeNo, nil)
}

func (c *client) take(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(c.in, b)
	return b, err
}

func (h *h2) goAway(err error) {
	if code, ok := errors.AsType[http2.ConnectionError](err); ok {
		_ = h.framer.WriteGoAway(0, http2.ErrCode(code), nil)
		h.Emit("protocol_error", eventlog.F("error", "http2 "+http2.ErrCode(code).String()))
		h.linger()
	}
	h.tell()
}

func (h *h2) frame(ctx context.Context, f http2.Frame) error {
	if len(h.order) < maxSettings {
		h.order = append(h.order, f.Header().Type.String())
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return h.onSettings(f)
	case *http2.MetaHeadersFrame:
		return h.onHeaders(ctx, f)
	case *http2.DataFrame:
		return h.onData(ctx, f)
	case *http2.WindowUpdateFrame:
		return h.onWindow(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return h.framer.WritePing(true, f.Data)
		}
	case *http2.RSTStreamFrame:
		h.forget(f.StreamID)
	case *http2.GoAwayFrame:
		return io.EOF
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil
}

func (h *h2) onSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	err := f.ForeachSetting(func(s http2.Setting) error {
		if len(h.settings) < maxSettings {
			h.settings = append(h.settings, fmt.Sprintf("%d:%d", s.ID, s.Val))
		}
		switch s.ID {
		case http2.SettingInitialWindowSize:
			h.window = int64(s.Val)
		case http2.SettingMaxFrameSize:
			h.maxFrame = min(int(s.Val), 16384)
		case http2.SettingHeaderTableSize:
			h.enc.SetMaxDynamicTableSize(min(s.Val, 4096))
		default: // nothing that a server without pushes acts on
		}
		return s.Valid()
	})
	if err != nil {
		return err
	}
	return h.framer.WriteSettingsAck()
}

func (h *h2) onWindow(f *http2.WindowUpdateFrame) error {
	if f.StreamID == 0 {
		h.connWindow += int64(f.Increment)
		if h.connWindow > 1<<31-1 {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		if !h.told {
			h.settings = append(h.settings, "window_update:"+strconv.Itoa(int(f.Increment)))
		}
		return nil
	}
	if _, open := h.streams[f.StreamID]; open {
		h.extra[f.StreamID] += int64(f.Increment)
	}
	return nil
}

func (h *h2) onHeaders(ctx context.Context, f *http2.MetaHeadersFrame) error {
	id := f.StreamID
	if r, open := h.streams[id]; open { // trailers
		return h.reply(ctx, id, r)
	}
	if id%2 == 0 || len(h.streams) >= 100 {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	r := &request{framed: true, proto: "HTTP/2.0", major: 2, keepAlive: true, serial: h.served + 1}
	for _, field := range f.Fields {
		if !field.IsPseudo() {
			r.headers = append(r.headers, header{field.Name, field.Value})
			continue
		}
		h.pseudoField(r, field.Name, field.Value)
	}
	if f.Truncated || r.method == "" || r.target == "" || !validHost(r.host) {
		return h.refuse(id, r)
	}
	h.tell()
	if f.StreamEnded() {
		return h.reply(ctx, id, r)
	}
	h.streams[id] = r
	return nil
}

func (h *h2) pseudoField(r *request, name, value string) {
	r.pseudo(name, value)
	if !h.told {
		h.pseudo += "," + name[1:2]
	}
}

// tell reports the settings of the client once, when its first request has come.
func (h *h2) tell() {
	if h.told {
		return
	}
	h.told = true
	h.Emit("http2_settings", eventlog.F("remote_addr", h.Src), eventlog.F("remote_port", h.Port), eventlog.F("settings", cut(strings.Join(h.settings, ";"), maxHeaders)),
		eventlog.F("frame_order", strings.Join(h.order, ",")), eventlog.F("pseudo_headers", strings.TrimPrefix(h.pseudo, ",")))
}

func (h *h2) onData(ctx context.Context, f *http2.DataFrame) error {
	r, open := h.streams[f.StreamID]
	if !open {
		return h.framer.WriteRSTStream(f.StreamID, http2.ErrCodeStreamClosed)
	}
	data := f.Data()
	r.bodyLen += int64(len(data))
	keep := min(len(data), keptBodyBytes-min(len(r.body), keptBodyBytes), keptPerConn-min(h.kept, keptPerConn))
	h.kept += keep
	r.body = append(r.body, data[:keep]...)
	if r.bodyLen > maxBodyBytes || r.bodyLen > h.s.web.maxBody() {
		return h.send(f.StreamID, r, h.s.web.page(413, r, ""))
	}
	if f.StreamEnded() {
		return h.reply(ctx, f.StreamID, r)
	}
	if n := f.Header().Length; n > 0 {
		if err := h.framer.WriteWindowUpdate(0, n); err != nil {
			return err
		}
		return h.framer.WriteWindowUpdate(f.StreamID, n)
	}
	return nil
}

func (h *h2) refuse(id uint32, r *request) error {
	h.tell()
	h.Emit("protocol_error", eventlog.F("error", "malformed request"), eventlog.F("data", cut(r.method+" "+r.target, 256)))
	return h.send(id, r, h.s.web.page(400, r, ""))
}

// reply reports and answers a complete request.
func (h *h2) reply(ctx context.Context, id uint32, r *request) error {
	if r.complete(h.s.web) != nil {
		return h.refuse(id, r)
	}
	h.observe(r)
	pause(ctx)
	return h.send(id, r, h.respond(r))
}

// send writes a response as HEADERS and DATA.
func (h *h2) send(id uint32, r *request, resp *response) error {
	h.streams[id] = r // window updates of the stream count while it is answered
	defer h.forget(id)
	h.served++
	body := resp.body
	if r.method == "HEAD" || bodyless(resp.status) {
		body = nil
	}
	h.encBuf.Reset()
	h.encode(":status", strconv.Itoa(resp.status))
	before, after := h.s.fields(r, resp, h.s.web.frame(r, resp))
	for _, f := range append(before, after...) {
		h.encode(strings.ToLower(f.name), f.value)
	}
	if err := h.writeHeaders(id, len(body) == 0); err != nil {
		return err
	}
	return h.writeData(id, body)
}

// forget ends a stream.
func (h *h2) forget(id uint32) {
	if r, open := h.streams[id]; open {
		h.kept -= len(r.body)
	}
	delete(h.streams, id)
	delete(h.extra, id)
}

func (h *h2) encode(name, value string) {
	_ = h.enc.WriteField(hpack.HeaderField{Name: name, Value: value})
}

func (h *h2) writeHeaders(id uint32, end bool) error {
	block := h.encBuf.Bytes()
	first := block[:min(len(block), h.maxFrame)]
	err := h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(first) == len(block)})
	for block = block[len(first):]; err == nil && len(block) > 0; {
		part := block[:min(len(block), h.maxFrame)]
		block = block[len(part):]
		err = h.framer.WriteContinuation(id, len(block) == 0, part)
	}
	return err
}

// writeData respects the client's windows; while they are closed it reads on, and gives up with the connection's deadline.
func (h *h2) writeData(id uint32, body []byte) error {
	sent := int64(0)
	for len(body) > 0 {
		room := min(h.connWindow, h.window+h.extra[id]-sent, int64(h.maxFrame), int64(len(body)))
		if room <= 0 {
			if err := h.awaitWindow(id); err != nil {
				return err
			}
			continue
		}
		part := body[:room]
		body = body[room:]
		h.connWindow -= room
		sent += room
		if err := h.framer.WriteData(id, len(body) == 0, part); err != nil {
			return err
		}
	}
	return nil
}

// awaitWindow handles what may come between frames of a response; new requests are refused meanwhile.
func (h *h2) awaitWindow(id uint32) error {
	f, err := h.framer.ReadFrame()
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return h.onSettings(f)
	case *http2.WindowUpdateFrame:
		return h.onWindow(f)
	case *http2.RSTStreamFrame:
		if f.StreamID == id {
			return net.ErrClosed
		}
	case *http2.PingFrame:
		return h.framer.WritePing(true, f.Data)
	case *http2.MetaHeadersFrame:
		return h.framer.WriteRSTStream(f.StreamID, http2.ErrCodeRefusedStream)
	case *http2.GoAwayFrame:
		return io.EOF
	}
	return nil
}
