package bus

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/decnet/decnet/internal/fault"
)

// MaxSubjectBytes bounds a whole subject; far below the broker's own limit of one protocol line.
const MaxSubjectBytes = 512

// Roots of all subjects. Nothing is published outside them.
const (
	RootTopology     = "topology"
	RootDecky        = "decky"
	RootAttacker     = "attacker"
	RootIdentity     = "identity"
	RootCampaign     = "campaign"
	RootCredential   = "credential"
	RootAttribution  = "attribution"
	RootOrchestrator = "orchestrator"
	RootCanary       = "canary"
	RootSMTP         = "smtp"
	RootEmail        = "email"
	RootTTP          = "ttp"
	RootSystem       = "system"
)

// States of a topology mutation.
const (
	MutationEnqueued = "enqueued"
	MutationApplying = "applying"
	MutationApplied  = "applied"
	MutationFailed   = "failed"
)

// Leaves of decky.<id>.
const (
	EventDeckyState                = "state"
	EventDeckyTraffic              = "traffic"
	EventDeckyMutateRequest        = "mutate_request"
	EventDeckyMutation             = "mutation"
	EventDeckyServiceAdded         = "service_added"
	EventDeckyServiceRemoved       = "service_removed"
	EventDeckyServiceConfigChanged = "service_config_changed"
	EventDeckyLifecycle            = "lifecycle"
)

// Leaves of attacker.
const (
	EventAttackerObserved           = "observed"
	EventAttackerScored             = "scored"
	EventAttackerFingerprinted      = "fingerprinted"
	EventAttackerFingerprintRotated = "fingerprint_rotated"
	EventAttackerSessionStarted     = "session.started"
	EventAttackerSessionEnded       = "session.ended"
	EventAttackerIntelEnriched      = "intel.enriched"
	EventAttackerObservation        = "observation"
)

// Leaves of identity, campaign, credential and attribution.
const (
	EventIdentityFormed            = "formed"
	EventIdentityObservationLinked = "observation.linked"
	EventIdentityMerged            = "merged"
	EventIdentityUnmerged          = "unmerged"
	EventIdentityCampaignAssigned  = "campaign.assigned"

	EventCampaignFormed           = "formed"
	EventCampaignIdentityAssigned = "identity.assigned"
	EventCampaignMerged           = "merged"
	EventCampaignUnmerged         = "unmerged"

	EventCredentialCaptured      = "captured"
	EventCredentialReuseDetected = "reuse.detected"

	EventAttributionStateChanged        = "profile.state_changed"
	EventAttributionMultiActorSuspected = "profile.multi_actor_suspected"
)

// Leaves of canary, orchestrator, smtp, email, ttp and system. EventEmailReceived must stay one token.
const (
	EventCanaryPlaced    = "placed"
	EventCanaryTriggered = "triggered"
	EventCanaryRevoked   = "revoked"

	EventOrchestratorTraffic = "traffic"
	EventOrchestratorFile    = "file"
	EventOrchestratorEmail   = "email"

	EventSMTPProbePending = "probe.pending"

	EventEmailReceived = "received"

	EventTTPTagged         = "tagged"
	EventTTPRuleFired      = "rule.fired"
	EventTTPRuleSuppressed = "rule.suppressed"
	EventTTPRuleReloaded   = "rule.reloaded"
	EventTTPRuleState      = "rule.state"

	EventSystemLog                  = "log"
	EventSystemBusHealth            = "bus.health"
	EventSystemHealth               = "health"
	EventSystemControl              = "control"
	EventSystemWebhookSubscriptions = "webhook.subscriptions_changed"
)

// Subject is a validated literal subject: it names one event, never a pattern. Obtain it from a builder or ParseSubject;
// Publish validates it again, so a converted string cannot reach the broker unchecked.
type Subject string

// Roots returns every root once, sorted.
func Roots() []string {
	return []string{
		RootAttacker, RootAttribution, RootCampaign, RootCanary, RootCredential, RootDecky, RootEmail,
		RootIdentity, RootOrchestrator, RootSMTP, RootSystem, RootTopology, RootTTP,
	}
}

// TopologyMutation returns topology.<id>.mutation.<state>.
func TopologyMutation(topologyID, state string) (Subject, error) {
	return build(RootTopology, segment("topology id", topologyID), literal("mutation"), segment("state", state))
}

// TopologyStatus returns topology.<id>.status.
func TopologyStatus(topologyID string) (Subject, error) {
	return build(RootTopology, segment("topology id", topologyID), literal("status"))
}

// Decky returns decky.<id>.<event>. The id is a name, a uuid or the composite host_uuid:name; event is one token
// (service_added, never service.added).
func Decky(id, event string) (Subject, error) {
	return build(RootDecky, segment("decky id", id), segment("event", event))
}

// DeckyMutation returns decky.<id>.mutation.
func DeckyMutation(id string) (Subject, error) { return Decky(id, EventDeckyMutation) }

// DeckyLifecycle returns decky.<id>.lifecycle.
func DeckyLifecycle(id string) (Subject, error) { return Decky(id, EventDeckyLifecycle) }

// Attacker returns attacker.<event>.
func Attacker(event string) (Subject, error) { return build(RootAttacker, leaf(event)) }

// AttackerObservation returns attacker.observation.<primitive>; the primitive may be dotted.
func AttackerObservation(primitive string) (Subject, error) {
	return build(RootAttacker, literal(EventAttackerObservation), leaf(primitive))
}

// Identity returns identity.<event>.
func Identity(event string) (Subject, error) { return build(RootIdentity, leaf(event)) }

// Campaign returns campaign.<event>.
func Campaign(event string) (Subject, error) { return build(RootCampaign, leaf(event)) }

// Credential returns credential.<event>.
func Credential(event string) (Subject, error) { return build(RootCredential, leaf(event)) }

// Attribution returns attribution.<event>.
func Attribution(event string) (Subject, error) { return build(RootAttribution, leaf(event)) }

// Orchestrator returns orchestrator.<event>.<destination decky>.
func Orchestrator(event, deckyID string) (Subject, error) {
	return build(RootOrchestrator, segment("event", event), segment("decky id", deckyID))
}

// Canary returns canary.<token>.<event>.
func Canary(tokenID, event string) (Subject, error) {
	return build(RootCanary, segment("token id", tokenID), segment("event", event))
}

// SMTP returns smtp.<event>.
func SMTP(event string) (Subject, error) { return build(RootSMTP, leaf(event)) }

// Email returns email.<event>.
func Email(event string) (Subject, error) { return build(RootEmail, leaf(event)) }

// TTP returns ttp.<event>.
func TTP(event string) (Subject, error) { return build(RootTTP, leaf(event)) }

// TTPRuleFired returns ttp.rule.fired.<technique>. Only a parent technique (T1110) is a segment; the sub-technique
// travels in the payload.
func TTPRuleFired(technique string) (Subject, error) {
	return build(RootTTP, literal(EventTTPRuleFired), segment("technique id", technique))
}

// TTPRuleReloaded returns ttp.rule.reloaded.<rule>.
func TTPRuleReloaded(ruleID string) (Subject, error) {
	return build(RootTTP, literal(EventTTPRuleReloaded), segment("rule id", ruleID))
}

// TTPRuleState returns ttp.rule.state.<rule>.
func TTPRuleState(ruleID string) (Subject, error) {
	return build(RootTTP, literal(EventTTPRuleState), segment("rule id", ruleID))
}

// System returns system.<event>. System subjects are core NATS: at most once, not stored.
func System(event string) (Subject, error) { return build(RootSystem, leaf(event)) }

// SystemHealth returns system.<worker>.health.
func SystemHealth(worker string) (Subject, error) {
	return build(RootSystem, segment("worker", worker), literal(EventSystemHealth))
}

// SystemControl returns system.<worker>.control.
func SystemControl(worker string) (Subject, error) {
	return build(RootSystem, segment("worker", worker), literal(EventSystemControl))
}

// ParseSubject validates a stored or foreign subject: a known root, at least one more token, every token valid.
// Errors are fault Invalid.
func ParseSubject(s string) (Subject, error) {
	root, rest, _ := strings.Cut(s, ".")
	if !slices.Contains(Roots(), root) {
		return "", fault.New(fault.Invalid, "invalid_subject", "subject has no known root")
	}
	return build(root, leaf(rest))
}

// Root returns the first token.
func (s Subject) Root() string {
	root, _, _ := strings.Cut(string(s), ".")
	return root
}

// part is one argument of a builder. A dotted part may hold several tokens.
type part struct {
	name, value string
	dotted      bool
}

func segment(name, value string) part { return part{name: name, value: value} }
func leaf(value string) part          { return part{name: "event type", value: value, dotted: true} }
func literal(value string) part       { return part{name: "constant", value: value, dotted: true} }

func build(root string, parts ...part) (Subject, error) {
	tokens := []string{root}
	for _, p := range parts {
		if err := p.validate(); err != nil {
			return "", err
		}
		tokens = append(tokens, p.value)
	}
	s := strings.Join(tokens, ".")
	if len(s) > MaxSubjectBytes {
		return "", fault.New(fault.Invalid, "invalid_subject", "subject is longer than %d bytes", MaxSubjectBytes)
	}
	return Subject(s), nil
}

// validate never echoes the value: it may come from an attacker.
func (p part) validate() error {
	if p.value == "" {
		return fault.New(fault.Invalid, "invalid_subject", "subject %s must not be empty", p.name)
	}
	tokens := []string{p.value}
	if p.dotted {
		tokens = strings.Split(p.value, ".")
	}
	for _, t := range tokens {
		if !validToken(t) {
			return fault.New(fault.Invalid, "invalid_subject",
				"subject %s may not contain an empty token, dot, star, greater-than, whitespace or control character", p.name)
		}
	}
	return nil
}

func validToken(t string) bool {
	return t != "" && utf8.ValidString(t) && !strings.ContainsFunc(t, func(r rune) bool {
		return strings.ContainsRune(".*>", r) || unicode.IsSpace(r) || unicode.IsControl(r)
	})
}
