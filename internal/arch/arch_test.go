package arch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/arch"
)

func TestImports(t *testing.T) {
	t.Parallel()
	require.Empty(t, arch.Violations(list(t)))
}

// list returns the packages of this module. -e, because a package that does not compile has imports all the same.
func list(t *testing.T) []arch.Package {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", arch.Module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var pkgs []arch.Package
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p arch.Package
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		pkgs = append(pkgs, p)
	}
	require.NotEmpty(t, pkgs, "go list found no packages: the rules would hold for nothing")
	require.Contains(t, paths(pkgs), arch.Module+"/internal/arch")
	return pkgs
}

func paths(pkgs []arch.Package) []string {
	out := make([]string, len(pkgs))
	for i, p := range pkgs {
		out[i] = p.ImportPath
	}
	return out
}

func TestViolations_ReportsEveryRule(t *testing.T) {
	t.Parallel()
	const m = arch.Module + "/"
	for _, c := range []struct{ pkg, imp string }{
		{m + "internal/topology", "github.com/jackc/pgx/v5"},
		{m + "internal/topology", "github.com/gin-gonic/gin"},
		{m + "internal/topology", "github.com/nats-io/nats.go/jetstream"},
		{m + "internal/topology/sub", "go.temporal.io/sdk/workflow"},
		{m + "internal/topology", m + "db"},
		{m + "internal/topology", m + "internal/bus"},
		{m + "internal/never_seen_before", m + "api"},
		{m + "workflows", m + "db"},
		{m + "workflows", m + "api"},
		{m + "workflows", m + "internal/bus"},
		{m + "workflows", "net"},
		{m + "workflows", "net/http"},
		{m + "workflows", "os"},
		{m + "workflows/sub", "os/exec"},
		{m + "workflows", "log/slog"},
		{m + "api", m + "db/dbsqlc"},
		{m + "activities", m + "db/dbsqlc"},
		{m + "api", m + "internal/role/ingest"},
		{m + "internal/role/bridge", m + "internal/role/ingest"},
		{m + "decoys/ssh", m + "internal/fault"},
		{m + "decoys/ssh", m + "db"},
		{m + "decoys/ssh", arch.Module},
		{m + "cmd/decoy", m + "internal/decky"},
		{m + "worker", m + "internal/bus/bustest"},
	} {
		got := arch.Violations([]arch.Package{{ImportPath: c.pkg, Imports: []string{"context", c.imp}}})
		require.Len(t, got, 1, "%s -> %s", c.pkg, c.imp)
		require.Contains(t, got[0], c.imp)
	}
}

func TestViolations_AllowsTheLayering(t *testing.T) {
	t.Parallel()
	const m = arch.Module + "/"
	for _, c := range []struct{ pkg, imp string }{
		{m + "internal/topology", m + "internal/fault"},
		{m + "internal/topology", "net/netip"},
		{m + "internal/topology", "github.com/jackc/pgxlike"},
		{m + "internal/bus", "github.com/nats-io/nats.go"},
		{m + "internal/bus/bustest", "github.com/nats-io/nats-server/v2/server"},
		{m + "internal/role/ingest", m + "db"},
		{m + "internal/role/ingest", m + "internal/role/ingest/parse"},
		{m + "internal/temporalfault", "go.temporal.io/sdk/temporal"},
		{m + "workflows", m + "activities"},
		{m + "workflows", m + "internal/temporalfault"},
		{m + "workflows", "go.temporal.io/sdk/workflow"},
		{m + "workflows", "net/netip"},
		{m + "db", m + "db/dbsqlc"},
		{m + "api", m + "db"},
		{m + "api", "net/http"},
		{m + "activities", m + "internal/bus"},
		{m + "worker", m + "internal/runtime"},
		{m + "cmd/decnet", m + "internal/role/ingest"},
		{m + "cmd/decnet", m + "internal/bus"},
		{m + "cmd/decoy", m + "decoys/ssh"},
		{m + "decoys/ssh", m + "decoys/eventlog"},
		{m + "decoys/ssh", "github.com/other/module/internal/db"},
		{m + "internal/runtime/process", m + "decoys/config"},
	} {
		require.Empty(t, arch.Violations([]arch.Package{{ImportPath: c.pkg, Imports: []string{c.imp}}}), "%s -> %s", c.pkg, c.imp)
	}
}
