package chaos_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/internal/bus"
)

const (
	talkers        = 4
	linesPerTalker = 5000
	linesPerStay   = 5
	talkLimit      = 12 * time.Second
	drainLimit     = 2 * time.Minute
)

// talker is a decoy that writes more than intruders make it write: sessions of five lines each, from one of fifty addresses.
type talker struct {
	file, service, boot string
	lines               []string
}

func newTalker(file, service string, number int) talker {
	w := talker{file: file, service: service, boot: uuid.NewString()}
	at := time.Now().UTC().Add(-time.Hour)
	var sid, ip string
	for n := 1; n <= linesPerTalker; n++ {
		at = at.Add(10 * time.Millisecond)
		stay := (n - 1) / linesPerStay
		event, fields := "command", fmt.Sprintf(`command="echo %d"`, n)
		switch (n - 1) % linesPerStay {
		case 0:
			sid, ip = uuid.NewString(), fmt.Sprintf("203.0.113.%d", 1+stay%50)
			event, fields = "session_opened", `kind="shell"`
		case 1:
			secret := fmt.Sprintf("secret-%d-%d", number, stay%100)
			event, fields = "auth_attempt", fmt.Sprintf(`principal="root" secret_printable="%s" secret_b64="%s"`, secret, base64.StdEncoding.EncodeToString([]byte(secret)))
		case linesPerStay - 1:
			event, fields = "session_closed", `duration_s="0.040" command_count="2" has_recording="false"`
		}
		w.lines = append(w.lines, fmt.Sprintf(`<134>1 %s web-01 %s - %s [relay@55555 boot="%s" n="%d" sid="%s" src_ip="%s" %s]`,
			at.Format(time.RFC3339Nano), service, event, w.boot, n, sid, ip, fields))
	}
	return w
}

// talk appends the lines to the decoy's log, some at a time and now and then half a line.
func (w talker) talk(random *rand.Rand) error {
	f, err := os.OpenFile(w.file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	const pieces = 100
	for piece := range pieces {
		text := strings.Join(w.lines[piece*len(w.lines)/pieces:(piece+1)*len(w.lines)/pieces], "\n") + "\n"
		cut := random.IntN(len(text))
		for _, part := range []string{text[:cut], text[cut:]} {
			if _, err := f.WriteString(part); err != nil {
				return err
			}
			time.Sleep(talkLimit / pieces / 2)
		}
	}
	return nil
}

// TestChaos_Ingest kills what stands between decoys and what is known of their intruders, while 20,000 lines come in: nothing is
// lost and nothing is there twice, neither in the database nor, by event id, on the bus.
func TestChaos_Ingest(t *testing.T) {
	s := roleSystem{harness.StartRoles(t)}
	services := []string{"ssh", "telnet", "ftp", "redis"}
	ctx := harness.Within(t, startLimit)
	_, err := s.client().Persist(ctx, http.MethodPost, "/deckies", map[string]any{"name": "web-01", "services": services})
	require.NoError(t, err)
	require.NoError(t, s.client().WaitQuiescent(ctx))
	answer, err := s.client().Do(ctx, http.MethodGet, "/deckies/web-01", nil)
	require.NoError(t, err)
	var decky harness.Decky
	require.NoError(t, answer.Decode(&decky))

	began := time.Now()
	var talking sync.WaitGroup
	var boots []string
	for i := range talkers {
		w := newTalker(filepath.Join(s.Dir, "decoys", decky.UUID.String(), services[i], "log"), services[i], i)
		boots = append(boots, w.boot)
		random := rand.New(rand.NewPCG(uint64(i), 13))
		talking.Go(func() {
			if err := w.talk(random); err != nil {
				t.Error(err)
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 17))
	victims := []string{"ingest", "postgres", "nats", "ingest", "bridge", "postgres", "nats and its store", "ingest", "all"}
	for _, v := range victims {
		time.Sleep(time.Duration(random.IntN(int(2 * talkLimit / time.Duration(len(victims))))))
		t.Logf("kill %s after %s", v, time.Since(began).Round(time.Millisecond))
		require.NoError(t, s.kill(v))
	}
	talking.Wait()

	db, err := pgx.Connect(harness.Within(t, startLimit), s.DatabaseURL())
	require.NoError(t, err)
	defer func() { _ = db.Close(context.WithoutCancel(t.Context())) }()
	count := func(query string) (n int) {
		require.NoError(t, db.QueryRow(t.Context(), query, boots).Scan(&n))
		return n
	}
	const all, stays = talkers * linesPerTalker, talkers * linesPerTalker / linesPerStay
	require.Eventually(t, func() bool { return count(`SELECT count(*) FROM events WHERE boot = ANY($1)`) >= all }, drainLimit, 200*time.Millisecond)
	require.Equal(t, all, count(`SELECT count(*) FROM events WHERE boot = ANY($1)`), "nothing twice")
	require.Equal(t, all, count(`SELECT count(DISTINCT (service, boot, line)) FROM events WHERE boot = ANY($1)`), "nothing lost")
	require.Equal(t, stays, count(`SELECT count(*) FROM sessions WHERE boot = ANY($1) AND ended_at IS NOT NULL AND commands = 2`))
	require.Equal(t, 2*stays, count(`SELECT count(*) FROM commands WHERE session IN (SELECT session FROM sessions WHERE boot = ANY($1))`))
	require.Equal(t, stays, count(`SELECT sum(attempt_count) FROM credentials WHERE cardinality($1::text[]) > 0`), "every attempt counts once")
	require.Equal(t, all, count(`SELECT sum(event_count) FROM attackers WHERE host(ip) LIKE '203.0.113.%' AND cardinality($1::text[]) > 0`))
	require.Zero(t, count(`SELECT coalesce(sum(lines), 0) FROM ingest_outcomes WHERE outcome IN ('missing', 'malformed', 'too_long') AND cardinality($1::text[]) > 0`))
	told := published(t, s.natsURL(), began, count(`SELECT count(*) FROM outbox WHERE cardinality($1::text[]) > 0`))
	require.Len(t, told["attacker.session.ended"], stays)
	require.Len(t, told["attacker.observed"], count(`SELECT count(*) FROM attackers WHERE cardinality($1::text[]) > 0`))
	for topic, subjects := range told {
		for subject, ids := range subjects {
			require.Len(t, ids, 1, "%s of %s is one event, however often it was sent", topic, subject)
		}
	}
}

// published returns the ids of the events on the bus by topic and by what they are about. It waits until as many are there as
// the outbox holds.
func published(t *testing.T, url string, since time.Time, outbox int) map[string]map[string]map[string]bool {
	t.Helper()
	b, err := bus.Connect(harness.Within(t, startLimit), url, "chaos", bus.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	defer func() { _ = b.Close() }()
	ctx, stop := context.WithCancel(harness.Within(t, startLimit))
	defer stop()
	last := time.AfterFunc(10*time.Second, stop)
	told := map[string]map[string]map[string]bool{}
	all := map[string]bool{}
	require.NoError(t, b.Tail(ctx, []string{"attacker.>"}, since.Add(-time.Minute), func(e bus.Envelope) error {
		last.Reset(2 * time.Second)
		var p struct {
			SessionID    string `json:"session_id"`
			AttackerUUID string `json:"attacker_uuid"`
		}
		if err := json.Unmarshal(e.Payload, &p); err != nil {
			return err
		}
		about := p.SessionID
		if about == "" {
			about = p.AttackerUUID
		}
		topic := string(e.Topic)
		if told[topic] == nil {
			told[topic] = map[string]map[string]bool{}
		}
		if told[topic][about] == nil {
			told[topic][about] = map[string]bool{}
		}
		told[topic][about][e.ID] = true
		all[e.ID] = true
		return nil
	}))
	t.Logf("%d events on the bus, %d still in the outbox's keeping", len(all), outbox)
	return told
}
