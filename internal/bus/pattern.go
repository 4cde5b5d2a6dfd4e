package bus

import (
	"strings"

	"github.com/decnet/decnet/internal/fault"
)

const (
	anyToken  = "*"
	anySuffix = ">"
)

// Match reports whether subject is matched by pattern, with exactly the semantics of NATS: "*" is one token, ">" one or
// more trailing tokens, and both mean nothing inside a token. A pattern or subject that NATS would refuse matches nothing.
func Match(pattern, subject string) bool {
	if !natsPattern(pattern) || !natsLiteral(subject) {
		return false
	}
	for {
		p, pRest, pMore := strings.Cut(pattern, ".")
		s, sRest, sMore := strings.Cut(subject, ".")
		switch {
		case p == anySuffix:
			return true
		case p != anyToken && p != s:
			return false
		case pMore != sMore:
			return false
		case !pMore:
			return true
		}
		pattern, subject = pRest, sRest
	}
}

// ValidatePattern accepts what a person may subscribe to. It is stricter than NATS, which takes a wildcard inside a
// token for an ordinary letter: such a pattern could never match. Errors are fault Invalid.
func ValidatePattern(pattern string) error {
	if len(pattern) > MaxSubjectBytes {
		return fault.New(fault.Invalid, "invalid_pattern", "pattern is longer than %d bytes", MaxSubjectBytes)
	}
	tokens := strings.Split(pattern, ".")
	for i, t := range tokens {
		last := i == len(tokens)-1
		if t == anyToken || (t == anySuffix && last) || validToken(t) {
			continue
		}
		return fault.New(fault.Invalid, "invalid_pattern",
			"pattern token %d must be a plain token, * or a final >", i+1)
	}
	return nil
}

// natsPattern mirrors the broker's check of a subscription.
func natsPattern(s string) bool {
	if s == "" || strings.ContainsAny(s, " \t\r\n\f") {
		return false
	}
	for s != "" {
		t, rest, more := strings.Cut(s, ".")
		if t == "" || (t == anySuffix && more) || (more && rest == "") {
			return false
		}
		s = rest
	}
	return true
}

// natsLiteral mirrors the broker's check of a subject to publish to.
func natsLiteral(s string) bool {
	if !natsPattern(s) {
		return false
	}
	for t := range strings.SplitSeq(s, ".") {
		if t == anyToken || t == anySuffix {
			return false
		}
	}
	return true
}
