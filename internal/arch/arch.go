// Package arch states which package may import which, and its test enforces it on direct imports.
//
// The linter checks most of the same rules while editing; this package is the authority, because it sees every package,
// those that did not exist when the rules were written included: a new package under internal is domain until it is
// listed as an adapter.
package arch

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path that our own packages begin with.
const Module = "github.com/decnet/decnet"

// adapters are the packages under internal that may know a driver, a broker or an engine. The test helper packages
// (names ending in "test") follow the package they serve.
var adapters = []string{"arch", "bus", "cli", "config", "deps", "dispatch", "embedded", "harness", "role", "runtime", "secretbox", "telemetry", "temporalfault"}

// Package is what the rules need to know of a package, as `go list -json` prints it.
type Package struct {
	ImportPath string
	Imports    []string
}

// rule forbids imports to some packages. Both functions see our own paths relative to Module, with a slash in front
// ("/internal/bus"); an import that is not ours is given as it is written.
type rule struct {
	name    string
	applies func(pkg string) bool
	forbids func(pkg, imp string) bool
}

func rules() []rule {
	return []rule{
		{
			name:    "domain packages know no driver, broker, engine or layer above them",
			applies: isDomain,
			forbids: func(_, imp string) bool {
				return within(imp, "github.com/jackc/pgx", "github.com/gin-gonic/gin", "github.com/nats-io", "go.temporal.io",
					"/db", "/api", "/workflows", "/activities", "/worker", "/internal/bus", "/internal/embedded")
			},
		},
		{
			name:    "workflows are deterministic: no store, network, process or log of their own",
			applies: func(pkg string) bool { return within(pkg, "/workflows") },
			forbids: func(_, imp string) bool {
				return imp != "net/netip" && within(imp, "/db", "/api", "/internal/bus", "net", "os", "log/slog")
			},
		},
		{
			name:    "only db imports the generated queries",
			applies: func(pkg string) bool { return !within(pkg, "/db") },
			forbids: func(_, imp string) bool { return within(imp, "/db/dbsqlc") },
		},
		{
			name:    "only cmd imports a role",
			applies: func(pkg string) bool { return !within(pkg, "/cmd") },
			forbids: func(pkg, imp string) bool {
				return within(imp, "/internal/role") && firstTokens(pkg, 4) != firstTokens(imp, 4)
			},
		},
		{
			name:    "decoys know nothing of the control plane",
			applies: func(pkg string) bool { return within(pkg, "/decoys", "/cmd/decoy") },
			forbids: func(_, imp string) bool { return isOurs(imp) && !within(imp, "/decoys") },
		},
		{
			name: "test helpers stay in tests",
			applies: func(pkg string) bool {
				return !strings.HasSuffix(pkg, "test") && !within(pkg, "/bench", "/chaos", "/e2e")
			},
			forbids: func(_, imp string) bool { return within(imp, "/internal") && strings.HasSuffix(imp, "test") },
		},
	}
}

// Violations returns one line per forbidden direct import, sorted.
func Violations(pkgs []Package) []string {
	var out []string
	for _, p := range pkgs {
		pkg := relative(p.ImportPath)
		for _, r := range rules() {
			if !r.applies(pkg) {
				continue
			}
			for _, path := range p.Imports {
				if r.forbids(pkg, relative(path)) {
					out = append(out, fmt.Sprintf("%s imports %s: %s", p.ImportPath, path, r.name))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func isDomain(pkg string) bool {
	name, ok := strings.CutPrefix(pkg, "/internal/")
	return ok && !slices.Contains(adapters, firstTokens(name, 1))
}

// relative turns "<Module>/db" into "/db", which no other import path can be.
func relative(path string) string { return strings.TrimPrefix(path, Module) }

func isOurs(imp string) bool { return imp == "" || strings.HasPrefix(imp, "/") }

// within reports whether path is one of the roots or below one.
func within(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return path == r || strings.HasPrefix(path, r+"/") })
}

func firstTokens(path string, n int) string {
	tokens := strings.Split(path, "/")
	return strings.Join(tokens[:min(n, len(tokens))], "/")
}
