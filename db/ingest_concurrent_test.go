package db_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/ingest"
)

// visitors makes lines of some attackers who do all there is to do on some deckies.
func (b *ingestBundle) visitors(t testing.TB, r *rand.Rand, src ingest.Source, lines int) []ingest.Extraction {
	t.Helper()
	out := make([]ingest.Extraction, 0, lines)
	for n := range lines {
		who := r.IntN(12)
		ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(who)})
		if who%3 == 0 {
			ip = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(who)})
		}
		base := []string{"src_ip", ip.String(), "sid", fmt.Sprintf("%s-%s-%d-%d", src.DeckyName, src.Service, who, n/40)}
		add := func(kind string, fields ...string) {
			out = append(out, b.numbered(t, src, uint64(n+1), kind, r.IntN(60), append(slices.Clone(base), fields...)...))
		}
		switch r.IntN(7) {
		case 0:
			add("session_opened")
		case 1, 2:
			secret := base64.StdEncoding.EncodeToString([]byte{'p', byte('0' + r.IntN(9))})
			add("auth_attempt", "principal", strconv.Itoa(r.IntN(2)), "secret_b64", secret, "outcome", "failure")
		case 3:
			add("command", "command", "id "+strconv.Itoa(r.IntN(5)))
		case 4:
			add("request", "headers", fmt.Sprintf(`{"User-Agent":"curl/%d"}`, r.IntN(4)), "path", strconv.Itoa(n))
		case 5:
			add("rcpt_to", "value", fmt.Sprintf("a@d%d.org", r.IntN(9)))
		case 6:
			add("session_closed", "duration_s", "1.000")
		}
	}
	return out
}

// model is what must be stored of some lines, made without a database.
type model struct {
	events    int
	attackers map[netip.Addr]*ingest.Attacker
	counts    map[netip.Addr][4]int // sessions, commands, bounties, credentials
	attempts  map[ingest.Hash]int
	targets   map[string]map[string]bool
	by        map[string]map[string]bool
	tries     map[string]int
	ended     int
}

func newModel(sources ...[]ingest.Extraction) model {
	m := model{
		attackers: map[netip.Addr]*ingest.Attacker{}, counts: map[netip.Addr][4]int{}, attempts: map[ingest.Hash]int{},
		targets: map[string]map[string]bool{}, by: map[string]map[string]bool{}, tries: map[string]int{},
	}
	seen := map[any]bool{}
	count := func(who netip.Addr, what int, key any) {
		if !seen[key] {
			seen[key] = true
			c := m.counts[who]
			c[what]++
			m.counts[who] = c
		}
	}
	sessions := map[[2]string]ingest.Session{}
	for _, source := range sources {
		for i := range source {
			x, e := &source[i], &source[i].Event
			m.events++
			if m.attackers[e.Attacker] == nil {
				m.attackers[e.Attacker] = &ingest.Attacker{}
			}
			m.attackers[e.Attacker].Add(e)
			k := [2]string{e.Source.DeckyKey, e.Session}
			next, end := sessions[k].Apply(e)
			count(next.Attacker, 0, k)
			if sessions[k] = next; end != nil {
				m.ended++
			}
			for _, c := range x.Commands {
				count(e.Attacker, 1, [3]string{"command", e.Source.DeckyKey, c.ID})
			}
			for _, f := range x.Bounties {
				count(e.Attacker, 2, f.Key)
			}
			for _, c := range x.Credentials {
				count(e.Attacker, 3, c.Key)
				m.attempts[c.Key]++
				secret := c.SecretSHA256 + c.SecretKind + c.Principal
				if m.tries[secret]++; m.targets[secret] == nil {
					m.targets[secret], m.by[secret] = map[string]bool{}, map[string]bool{}
				}
				m.targets[secret][c.DeckyKey+"/"+c.Service], m.by[secret][e.Attacker.String()] = true, true
			}
		}
	}
	return m
}

// drive stores a file as an ingester does that shares it with others.
func (b *ingestBundle) drive(t testing.TB, src ingest.Source, lines []ingest.Extraction, most int) {
	file := db.IngestFile{DeckyID: src.DeckyID, Service: src.Service, File: firstLine}
	for {
		cursors, err := b.store.IngestCursors(t.Context(), b.host)
		if err != nil {
			t.Error(err)
			return
		}
		from := int(cursors[file])
		to := min(from+1+rand.IntN(most), len(lines))
		if from == len(lines) {
			return
		}
		_, err = b.store.Ingest(t.Context(), db.IngestBatch{
			Extractions: lines[from:to],
			Cursors:     []db.IngestCursor{{HostID: b.host, DeckyID: src.DeckyID, Service: src.Service, File: firstLine, From: int64(from), To: int64(to)}},
			Outcomes:    []db.IngestOutcome{{DeckyKey: src.DeckyKey, Service: src.Service, Outcome: db.OutcomeStored, Lines: int64(to - from)}},
		})
		if f, _ := fault.As(err); err != nil && (f == nil || f.Code != "cursor_moved") {
			t.Error(err)
			return
		}
	}
}

func TestIngest_AtTheSameTimeIsAsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	r := rand.New(rand.NewPCG(1, 2))
	var own []ingest.Source
	for _, decky := range []string{"web-01", "web-02", "web-03"} {
		own = append(own, fleet(decky, "http"), fleet(decky, "smtp"))
	}
	var all [][]ingest.Extraction
	for _, src := range own {
		all = append(all, b.visitors(t, r, src, 600))
	}
	foreign := b.visitors(t, r, ingest.ImportSource("tokyo", "ssh"), 600)
	var wg sync.WaitGroup
	for i, src := range own {
		for range 2 {
			wg.Go(func() { b.drive(t, src, all[i], 90) })
		}
	}
	for range 3 {
		wg.Go(func() {
			for from := 0; from < len(foreign); {
				to := min(from+1+rand.IntN(90), len(foreign))
				if _, err := b.store.Ingest(t.Context(), db.IngestBatch{Extractions: foreign[from:to]}); err != nil {
					t.Error(err)
				}
				from = to
			}
		})
	}
	wg.Wait()
	b.requireModel(t, newModel(append(all, foreign)...))
	require.Equal(t, int64(len(own)*600), one[int64](t, b.conn, "SELECT sum(lines)::bigint FROM ingest_outcomes"))

	b.store.Close() // connections tell of deadlocks when they end, at the latest
	require.Zero(t, one[int](t, b.conn, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))
}

func (b *ingestBundle) requireModel(t *testing.T, m model) {
	t.Helper()
	require.Equal(t, m.events, one[int](t, b.conn, "SELECT count(*) FROM events"))
	require.Equal(t, m.ended, one[int](t, b.conn, "SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL"))
	require.Len(t, b.payloads(t, "attacker.session.ended"), m.ended)
	require.Len(t, b.payloads(t, "attacker.observed"), len(m.attackers))

	type row struct {
		IP                                        netip.Addr
		FirstSeen, LastSeen                       time.Time
		EventCount                                int64
		Services, Interacted, Scanned, Deckies    []string
		VictimDomains                             []string
		SessionCount, CommandCount, BountyCount   int
		CredentialCount, StoredBounties, StoredBy int
	}
	rows, err := b.conn.Query(t.Context(), `SELECT ip, first_seen, last_seen, event_count, services, interacted, scanned, deckies, victim_domains,
		session_count, command_count, bounty_count, credential_count, (SELECT count(*) FROM bounties b WHERE b.attacker_id = a.id),
		(SELECT count(*) FROM credentials c WHERE c.attacker_id = a.id) FROM attackers a`)
	require.NoError(t, err)
	stored, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	require.NoError(t, err)
	require.Len(t, stored, len(m.attackers))
	for _, s := range stored {
		a := m.attackers[s.IP]
		require.NotNil(t, a)
		require.Equal(t, []any{a.FirstSeen, a.LastSeen, a.Events, a.Services, a.Interacted, sorted(a.Scanned), sorted(a.VictimDomains), sorted(a.Deckies)},
			[]any{s.FirstSeen.UTC(), s.LastSeen.UTC(), s.EventCount, s.Services, s.Interacted, sorted(s.Scanned), sorted(s.VictimDomains), sorted(s.Deckies)}, s.IP)
		require.Equal(t, m.counts[s.IP], [4]int{s.SessionCount, s.CommandCount, s.BountyCount, s.CredentialCount}, s.IP)
		require.Equal(t, []int{s.BountyCount, s.CredentialCount}, []int{s.StoredBounties, s.StoredBy})
	}

	attempts := map[ingest.Hash]int{}
	var key []byte
	var n int
	rows, err = b.conn.Query(t.Context(), "SELECT key, attempt_count FROM credentials")
	require.NoError(t, err)
	_, err = pgx.ForEachRow(rows, []any{&key, &n}, func() error { attempts[ingest.Hash(key)] = n; return nil })
	require.NoError(t, err)
	require.Equal(t, m.attempts, attempts)
	b.requireReuse(t, m)
}

func (b *ingestBundle) requireReuse(t *testing.T, m model) {
	t.Helper()
	last := map[string]map[string]any{}
	for _, p := range b.payloads(t, "credential.reuse.detected") {
		id := p["id"].(string)
		if before := last[id]; before != nil {
			require.GreaterOrEqual(t, p["target_count"], before["target_count"], "news of one finding come in their order")
			require.NotEqual(t, before, p)
		}
		last[id] = p
	}
	type row struct {
		ID           uuid.UUID
		Secret       string
		Attempts     int
		IPs, Targets []string
	}
	rows, err := b.conn.Query(t.Context(), "SELECT id, secret_sha256 || secret_kind || principal, attempt_count, (SELECT array_agg(host(i)) FROM unnest(attacker_ips) i), targets FROM credential_reuse")
	require.NoError(t, err)
	stored, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	require.NoError(t, err)
	require.Len(t, stored, len(m.tries))
	for _, s := range stored {
		require.Equal(t, m.tries[s.Secret], s.Attempts)
		require.Len(t, s.IPs, len(m.by[s.Secret]))
		require.Len(t, s.Targets, len(m.targets[s.Secret]))
		for _, ip := range s.IPs {
			require.True(t, m.by[s.Secret][ip])
		}
		for _, target := range s.Targets {
			require.True(t, m.targets[s.Secret][target])
		}
		if len(s.Targets) < 2 {
			require.Nil(t, last[s.ID.String()])
			continue
		}
		require.EqualValues(t, len(s.Targets), last[s.ID.String()]["target_count"])
		require.Len(t, last[s.ID.String()]["attacker_ips"], len(s.IPs), "the last news are the last state")
	}
}

func sorted(list []string) []string { return append([]string{}, slices.Sorted(slices.Values(list))...) }
