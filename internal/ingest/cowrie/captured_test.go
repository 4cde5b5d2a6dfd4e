package cowrie_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/ingest/foreign"
)

// captured returns the captured logs to develop against, whose folder DECNET_CAPTURED_LOGS names. They are no part of the
// repository.
func captured(t testing.TB) []string {
	t.Helper()
	dir := os.Getenv("DECNET_CAPTURED_LOGS")
	if dir == "" {
		t.Skip("SKIPPED: no captured logs to read; set DECNET_CAPTURED_LOGS to a folder with cowrie/*.json")
	}
	files, err := filepath.Glob(filepath.Join(dir, "cowrie", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no cowrie/*.json in %s", dir)
	return files
}

func TestReader_CapturedLogs(t *testing.T) {
	t.Parallel()
	for _, name := range captured(t) {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		// The reference: what the standard library makes of each line.
		kinds, malformed := map[string]int64{}, int64(0)
		lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
		for _, l := range lines {
			var e struct{ EventID string }
			if json.Unmarshal([]byte(l), &e) != nil {
				malformed++
				continue
			}
			kinds[e.EventID]++
		}
		all, rep := readAll(t, bytes.NewReader(data))
		require.Equal(t, kinds, rep.Kinds, name)
		require.EqualValues(t, len(lines), rep.Read)
		require.Equal(t, malformed, rep.Read-rep.Kept, "everything that is JSON is kept")
		t.Logf("%s: %+v", filepath.Base(name), rep)
		keys := map[string]bool{}
		for _, e := range all {
			checkRecord(t, e)
			keys[fmt.Sprint(e.Record.Boot, e.Record.Line)] = true
		}
		require.Len(t, keys, len(all), "no two lines are one")
		// Overlapping parts, in another order, hold the same lines.
		half := bytes.IndexByte(data[len(data)/2:], '\n') + len(data)/2 + 1
		third := bytes.IndexByte(data[len(data)/3:], '\n') + len(data)/3 + 1
		for _, part := range [][]byte{data[third:], data[:half], data} {
			again, _ := readAll(t, bytes.NewReader(part))
			for _, e := range again {
				require.True(t, keys[fmt.Sprint(e.Record.Boot, e.Record.Line)])
			}
		}
		checkCounts(t, all, rep)
	}
}

// checkCounts compares what records say with what kinds say.
func checkCounts(t *testing.T, all []foreign.Entry, rep foreign.Report) {
	t.Helper()
	n := map[string]int64{}
	for _, e := range all {
		n[e.Record.Type]++
		if e.Record.Fields.Get("hassh") != "" {
			n["hassh"]++
		}
		if e.Record.Fields.Get("secret_b64") != "" {
			n["secret"]++
		}
	}
	require.Equal(t, rep.Kinds["cowrie.session.closed"], n["session_closed"])
	require.Equal(t, rep.Kinds["cowrie.command.input"], n["command"])
	require.Equal(t, rep.Kinds["cowrie.client.kex"], n["hassh"])
	require.Equal(t, rep.Kinds["cowrie.login.success"]+rep.Kinds["cowrie.login.failed"], n["auth_attempt"])
	require.LessOrEqual(t, n["secret"], n["auth_attempt"])
	require.Positive(t, n["secret"])
	downloads := rep.Kinds["cowrie.session.file_download"] + rep.Kinds["cowrie.session.file_upload"]
	require.Equal(t, downloads, n["file_captured"]+n["download_attempt"]+n["shell_input"])
}
