package bus_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/fault"
)

func TestBuilders_ProduceDocumentedSubjects(t *testing.T) {
	t.Parallel()
	one := func(f func(string) (bus.Subject, error), a string) func() (bus.Subject, error) {
		return func() (bus.Subject, error) { return f(a) }
	}
	two := func(f func(string, string) (bus.Subject, error), a, b string) func() (bus.Subject, error) {
		return func() (bus.Subject, error) { return f(a, b) }
	}
	for want, build := range map[string]func() (bus.Subject, error){
		"topology.t1.mutation.applied":            two(bus.TopologyMutation, "t1", bus.MutationApplied),
		"topology.t1.status":                      one(bus.TopologyStatus, "t1"),
		"decky.web-1.service_added":               two(bus.Decky, "web-1", bus.EventDeckyServiceAdded),
		"decky.h1:web-1.state":                    two(bus.Decky, "h1:web-1", bus.EventDeckyState),
		"decky.web-1.mutation":                    one(bus.DeckyMutation, "web-1"),
		"decky.web-1.lifecycle":                   one(bus.DeckyLifecycle, "web-1"),
		"attacker.session.ended":                  one(bus.Attacker, bus.EventAttackerSessionEnded),
		"attacker.observation.input.typing_speed": one(bus.AttackerObservation, "input.typing_speed"),
		"identity.observation.linked":             one(bus.Identity, bus.EventIdentityObservationLinked),
		"campaign.identity.assigned":              one(bus.Campaign, bus.EventCampaignIdentityAssigned),
		"credential.reuse.detected":               one(bus.Credential, bus.EventCredentialReuseDetected),
		"attribution.profile.state_changed":       one(bus.Attribution, bus.EventAttributionStateChanged),
		"orchestrator.traffic.d1":                 two(bus.Orchestrator, bus.EventOrchestratorTraffic, "d1"),
		"canary.c1.triggered":                     two(bus.Canary, "c1", bus.EventCanaryTriggered),
		"smtp.probe.pending":                      one(bus.SMTP, bus.EventSMTPProbePending),
		"email.received":                          one(bus.Email, bus.EventEmailReceived),
		"ttp.tagged":                              one(bus.TTP, bus.EventTTPTagged),
		"ttp.rule.fired.T1110":                    one(bus.TTPRuleFired, "T1110"),
		"ttp.rule.reloaded.R0001":                 one(bus.TTPRuleReloaded, "R0001"),
		"ttp.rule.state.R0001":                    one(bus.TTPRuleState, "R0001"),
		"system.log":                              one(bus.System, bus.EventSystemLog),
		"system.ingest.health":                    one(bus.SystemHealth, "ingest"),
		"system.ingest.control":                   one(bus.SystemControl, "ingest"),
	} {
		got, err := build()
		require.NoError(t, err, want)
		require.Equal(t, bus.Subject(want), got)
		parsed, err := bus.ParseSubject(want)
		require.NoError(t, err, want)
		require.Equal(t, got, parsed)
	}
}

func TestBuilders_RefuseBadArguments(t *testing.T) {
	t.Parallel()
	segments := map[string]func(string) (bus.Subject, error){
		"topology id": bus.TopologyStatus, "decky id": bus.DeckyMutation, "technique": bus.TTPRuleFired,
		"rule": bus.TTPRuleState, "reloaded rule": bus.TTPRuleReloaded, "worker": bus.SystemHealth, "control worker": bus.SystemControl,
		"event":    func(s string) (bus.Subject, error) { return bus.Decky("web-1", s) },
		"state":    func(s string) (bus.Subject, error) { return bus.TopologyMutation("t1", s) },
		"canary":   func(s string) (bus.Subject, error) { return bus.Canary(s, "placed") },
		"dst":      func(s string) (bus.Subject, error) { return bus.Orchestrator("file", s) },
		"topology": func(s string) (bus.Subject, error) { return bus.TopologyMutation(s, "applied") },
	}
	leaves := map[string]func(string) (bus.Subject, error){
		"attacker": bus.Attacker, "observation": bus.AttackerObservation, "identity": bus.Identity, "campaign": bus.Campaign,
		"credential": bus.Credential, "attribution": bus.Attribution, "smtp": bus.SMTP, "email": bus.Email, "ttp": bus.TTP,
		"system": bus.System, "parse": func(s string) (bus.Subject, error) { return bus.ParseSubject("ttp." + s) },
	}
	both := []string{
		"", "*", ">", "a*b", "a>b", "a b", "a\tb", "a\r\n", "a\u00a0b", "a\u2028b", "a\x00b", "a\x7fb", "a\xffb",
		strings.Repeat("x", bus.MaxSubjectBytes),
	}
	refused := func(name, value string, f func(string) (bus.Subject, error)) {
		got, err := f(value)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%s(%q)", name, value)
		require.Empty(t, got)
	}
	for name, f := range segments {
		for _, v := range append(both, ".", "a.b", "T1110.001", "service.added") {
			refused(name, v, f)
		}
		_, err := f("Host/uuid:A-b_c")
		require.NoError(t, err, name)
	}
	for name, f := range leaves {
		for _, v := range append(both, ".", "a.", ".a", "a..b", "a.*", "a.>") {
			refused(name, v, f)
		}
		_, err := f("a.b_c.D")
		require.NoError(t, err, name)
	}
	for _, s := range []string{"", "ttp", "ttp.", "nope.a", "$JS.API.INFO", "_INBOX.x", ">", "*.a"} {
		refused("ParseSubject", s, bus.ParseSubject)
	}
}

// Whatever a builder lets through is one literal subject of the broker with the expected number of tokens.
func FuzzBuilders(f *testing.F) {
	for _, s := range []string{"web-1", "h:web", "a.b", "", "*", ">", "a b", "\x00", "é", "\u2003", "a..b"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if s, err := bus.Decky(a, b); err == nil {
			require.True(t, server.IsValidLiteralSubject(string(s)))
			require.True(t, bus.Match("decky.*.*", string(s)))
			require.Equal(t, "decky."+a+"."+b, string(s))
		} else {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
		}
		if s, err := bus.AttackerObservation(a); err == nil {
			require.True(t, server.IsValidLiteralSubject(string(s)))
			require.True(t, bus.Match("attacker.observation.>", string(s)))
			require.NoError(t, bus.ValidatePattern(string(s)))
			again, err := bus.ParseSubject(string(s))
			require.NoError(t, err)
			require.Equal(t, s, again)
		}
	})
}
