package postgres

import (
	"strconv"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
)

// place is a statement of the server's source that raises an error.
type place int

const (
	authFailed place = iota
	emptyPassword
	notPassword
	passwordSize
	noUser
	protocolVersion
	earlyData
	noReplicationEntry
	replicationValue
	layout
	unknownDatabase
	closedDatabase
	places
)

// sources say where in the source a place is, and over how many further lines its statement goes.
var sources = [places]struct {
	file, routine string
	span          int
}{
	authFailed:         {"auth.c", "auth_failed", 3},
	emptyPassword:      {"auth.c", "recv_password_packet", 2},
	notPassword:        {"auth.c", "recv_password_packet", 3},
	passwordSize:       {"auth.c", "recv_password_packet", 2},
	noUser:             {"postmaster.c", "ProcessStartupPacket", 2},
	protocolVersion:    {"postmaster.c", "ProcessStartupPacket", 6},
	earlyData:          {"postmaster.c", "ProcessStartupPacket", 3},
	noReplicationEntry: {"auth.c", "ClientAuthentication", 6},
	replicationValue:   {"postmaster.c", "ProcessStartupPacket", 5},
	layout:             {"postmaster.c", "ProcessStartupPacket", 2},
	unknownDatabase:    {"postinit.c", "InitPostgres", 2},
	closedDatabase:     {"postinit.c", "CheckMyDatabase", 3},
}

// release is one minor release. lines are those of the last line of each statement, as released servers report them.
type release struct {
	version string
	major   int
	lines   [places]int
	// lastLine is set for packages of old compilers (GCC 4.8); newer ones report the first line of a statement.
	lastLine bool
}

// lines were read from the errors of these releases, sent to them one by one.
var lines = map[string][places]int{
	"12.18": {333, 724, 679, 706, 2272, 2126, 0, 493, 2189, 2234, 879, 346},
	"12.20": {333, 724, 679, 706, 2272, 2126, 0, 493, 2189, 2234, 879, 346},
	"12.22": {333, 724, 679, 706, 2272, 2126, 0, 493, 2189, 2234, 896, 347},
	"13.16": {334, 721, 676, 703, 2289, 2143, 0, 494, 2206, 2251, 877, 346},
	"13.18": {334, 721, 676, 703, 2289, 2143, 0, 494, 2206, 2251, 894, 347},
	"14.11": {338, 760, 722, 742, 2273, 2148, 2077, 543, 2211, 2256, 887, 346},
	"14.15": {338, 760, 722, 742, 2273, 2148, 2077, 543, 2211, 2256, 904, 347},
	"14.18": {338, 760, 722, 742, 2275, 2150, 2079, 543, 2213, 2258, 890, 346},
	"15.4":  {329, 751, 713, 733, 2326, 2201, 2130, 534, 2264, 2309, 947, 353},
	"15.6":  {329, 751, 713, 733, 2329, 2204, 2133, 534, 2267, 2312, 947, 353},
	"15.8":  {329, 751, 713, 733, 2329, 2204, 2133, 534, 2267, 2312, 947, 353},
	"15.10": {329, 751, 713, 733, 2329, 2204, 2133, 534, 2267, 2312, 964, 354},
	"15.13": {329, 751, 713, 733, 2331, 2206, 2135, 534, 2269, 2314, 950, 353},
	"16.2":  {326, 750, 712, 732, 2272, 2151, 2080, 533, 2214, 2255, 1021, 356},
	"16.4":  {326, 750, 712, 732, 2272, 2151, 2080, 533, 2214, 2255, 1021, 356},
	"16.6":  {326, 750, 712, 732, 2272, 2151, 2080, 533, 2214, 2255, 1038, 357},
}

type weighted = identity.Weighted[string]

// packages are the releases a distribution, or the project's own repository for it, ships.
var packages = map[string][]weighted{
	"debian":       {{Value: "15.6", Weight: 2}, {Value: "15.8", Weight: 3}, {Value: "15.10", Weight: 3}, {Value: "15.13", Weight: 3}, {Value: "16.4", Weight: 1}},
	"ubuntu 22.04": {{Value: "14.11", Weight: 2}, {Value: "14.15", Weight: 3}, {Value: "14.18", Weight: 3}, {Value: "16.6", Weight: 1}},
	"ubuntu 20.04": {{Value: "12.18", Weight: 2}, {Value: "12.20", Weight: 3}, {Value: "12.22", Weight: 4}, {Value: "14.15", Weight: 1}},
	"rocky":        {{Value: "13.16", Weight: 4}, {Value: "13.18", Weight: 3}, {Value: "15.6", Weight: 2}, {Value: "16.4", Weight: 1}},
	"centos":       {{Value: "12.18", Weight: 3}, {Value: "14.11", Weight: 2}, {Value: "15.6", Weight: 1}},
	"alpine":       {{Value: "15.6", Weight: 2}, {Value: "15.8", Weight: 2}, {Value: "15.10", Weight: 1}, {Value: "16.2", Weight: 2}, {Value: "16.4", Weight: 2}, {Value: "16.6", Weight: 2}},
	"fedora":       {{Value: "15.4", Weight: 1}, {Value: "15.6", Weight: 2}, {Value: "15.8", Weight: 3}},
	"kali":         {{Value: "16.2", Weight: 1}, {Value: "16.4", Weight: 2}},
	"arch":         {{Value: "16.2", Weight: 1}, {Value: "16.6", Weight: 2}},
}

func pickRelease(h *persona.Host) release {
	choices := packages["debian"]
	for _, key := range []string{h.Release.ID, h.Release.ID + " " + h.VersionID} {
		if c, ok := packages[key]; ok {
			choices = c
		}
	}
	v := identity.PickWeighted(h.ID, "postgres-version", choices)
	major, _ := strconv.Atoi(v[:2])
	return release{version: v, major: major, lines: lines[v], lastLine: h.Release.ID == "centos"}
}

// earliest returns the oldest major protocol version the release speaks.
func (r release) earliest() uint32 {
	if r.major < 14 {
		return 2
	}
	return 3
}

// line returns the number the release reports for a place.
func (r release) line(p place) int32 {
	n := r.lines[p]
	if !r.lastLine {
		n -= sources[p].span
		if p == noReplicationEntry && r.major < 14 {
			n++
		}
	}
	return int32(n)
}

// fatal makes the error of a place.
func (r release) fatal(p place, code, message string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message,
		File: sources[p].file, Line: r.line(p), Routine: sources[p].routine,
	}
}
