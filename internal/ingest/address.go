package ingest

import (
	"net/netip"
	"strconv"
	"strings"
)

// addressKeys name the fields that may hold the attacker's address; the first that is present decides, also when its value is
// no address.
var addressKeys = [...]string{"src_ip", "src", "client_ip", "remote_ip", "remote_addr", "target_ip", "ip"}

const (
	keySrcPort    = "src_port"
	keyRemotePort = "remote_port"
	cmdPrefix     = "CMD "
)

// Resolve derives Attacker, Port and a missing Type from the fields and the message (bus sheet 5.2, steps 4 to 9). Parse has
// done it; importers call it once, after the fields are set. Fields always win over the message, which is only read when no
// field may hold an address.
func (r *Record) Resolve() {
	value, rank := "", len(addressKeys)
	port := ""
	for i := range r.Fields {
		k := r.Fields[i].Key
		if len(k) < 2 || len(k) > len("remote_addr") {
			continue
		}
		if j := addressRank(k); j < rank {
			value, rank = r.Fields[i].Value, j
		} else if port == "" && k == keySrcPort {
			port = r.Fields[i].Value
		}
	}
	if rank < len(addressKeys) {
		r.setAddress(value)
	} else if r.Msg != "" {
		r.Attacker = addressInText(r.Msg)
	}
	if port == "" && r.Port == 0 {
		port = r.Fields.Get(keyRemotePort)
	}
	if p := parsePort(port); p != 0 {
		r.Port = p
	}
	if r.Type == "" && strings.HasPrefix(r.Msg, cmdPrefix) {
		r.Type = TypeCommand
	}
}

func addressRank(key string) int {
	switch key {
	case "src_ip":
		return 0
	case "src":
		return 1
	case "client_ip":
		return 2
	case "remote_ip":
		return 3
	case "remote_addr":
		return 4
	case "target_ip":
		return 5
	case "ip":
		return 6
	}
	return len(addressKeys)
}

// setAddress takes the address of a field. A port it came with also becomes the field `remote_port`, unless there is one.
func (r *Record) setAddress(value string) {
	addr, port := splitAddress(value)
	r.Attacker, r.Port = addr, port
	if port == 0 {
		return
	}
	if _, ok := r.Fields.Lookup(keyRemotePort); !ok {
		r.Fields = append(r.Fields, Field{Key: keyRemotePort, Value: strconv.Itoa(int(port))})
	}
}

// splitAddress reads `v4`, `v6`, `v4:port`, `[v6]` and `[v6]:port`. A text with a zone, a name or a bad port is no address.
// IPv4 in IPv6 is returned as IPv4, so that one machine is one attacker.
func splitAddress(s string) (netip.Addr, uint16) {
	host, port := s, ""
	switch {
	case strings.HasPrefix(s, "["):
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return netip.Addr{}, 0
		}
		host = s[1:end]
		if rest := s[end+1:]; rest != "" {
			if rest[0] != ':' || strings.IndexByte(host, ':') < 0 {
				return netip.Addr{}, 0
			}
			port = rest[1:]
			if parsePort(port) == 0 {
				return netip.Addr{}, 0
			}
		}
	case strings.Count(s, ":") == 1:
		host, port, _ = strings.Cut(s, ":")
		if parsePort(port) == 0 {
			return netip.Addr{}, 0
		}
	}
	return parseAddr(host), parsePort(port)
}

// maxAddrText is the longest address without a zone: IPv6 with an IPv4 tail.
const maxAddrText = 45

func parseAddr(s string) netip.Addr {
	if len(s) > maxAddrText {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}
	}
	return a.Unmap()
}

// parsePort returns 0 for what is no port.
func parsePort(s string) uint16 {
	if s == "" || len(s) > 5 || s[0] == '0' {
		return 0
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0
		}
		n = n*10 + int(s[i]-'0')
	}
	if n > 65535 {
		return 0
	}
	return uint16(n)
}
