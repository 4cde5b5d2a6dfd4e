package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
)

// knownSoon is how long it may take from the end of a session until everything about it is there.
const knownSoon = 2 * time.Second

// known counts the rows that tell of a session.
const known = `
SELECT (SELECT count(*) FROM sessions s WHERE s.decky_key = @decky AND s.ended_at IS NOT NULL AND s.commands = 2 AND s.recorded),
       (SELECT count(*) FROM commands c WHERE c.decky_key = @decky AND c.text IN ('id -un', 'exit')),
       (SELECT count(*) FROM credentials c WHERE c.decky_key = @decky AND c.secret_printable = @password AND c.principal = 'root' AND c.outcome = 'success'),
       (SELECT count(*) FROM attackers a WHERE a.deckies @> ARRAY[@decky::text]),
       (SELECT count(*) FROM outbox o WHERE o.topic = 'attacker.session.ended' AND o.payload->>'decky_key' = @decky)`

// intruderIsKnown logs in with the stock client and looks at what decnet knows of it soon after.
func intruderIsKnown(t *testing.T, s *system, name string) {
	const password = "intruder-pw"
	s.create(t, name)
	s.addSSH(t, name, map[string]any{"password": password})
	out, code := openssh(t, s.decky(t, name), password, "id -un\nexit\n", "-tt")
	left := time.Now()
	require.Zero(t, code, out)
	require.Contains(t, out, "root")

	ctx := harness.Within(t, patience)
	c, err := pgx.Connect(ctx, s.Ready.DatabaseURL)
	require.NoError(t, err)
	defer func() { _ = c.Close(ctx) }()
	var got [5]int
	args := pgx.NamedArgs{"decky": name, "password": password}
	eventually(t, func() bool {
		err := c.QueryRow(ctx, known, args).Scan(&got[0], &got[1], &got[2], &got[3], &got[4])
		require.NoError(t, err)
		return got == [5]int{1, 2, 1, 1, 1} || time.Since(left) > knownSoon
	}, "the session is stored")
	took := time.Since(left)
	t.Logf("everything is known %s after the client ended", took.Round(time.Millisecond))
	require.Equal(t, [5]int{1, 2, 1, 1, 1}, got, "session, commands, credential, attacker, event, %s after the client ended", took)

	for query, want := range map[string]int{
		"SELECT count(*) FROM events WHERE decky_key = @decky AND type = 'connect'":                                 1,
		"SELECT count(*) FROM ingest_outcomes WHERE decky_key = @decky AND outcome = 'self_check' AND lines > 0":    1,
		"SELECT count(*) FROM ingest_outcomes WHERE decky_key = @decky AND outcome IN ('malformed', 'missing')":     0,
		"SELECT count(*) FROM events WHERE decky_key = @decky AND line > 0 GROUP BY boot, line HAVING count(*) > 1": -1,
		"SELECT count(DISTINCT attacker_id) FROM events WHERE decky_key = @decky AND attacker_id IS NOT NULL":       1,
	} {
		n := -1
		if err := c.QueryRow(ctx, query, args).Scan(&n); err != nil {
			require.ErrorIs(t, err, pgx.ErrNoRows)
		}
		require.Equal(t, want, n, query)
	}

	var ended struct {
		Topic   string         `json:"topic"`
		Payload map[string]any `json:"payload"`
	}
	for _, e := range allEvents(t, s) {
		if strings.Contains(string(e), `"attacker.session.ended"`) && strings.Contains(string(e), `"`+name+`"`) {
			require.NoError(t, json.Unmarshal(e, &ended))
		}
	}
	require.Equal(t, "attacker.session.ended", ended.Topic)
	require.Equal(t, []any{name, "ssh", 2.0, true}, []any{
		ended.Payload["decky_key"], ended.Payload["service"], ended.Payload["command_count"], ended.Payload["has_recording"],
	})

	count := func(query string) (n int) {
		require.NoError(t, c.QueryRow(ctx, query, args).Scan(&n))
		return n
	}
	const events = "SELECT count(*) FROM events WHERE decky_key = @decky AND boot = (SELECT boot FROM sessions WHERE decky_key = @decky)"
	before := count(events)
	s.must(t, http.StatusOK, http.MethodDelete, "/deckies/"+name+"/services/ssh", nil)
	eventually(t, func() bool {
		return count("SELECT count(*) FROM events WHERE decky_key = @decky AND type = 'shutdown'") == 1
	},
		"the last words of the decoy are read from its kept log")
	time.Sleep(knownSoon)
	require.Equal(t, before+1, count(events), "nothing is stored twice when a log is kept")
}
