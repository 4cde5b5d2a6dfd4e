package ingest

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of the gate's memory: above maxGateKeys it forgets what is older than gateWindows windows, and above twice as many,
// all within that time, it forgets everything. Forgetting admits more, never less.
const (
	maxGateKeys = 10_000
	gateWindows = 60
)

// DefaultGateWindow is the rate limit of repeated connections.
const DefaultGateWindow = time.Second

// Verdict is what the gate decides on an event.
type Verdict string

// Verdicts. What is not Admitted is counted and forgotten; its line number has been followed before.
const (
	Admitted    Verdict = "admitted"
	DroppedApp  Verdict = "dropped_app"
	DroppedRate Verdict = "dropped_rate"
)

// GateConfig configures a Gate; see DefaultGate.
type GateConfig struct {
	// DropApps are applications (APP-NAME) that are never of interest: native daemons.
	DropApps []string
	// Limited are the event types that are rate limited.
	Limited []string
	// Window is the limit per (attacker, decky, service, type); 0 is none.
	Window time.Duration
}

// DefaultGate returns the configuration of bus sheet 5.3.
func DefaultGate() GateConfig {
	return GateConfig{
		DropApps: []string{"sshd", "pam_unix", "sudo", "su", "CRON", "cron", "systemd", "kernel", "rsyslogd", "dbus-daemon"},
		Limited:  []string{TypeConnect, TypeDisconnect, TypeConnection, "accept", "close"},
		Window:   DefaultGateWindow,
	}
}

// GateWindow reads a window in seconds as it is configured: what is negative is 0, what is no number is the default.
func GateWindow(seconds string) time.Duration {
	f, err := strconv.ParseFloat(strings.TrimSpace(seconds), 64)
	switch {
	case err != nil || f != f || f > (24*time.Hour).Seconds():
		return DefaultGateWindow
	case f <= 0:
		return 0
	}
	return time.Duration(f * float64(time.Second))
}

// Gate keeps floods of connections out of the log. It counts in the time of the lines. A gate belongs to one goroutine.
type Gate struct {
	cfg    GateConfig
	last   map[gateKey]time.Time
	newest time.Time
	swept  time.Time
}

type gateKey struct {
	attacker             netip.Addr
	decky, service, kind string
}

// NewGate returns a gate that has seen nothing.
func NewGate(cfg GateConfig) *Gate {
	return &Gate{cfg: cfg, last: map[gateKey]time.Time{}}
}

// Judge decides on the next event. The window is measured from the last event of a key that was admitted; a line that is older
// than that (a clock set back) is admitted and begins a new one. session_closed passes whatever is configured, because a
// session ends once.
func (g *Gate) Judge(e *Event) Verdict {
	if e.Type == TypeSessionClosed {
		return Admitted
	}
	if slices.Contains(g.cfg.DropApps, e.App) {
		return DroppedApp
	}
	if g.cfg.Window <= 0 || !slices.Contains(g.cfg.Limited, e.Type) {
		return Admitted
	}
	k := gateKey{attacker: e.Attacker, decky: e.Source.DeckyKey, service: e.Service, kind: e.Type}
	last, seen := g.last[k]
	if since := e.Time.Sub(last); seen && since >= 0 && since < g.cfg.Window {
		return DroppedRate
	}
	if !seen {
		// The event's strings share its whole line.
		k.decky, k.service, k.kind = strings.Clone(k.decky), strings.Clone(k.service), strings.Clone(k.kind)
	}
	g.last[k] = e.Time
	if e.Time.After(g.newest) {
		g.newest = e.Time
	}
	g.forget()
	return Admitted
}

// forget sweeps at most once per window, so that a flood of new addresses does not make every line cost a sweep.
func (g *Gate) forget() {
	if len(g.last) > 2*maxGateKeys {
		clear(g.last)
		return
	}
	if len(g.last) <= maxGateKeys || g.newest.Sub(g.swept) < g.cfg.Window {
		return
	}
	g.swept = g.newest
	for k, at := range g.last {
		if g.newest.Sub(at) > gateWindows*g.cfg.Window {
			delete(g.last, k)
		}
	}
}

// Keys returns how many keys the gate remembers.
func (g *Gate) Keys() int { return len(g.last) }
