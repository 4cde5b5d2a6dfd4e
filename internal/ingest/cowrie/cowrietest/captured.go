package cowrietest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Captured returns real logs to test with, which are no part of the repository: cowrie/*.json of the folder that
// DECNET_CAPTURED_LOGS names, by default ../shared/data seen from the repository. It skips the test where there is none.
func Captured(tb testing.TB) []string {
	tb.Helper()
	dir := os.Getenv("DECNET_CAPTURED_LOGS") //nolint:forbidigo // a setting of tests
	if dir == "" {
		_, file, _, _ := runtime.Caller(0)
		dir = filepath.Join(filepath.Dir(file), "../../../../../shared/data")
	}
	files, err := filepath.Glob(filepath.Join(dir, "cowrie", "*.json"))
	require.NoError(tb, err)
	if len(files) == 0 {
		tb.Skip("SKIPPED: no captured logs to read; set DECNET_CAPTURED_LOGS to a folder with cowrie/*.json")
	}
	return files
}

// Reference is what `jq -R 'fromjson? | .eventid'` makes of a log: how many lines there are of every kind.
type Reference struct {
	Kinds     map[string]int64
	Malformed int64
	Lines     int64
}

// NewReference counts the lines of a log with the standard library's parser.
func NewReference(content []byte) Reference {
	r := Reference{Kinds: map[string]int64{}}
	for line := range strings.Lines(string(content)) {
		r.Lines++
		var e struct {
			EventID string `json:"eventid"`
		}
		if json.Unmarshal([]byte(line), &e) != nil {
			r.Malformed++
			continue
		}
		r.Kinds[e.EventID]++
	}
	return r
}
