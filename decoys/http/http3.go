package http

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/tcp"
)

const (
	maxStreams3  = 32 // requests at once
	maxUnidir    = 8
	maxStreamWin = 64 << 10
	maxConnWin   = 256 << 10
	idle3        = 60 * time.Second
)

// h3 is one connection of HTTP/3. Requests are answered at once, each in a goroutine of its own.
type h3 struct {
	*client
	conn *quic.Conn

	mu       sync.Mutex
	kept     int // bytes of bodies, over all streams
	settings []string
	order    []string
	pseudo   string
	set      bool // settings have come
	asked    bool // a request has come
	told     bool
}

// serveHTTP3 serves a connection whose handshake is done.
func (s *Server) serveHTTP3(ctx context.Context, conn *quic.Conn, peer *tcp.Conn) {
	ctx, cancel := context.WithTimeout(ctx, maxConnDuration)
	defer cancel()
	h := &h3{client: &client{Conn: peer, s: s}, conn: conn}
	defer context.AfterFunc(ctx, func() { h.close(h3NoError) })()
	defer h.tell(true)
	if h.begin() != nil {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { h.acceptUnidirectional(ctx, &wg) })
	for n := 1; n <= maxStreams; n++ {
		st, err := conn.AcceptStream(ctx)
		if err != nil {
			return
		}
		wg.Go(func() { h.serveStream(ctx, st, n) })
	}
	select { // the last answers arrive; a client that has not left by then asked too often
	case <-time.After(idle3):
	case <-conn.Context().Done():
	}
	h.close(h3NoError)
}

func (h *h3) close(code h3Error) { _ = h.conn.CloseWithError(quic.ApplicationErrorCode(code), "") }

// fail ends the connection for what a client did. Errors that are no h3Error mean that it is over anyway.
func (h *h3) fail(err error) {
	if code, ok := errors.AsType[h3Error](err); ok {
		h.Emit("protocol_error", eventlog.F("error", code.Error()))
		h.close(code)
	}
}

// begin opens the control stream. A dynamic table of fields is not offered.
func (h *h3) begin() error {
	st, err := h.conn.OpenUniStream()
	if err != nil {
		return err
	}
	b := quicvarint.Append(nil, streamControl)
	b = quicvarint.Append(b, frameSettings)
	settings := []byte{1, 0, 7, 0} // QPACK_MAX_TABLE_CAPACITY, QPACK_BLOCKED_STREAMS: the order of nginx
	b = quicvarint.Append(b, uint64(len(settings)))
	_, err = st.Write(append(b, settings...))
	return err
}

func (h *h3) acceptUnidirectional(ctx context.Context, wg *sync.WaitGroup) {
	for {
		st, err := h.conn.AcceptUniStream(ctx)
		if err != nil {
			return
		}
		wg.Go(func() {
			defer func() { h.Recover(recover()) }()
			h.fail(h.unidirectional(st))
		})
	}
}

func (h *h3) note(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.order) < maxSettings && !h.told {
		h.order = append(h.order, what)
	}
}

func (h *h3) unidirectional(st *quic.ReceiveStream) error {
	in := bufio.NewReaderSize(st, 512)
	kind, err := quicvarint.Read(in)
	if err != nil {
		return nil
	}
	switch kind {
	case streamControl:
		return h.control(in)
	case streamPush:
		return h3StreamCreation
	case streamQPACKEncoder, streamQPACKDecoder:
		h.note(map[uint64]string{streamQPACKEncoder: "QPACK_ENCODER", streamQPACKDecoder: "QPACK_DECODER"}[kind])
		_, err := io.Copy(io.Discard, in) // without a table there is nothing to do; the window bounds it
		if err == nil {
			return h3CriticalClosed
		}
		return nil
	}
	st.CancelRead(quic.StreamErrorCode(h3StreamCreation))
	return nil
}

// control reads the frames of the client's control stream.
func (h *h3) control(in *bufio.Reader) error {
	for first := true; ; first = false {
		kind, length, err := readFrame(in)
		if errors.Is(err, io.EOF) {
			return h3CriticalClosed
		}
		if err != nil {
			return err
		}
		h.note(frameName(kind))
		switch kind {
		case frameSettings:
			err = h.onSettings(in, length, first)
		case frameData, frameHeaders, framePushPromise, 2, 6, 8, 9:
			err = h3FrameUnexpected
		default:
			err = skip(in, length)
		}
		if err == nil && first && kind != frameSettings {
			err = h3MissingSettings
		}
		if err != nil {
			return err
		}
	}
}

func (h *h3) onSettings(in *bufio.Reader, length uint64, first bool) error {
	h.mu.Lock()
	again := h.set
	h.mu.Unlock()
	if !first || again {
		return h3FrameUnexpected
	}
	b, err := readPayload(in, length, 4096)
	if err != nil {
		return err
	}
	settings, err := parseSettings(b)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.settings, h.set = settings, true
	h.mu.Unlock()
	h.tell(false)
	return nil
}

// tell reports the settings of the client once, when they and its first request have come or the connection ends.
func (h *h3) tell(end bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.told || !h.set || (!h.asked && !end) {
		return
	}
	h.told = true
	h.Emit("http3_settings", eventlog.F("remote_addr", h.Src), eventlog.F("remote_port", h.Port), eventlog.F("settings", cut(strings.Join(h.settings, ";"), maxHeaders)),
		eventlog.F("frame_order", strings.Join(h.order, ",")), eventlog.F("pseudo_headers", strings.TrimPrefix(h.pseudo, ",")))
}

// serveStream answers one request.
func (h *h3) serveStream(ctx context.Context, st *quic.Stream, serial int) {
	defer func() { h.Recover(recover()) }()
	_ = st.SetReadDeadline(time.Now().Add(h.s.header))
	r, err := h.readMessage(bufio.NewReaderSize(st, 4096), func() { _ = st.SetReadDeadline(time.Now().Add(bodyTimeout)) })
	if r != nil {
		r.serial = serial
		defer h.release(len(r.body))
	}
	resp := h.judge(ctx, r, err)
	if resp == nil {
		st.CancelRead(quic.StreamErrorCode(h3RequestIncomplete))
		st.CancelWrite(quic.StreamErrorCode(h3RequestIncomplete))
		return
	}
	_ = st.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := st.Write(h.s.response3(r, resp)); err == nil {
		_ = st.Close()
	}
	st.CancelRead(quic.StreamErrorCode(h3NoError))
}

// judge reports a request and finds its answer; nil means that there is none.
func (h *h3) judge(ctx context.Context, r *request, err error) *response {
	f, refused := errors.AsType[*refusal](err)
	switch {
	case refused && f.status == 413:
		h.observe(r)
		return h.s.web.page(413, r, "")
	case r == nil, err != nil && !errors.Is(err, h3MessageError):
		h.fail(err)
		return nil
	case err != nil, r.complete(h.s.web) != nil:
		h.Emit("protocol_error", eventlog.F("error", "malformed request"), eventlog.F("data", cut(r.method+" "+r.target, 256)))
		return h.s.web.page(400, r, "")
	}
	h.observe(r)
	pause(ctx)
	return h.respond(r)
}

// readMessage reads the frames of a request stream to its end. head is called when the head has come.
func (h *h3) readMessage(in *bufio.Reader, head func()) (*request, error) {
	var r *request
	for {
		kind, length, err := readFrame(in)
		if errors.Is(err, io.EOF) {
			if r == nil {
				return nil, io.ErrUnexpectedEOF
			}
			return r, nil
		}
		if err != nil {
			return r, err
		}
		switch {
		case kind == frameHeaders && r == nil:
			if r, err = h.onHeaders(in, length); err == nil {
				head()
			}
		case kind == frameHeaders:
			_, err = readPayload(in, length, maxH2Headers) // trailers
		case kind == frameData && r != nil:
			err = h.onData(in, length, r)
		case kind <= 9, kind == frameMaxPushID:
			err = h3FrameUnexpected
		default:
			err = skip(in, length)
		}
		if err != nil {
			return r, err
		}
	}
}

func (h *h3) onHeaders(in *bufio.Reader, length uint64) (*request, error) {
	block, err := readPayload(in, length, maxH2Headers)
	if err != nil {
		return nil, err
	}
	r, pseudo, err := parseFields(block, h.s.web)
	h.note("HEADERS")
	h.mu.Lock()
	if !h.asked {
		h.asked, h.pseudo = true, pseudo
	}
	h.mu.Unlock()
	h.tell(false)
	return r, err
}

// onData keeps the beginning of a body and drops the rest.
func (h *h3) onData(in *bufio.Reader, length uint64, r *request) error {
	if length > maxBodyBytes || r.bodyLen+int64(length) > min(maxBodyBytes, h.s.web.maxBody()) {
		return &refusal{status: 413}
	}
	keep := h.reserve(min(int(length), keptBodyBytes-min(len(r.body), keptBodyBytes)))
	b := make([]byte, keep)
	n, err := io.ReadFull(in, b)
	r.body = append(r.body, b[:n]...)
	h.release(keep - n)
	if err == nil {
		_, err = io.CopyN(io.Discard, in, int64(length)-int64(keep))
	}
	r.bodyLen += int64(length)
	return cutShort(err)
}

// reserve grants up to n bytes of what the connection may keep.
func (h *h3) reserve(n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n = min(n, keptPerConn-min(h.kept, keptPerConn))
	h.kept += n
	return n
}

func (h *h3) release(n int) {
	h.mu.Lock()
	h.kept -= n
	h.mu.Unlock()
}
