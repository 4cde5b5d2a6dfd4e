package mysql

import (
	"crypto/tls"
	"strconv"
	"strings"

	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
)

// Capabilities, as far as the decoy looks at them.
const (
	capConnectWithDB = 1 << 3
	capProtocol41    = 1 << 9
	capSSL           = 1 << 11
	capSecure        = 1 << 15
	capPluginAuth    = 1 << 19
	capConnectAttrs  = 1 << 20
	capLenencAuth    = 1 << 21
)

// Character set numbers of greetings.
const (
	latin1  = 8
	utf8mb4 = 45
	utf8900 = 255
)

// Authentication plugins.
const (
	pluginNative = "mysql_native_password"
	pluginSHA2   = "caching_sha2_password"
	pluginClear  = "mysql_clear_password"
)

// release is the server a decoy claims to be; all details on the wire follow from its version.
type release struct {
	text  string // of the greeting
	short string // three numbers
	maria bool
	num   [3]int
}

type weighted = identity.Weighted[string]

// packages are what the distributions and their users install: the distribution's own package, the vendor's, or its container.
var packages = map[string][]weighted{
	"debian": {
		{Value: "8.0.36", Weight: 3},
		{Value: "8.0.39", Weight: 2},
		{Value: "8.0.40", Weight: 2},
		{Value: "5.7.44", Weight: 2},
		{Value: "5.7.42-log", Weight: 1},
		{Value: "5.5.5-10.11.6-MariaDB-0+deb12u1", Weight: 3},
		{Value: "5.5.5-10.11.11-MariaDB-0+deb12u1", Weight: 2},
	},
	"ubuntu 22.04": {
		{Value: "8.0.35-0ubuntu0.22.04.1", Weight: 2},
		{Value: "8.0.36-0ubuntu0.22.04.1", Weight: 3},
		{Value: "8.0.39-0ubuntu0.22.04.1", Weight: 3},
		{Value: "8.0.40-0ubuntu0.22.04.1", Weight: 3},
		{Value: "5.7.44", Weight: 1},
	},
	"ubuntu 20.04": {
		{Value: "8.0.32-0ubuntu0.20.04.2", Weight: 1},
		{Value: "8.0.35-0ubuntu0.20.04.1", Weight: 2},
		{Value: "8.0.36-0ubuntu0.20.04.1", Weight: 2},
		{Value: "8.0.39-0ubuntu0.20.04.1", Weight: 3},
		{Value: "8.0.40-0ubuntu0.20.04.1", Weight: 3},
		{Value: "5.7.42", Weight: 1},
	},
	"rocky":  {{Value: "8.0.32", Weight: 2}, {Value: "8.0.36", Weight: 4}, {Value: "8.0.40", Weight: 1}},
	"centos": {{Value: "5.7.30", Weight: 1}, {Value: "5.7.38", Weight: 2}, {Value: "5.7.40-log", Weight: 1}, {Value: "5.7.44", Weight: 4}, {Value: "5.7.44-log", Weight: 2}, {Value: "8.0.36", Weight: 2}, {Value: "8.0.26", Weight: 1}},
	"fedora": {{Value: "8.0.35", Weight: 2}, {Value: "8.0.36", Weight: 3}, {Value: "8.0.39", Weight: 2}},
}

// containers are for distributions that package no MySQL.
var containers = []weighted{{Value: "5.7.44", Weight: 2}, {Value: "8.0.33", Weight: 1}, {Value: "8.0.36", Weight: 3}, {Value: "8.0.39", Weight: 2}, {Value: "8.0.40", Weight: 2}}

// newRelease parses a configured version, or picks one for the decky's distribution.
func newRelease(h *persona.Host, configured string) release {
	if configured != "" {
		return parseRelease(configured)
	}
	choices := containers
	for _, key := range []string{h.Release.ID, h.Release.ID + " " + h.VersionID} {
		if c, ok := packages[key]; ok {
			choices = c
		}
	}
	return parseRelease(identity.PickWeighted(h.ID, "mysql-version", choices))
}

func parseRelease(text string) release {
	const replicationHack = "5.5.5-" // in front of MariaDB 10, for old replicas
	r := release{text: text, maria: strings.Contains(strings.ToLower(text), "mariadb")}
	plain := text
	if r.maria {
		plain = strings.TrimPrefix(text, replicationHack)
	}
	r.short, _, _ = strings.Cut(plain, "-")
	for i, part := range strings.SplitN(r.short, ".", 3) {
		r.num[i], _ = strconv.Atoi(part)
	}
	if r.maria && r.num[0] == 10 {
		r.text = replicationHack + plain
	}
	return r
}

func (r release) atLeast(major, minor, patch int) bool {
	for i, n := range [3]int{major, minor, patch} {
		if r.num[i] != n {
			return r.num[i] > n
		}
	}
	return true
}

// encrypts reports whether the release makes itself a certificate at first start, so that every such server speaks TLS.
func (r release) encrypts() bool { return !r.maria && r.atLeast(5, 7, 0) }

// plugin is the authentication plugin of the release's accounts.
func (r release) plugin() string {
	if !r.maria && r.atLeast(8, 0, 4) {
		return pluginSHA2
	}
	return pluginNative
}

func (r release) charset() byte {
	switch {
	case !r.maria && r.atLeast(8, 0, 0):
		return utf8900
	case r.maria && strings.Contains(r.text, "deb"), r.maria && strings.Contains(r.text, "ubuntu"):
		return utf8mb4
	}
	return latin1
}

// capabilities are those of the greeting.
func (r release) capabilities() uint32 {
	if r.maria {
		return 0x81fff7fe
	}
	var high uint32
	switch {
	case r.atLeast(8, 0, 27):
		high = 0xdfff
	case r.atLeast(8, 0, 23):
		high = 0xcfff
	case r.atLeast(8, 0, 18):
		high = 0xc7ff
	case r.atLeast(8, 0, 3):
		high = 0xc3ff
	case r.atLeast(5, 7, 0):
		high = 0xc1ff
	case r.atLeast(5, 6, 0):
		return 0x807ff7ff
	default:
		return 0x800ff7ff
	}
	return high<<16 | 0xffff
}

// extended are the capabilities MariaDB announces in bytes that MySQL leaves empty.
func (r release) extended() uint32 {
	switch {
	case !r.maria || !r.atLeast(10, 2, 0):
		return 0
	case r.atLeast(10, 6, 0):
		return 0x1d
	case r.atLeast(10, 5, 0):
		return 0x0d
	}
	return 0x07
}

// protocols are the versions of TLS the release speaks.
func (r release) protocols() (lowest, highest uint16) {
	switch {
	case r.atLeast(8, 0, 28):
		return tls.VersionTLS12, tls.VersionTLS13
	case r.atLeast(8, 0, 16):
		return tls.VersionTLS10, tls.VersionTLS13
	}
	return tls.VersionTLS10, tls.VersionTLS12
}
