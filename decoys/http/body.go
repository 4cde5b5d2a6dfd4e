package http

import (
	"errors"
	"io"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"
)

// receiveBody reads the body of a request. A response means that the request is answered without looking at it.
func (c *client) receiveBody(r *request) (*response, error) {
	length, chunked, err := r.framing(c.s.web)
	if err != nil {
		return nil, err
	}
	if e := r.get("Expect"); e != "" && c.s.web.kind == apache && !strings.EqualFold(e, "100-continue") {
		resp := c.s.web.page(417, r, e)
		resp.close = true
		return resp, nil
	}
	if length == 0 && !chunked {
		return nil, nil
	}
	if limit := c.s.web.maxBody(); length > limit {
		return nil, &refusal{status: 413}
	}
	if strings.EqualFold(r.get("Expect"), "100-continue") && r.minor > 0 && (c.s.web.kind != nginx || c.s.dynamic()) {
		_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := io.WriteString(c.Conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return nil, err
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(bodyTimeout))
	if chunked {
		return nil, c.readChunks(r)
	}
	return nil, c.readBody(r, io.LimitReader(c.in, length), length)
}

// framing tells how long the body is (RFC 9112 section 6), with the strictness of the imitated server.
func (r *request) framing(w *web) (length int64, chunked bool, err error) {
	te, cl := r.get("Transfer-Encoding"), r.get("Content-Length")
	if te != "" {
		switch {
		case !strings.EqualFold(te, "chunked") && w.kind == nginx:
			return 0, false, &refusal{status: 501}
		case !strings.EqualFold(te, "chunked"), w.kind == nginx && (cl != "" || r.minor == 0):
			return 0, false, &refusal{status: 400}
		}
		r.keepAlive = r.keepAlive && cl == ""
		return 0, true, nil
	}
	if r.count("Content-Length") == 0 {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(cl, 10, 62)
	if err != nil || r.count("Content-Length") > 1 {
		return 0, false, &refusal{status: 400}
	}
	return int64(n), false, nil
}

func (c *client) readChunks(r *request) error {
	if err := c.readBody(r, httputil.NewChunkedReader(c.in), -1); err != nil {
		return err
	}
	for range 100 { // trailers
		line, err := c.readLine(c.s.web.maxField())
		if err != nil || line == "" {
			return err
		}
	}
	return &refusal{status: 400}
}

// readBody keeps the beginning of a body and drops the rest. What is longer than any imitated server's patience with us
// ends the connection.
func (c *client) readBody(r *request, from io.Reader, want int64) error {
	kept, err := io.ReadAll(io.LimitReader(from, keptBodyBytes))
	r.body, r.bodyLen = kept, int64(len(kept))
	if err == nil {
		var dropped int64
		dropped, err = io.Copy(io.Discard, io.LimitReader(from, maxBodyBytes-keptBodyBytes+1))
		r.bodyLen += dropped
	}
	switch {
	case err != nil && want < 0 && !isNetwork(err):
		return &refusal{status: 400}
	case err != nil:
		return err
	case r.bodyLen > maxBodyBytes:
		return &refusal{status: 413}
	case want >= 0 && r.bodyLen < want:
		return io.ErrUnexpectedEOF
	}
	return nil
}

func isNetwork(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &timeout)
}
