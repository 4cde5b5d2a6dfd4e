package cowrie_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/ingest/cowrie/cowrietest"
	"github.com/decnet/decnet/internal/ingest/foreign"
)

func TestReader_CapturedLogs(t *testing.T) {
	t.Parallel()
	for _, name := range cowrietest.Captured(t) {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		want := cowrietest.NewReference(data)
		all, rep := readAll(t, bytes.NewReader(data))
		require.Equal(t, want.Kinds, rep.Kinds, name)
		require.Equal(t, want.Lines, rep.Read)
		require.Equal(t, want.Malformed, rep.Read-rep.Kept, "everything that is JSON is kept")
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
