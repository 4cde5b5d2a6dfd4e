package ingest_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/ingest"
)

func judged(g *ingest.Gate, app, kind, ip string, at time.Time) ingest.Verdict {
	r := &ingest.Record{Time: at, App: app, Type: kind, Attacker: netip.MustParseAddr(ip)}
	return g.Judge(event(web, r))
}

func TestGate_DropsNativeDaemons(t *testing.T) {
	t.Parallel()
	g := ingest.NewGate(ingest.DefaultGate())
	for _, app := range []string{"sshd", "pam_unix", "sudo", "su", "CRON", "cron", "systemd", "kernel", "rsyslogd", "dbus-daemon"} {
		require.Equal(t, ingest.DroppedApp, judged(g, app, "command", "192.0.2.1", at(0)), app)
	}
	for _, app := range []string{"ssh", "sessrec", "auth-helper", "Sudo", "cronx"} {
		require.Equal(t, ingest.Admitted, judged(g, app, "command", "192.0.2.1", at(0)), app)
	}
}

func TestGate_LimitsConnectionsPerKeyFromTheLastAdmitted(t *testing.T) {
	t.Parallel()
	ms := func(n int) time.Time { return at(0).Add(time.Duration(n) * time.Millisecond) }
	for _, kind := range []string{"connect", "disconnect", "connection", "accept", "close"} {
		g := ingest.NewGate(ingest.DefaultGate())
		require.Equal(t, ingest.Admitted, judged(g, "ssh", kind, "192.0.2.1", ms(0)))
		require.Equal(t, ingest.DroppedRate, judged(g, "ssh", kind, "192.0.2.1", ms(600)))
		require.Equal(t, ingest.DroppedRate, judged(g, "ssh", kind, "192.0.2.1", ms(999)))
		require.Equal(t, ingest.Admitted, judged(g, "ssh", kind, "192.0.2.2", ms(999)), "another attacker")
		require.Equal(t, ingest.Admitted, judged(g, "ssh", kind, "192.0.2.1", ms(1000)), "not from the last dropped")
		require.Equal(t, ingest.DroppedRate, judged(g, "ssh", kind, "192.0.2.1", ms(1999)))
		require.Equal(t, ingest.Admitted, judged(g, "ssh", kind, "192.0.2.1", ms(500)), "a clock set back")
	}
	g := ingest.NewGate(ingest.DefaultGate())
	for range 10 {
		require.Equal(t, ingest.Admitted, judged(g, "ssh", "auth_attempt", "192.0.2.1", at(0)), "everything else passes")
	}
	a, b := event(web, record("connect", 1, 1)), event(relay, record("connect", 1, 1))
	require.Equal(t, ingest.Admitted, g.Judge(a))
	require.Equal(t, ingest.Admitted, g.Judge(b), "another decky and service")
}

func TestGate_SessionsAlwaysEnd(t *testing.T) {
	t.Parallel()
	cfg := ingest.GateConfig{DropApps: []string{"sessrec"}, Limited: []string{"session_closed"}, Window: time.Hour}
	g := ingest.NewGate(cfg)
	for range 3 {
		require.Equal(t, ingest.Admitted, judged(g, "sessrec", "session_closed", "192.0.2.1", at(0)))
	}
}

func TestGate_WindowAsConfigured(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"": time.Second, "x": time.Second, "NaN": time.Second, "1e99": time.Second, "1.0": time.Second, "0.25": 250 * time.Millisecond,
		" 2 ": 2 * time.Second, "0": 0, "-3": 0, "-Inf": 0,
	} {
		require.Equal(t, want, ingest.GateWindow(in), in)
	}
	cfg := ingest.DefaultGate()
	cfg.Window = 0
	g := ingest.NewGate(cfg)
	for range 3 {
		require.Equal(t, ingest.Admitted, judged(g, "ssh", "connect", "192.0.2.1", at(0)))
	}
}

func TestGate_ForgetsButStaysBounded(t *testing.T) {
	t.Parallel()
	g := ingest.NewGate(ingest.DefaultGate())
	for i := range 200_000 {
		ip := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		require.Equal(t, ingest.Admitted, judged(g, "ssh", "connect", ip, at(i/1000)))
		require.LessOrEqual(t, g.Keys(), 20_000)
	}
	require.Equal(t, ingest.DroppedRate, judged(g, "ssh", "connect", "10.3.13.63", at(199)), "the newest is remembered")

	slow := ingest.NewGate(ingest.DefaultGate())
	for i := range 30_000 {
		judged(slow, "ssh", "connect", fmt.Sprintf("10.0.%d.%d", i>>8, i&255), at(i/100))
	}
	require.LessOrEqual(t, slow.Keys(), 10_001, "what is older than sixty windows is forgotten")
}

func TestSelfChecks_MatchPeerDeckyServiceAndTime(t *testing.T) {
	t.Parallel()
	check := ingest.SelfCheck{DeckyKey: web.DeckyKey, Service: "ssh", Local: netip.MustParseAddrPort("[::ffff:192.0.2.7]:4242"), At: at(100)}
	s := ingest.NewSelfChecks([]ingest.SelfCheck{check})
	match := func(src ingest.Source, second int, fields ...string) bool {
		return s.Match(event(src, record("connect", 1, second, fields...)))
	}
	require.True(t, match(web, 100, "src_port", "4242"))
	require.True(t, match(web, 160, "src_port", "4242"))
	require.True(t, match(web, 98, "src_port", "4242"))
	require.False(t, match(web, 161, "src_port", "4242"), "the port may serve another later")
	require.False(t, match(web, 97, "src_port", "4242"))
	require.False(t, match(web, 100, "src_port", "4243"))
	require.False(t, match(web, 100))
	require.False(t, match(relay, 100, "src_port", "4242"))
	require.False(t, s.Match(event(web, &ingest.Record{Time: at(100), Port: 4242})))
}
