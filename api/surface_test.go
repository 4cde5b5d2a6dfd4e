package api_test

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/internal/auth"
)

var update = flag.Bool("update", false, "rewrite openapi.yaml")

// from sends a request from another peer and returns the status.
func (b *bundle) from(t *testing.T, address string, c call) int {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), c.method, "/api/v1"+c.path, encode(t, c.body))
	req.Header.Set("Content-Type", "application/json")
	req.RemoteAddr = address + ":1234"
	rec := httptest.NewRecorder()
	b.engine.ServeHTTP(rec, req)
	return rec.Code
}

func TestOpenAPI_CommittedDocumentIsCurrent(t *testing.T) {
	t.Parallel()
	generated, err := api.OpenAPI()
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("openapi.yaml", generated, 0o644))
	}
	committed, err := os.ReadFile("openapi.yaml")
	require.NoError(t, err)
	require.Equal(t, string(committed), string(generated), "run: go test ./api -run OpenAPI -update")

	b := setup(t)
	for _, path := range []string{"/openapi.yaml", "/openapi.json"} {
		r := b.do(t, call{method: http.MethodGet, path: path})
		require.Equal(t, http.StatusOK, r.status)
	}
	require.Equal(t, string(generated), string(b.do(t, call{method: http.MethodGet, path: "/openapi.yaml"}).body))
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	services := b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/deckies/services"}).json(t)
	require.Contains(t, services["services"], "ssh")
	require.Empty(t, services["fleet_singletons"])

	var schema api.ServiceSchemaBody
	b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/deckies/services/ssh/schema"}).into(t, &schema)
	require.Equal(t, []uint16{22}, schema.Ports)
	require.True(t, schema.Fields[0].Secret)
	r := b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/deckies/services/gopher/schema"})
	require.Equal(t, "service_not_found", r.code(t))

	var archetypes api.ArchetypesBody
	b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/deckies/archetypes"}).into(t, &archetypes)
	require.Equal(t, "linux-server", archetypes.Archetypes[0].Slug)
	for _, a := range archetypes.Archetypes {
		require.NotEmpty(t, a.Services)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01")
	var status api.StatusBody
	b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/status"}).into(t, &status)
	require.False(t, status.Quiescent, "no observer has looked")
	require.Zero(t, status.OpenOperations)
	require.Positive(t, status.OutboxBacklog)
	require.Equal(t, "test", status.Version)
	require.Equal(t, 1, status.Epoch)
	require.NotEmpty(t, status.InstallationID)
	require.NotNil(t, status.Observer)
	require.NotNil(t, status.Roles)
}

func TestHealth(t *testing.T) {
	t.Parallel()
	var broken error
	b := setup(t, func(d *api.Deps, _ *api.Options) {
		d.Ready = func(context.Context) map[string]error { return map[string]error{"postgres": nil, "temporal": broken} }
	})
	require.Equal(t, http.StatusOK, b.request(t, "/healthz", call{method: http.MethodGet}).status)
	require.Equal(t, http.StatusOK, b.request(t, "/readyz", call{method: http.MethodGet}).status)
	broken = errors.New("secret address")
	r := b.request(t, "/readyz", call{method: http.MethodGet})
	require.Equal(t, http.StatusServiceUnavailable, r.status)
	require.JSONEq(t, `{"status":"not_ready","checks":{"postgres":"ok","temporal":"failing"}}`, string(r.body))

	b.request(t, "/no/such/"+marker, call{method: http.MethodGet})
	b.request(t, "/healthz", call{method: "MARKER"})
	metrics := b.request(t, "/metrics", call{method: http.MethodGet})
	require.Contains(t, string(metrics.body), `decnet_http_requests_total{method="GET",route="/readyz",status="503"} 1`)
	require.Contains(t, string(metrics.body), `route="unmatched"`)
	require.NotContains(t, string(metrics.body), marker)
	require.NotContains(t, string(metrics.body), "MARKER")
}
