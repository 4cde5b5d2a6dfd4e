package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/decnet/decnet/internal/fault"
)

// problemError is an answer that is no success: an RFC 9457 document, or whatever else came.
type problemError struct {
	Type      string        `json:"type"`
	Title     string        `json:"title"`
	Detail    string        `json:"detail"`
	RequestID string        `json:"request_id"`
	Operation string        `json:"operation_id"` // of a refusal that is on record
	Errors    []fault.Field `json:"errors"`

	status int
	body   []byte
}

func newProblem(r reply) *problemError {
	p := &problemError{}
	if json.Unmarshal(r.body, p) != nil {
		*p = problemError{} // a proxy's page, or a half-read document
	}
	p.status, p.body = r.status, r.body
	return p
}

// Error returns the code and text, and one line for each refused field. It is safe for a terminal.
func (p *problemError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s (HTTP %d", Clean(p.code()), Clean(p.text()), p.status)
	if p.RequestID != "" {
		fmt.Fprintf(&b, ", request %s", Clean(p.RequestID))
	}
	if p.Operation != "" {
		fmt.Fprintf(&b, ", operation %s", Clean(p.Operation))
	}
	b.WriteByte(')')
	for _, f := range p.Errors {
		fmt.Fprintf(&b, "\n  %s: %s", Clean(f.Location), Clean(f.Message))
	}
	if hint := p.hint(); hint != "" {
		b.WriteString("\n" + hint)
	}
	return b.String()
}

func (p *problemError) code() string {
	if code := lastSegment(p.Type); code != "" && p.Type != "about:blank" {
		return code
	}
	return "refused"
}

func (p *problemError) text() string {
	for _, s := range []string{p.Detail, p.Title, http.StatusText(p.status)} {
		if s != "" {
			return s
		}
	}
	return "no reason given"
}

func (p *problemError) hint() string {
	if p.status == http.StatusUnauthorized {
		return "log in with 'decnet login', or set DECNET_TOKEN"
	}
	return ""
}

// temporary reports whether the same request may well succeed in a moment.
func (p *problemError) temporary() bool {
	switch p.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// refused hands err back after writing, in JSON mode, the body of the refusal to Stdout as it came.
func (a *app) refused(err error) error {
	var p *problemError
	if a.format() == outputJSON && errors.As(err, &p) && json.Valid(p.body) {
		if writeErr := a.writeBody(p.body); writeErr != nil {
			return errors.Join(err, writeErr)
		}
	}
	return err
}
