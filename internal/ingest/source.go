package ingest

import "github.com/google/uuid"

// Source says where a line was collected: what the control plane knows itself, never what a line claims.
type Source struct {
	// DeckyKey is the key of contracts section 1; the sensor's name for imports, of which there is no decky.
	DeckyKey string
	// DeckyName is the decky's name; the sensor's for imports.
	DeckyName string
	// DeckyID is uuid.Nil for imports, TopologyID also for the fleet.
	DeckyID    uuid.UUID
	TopologyID uuid.UUID
	// Service is the slug of the service whose output this is. An importer of a sensor with several services leaves it empty:
	// then the record's App is the service.
	Service string
	// Sensor is the name of the foreign honeypot a line was imported from; "" for our own.
	Sensor string
}

const importPrefix = "import:"

// ImportSource returns the source of lines imported from a foreign sensor. service may be empty.
func ImportSource(sensor, service string) Source {
	return Source{DeckyKey: sensor, DeckyName: sensor, Service: service, Sensor: sensor}
}

// Imported reports whether the lines come from a foreign sensor. Such lines make no decky and no transcript.
func (s Source) Imported() bool { return s.Sensor != "" }

// EvidenceRef returns the evidence reference of an imported session (contracts section 4), and "" for our own, whose
// reference names the shard that holds the recording.
func (s Source) EvidenceRef(session string) string {
	if !s.Imported() || session == "" {
		return ""
	}
	return importPrefix + s.Sensor + "#" + session
}
