// Package decoytest is what the tests of decoys have in common: the lines a decoy writes, and a service at work on loopback.
package decoytest

import (
	"bytes"
	"context"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	patience = 10 * time.Second
	grace    = 5 * time.Second
)

// Log collects the lines of a decoy. It is safe for concurrent use.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns all that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Wait returns the first line that matches a pattern, failing when none comes.
func (l *Log) Wait(t testing.TB, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found string
	require.Eventually(t, func() bool {
		for line := range strings.SplitSeq(l.String(), "\n") {
			if re.MatchString(line) {
				found = line
				return true
			}
		}
		return false
	}, patience, 5*time.Millisecond, pattern)
	return found
}

// Field returns a value of a line, with the escapes of RFC 5424 undone, "" when there is none.
func Field(line, name string) string {
	m := regexp.MustCompile(` ` + name + `="((?:\\.|[^"\\])*)"`).FindStringSubmatch(line)
	if m == nil {
		return ""
	}
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\]`, `]`).Replace(m[1])
}

// Server is a decoy's service.
type Server interface {
	Serve(ctx context.Context, l net.Listener) error
	Close(grace time.Duration)
}

// Serve has a service answer on loopback until the test ends and returns its address. stop ends it earlier.
func Serve(t testing.TB, s Server) (addr string, stop context.CancelFunc) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // it ends with the test, after what the test has cleaned up
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		<-done
		s.Close(grace)
	})
	return l.Addr().String(), cancel
}
