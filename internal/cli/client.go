package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	dialTimeout    = 5 * time.Second
	requestTimeout = 35 * time.Second // above the API's own longest wait
	retryPause     = 250 * time.Millisecond
	submitAttempts = 4
	maxBodyBytes   = 64 << 20
)

// client talks to one API.
type client struct {
	target target
	token  string
	http   *http.Client
	// topology is the path of the one whose deckies are meant, "" for the fleet's.
	topology string
}

func newClient(t target, token string) *client {
	return &client{target: t, token: token, http: &http.Client{
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout:   dialTimeout,
			ResponseHeaderTimeout: requestTimeout,
			ExpectContinueTimeout: dialTimeout,
			MaxIdleConns:          2,
			IdleConnTimeout:       30 * time.Second,
		},
		// The API does not redirect; following one would carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// call is one request. Body is encoded once, so that a repetition is the same request.
type call struct {
	method string
	path   string // below the base, escaped
	body   []byte
	key    string // Idempotency-Key
	prefer string
	accept string // media types, "" for JSON
}

// reply is an answer of any status.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// unreachableError means that no answer came.
type unreachableError struct {
	what  string // what was tried, safe to print
	cause error
}

func (e *unreachableError) Error() string {
	return fmt.Sprintf("cannot reach %s: %s", e.what, Clean(e.cause.Error()))
}

func (e *unreachableError) Unwrap() error { return e.cause }

// send returns the answer whatever its status. Without an answer it returns an unreachableError, or the error of ctx.
func (c *client) send(ctx context.Context, k call) (reply, error) {
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := c.request(limited, k)
	if err != nil {
		return reply{}, err
	}
	return c.do(ctx, req)
}

// upload sends what r holds, size bytes or, when it is negative, all there is. It takes as long as it takes.
func (c *client) upload(ctx context.Context, path string, r io.Reader, size int64) (reply, error) {
	req, err := c.request(ctx, call{method: http.MethodPost, path: path})
	if err != nil {
		return reply{}, err
	}
	req.Body, req.ContentLength = io.NopCloser(r), size
	if size == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Expect", "100-continue") // a refusal comes before the log is sent
	return c.do(ctx, req)
}

func (c *client) do(ctx context.Context, req *http.Request) (reply, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return reply{}, c.unreachable(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBodyBytes+1))
	switch {
	case err != nil:
		return reply{}, c.unreachable(ctx, err)
	case len(body) > maxBodyBytes:
		return reply{}, errors.New("the answer is too large")
	}
	return reply{status: res.StatusCode, header: res.Header, body: body}, nil
}

func (c *client) request(ctx context.Context, k call) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, k.method, c.target.base+c.place(k.path), bytes.NewReader(k.body))
	if err != nil {
		return nil, Usage(err)
	}
	req.Header.Set("Accept", cmp.Or(k.accept, "application/json")+", application/problem+json")
	req.Header.Set("User-Agent", "decnet-cli")
	for name, value := range map[string]string{"Idempotency-Key": k.key, "Prefer": k.prefer} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

func (c *client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &unreachableError{what: c.target.String(), cause: rootCause(err)}
}

// rootCause drops the method and URL that net/http prepends.
func rootCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// ask sends k and returns a 2xx answer; any other is a *problemError.
func (c *client) ask(ctx context.Context, k call) (reply, error) {
	r, err := c.send(ctx, k)
	if err != nil {
		return reply{}, err
	}
	return r, r.err()
}

func (c *client) get(ctx context.Context, path string) (reply, error) {
	return c.ask(ctx, call{method: http.MethodGet, path: path})
}

// submit sends a call that has an idempotency key. The key makes it safe to repeat when the connection breaks before
// the answer came.
func (c *client) submit(ctx context.Context, k call) (reply, error) {
	for attempt := 1; ; attempt++ {
		r, err := c.send(ctx, k)
		var away *unreachableError
		if err == nil || attempt == submitAttempts || !errors.As(err, &away) || neverConnected(err) {
			return r, err
		}
		if !pause(ctx, retryPause) {
			return r, ctx.Err()
		}
	}
}

func neverConnected(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// err returns nil for a 2xx answer.
func (r reply) err() error {
	if r.status >= 200 && r.status < 300 {
		return nil
	}
	return newProblem(r)
}

// decode reads a 2xx body for display.
func (r reply) decode(into any) error {
	if err := json.Unmarshal(r.body, into); err != nil {
		return fmt.Errorf("the answer is not what decnet sends; is this its API? (%s)", Clean(err.Error()))
	}
	return nil
}

// pause waits for d; it returns false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lastSegment returns what follows the last slash or colon of a URI.
func lastSegment(uri string) string {
	return uri[strings.LastIndexAny(uri, "/:")+1:]
}
