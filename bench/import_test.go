package bench_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/internal/ingest/cowrie/cowrietest"
)

const importedEvents = 100_000

// BenchmarkImport measures importing a log of Cowrie, from the first byte of the request to the last row, then the same log
// once more, of which nothing is new.
func BenchmarkImport(b *testing.B) {
	s := startSystem(b)
	before := peak(b, s.PID())
	var first, again time.Duration
	for n := 0; b.Loop(); n++ {
		var log bytes.Buffer
		require.NoError(b, cowrietest.Write(&log, uint64(n), importedEvents))
		first = since(func() { require.EqualValues(b, importedEvents, s.importLog(log.Bytes())) })
		again = since(func() { require.Zero(b, s.importLog(log.Bytes())) })
	}
	b.ReportMetric(0, "ns/op")
	report(b, fmt.Sprintf("import of %d Cowrie events", importedEvents), "import-s/op", first.Seconds(), "< 60")
	report(b, "  events", "import-events/s", importedEvents/first.Seconds(), "")
	report(b, "  the same log again", "known-events/s", importedEvents/again.Seconds(), "")
	report(b, "  growth of decnet's peak memory", "import-MiB", peak(b, s.PID())-before, "")
}

// importLog returns how many events of a log were new.
func (s *system) importLog(log []byte) (stored int64) {
	s.b.Helper()
	ctx := harness.Within(s.b, limit)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/imports?format=cowrie", bytes.NewReader(log))
	require.NoError(s.b, err)
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Authorization", "Bearer "+s.Token)
	res, err := http.DefaultClient.Do(req)
	require.NoError(s.b, err)
	defer func() { _ = res.Body.Close() }()
	require.Equal(s.b, http.StatusAccepted, res.StatusCode)
	var im struct {
		ID         string
		State      string
		Stored     int64
		Duplicates int64
	}
	require.NoError(s.b, json.NewDecoder(res.Body).Decode(&im))
	for im.State == "running" {
		time.Sleep(20 * time.Millisecond)
		answer, err := s.Do(ctx, http.MethodGet, "/imports/"+im.ID, nil)
		require.NoError(s.b, err)
		require.NoError(s.b, answer.Decode(&im))
	}
	require.Equal(s.b, "succeeded", im.State)
	require.EqualValues(s.b, importedEvents, im.Stored+im.Duplicates)
	return im.Stored
}
