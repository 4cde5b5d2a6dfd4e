package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/internal/ingest/cowrie/cowrietest"
)

// importedLog is the part of an import tests look at.
type importedLog struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Lines struct {
		Read    int64            `json:"read"`
		Kept    int64            `json:"kept"`
		Reasons map[string]int64 `json:"reasons"`
	} `json:"lines"`
	Stored     int64 `json:"stored"`
	Duplicates int64 `json:"duplicates"`
}

// killedImport imports a log with the client, kills everything in the middle of it, twice, and finds every line once.
func killedImport(t *testing.T, s *system) {
	const lines = 40_000
	var log bytes.Buffer
	require.NoError(t, cowrietest.Write(&log, 11, lines))
	log.WriteString(`{"eventid":"cowrie.session.conn`) // the sensor was writing
	home := t.TempDir()
	file := filepath.Join(home, "cowrie.json")
	require.NoError(t, os.WriteFile(file, log.Bytes(), 0o600))
	out, errs, code := s.CLI(harness.Within(t, patience), home, "", "import", "cowrie", "--token", s.Token, "--detach", "-o", "json", file)
	require.Zero(t, code, errs)
	var im importedLog
	require.NoError(t, json.Unmarshal([]byte(out), &im))
	for _, reached := range []int64{1, lines / 2} {
		eventually(t, func() bool { return s.importOf(t, im.ID).Stored >= reached }, "the import gets somewhere")
		require.Equal(t, "running", s.importOf(t, im.ID).State, "it must be killed in the middle")
		s.Kill()
		s.Start()
	}
	eventually(t, func() bool { return s.importOf(t, im.ID).State != "running" }, "the import ends")
	im = s.importOf(t, im.ID)
	require.Equal(t, "succeeded", im.State)
	require.Equal(t, []int64{lines + 1, lines, lines, 0}, []int64{im.Lines.Read, im.Lines.Kept, im.Stored, im.Duplicates})
	require.Equal(t, map[string]int64{"truncated": 1}, im.Lines.Reasons)
	conn, err := pgx.Connect(t.Context(), s.Ready.DatabaseURL)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	var events int64
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM events WHERE sensor = 'svr-1'").Scan(&events))
	require.EqualValues(t, lines, events)

	_, errs, code = s.CLI(harness.Within(t, patience), home, log.String(), "import", "cowrie", "--token", s.Token, "-o", "json", "-")
	require.Zero(t, code, errs)
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM events WHERE sensor = 'svr-1'").Scan(&events))
	require.EqualValues(t, lines, events, "what is known is known")
}

func (s *system) importOf(t *testing.T, id string) importedLog {
	t.Helper()
	var im importedLog
	require.NoError(t, s.must(t, http.StatusOK, http.MethodGet, "/imports/"+id, nil).Decode(&im))
	return im
}
