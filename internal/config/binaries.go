package config

import (
	"os"
	"path/filepath"
	"sort"

	"github.com/decnet/decnet/internal/fault"
)

// TemporalPath returns the temporal command: the configured one, or the first found beside this executable, in bin
// under the working directory, or on the search path. A fault.Unavailable says where it was looked for.
func (c Config) TemporalPath() (string, error) {
	return c.binary("temporal", "temporal_binary", c.TemporalBinary)
}

// DecoyPath returns the decoy command, searched for like the temporal one.
func (c Config) DecoyPath() (string, error) {
	return c.binary("decoy", "decoy_binary", c.DecoyBinary)
}

// PostgresBinDirs returns the directories that may hold initdb and postgres, best first: only the configured one when
// there is one, else those of Debian's packages (newest version first) and the search path.
func (c Config) PostgresBinDirs() []string {
	if c.PostgresBinDir != "" {
		return []string{c.PostgresBinDir}
	}
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	sort.Slice(dirs, func(i, j int) bool { // 9.6 is out of support, so versions are whole numbers: longer is newer
		a, b := dirs[i], dirs[j]
		return len(a) > len(b) || len(a) == len(b) && a > b
	})
	return append(dirs, filepath.SplitList(c.SearchPath)...)
}

func (c Config) binary(name, key, configured string) (string, error) {
	if configured != "" {
		if executable(configured) {
			return filepath.Abs(configured)
		}
		return "", fault.New(fault.Unavailable, "binary_missing", "%s names %s, which is not an executable file", key, configured)
	}
	for _, dir := range c.binaryDirs() {
		if path := filepath.Join(dir, name); executable(path) {
			return filepath.Abs(path)
		}
	}
	return "", fault.New(fault.Unavailable, "binary_missing",
		"no %s command beside this executable, in ./bin or on PATH: run make build, or set %s", name, byKey[key].env())
}

func (c Config) binaryDirs() []string {
	var dirs []string
	if self, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(self))
	}
	dirs = append(dirs, "bin")
	for _, dir := range filepath.SplitList(c.SearchPath) {
		if filepath.IsAbs(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
