package topology

import (
	"crypto/sha256"
	"encoding/base32"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/fault"
)

// ScopePrefix begins the scope name of every topology.
const ScopePrefix = "topology/"

// bridgePrefix is what the containment of decoys recognises a bridge by (compose.BridgePrefix; a test compares them).
const bridgePrefix = "decnet-"

// networkPrefix begins the engine's name of every network of a topology.
const networkPrefix = "decnet_t_"

// lanPattern keeps the names of networks, files and labels plain. Names are compared without regard to case, because
// that of the network is the same for both.
var lanPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)

var networkPattern = regexp.MustCompile(`^` + networkPrefix + `([0-9a-f]{8})_`)

// ScopeName returns the name of a topology's scope: "topology/<uuid>".
func ScopeName(id uuid.UUID) string { return ScopePrefix + id.String() }

// IDFromScope undoes ScopeName. It reports false for the fleet and for anything that is not written as ScopeName does.
func IDFromScope(scope string) (uuid.UUID, bool) {
	text, ok := strings.CutPrefix(scope, ScopePrefix)
	if !ok {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(text)
	return id, err == nil && id.String() == text
}

// ShortID returns the first eight digits of a topology's id: the part of it that names on the host carry.
func ShortID(id uuid.UUID) string { return id.String()[:8] }

// DeckyKey returns the key of a topology's decky, at most 72 characters.
func DeckyKey(id uuid.UUID, deckyName string) string { return ShortID(id) + "-" + deckyName }

// NetworkName returns the engine's name of a LAN's network. It changes when the LAN is renamed.
func NetworkName(id uuid.UUID, lanName string) string {
	return networkPrefix + ShortID(id) + "_" + strings.ToLower(lanName)
}

// ShortIDFromNetwork returns the ShortID that the engine's name of a network carries, and false when it is no network of
// a topology.
func ShortIDFromNetwork(name string) (string, bool) {
	m := networkPattern.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// BridgeName returns the name of a LAN's interface on the host: 15 characters, the most an interface may have, of which
// 8 are 40 bits of a hash. It does not change when the LAN is renamed.
func BridgeName(id, lanID uuid.UUID) string {
	sum := sha256.Sum256(append(id[:], lanID[:]...))
	return bridgePrefix + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:5]))
}

// CheckLANName returns an Unprocessable fault (lan_name_invalid) unless name may be given to a LAN.
func CheckLANName(name string) error {
	if lanPattern.MatchString(name) {
		return nil
	}
	const why = "must start with a letter or digit and hold only those, hyphens and underscores, at most 32"
	return fault.New(fault.Unprocessable, "lan_name_invalid", "the name of a LAN %s", why).
		With(fault.Field{Location: "body.name", Message: why})
}
