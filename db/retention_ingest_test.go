package db_test

import (
	"context"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
)

// TestTrim_NextToIngest has real ingesters, who may wait a second for a lock, store what visitors do while everything they
// stored is removed at once, the rows they are still working with included: none of them fails, and every row was stored and
// removed exactly once.
func TestTrim_NextToIngest(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	limited, err := url.Parse(b.url)
	require.NoError(t, err)
	q := limited.Query()
	q.Set("lock_timeout", "1000")
	limited.RawQuery = q.Encode()
	store, err := db.Open(t.Context(), limited.String())
	require.NoError(t, err)
	t.Cleanup(store.Close)

	var ingesters sync.WaitGroup
	var stored, longest atomic.Int64
	for i, name := range []string{"web-01", "web-02"} {
		src := fleet(name, "ssh")
		lines := (&ingestBundle{x: b.x, host: b.host}).visitors(t, rand.New(rand.NewPCG(7, uint64(i))), src, 6000)
		ingesters.Go(func() {
			for len(lines) > 0 {
				n := min(len(lines), 100)
				began := time.Now()
				r, err := store.Ingest(t.Context(), db.IngestBatch{Extractions: lines[:n]})
				if err != nil {
					t.Errorf("ingest: %v", err)
					return
				}
				longest.Store(max(longest.Load(), int64(time.Since(began))))
				stored.Add(int64(r.Stored))
				lines = lines[n:]
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ingesters.Wait(); cancel() }()
	for last := false; !last; {
		last = ctx.Err() != nil
		for _, class := range db.RowClasses() {
			for n := int64(1); n > 0; {
				n, _, err = b.store.Trim(t.Context(), db.TrimStep{Class: class, Limit: 200})
				require.NoError(t, err)
			}
		}
	}
	t.Logf("%d events were stored, the longest batch took %s", stored.Load(), time.Duration(longest.Load()))
	removed := map[db.RetentionClass]int64{}
	all, err := b.store.Retention(t.Context())
	require.NoError(t, err)
	for _, r := range all {
		removed[r.Class] = r.Removed
	}
	require.Equal(t, stored.Load(), removed[db.RetainEvents])
	for _, class := range []db.RetentionClass{db.RetainSessions, db.RetainCredentials} {
		require.Positive(t, removed[class], class)
	}
	for _, table := range []string{"events", "bounties", "credentials"} {
		require.Zero(t, one[int64](t, b.conn, `SELECT count(*) FROM `+table), table)
	}
	require.Zero(t, one[int64](t, b.conn, `SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL`))
	require.Zero(t, one[int64](t, b.conn, `SELECT count(*) FROM commands c WHERE NOT EXISTS (
		SELECT FROM sessions s WHERE s.decky_key = c.decky_key AND s.session = c.session)`), "none is left without its session")
	require.Positive(t, one[int64](t, b.conn, `SELECT count(*) FROM attackers`), "summaries stay")
}
