package db_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/ingest"
)

func TestView_SlowSearchIsRefused(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	store, err := db.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(store.Close)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE attackers")
	require.NoError(t, err)
	read := func(v *db.View) error {
		_, err := v.Attackers(t.Context(), db.AttackerFilter{Sort: db.AttackersRecent, Limit: 1})
		return err
	}
	err = store.ViewWithin(t.Context(), 50*time.Millisecond, read)
	f, ok := fault.As(err)
	require.True(t, ok)
	require.Equal(t, "search_too_slow", f.Code)
	require.Equal(t, fault.Unprocessable, f.Kind)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = store.View(ctx, func(v *db.View) error {
		_, err := v.Attackers(ctx, db.AttackerFilter{Sort: db.AttackersRecent, Limit: 1})
		return err
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, store.View(t.Context(), read))
}

func TestView_IsASnapshotAndWritesNothing(t *testing.T) {
	t.Parallel()
	store := dbtest.Open(t)
	count := func(v *db.View) int {
		rows, err := v.Events(t.Context(), db.EventFilter{Limit: 10})
		require.NoError(t, err)
		return len(rows)
	}
	storeEvent(t, store, "one")
	require.NoError(t, store.View(t.Context(), func(v *db.View) error {
		require.Equal(t, 1, count(v))
		storeEvent(t, store, "two")
		require.Equal(t, 1, count(v))
		return nil
	}))
	require.NoError(t, store.View(t.Context(), func(v *db.View) error {
		require.Equal(t, 2, count(v))
		return nil
	}))
}

func storeEvent(t require.TestingT, store *db.Store, text string) {
	r := &ingest.Record{
		Time: time.Now().UTC().Truncate(time.Microsecond), App: "http", Type: "request", Attacker: netip.MustParseAddr("203.0.113.7"),
		Fields: ingest.Fields{{Key: "path", Value: text}}, Raw: uuid.NewString(),
	}
	src := ingest.Source{DeckyKey: "web-01", DeckyName: "web-01", DeckyID: uuid.New(), Service: "http"}
	_, err := store.Ingest(context.Background(), db.IngestBatch{Extractions: []ingest.Extraction{ingest.NewExtractor(nil).Extract(src, r)}})
	require.NoError(t, err)
}

// Postgres understands every search that the parser lets through, in both ways of searching, and what is stored is found by
// its own words.
func TestEvents_AnySearchIsUnderstood(t *testing.T) {
	t.Parallel()
	store := dbtest.Open(t)
	for i := range 3 {
		storeEvent(t, store, []string{"it's", `back\slash`, "日本 ÀÉÎ ǅ"}[i])
	}
	for search, want := range map[string]int{"it's": 1, `back\slash`: 1, "日本": 1, "àéî": 1, "path:it's": 1, "s": 2, "serv": 0, "i": 1, `'`: -1, `\`: -1} {
		q, err := ingest.ParseQuery(search)
		if want < 0 {
			require.Error(t, err)
			continue
		}
		require.NoError(t, err)
		require.NoError(t, store.View(t.Context(), func(v *db.View) error {
			rows, err := v.Events(t.Context(), db.EventFilter{Query: q, Limit: 10})
			require.Len(t, rows, want, search)
			return err
		}))
	}
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune(`ab1:_-"'\&|!()<>* éÀ日%é`+"\t")), 0, 40, 200).Draw(rt, "search")
		query, errQuery := ingest.ParseQuery(text)
		words, errWords := ingest.ParseWords(text)
		require.NoError(rt, store.View(t.Context(), func(v *db.View) error {
			if errQuery == nil {
				if _, err := v.Events(t.Context(), db.EventFilter{Query: query.With(ingest.ColumnType, text), Limit: 10, HideSecrets: true}); err != nil {
					return err
				}
			}
			if errWords == nil {
				_, err := v.Commands(t.Context(), db.CommandFilter{Document: words.Document, Limit: 10})
				return err
			}
			return nil
		}))
	})
}
