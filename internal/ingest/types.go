package ingest

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/google/uuid"
)

// Hash is a de-duplication key: the SHA-256 of a length-prefixed list of texts.
type Hash [32]byte

// Class says how much an event tells of an attacker's intent.
type Class string

// Classes of events (bus sheet 5.8). What is in no list is a scan, the unknown and the empty type included.
const (
	ClassInteraction Class = "interaction"
	ClassScan        Class = "scan"
	ClassNoise       Class = "noise"
)

// Event is a record with what the control plane knows of it: one row of the log.
type Event struct {
	*Record
	Source Source
	// Service is the slug of the source, else the record's App.
	Service string
	Class   Class
	// Session is the field `sid` if it is one; sessions are keyed by (Source.DeckyKey, Session).
	Session string
	// Key is equal for two readings of the same line and for no other two.
	Key Hash
}

// BountyType is the kind of a bounty.
type BountyType string

// Types of bounties. `probe_relay` is written by the relay, not by extraction.
const (
	BountyFingerprint BountyType = "fingerprint"
	BountyIPLeak      BountyType = "ip_leak"
	BountyArtifact    BountyType = "artifact"
)

// Bounty is a fact worth keeping once per attacker, however often it is seen.
type Bounty struct {
	Type     BountyType
	Attacker netip.Addr
	// Kind is `fingerprint_type` of a fingerprint and `kind` of an artifact; "" for the rest.
	Kind string
	// Payload is a JSON object with sorted keys, so that equal facts are equal bytes.
	Payload json.RawMessage
	// Key hashes (Type, Attacker, Payload); decky and service are not part of it, nor are `method`, `path` and `remote_port`
	// of the payload, which are those of the first sighting.
	Key Hash
}

// Credential is one login attempt with a secret.
type Credential struct {
	Attacker  netip.Addr
	DeckyKey  string
	DeckyName string
	Service   string
	// Principal is "" when the protocol names none; null and empty are one key.
	Principal       string
	SecretKind      string
	SecretPrintable string
	// SecretB64 is cut, SecretSHA256 (hex) is over all decoded bytes.
	SecretB64    string
	SecretSHA256 string
	// Outcome is "" when the line gives none; then a stored one stays.
	Outcome string
	// Key hashes the unique key of bus sheet 5.7, with the decky's key for its name, which topologies may share.
	Key Hash
}

// Command is one thing an attacker told a service to do.
type Command struct {
	// ID is stable over redelivery and eviction: `<sid>#<line>`, without a session `<ip>-<time>`.
	ID       string
	Session  string
	Attacker netip.Addr
	Service  string
	Time     time.Time
	// Text is hostile and at most a line long, control characters spelled.
	Text string
	// UID, User, Dir and Src are "" where unknown.
	UID  string
	User string
	Dir  string
	Src  string
}

// ArtifactKind tells dropped files from mails.
type ArtifactKind string

// Kinds of artifacts.
const (
	ArtifactFile ArtifactKind = "file"
	ArtifactMail ArtifactKind = "mail"
)

// Artifact is a file or a mail that a decoy has kept. Its names passed the patterns of bus sheet section 6.
type Artifact struct {
	Kind     ArtifactKind
	Attacker netip.Addr
	// Folder is the directory below the decky's: the mail services share `smtp`.
	Folder string
	// StoredAs is "" when the content is with a foreign sensor; then there is a checksum.
	StoredAs string
	// SHA256 is lower-case hex, "" when the line has no well-formed one. Size is -1 when unknown.
	SHA256   string
	Size     int64
	OrigPath string
	Session  string
}

// Probe is a fingerprint of an attacker's machine in the form of `attacker.fingerprinted`: rotation is noticed per
// (attacker, port, type).
type Probe struct {
	Attacker netip.Addr
	Type     string
	Port     uint16
	Hash     string
}

// ProbeClientHASSH is the type of a client HASSH; its port is 0 (contracts section 4).
const ProbeClientHASSH = "hassh_client"

// SessionEnd is `attacker.session.ended` (contracts section 4) but for the attacker's uuid.
type SessionEnd struct {
	SessionID    string
	Attacker     netip.Addr
	DeckyKey     string
	DeckyName    string
	TopologyID   uuid.UUID
	Service      string
	StartedAt    time.Time
	EndedAt      time.Time
	Duration     time.Duration
	CommandCount int
	HasRecording bool
}

// Extraction is everything one record yields.
type Extraction struct {
	Event       Event
	Bounties    []Bounty
	Credentials []Credential
	Commands    []Command
	Artifact    *Artifact
	Mail        *Mail
	Probes      []Probe
	// Problems are what was refused, for a warning; the event itself stays.
	Problems []Problem
}

// Problem says that a part of a record was refused. Texts are constants of ours, never attacker text.
type Problem struct {
	Part   string
	Reason string
}

// Mail is `email.received` but for the attacker's uuid and the verdict on its attachments. It never holds whole addresses
// of recipients nor text of the body.
type Mail struct {
	SourceID           string
	Subject            string
	FromDomain         string
	MailFromDomain     string
	ReturnPathDomain   string
	RcptCount          int
	RcptDomains        []string
	XMailer            string
	DKIMSigned         bool
	SPFPass            bool
	HTMLSmuggling      bool
	URLs               []string
	AttachmentCount    string
	AttachmentSHA256s  []string
	AttachmentExts     []string
	BodySimhash        string
	BodyBase64Bytes    int64
	AttachmentMacros   bool
	AttachmentPassword bool
	StoredAs           string
	BodySHA256         string
	// Relay is set for the relay service: the mail may earn a slot (`smtp.probe.pending`), for which MailFrom and RcptTo are
	// kept as logged.
	Relay    bool
	MailFrom string
	RcptTo   string
}
