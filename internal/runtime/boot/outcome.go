package boot

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/runtime"
)

const maxDetailRunes = 200

// Outcome is what a decoy said about its start: ready with endpoints, or why not.
type Outcome struct {
	Ready     bool
	Endpoints []runtime.Endpoint
	Failure   string // safe to show
}

// Expected names the boot whose outcome is looked for.
type Expected struct {
	Service  string
	BootID   uuid.UUID
	Revision int64
}

// ParseOutcome reads one line of a decoy's log. Done is false when it does not tell how the start of want went; a ready
// line of another boot or revision does not.
func ParseOutcome(line string, want Expected) (out Outcome, done bool) {
	msgID, fields, ok := ParseLine(line)
	if !ok {
		return Outcome{}, false
	}
	switch msgID {
	case "config_error", "bind_error", "sandbox_error":
		return Outcome{Failure: safeDetail(msgID, fields["msg"])}, true
	case "ready":
		if fields["boot"] != want.BootID.String() || fields["revision"] != strconv.FormatInt(want.Revision, 10) {
			return Outcome{}, false
		}
		eps, err := parseListen(want.Service, fields["listen"])
		if err != nil {
			return Outcome{Failure: "its ready line is not understood"}, true
		}
		return Outcome{Ready: true, Endpoints: eps}, true
	}
	return Outcome{}, false
}

// safeDetail bounds a decoy's own words and removes what could disturb a terminal or a log.
func safeDetail(msgID, msg string) string {
	clean := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(msg, ""))
	if runes := []rune(clean); len(runes) > maxDetailRunes {
		clean = string(runes[:maxDetailRunes])
	}
	if clean == "" {
		return msgID
	}
	return msgID + ": " + clean
}

// parseListen reads `tcp/22=127.66.0.2:20022 udp/53=127.66.0.2:53`, sorted by protocol and port.
func parseListen(service, s string) ([]runtime.Endpoint, error) {
	var eps []runtime.Endpoint
	for _, item := range strings.Fields(s) {
		what, where, _ := strings.Cut(item, "=")
		protocol, number, _ := strings.Cut(what, "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("parse listen field: %w", err)
		}
		addr, err := netip.ParseAddrPort(where)
		if err != nil {
			return nil, fmt.Errorf("parse listen field: %w", err)
		}
		eps = append(eps, runtime.Endpoint{Service: service, Protocol: protocol, Port: uint16(port), Listen: addr})
	}
	SortEndpoints(eps)
	return eps, nil
}

// SortEndpoints sorts by service, protocol and port.
func SortEndpoints(eps []runtime.Endpoint) {
	slices.SortFunc(eps, func(a, b runtime.Endpoint) int {
		if c := strings.Compare(a.Service, b.Service); c != 0 {
			return c
		}
		if c := strings.Compare(a.Protocol, b.Protocol); c != 0 {
			return c
		}
		return int(a.Port) - int(b.Port)
	})
}

// SortStatuses sorts by decky key, then decky id, then service; equal ones keep their order.
func SortStatuses(list []runtime.Status) {
	slices.SortStableFunc(list, func(a, b runtime.Status) int {
		if c := strings.Compare(a.DeckyKey, b.DeckyKey); c != 0 {
			return c
		}
		if c := bytes.Compare(a.DeckyID[:], b.DeckyID[:]); c != 0 {
			return c
		}
		return strings.Compare(a.Service, b.Service)
	})
}

// Serves reports whether the endpoints are exactly the ports, at ip.
func Serves(eps []runtime.Endpoint, ip netip.Addr, ports []runtime.Port) bool {
	if len(eps) != len(ports) {
		return false
	}
	for _, p := range ports {
		if !slices.ContainsFunc(eps, func(e runtime.Endpoint) bool {
			return e.Protocol == p.Protocol && e.Port == p.Number && e.Listen.Addr() == ip
		}) {
			return false
		}
	}
	return true
}

// ParseLine takes the message id and the fields of a decoy's line (RFC 5424, one structured data element).
func ParseLine(line string) (msgID string, fields map[string]string, ok bool) {
	head := strings.SplitN(line, " ", 7)
	if len(head) != 7 || !strings.HasPrefix(head[0], "<") || !strings.HasSuffix(head[0], ">1") {
		return "", nil, false
	}
	rest, found := strings.CutPrefix(head[6], "[relay@55555")
	if !found {
		return head[5], nil, true
	}
	fields = map[string]string{}
	for strings.HasPrefix(rest, " ") {
		name, after, found := strings.Cut(rest[1:], `="`)
		if !found {
			return "", nil, false
		}
		value, next, found := cutValue(after)
		if !found {
			return "", nil, false
		}
		fields[name], rest = value, next
	}
	if !strings.HasPrefix(rest, "]") {
		return "", nil, false
	}
	return head[5], fields, true
}

// cutValue reads an escaped value up to its closing quote (RFC 5424, section 6.3.3).
func cutValue(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte(`"\]`, s[i+1]) >= 0:
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
