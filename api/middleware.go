package api

import (
	"context"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

type contextKey int

const (
	requestIDKey contextKey = iota
	principalKey
	uploadKey
)

// requestID gives every request an id of our own making: one from outside could be used to confuse the log.
func (s *server) requestID(c *gin.Context) {
	id := uuid.NewString()
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), requestIDKey, id))
	c.Header("X-Request-Id", id)
	c.Next()
}

func requestIDOf(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}

// actorKey is where authenticate leaves the actor for the access log.
const actorKey = "actor"

// observe logs and counts requests by route template: the path itself is the client's text.
func (s *server) observe(m httpMetrics) gin.HandlerFunc {
	return func(c *gin.Context) {
		start := time.Now()
		c.Next()
		took, method, route := time.Since(start), methodLabel(c.Request.Method), routeLabel(c)
		m.requests.WithLabelValues(method, route, strconv.Itoa(c.Writer.Status())).Inc()
		if !s.endless[route] && !s.downloaded(c) {
			m.seconds.WithLabelValues(method, route).Observe(took.Seconds())
		}
		s.deps.Log.InfoContext(c.Request.Context(), "request served", "method", method, "route", route,
			"status", c.Writer.Status(), "duration_ms", took.Milliseconds(), "bytes", c.Writer.Size(),
			"remote", c.RemoteIP(), "actor", c.GetString(actorKey), "request_id", requestIDOf(c.Request.Context()))
	}
}

func methodLabel(method string) string {
	known := []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
	}
	if slices.Contains(known, method) {
		return method
	}
	return "other"
}

func routeLabel(c *gin.Context) string {
	if route := c.FullPath(); route != "" {
		return route
	}
	return "unmatched"
}

type httpMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newHTTPMetrics(registry *prometheus.Registry) httpMetrics {
	m := httpMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "decnet_http_requests_total", Help: "Requests by route template, method and status.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "decnet_http_request_duration_seconds", Help: "Time to answer by route template and method.",
			Buckets: []float64{.005, .025, .1, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"method", "route"}),
	}
	registry.MustRegister(m.requests, m.seconds)
	return m
}

func (s *server) recoverPanic(c *gin.Context) {
	defer func() {
		cause := recover()
		switch {
		case cause == nil:
			return
		case cause == http.ErrAbortHandler: //nolint:errorlint // the value itself is the signal
			panic(cause)
		}
		s.deps.Log.ErrorContext(c.Request.Context(), "request panicked", "request_id", requestIDOf(c.Request.Context()),
			"route", routeLabel(c), "cause", cause, "stack", string(debug.Stack()))
		c.Abort()
		if !c.Writer.Written() {
			s.refuse(c, errPanic)
		}
	}()
	c.Next()
}

func securityHeaders(c *gin.Context) {
	c.Header("X-Content-Type-Options", "nosniff")
	c.Header("X-Frame-Options", "DENY")
	c.Header("Referrer-Policy", "no-referrer")
	c.Header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	c.Header("Cache-Control", "no-store")
	c.Next()
}

func (s *server) deadline(c *gin.Context) {
	if s.downloads[c.FullPath()] {
		c.Set(acceptKey, c.GetHeader("Accept"))
	}
	// Downloads have a limit of their own.
	if !s.endless[c.FullPath()] && !s.downloaded(c) && !s.uploads[c.Request.Method+" "+c.FullPath()] {
		ctx, cancel := context.WithTimeout(c.Request.Context(), requestLimit)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
	}
	// Huma answers in JSON whatever is asked for.
	c.Request.Header.Del("Accept")
	c.Next()
}

// downloaded reports whether a whole list is wanted.
func (s *server) downloaded(c *gin.Context) bool {
	return s.downloads[c.FullPath()] && formatOf(c) != formatJSON
}
