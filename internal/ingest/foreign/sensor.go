package foreign

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
)

const (
	maxSensorBytes = 63
	suffixBytes    = 12
)

var (
	// sensorPattern and the reserved names are the rule for names of deckies.
	sensorPattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	topologyPattern = regexp.MustCompile(`^[0-9a-f]{8}-`)
	reservedSensors = []string{"events", "services", "archetypes", "deploy"}
)

// SensorKey returns the name under which what a sensor saw is kept: the sensor's own where it is a legal name of a fleet
// decky, else a cleaned one that ends in twelve digits of the hash of the original, so that sensors that look alike after
// cleaning stay apart. It is "" for the empty name only.
func SensorKey(name string) string {
	legal := sensorPattern.MatchString(name)
	if name == "" || (legal && !topologyPattern.MatchString(name) && !slices.Contains(reservedSensors, name)) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + ('a' - 'A')
		}
		return '-'
	}, name[:min(len(name), maxSensorBytes)])
	if clean = strings.Trim(clean, "-"); clean == "" || topologyPattern.MatchString(clean+"-") {
		clean = strings.TrimSuffix("sensor-"+clean, "-")
	}
	clean = strings.TrimRight(clean[:min(len(clean), maxSensorBytes-suffixBytes-1)], "-")
	return clean + "-" + hex.EncodeToString(sum[:])[:suffixBytes]
}
