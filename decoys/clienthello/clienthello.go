// Package clienthello fingerprints TLS clients by the first message they send: JA3 and JA4.
//
// It does not parse the message: crypto/tls hands out ciphers, extensions and groups in the order of the wire. What it does
// not hand out, the version field that JA3 begins with, a server on TCP takes from the first bytes of the connection; on
// QUIC that field is fixed. A message crypto/tls cannot read has no fingerprint.
//
// JA4, the fingerprint of TLS clients, is FoxIO's and free under the BSD 3-clause licence; of its relatives (JA4H, JA4S and so
// on), whose licence differs, there is nothing here.
package clienthello

import (
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Numbers of extensions that fingerprints treat apart (IANA, TLS ExtensionType).
const (
	extServerName = 0
	extALPN       = 16
	extVersions   = 43
)

// Bounds of client text in results.
const (
	maxServerName = 255
	maxListBytes  = 1500
)

// Hello is what a client said of itself.
type Hello struct {
	// Legacy is the version field of the message, not the version that is offered.
	Legacy     uint16
	Versions   []uint16 // of the extension; nil without one
	Ciphers    []uint16
	Extensions []uint16
	Groups     []uint16
	Points     []uint8
	Signatures []uint16
	ALPN       []string
	ServerName string
	QUIC       bool
}

// New takes a Hello from the library's view of the message. legacy is the message's version field.
func New(info *tls.ClientHelloInfo, legacy uint16, quic bool) Hello {
	h := Hello{
		Legacy: legacy, Ciphers: info.CipherSuites, Extensions: info.Extensions, Points: info.SupportedPoints,
		ALPN: info.SupportedProtos, ServerName: info.ServerName, QUIC: quic,
	}
	for _, g := range info.SupportedCurves {
		h.Groups = append(h.Groups, uint16(g))
	}
	for _, s := range info.SignatureSchemes {
		h.Signatures = append(h.Signatures, uint16(s))
	}
	if slices.Contains(h.Extensions, extVersions) {
		h.Versions = info.SupportedVersions
	}
	return h
}

// grease reports whether a value is one of those RFC 8701 reserves for clients that send nonsense on purpose.
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

func plain(list []uint16) []uint16 {
	return slices.DeleteFunc(slices.Clone(list), grease)
}

// Version is the highest version the client offers.
func (h Hello) Version() uint16 {
	offered := plain(h.Versions)
	if len(offered) == 0 {
		return h.Legacy
	}
	return slices.Max(offered)
}

// VersionName spells Version as TLSv1.3; what is unknown is hexadecimal.
func (h Hello) VersionName() string {
	switch v := h.Version(); v {
	case 0x0300:
		return "SSLv3"
	case tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13:
		return "TLSv1." + strconv.Itoa(int(v&0xff)-1)
	default:
		return fmt.Sprintf("0x%04x", v)
	}
}

// CipherList and ExtensionList are the lists of JA3, in the client's order without reserved values, cut to a length a log
// line can hold.
func (h Hello) CipherList() string { return cut(dashed(plain(h.Ciphers)), maxListBytes) }

// ExtensionList is as CipherList.
func (h Hello) ExtensionList() string { return cut(dashed(plain(h.Extensions)), maxListBytes) }

// Name is the server name the client asked for, bounded.
func (h Hello) Name() string { return cut(h.ServerName, maxServerName) }

// Protocols is the list of application protocols, separated by commas, bounded.
func (h Hello) Protocols() string { return cut(strings.Join(h.ALPN, ","), maxServerName) }

// JA3String is the text JA3 hashes: version, ciphers, extensions, groups and point formats, decimal.
func (h Hello) JA3String() string {
	points := make([]uint16, len(h.Points))
	for i, p := range h.Points {
		points[i] = uint16(p)
	}
	return strings.Join([]string{
		strconv.Itoa(int(h.Legacy)), dashed(plain(h.Ciphers)), dashed(plain(h.Extensions)), dashed(plain(h.Groups)), dashed(points),
	}, ",")
}

// JA3 is the MD5 of JA3String.
func (h Hello) JA3() string {
	sum := md5.Sum([]byte(h.JA3String()))
	return hex.EncodeToString(sum[:])
}

// JA4 is the fingerprint in its hashed form.
func (h Hello) JA4() string {
	_, extensions := h.ja4Lists()
	c := "000000000000"
	if len(plain(h.Extensions)) > 0 {
		c = short(extensions)
	}
	b := "000000000000"
	if len(plain(h.Ciphers)) > 0 {
		b = short(hexList(sorted(plain(h.Ciphers))))
	}
	return h.ja4Head() + "_" + b + "_" + c
}

// JA4Raw is the same with the lists in place of their hashes, bounded.
func (h Hello) JA4Raw() string {
	ciphers, extensions := h.ja4Lists()
	return cut(h.ja4Head()+"_"+ciphers+"_"+extensions, 2*maxListBytes)
}

// ja4Lists are the sorted ciphers, and the sorted extensions with the signature algorithms in their own order behind them.
// Server name and ALPN are left out: they tell the destination, not the client.
func (h Hello) ja4Lists() (ciphers, extensions string) {
	rest := slices.DeleteFunc(plain(h.Extensions), func(e uint16) bool { return e == extServerName || e == extALPN })
	extensions = hexList(sorted(rest))
	if signatures := plain(h.Signatures); len(signatures) > 0 {
		extensions += "_" + hexList(signatures)
	}
	return hexList(sorted(plain(h.Ciphers))), extensions
}

func (h Hello) ja4Head() string {
	transport, name := "t", "i"
	if h.QUIC {
		transport = "q"
	}
	if slices.Contains(h.Extensions, extServerName) {
		name = "d"
	}
	return fmt.Sprintf("%s%s%s%02d%02d%s", transport, h.ja4Version(), name,
		min(len(plain(h.Ciphers)), 99), min(len(plain(h.Extensions)), 99), h.ja4ALPN())
}

func (h Hello) ja4Version() string {
	switch h.Version() {
	case tls.VersionTLS13:
		return "13"
	case tls.VersionTLS12:
		return "12"
	case tls.VersionTLS11:
		return "11"
	case tls.VersionTLS10:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	}
	return "00"
}

// ja4ALPN is the first and last character of the first protocol, of its hexadecimal form when one of them is no letter or digit.
func (h Hello) ja4ALPN() string {
	if len(h.ALPN) == 0 || h.ALPN[0] == "" {
		return "00"
	}
	p := h.ALPN[0]
	if !alphanumeric(p[0]) || !alphanumeric(p[len(p)-1]) {
		p = hex.EncodeToString([]byte(p))
	}
	return p[:1] + p[len(p)-1:]
}

func alphanumeric(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

func dashed(list []uint16) string {
	b := make([]byte, 0, 6*len(list))
	for i, v := range list {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return string(b)
}

func hexList(list []uint16) string {
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = fmt.Sprintf("%04x", v)
	}
	return strings.Join(parts, ",")
}

func sorted(list []uint16) []uint16 {
	slices.SortFunc(list, cmp.Compare[uint16])
	return list
}

func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}

func cut(s string, n int) string { return s[:min(len(s), n)] }
