// Package bustest starts a real broker inside a test. It is the one helper for tests that need NATS; it is not for
// production code.
package bustest

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

const readyTimeout = 10 * time.Second

// Server is a broker with JetStream on loopback. It stops when the test ends. It is not safe for concurrent use.
type Server struct {
	t    testing.TB
	dir  string
	port int
	srv  *server.Server
}

// Start returns a running broker with an empty store.
func Start(t testing.TB) *Server {
	t.Helper()
	// Not t.TempDir: the broker may still write while the test's own directory is removed.
	dir, err := os.MkdirTemp("", "bustest")
	require.NoError(t, err)
	s := &Server{t: t, dir: dir, port: server.RANDOM_PORT}
	s.Up()
	t.Cleanup(func() {
		s.Down()
		_ = os.RemoveAll(dir)
	})
	return s
}

// URL returns the address for clients; it stays the same over Down and Up.
func (s *Server) URL() string { return s.srv.ClientURL() }

// Down stops the broker and keeps its store.
func (s *Server) Down() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}

// Up starts the broker again on the same port.
func (s *Server) Up() {
	s.t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: s.port, NoLog: true, NoSigs: true, JetStream: true, StoreDir: s.dir,
	})
	require.NoError(s.t, err)
	srv.Start()
	require.True(s.t, srv.ReadyForConnections(readyTimeout), "broker not ready")
	s.srv = srv
	addr, ok := srv.Addr().(*net.TCPAddr)
	require.True(s.t, ok)
	s.port = addr.Port
}

// Wipe deletes the store. The broker must be down.
func (s *Server) Wipe() {
	s.t.Helper()
	require.NoError(s.t, os.RemoveAll(s.dir))
}

// Save copies the store and returns a function that puts the copy in its place: what was stored in between is lost, as
// after a power failure. The broker must be down for both.
func (s *Server) Save() (restore func()) {
	s.t.Helper()
	saved := s.t.TempDir()
	require.NoError(s.t, os.CopyFS(saved, os.DirFS(s.dir)))
	return func() {
		s.Wipe()
		require.NoError(s.t, os.CopyFS(s.dir, os.DirFS(saved)))
	}
}
