package api_test

import (
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/decky/deckytest"
	"github.com/decnet/decnet/internal/fault"
)

// TestPast_RandomChangesAgainstAModel makes changes of every kind, some of which are refused or fail, and then asks for the
// past: at, just before and just after every change, and in between.
func TestPast_RandomChangesAgainstAModel(t *testing.T) {
	t.Parallel()
	const changes = 500
	b := setup(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	names := []string{"web-01", "web-02", "web-03"}
	m := deckytest.New(rnd, true, time.Now().Add(24*time.Hour), names...)
	began := b.now(t)
	statuses := map[int]int{}
	for range changes {
		c := m.Next()
		var fail *fault.Error
		if c.Fails {
			fail = fault.New(fault.OperationFailed, "decoy_start_failed", "it did not start")
		}
		b.lane.set(func(l *lane) { l.fail = fail })
		before := b.now(t)
		request := call{as: auth.Admin, method: c.Method, path: c.Path}
		if c.Body != nil {
			request.body = c.Body
		}
		r := b.do(t, request)
		require.Equal(t, c.Status, r.status, "%s: %s", c, r.body)
		statuses[r.status]++
		at := b.endOf(t, r)
		require.False(t, at.Before(before.Truncate(time.Microsecond)))
		require.False(t, at.After(b.now(t)))
		if r.status < 300 {
			uuid, _ := r.json(t)["uuid"].(string)
			m.Done(c, at, uuid)
		}
	}
	t.Logf("statuses %v", statuses)
	for _, status := range []int{200, 201, 404, 409, 502} {
		require.NotZero(t, statuses[status], status)
	}
	b.comparePast(t, m, rnd, names, began)
	for _, name := range m.Names() {
		plain := map[string]map[string]any{}
		for _, s := range b.desired(t, name) {
			plain[s.Name] = s.Config
		}
		require.Equal(t, m.Plain(name), plain, "secrets are what they were")
	}
}

func (b *bundle) now(t *testing.T) time.Time {
	t.Helper()
	now, err := b.store.Now(t.Context())
	require.NoError(t, err)
	return now
}

// endOf returns when the operation of an answer ended.
func (b *bundle) endOf(t *testing.T, r reply) time.Time {
	t.Helper()
	id := r.header.Get("Decnet-Operation")
	if id == "" {
		id, _ = r.json(t)["operation_id"].(string)
	}
	body := b.must(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: "/operations/" + id}).json(t)
	at, err := time.Parse(time.RFC3339Nano, body["ended_at"].(string))
	require.NoError(t, err)
	return at
}

func (b *bundle) comparePast(t *testing.T, m *deckytest.Model, rnd *rand.Rand, names []string, began time.Time) {
	t.Helper()
	instants := []time.Time{began.Add(-time.Hour), began, b.now(t), b.now(t).Add(time.Hour)}
	for _, at := range m.Times() {
		between := began.Add(time.Duration(rnd.Int64N(int64(time.Since(began)))))
		instants = append(instants, at.Add(-time.Microsecond), at, at.Add(time.Microsecond), between.Truncate(time.Microsecond))
	}
	for _, at := range instants {
		for _, name := range names {
			r := b.do(t, past(name, at))
			require.NoError(t, m.Check(name, at, r.status, r.body))
		}
	}
}
