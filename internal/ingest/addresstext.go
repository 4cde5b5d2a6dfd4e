package ingest

import (
	"net/netip"
	"strings"
)

// addressInText finds the address a native daemon wrote into its message: the first `key=value` word whose key may hold one;
// then what follows `from`, `rhost=`, `client=` or `src=`; then the first bare IPv4 address.
func addressInText(msg string) netip.Addr {
	for rest := msg; rest != ""; {
		var word string
		word, rest, _ = strings.Cut(rest, " ")
		key, value, ok := strings.Cut(word, "=")
		if ok && addressRank(key) < len(addressKeys) {
			a, _ := splitAddress(value)
			return a
		}
	}
	if a := addressAfterMarker(msg); a.IsValid() {
		return a
	}
	return bareIPv4(msg)
}

var markers = [...]string{"from", "rhost", "client", "src"}

// addressAfterMarker looks at every word of letters once: a marker is a whole word, in any case, followed by a space (from
// only), `=` or `:`.
func addressAfterMarker(msg string) netip.Addr {
	for i := 0; i < len(msg); {
		if !isLetter(msg[i]) {
			i++
			continue
		}
		start := i
		for i < len(msg) && isLetter(msg[i]) {
			i++
		}
		if start > 0 && isWordByte(msg[start-1]) || i == len(msg) || !isMarker(msg[start:i], msg[i]) {
			continue
		}
		value := strings.TrimLeft(msg[i+1:], " ")
		if a := leadingAddress(value); a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

func isMarker(word string, next byte) bool {
	for i, m := range markers {
		if strings.EqualFold(word, m) {
			return next == '=' || next == ':' || next == ' ' && i == 0
		}
	}
	return false
}

// leadingAddress reads the address at the start of s, up to the first byte no address has.
func leadingAddress(s string) netip.Addr {
	n := 0
	for n < len(s) && n <= maxAddrText+len("[]:65535") && (isHex(s[n]) || s[n] == '.' || s[n] == ':' || s[n] == '[' || s[n] == ']' || s[n] == '%') {
		n++
	}
	a, _ := splitAddress(strings.TrimRight(s[:n], ".:"))
	return a
}

// bareIPv4 returns the first dotted quad that is not part of a longer run of digits, dots and letters.
func bareIPv4(msg string) netip.Addr {
	for i := 0; i < len(msg); {
		if !isDigit(msg[i]) {
			i++
			continue
		}
		start := i
		for i < len(msg) && (isDigit(msg[i]) || msg[i] == '.') {
			i++
		}
		if start > 0 && isWordByte(msg[start-1]) || i < len(msg) && isWordByte(msg[i]) {
			continue
		}
		if a := parseAddr(strings.TrimRight(msg[start:i], ".")); a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isHex(c byte) bool    { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

func isWordByte(c byte) bool { return isDigit(c) || isLetter(c) || c == '_' || c == '.' || c == '-' }
