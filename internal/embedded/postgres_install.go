package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/decnet/decnet/internal/fault"
)

// oldestPostgres is the oldest major version that the schema is written for.
const oldestPostgres = 14

// postgresInstall is one set of server binaries.
type postgresInstall struct {
	dir   string
	major int
}

// debianPostgres is where Debian's packages put server binaries.
const debianPostgres = "/usr/lib/postgresql/*/bin"

// findInstalls returns the usable sets of binaries in dirs, in that order; nil dirs mean Debian's places.
func findInstalls(ctx context.Context, dirs []string) []postgresInstall {
	if dirs == nil {
		dirs, _ = filepath.Glob(debianPostgres)
	}
	var found []postgresInstall
	for _, dir := range dirs {
		major, err := postgresMajor(ctx, dir)
		if err == nil && major >= oldestPostgres {
			found = append(found, postgresInstall{dir: dir, major: major})
		}
	}
	return found
}

// versionPattern matches "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)" and "17beta1".
var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func postgresMajor(ctx context.Context, dir string) (int, error) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version") //nolint:gosec // configured or found
	cmd.Env = []string{childPath, "LC_ALL=C"}
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	m := versionPattern.FindSubmatch(out)
	if m == nil {
		return 0, errors.New("no version in the output of postgres --version")
	}
	return strconv.Atoi(string(m[1]))
}

// chooseInstall returns the binaries for cluster: the first found for a new one, those of its PG_VERSION otherwise.
// The refusals name the Debian package that helps.
func chooseInstall(ctx context.Context, cluster string, dirs []string) (postgresInstall, error) {
	found := findInstalls(ctx, dirs)
	made, err := clusterMajor(cluster)
	if err != nil {
		return postgresInstall{}, err
	}
	if made == 0 {
		if len(found) > 0 {
			return found[0], nil
		}
		return postgresInstall{}, fault.New(fault.Unavailable, "postgres_missing",
			"no PostgreSQL server (version %d or later) on this machine: install the package postgresql, or set "+
				"DECNET_POSTGRES_BIN or DECNET_DATABASE_URL", oldestPostgres)
	}
	var have []string
	for _, in := range found {
		if in.major == made {
			return in, nil
		}
		have = append(have, strconv.Itoa(in.major))
	}
	if have == nil {
		have = []string{"none"}
	}
	return postgresInstall{}, fault.New(fault.Unprocessable, "postgres_version_mismatch",
		"%s was made by PostgreSQL %d, this machine has %s: install the package postgresql-%d, or dump it with that "+
			"version and restore it into a new data directory", cluster, made, strings.Join(have, ", "), made)
}

// clusterMajor returns the major version of a cluster, 0 when there is none.
func clusterMajor(cluster string) (int, error) {
	text, err := os.ReadFile(filepath.Join(cluster, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Stat(cluster); statErr == nil {
			return 0, fault.New(fault.Conflict, "postgres_damaged", "%s exists but is no PostgreSQL cluster: restore it, or move it away", cluster)
		}
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read cluster version: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fault.New(fault.Conflict, "postgres_damaged", "%s holds no version: restore the cluster, or move it away", filepath.Join(cluster, "PG_VERSION"))
	}
	return major, nil
}
