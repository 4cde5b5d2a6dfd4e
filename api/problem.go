package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/fault"
)

// Problem is the body of every failure (RFC 9457).
type Problem struct {
	Type      string         `json:"type" doc:"Stable URI of the kind of failure: urn:decnet:fault:<code>"`
	Title     string         `json:"title" doc:"The status in words"`
	Status    int            `json:"status" doc:"The HTTP status"`
	Detail    string         `json:"detail" doc:"What went wrong, for people"`
	Instance  string         `json:"instance" doc:"URI of this one failure"`
	RequestID string         `json:"request_id" doc:"Finds the request in the log"`
	Errors    []ProblemField `json:"errors" nullable:"false" doc:"The refused parts of the request"`
	// OperationID is set when the failure is the outcome of an operation.
	OperationID string `json:"operation_id,omitempty" doc:"The operation that ended this way"`

	headers http.Header
}

// ProblemField names one refused part of a request.
type ProblemField struct {
	Location string `json:"location" doc:"Path of the part, such as body.config.password"`
	Message  string `json:"message" doc:"What is wrong with it"`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns the media type of problem details.
func (p *Problem) ContentType(string) string { return problemType }

// GetHeaders returns headers that belong to the failure.
func (p *Problem) GetHeaders() http.Header { return p.headers }

const (
	problemType = "application/problem+json"
	// typePrefix makes a URI (RFC 8141) of a fault code.
	typePrefix = "urn:decnet:fault:"
	// maxFields bounds how many refused parts are named, maxLocation the length of one name.
	maxFields   = 32
	maxLocation = 128
)

// outcome is how a kind of fault is told to clients.
type outcome struct {
	status int
	title  string
}

// outcomes is the only table from kinds to HTTP statuses.
var outcomes = map[fault.Kind]outcome{
	fault.NotFound:         {http.StatusNotFound, "Not found"},
	fault.Conflict:         {http.StatusConflict, "Conflict"},
	fault.Invalid:          {http.StatusBadRequest, "Bad request"},
	fault.Unprocessable:    {http.StatusUnprocessableEntity, "Unprocessable request"},
	fault.Unauthorized:     {http.StatusUnauthorized, "Unauthorized"},
	fault.Forbidden:        {http.StatusForbidden, "Forbidden"},
	fault.TooLarge:         {http.StatusRequestEntityTooLarge, "Too large"},
	fault.UnsupportedMedia: {http.StatusUnsupportedMediaType, "Unsupported media type"},
	fault.RateLimited:      {http.StatusTooManyRequests, "Too many requests"},
	fault.OperationFailed:  {http.StatusBadGateway, "Operation failed"},
	fault.Unavailable:      {http.StatusServiceUnavailable, "Service unavailable"},
	fault.Internal:         {http.StatusInternalServerError, "Internal server error"},
}

var (
	errNoRoute = fault.New(fault.NotFound, "route_not_found", "there is no such route")
	// errNoMethod is the one fault whose status is not its kind's.
	errNoMethod = fault.New(fault.Invalid, "method_not_allowed", "the route does not take this method")
)

// operationError is a failure that is the outcome of an operation.
type operationError struct {
	id  uuid.UUID
	err *fault.Error
}

func (e *operationError) Error() string { return e.err.Error() }
func (e *operationError) Unwrap() error { return e.err }

// retryError is a failure that may be tried again after a while.
type retryError struct {
	after time.Duration
	err   *fault.Error
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// problem makes the answer for any failure and logs what the client is not told.
func (s *server) problem(ctx context.Context, err error) *Problem {
	f := asFault(err)
	p := newProblem(ctx, f)
	var op *operationError
	if errors.As(err, &op) {
		p.OperationID = op.id.String()
		p.headers.Set(operationHeader, p.OperationID)
	}
	var retry *retryError
	if errors.As(err, &retry) {
		p.headers.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(retry.after.Seconds())))))
	}
	if p.Status >= http.StatusInternalServerError && op == nil {
		s.log(ctx, f, err)
	}
	return p
}

func (s *server) log(ctx context.Context, f *fault.Error, err error) {
	level := slog.LevelError
	if f.Kind == fault.Unavailable {
		level = slog.LevelWarn
	}
	s.deps.Log.Log(ctx, level, "request failed", "request_id", requestIDOf(ctx), "code", f.Code, "err", err)
}

// asFault gives a request that was given up, by the client or by its deadline, its own fault.
func asFault(err error) *fault.Error {
	_, known := fault.As(err)
	if !known && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return fault.New(fault.Unavailable, "request_timeout", "the request was not finished in time").Wrap(err)
	}
	return fault.From(err)
}

func newProblem(ctx context.Context, f *fault.Error) *Problem {
	o, ok := outcomes[f.Kind]
	if !ok {
		o = outcomes[fault.Internal]
	}
	if f.Code == errNoMethod.Code {
		o = outcome{http.StatusMethodNotAllowed, "Method not allowed"}
	}
	id := requestIDOf(ctx)
	p := &Problem{
		Type: typePrefix + f.Code, Title: o.title, Status: o.status, Detail: f.Message,
		Instance: "urn:uuid:" + id, RequestID: id, Errors: []ProblemField{}, headers: http.Header{},
	}
	for _, field := range f.Fields[:min(len(f.Fields), maxFields)] {
		p.Errors = append(p.Errors, ProblemField{Location: safeLocation(field.Location), Message: field.Message})
	}
	if f.Kind == fault.Unauthorized {
		p.headers.Set("WWW-Authenticate", "Bearer")
	}
	return p
}

// safeLocation bounds a path that may contain keys the client made up.
func safeLocation(path string) string {
	clean := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, path)
	if len(clean) > maxLocation {
		clean = clean[:maxLocation] + "..."
	}
	return clean
}

// refuse answers a request with a failure outside of Huma, and ends it.
func (s *server) refuse(c *gin.Context, err error) {
	p := s.problem(c.Request.Context(), err)
	for name, values := range p.headers {
		c.Header(name, values[0])
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and numbers only
	}
	c.Abort()
	c.Data(p.Status, problemType, append(body, '\n'))
}

// schemaProblem is what Huma makes of requests that do not parse or do not fit their schema. The values that Huma adds
// for debugging are left out, and so are texts of the JSON decoder, which quote the body.
func schemaProblem(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
	f := fault.New(fault.Internal, "internal", "internal error")
	for kind, o := range outcomes {
		if o.status == status && kind != fault.Internal {
			f = fault.New(kind, "validation_failed", "%s", msg)
		}
	}
	switch {
	case f.Kind == fault.Invalid:
		f.Code, f.Message = "body_invalid", "the body is missing or is not valid JSON"
	case f.Kind == fault.Unprocessable:
		f.Message = "the request does not fit its schema"
	}
	for _, err := range errs {
		var detail huma.ErrorDetailer
		if errors.As(err, &detail) {
			f = f.With(schemaField(f.Kind, detail.ErrorDetail()))
		}
	}
	return newProblem(ctx.Context(), f)
}

func schemaField(kind fault.Kind, d *huma.ErrorDetail) fault.Field {
	field := fault.Field{Location: d.Location, Message: d.Message}
	if kind == fault.Invalid || strings.HasPrefix(d.Message, "json:") {
		field.Message = "cannot be read as the expected JSON"
	}
	return field
}
