package api_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/auth"
)

func (b *bundle) retention(t *testing.T) map[string]api.RetentionBody {
	t.Helper()
	r := b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/retention"})
	require.Equal(t, http.StatusOK, r.status, "%s", r.body)
	var body api.RetentionsBody
	r.into(t, &body)
	byClass := map[string]api.RetentionBody{}
	for _, i := range body.Items {
		byClass[i.Class] = i
	}
	require.Len(t, byClass, len(db.RetentionClasses()))
	return byClass
}

func TestRetention_ShowsSettingsAndUsage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	events := b.retention(t)["events"]
	require.Equal(t, 90, *events.MaxAgeDays)
	require.EqualValues(t, 20_000_000, *events.MaxRows)
	require.Nil(t, events.MaxBytes)
	require.Nil(t, events.Rows, "nothing was measured yet")
	require.Nil(t, events.Oldest)
	require.Equal(t, "default", events.UpdatedBy)

	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	require.NoError(t, b.store.RecordUsage(t.Context(), db.RetainEvents, db.Usage{Rows: 5, Bytes: 8192, Oldest: at}))
	require.NoError(t, b.store.RecordUsage(t.Context(), db.RetainLogs, db.Usage{}))
	all := b.retention(t)
	require.EqualValues(t, 5, *all["events"].Rows)
	require.EqualValues(t, 8192, *all["events"].Bytes)
	require.Equal(t, at, *all["events"].Oldest)
	require.NotNil(t, all["events"].MeasuredAt)
	require.EqualValues(t, 0, *all["logs"].Rows)
	require.Nil(t, all["logs"].Oldest)
}

func TestRetention_Set(t *testing.T) {
	t.Parallel()
	b := setup(t)
	put := func(class, body string) reply {
		return b.do(t, call{as: auth.Admin, method: http.MethodPut, path: "/retention/" + class, body: body})
	}
	r := put("recordings", `{"max_age_days":7,"max_bytes":1048576,"max_rows":null}`)
	require.Equal(t, http.StatusOK, r.status, "%s", r.body)
	var got api.RetentionBody
	r.into(t, &got)
	require.Equal(t, []any{"recordings", 7, int64(1 << 20), (*int64)(nil), "admin"}, []any{got.Class, *got.MaxAgeDays, *got.MaxBytes, got.MaxRows, got.UpdatedBy})
	require.Equal(t, got, b.retention(t)["recordings"])
	require.Contains(t, b.log.String(), `"msg":"settings changed"`)
	require.Equal(t, http.StatusOK, put("recordings", `{"max_age_days":null,"max_bytes":null,"max_rows":null}`).status)
	require.Nil(t, b.retention(t)["recordings"].MaxAgeDays)

	for body, locations := range map[string][]string{
		`{"max_age_days":0,"max_bytes":null,"max_rows":null}`:             {"body.max_age_days"},
		`{"max_age_days":36501,"max_bytes":null,"max_rows":null}`:         {"body.max_age_days"},
		`{"max_age_days":-1,"max_bytes":1048575,"max_rows":999}`:          {"body.max_age_days", "body.max_bytes", "body.max_rows"},
		`{"max_age_days":1,"max_bytes":9223372036854775807,"max_rows":0}`: {"body.max_rows"},
	} {
		r := put("events", body)
		require.Equal(t, http.StatusUnprocessableEntity, r.status, body)
		require.Equal(t, "retention_invalid", r.code(t))
		require.Equal(t, locations, r.locations(t), body)
	}
	for _, body := range []string{
		`{"max_age_days":1,"max_bytes":null}`, `{"max_age_days":1.5,"max_bytes":null,"max_rows":null}`,
		`{"max_age_days":"7","max_bytes":null,"max_rows":null}`, `{"max_age_days":1,"max_bytes":null,"max_rows":null,"x":1}`,
		`{"max_age_days":1,"max_bytes":9223372036854775808,"max_rows":null}`,
	} {
		require.Contains(t, []int{http.StatusBadRequest, http.StatusUnprocessableEntity}, put("events", body).status, body)
	}
	require.Equal(t, 90, *b.retention(t)["events"].MaxAgeDays)
	r = put("dogs", `{"max_age_days":1,"max_bytes":null,"max_rows":null}`)
	require.Equal(t, http.StatusNotFound, r.status)
	require.Equal(t, "retention_class_not_found", r.code(t))
}

func TestRetention_Run(t *testing.T) {
	t.Parallel()
	runs := 0
	b := setup(t, func(d *api.Deps, _ *api.Options) {
		d.RunRetention = func(context.Context) error { runs++; return nil }
	})
	r := b.do(t, call{as: auth.Admin, method: http.MethodPost, path: "/retention/run"})
	require.Equal(t, http.StatusAccepted, r.status, "%s", r.body)
	require.Equal(t, 1, runs)

	b = setup(t)
	r = b.do(t, call{as: auth.Admin, method: http.MethodPost, path: "/retention/run"})
	require.Equal(t, http.StatusServiceUnavailable, r.status)
	require.Equal(t, "retention_not_scheduled", r.code(t))
}
