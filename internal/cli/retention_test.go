package cli_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/cli"
)

const kept = `{"items":[{"class":"events","max_age_days":90,"max_bytes":null,"max_rows":20000000,"rows":1234567,"bytes":1610612736,"oldest":"2026-01-02T03:04:05Z","removed":42,"measured_at":"2026-02-02T03:04:05Z","updated_at":"2026-01-01T00:00:00Z","updated_by":"default"},{"class":"logs","max_age_days":null,"max_bytes":null,"max_rows":null,"rows":null,"bytes":null,"oldest":null,"removed":0,"measured_at":null,"updated_at":"2026-01-01T00:00:00Z","updated_by":"default"}]}`

func TestRetention_Show(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /retention", 200, kept)
	b := setup(t, api)
	out, _, err := b.run("retention", "show", "-o", "table")
	require.NoError(t, err)
	require.Equal(t, "CLASS   LIMITS              ROWS     SIZE    OLDEST                REMOVED  MEASURED\n"+
		"events  90d, 20000000 rows  1234567  1.5GiB  2026-01-02 03:04:05Z  42       2026-02-02 03:04:05Z\n"+
		"logs    none                                                       0\n", out)
	out, _, err = b.run("retention", "show")
	require.NoError(t, err)
	requireVerbatim(t, kept+"\n", out)
}

func TestRetention_SetKeepsWhatIsNotGiven(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--max-bytes", "10G"}, `{"max_age_days":90,"max_bytes":10737418240,"max_rows":20000000}`},
		{[]string{"--max-age", "7", "--max-rows", "none"}, `{"max_age_days":7,"max_bytes":null,"max_rows":null}`},
		{[]string{"--no-limit", "--max-bytes", "1MiB"}, `{"max_age_days":null,"max_bytes":1048576,"max_rows":null}`},
		{[]string{"--no-limit"}, `{"max_age_days":null,"max_bytes":null,"max_rows":null}`},
	} {
		api := newAPI(t)
		api.answer("GET /retention", 200, kept)
		api.answer("PUT /retention/events", 200, `{"class":"events","max_age_days":90,"removed":0}`)
		out, _, err := setup(t, api).run(append([]string{"retention", "set", "events", "-o", "table"}, c.args...)...)
		require.NoError(t, err)
		require.Contains(t, out, "events  90d")
		require.Len(t, api.seen(http.MethodPut), 1)
		require.JSONEq(t, c.want, api.seen(http.MethodPut)[0].body)
	}
}

func TestRetention_RefusesWhatIsNoLimit(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /retention", 200, kept)
	b := setup(t, api)
	for _, args := range [][]string{
		{}, {"--max-age", "2h"}, {"--max-age", "-1"}, {"--max-bytes", "10X"}, {"--max-bytes", "999999999999999T"}, {"--max-rows", "0"}, {"--max-rows", "many"},
	} {
		_, _, err := b.run(append([]string{"retention", "set", "events"}, args...)...)
		require.Equal(t, cli.ExitUsage, cli.ExitCode(err), "%v", args)
	}
	require.Empty(t, api.seen(http.MethodPut))
}

func TestRetention_Run(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("POST /retention/run", 202, `{"message":"accepted"}`)
	out, _, err := setup(t, api).run("retention", "run", "-o", "table")
	require.NoError(t, err)
	require.Equal(t, "a pass begins\n", out)
}
