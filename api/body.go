package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/decnet/decnet/internal/fault"
)

const (
	// bodyLimit is how long a client may take to send a body.
	bodyLimit = 10 * time.Second
	// maxDepth of nested objects and lists; our deepest request has four.
	maxDepth = 32
)

var (
	errPanic    = fault.New(fault.Internal, "internal", "internal error")
	errTooLarge = fault.New(fault.TooLarge, "body_too_large", "the body is larger than %d bytes", maxBodyBytes)
	errMedia    = fault.New(fault.UnsupportedMedia, "unsupported_media_type", "the body must be application/json")
	errSlow     = fault.New(fault.Invalid, "body_incomplete", "the body did not arrive")
)

func errBody(why string) error {
	return fault.New(fault.Invalid, "body_invalid", "the body %s", why).
		With(fault.Field{Location: "body", Message: why})
}

// loadBody reads the body of an operation that takes one into memory.
func (s *server) loadBody(ctx huma.Context, next func(huma.Context)) {
	c := humagin.Unwrap(ctx)
	if c.Request.ContentLength > maxBodyBytes {
		s.refuse(c, errTooLarge)
		return
	}
	control := http.NewResponseController(c.Writer) // not every writer has deadlines
	if ctx.Operation().RequestBody == nil || c.Request.ContentLength == 0 {
		// A read timeout of the server must not cancel a request that waits.
		_ = control.SetReadDeadline(time.Time{})
		next(ctx)
		return
	}
	_ = control.SetReadDeadline(time.Now().Add(bodyLimit))
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxBodyBytes))
	_ = control.SetReadDeadline(time.Time{})
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		err = errTooLarge
	case err != nil:
		err = errSlow.Wrap(err)
	case len(body) > 0 && !isJSON(c.ContentType(), c.GetHeader("Content-Type")):
		err = errMedia
	}
	if err != nil {
		s.refuse(c, err)
		return
	}
	c.Request.Header.Set("Content-Type", "application/json")
	c.Request.Body = io.NopCloser(bytes.NewReader(body))
	next(ctx)
}

func isJSON(mediaType, header string) bool {
	_, params, err := mime.ParseMediaType(header)
	charset := params["charset"]
	return err == nil && strings.EqualFold(mediaType, "application/json") && (charset == "" || strings.EqualFold(charset, "utf-8"))
}

// peekBody returns the loaded body without using it up.
func peekBody(ctx huma.Context) []byte {
	c := humagin.Unwrap(ctx)
	body, err := io.ReadAll(c.Request.Body)
	if err != nil {
		return nil
	}
	c.Request.Body = io.NopCloser(bytes.NewReader(body))
	return body
}

// checkBody refuses what encoding/json would put up with: invalid UTF-8 and keys that occur twice.
func (s *server) checkBody(ctx huma.Context, next func(huma.Context)) {
	if ctx.Operation().RequestBody == nil {
		next(ctx)
		return
	}
	if body := peekBody(ctx); len(body) > 0 {
		if err := checkJSON(body); err != nil {
			s.refuse(humagin.Unwrap(ctx), err)
			return
		}
	}
	next(ctx)
}

// checkJSON returns an Invalid fault (body_invalid) unless data is one JSON value in UTF-8 without repeated keys (also
// not in another case: encoding/json would take them for the same field) and nested at most maxDepth deep.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errBody("is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // whether a number fits is for the schema to say
	if err := checkValue(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errBody("is not one JSON value")
	}
	return nil
}

func checkValue(d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err != nil {
		return errBody("is not valid JSON")
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxDepth {
		return errBody("is nested too deeply")
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			if err := checkKey(d, seen); err != nil {
				return err
			}
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return errBody("is not valid JSON")
	}
	return nil
}

func checkKey(d *json.Decoder, seen map[string]bool) error {
	token, err := d.Token()
	key, ok := token.(string)
	if err != nil || !ok {
		return errBody("is not valid JSON")
	}
	if key = strings.ToLower(key); seen[key] {
		return errBody("has a key twice")
	}
	seen[key] = true
	return nil
}
