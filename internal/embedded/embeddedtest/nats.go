package embeddedtest

import (
	"log/slog"
	"testing"

	"github.com/decnet/decnet/internal/embedded"
)

// NATS returns the URL, with its token, of a new server with JetStream and an empty store. It ends with the test.
func NATS(t testing.TB) string {
	t.Helper()
	n, err := embedded.StartNATS(t.Context(), embedded.NATSOptions{
		StoreDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatalf("nats for a test: %v", err)
	}
	t.Cleanup(n.Stop)
	return n.URL()
}
