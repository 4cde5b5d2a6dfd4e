package embeddedtest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"

	"github.com/decnet/decnet/internal/embedded"
)

// Temporal returns the frontend address of the shared dev server and a new namespace with decnet's search attributes,
// which no other test uses: workflow ids and task queues need no prefix. The namespace stays until the server ends;
// deleting it would cost more than keeping it.
func Temporal(t testing.TB) (address, namespace string) {
	t.Helper()
	address = temporalServer.use(t, kindTemporal, temporalBinary).Addr
	namespace = "t-" + strings.ToLower(rand.Text()[:16])
	c, err := client.NewLazyClient(client.Options{
		HostPort: address, Namespace: namespace, Logger: sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		t.Fatalf("temporal client for a test: %v", err)
	}
	defer c.Close()
	if err := createNamespace(t.Context(), c, namespace); err != nil {
		t.Fatalf("temporal namespace for a test: %v", err)
	}
	return address, namespace
}

// createNamespace returns once the namespace can be used, which takes a refresh of the server's cache.
func createNamespace(ctx context.Context, c client.Client, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var err error
	for ctx.Err() == nil {
		if err = embedded.EnsureNamespace(ctx, c, namespace); err == nil {
			_, err = c.WorkflowService().CountWorkflowExecutions(ctx, &workflowservice.CountWorkflowExecutionsRequest{
				Namespace: namespace, Query: "DecnetScope = 'none'",
			})
		}
		if err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}
