package clienthello_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/clienthello"
)

// chrome is the example of the published description of JA4, in an order of its own, with reserved values in between.
var chrome = clienthello.Hello{
	Legacy: 0x0303, Versions: []uint16{0x0a0a, 0x0304, 0x0303},
	Ciphers: []uint16{
		0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
	},
	Extensions: []uint16{
		0x3a3a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015,
	},
	Signatures: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601},
	ALPN:       []string{"h2", "http/1.1"},
}

func TestJA4_PublishedExample(t *testing.T) {
	t.Parallel()
	require.Equal(t, "t13d1516h2_8daaf6152771_e5627efa2ab1", chrome.JA4())
	require.Equal(t, "t13d1516h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_"+
		"0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01_0403,0804,0401,0503,0805,0501,0806,0601", chrome.JA4Raw())
	require.Equal(t, "TLSv1.3", chrome.VersionName())
}

func TestJA3_PublishedExamples(t *testing.T) {
	t.Parallel()
	h := clienthello.Hello{
		Legacy: 769, Ciphers: []uint16{47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4},
		Extensions: []uint16{0, 10, 11}, Groups: []uint16{23, 24, 25}, Points: []uint8{0},
	}
	require.Equal(t, "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0", h.JA3String())
	require.Equal(t, "ada70206e40642a3e4461f35503241d5", h.JA3())
	old := clienthello.Hello{Legacy: 769, Ciphers: []uint16{4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99}}
	require.Equal(t, "769,4-5-10-9-100-98-3-6-19-18-99,,,", old.JA3String())
	require.Equal(t, "de350869b8c85de67a350c8d186f11e6", old.JA3())
}

func TestJA4_Edges(t *testing.T) {
	t.Parallel()
	require.Equal(t, "t00i000000_000000000000_000000000000", clienthello.Hello{}.JA4())
	for alpn, want := range map[string]string{"h2": "h2", "h": "hh", "\xab": "ab", "\xab\xcd": "ad", "0\xab": "3b", "": "00", "http/1.1": "h1"} {
		h := clienthello.Hello{QUIC: true, Legacy: 0x0303, ALPN: []string{alpn}}
		require.Equal(t, "q12i0000"+want, h.JA4()[:10], "%q", alpn)
	}
	for v, want := range map[uint16]string{0x0300: "s3", 0x0301: "10", 0x0302: "11", 0x0303: "12", 0x0304: "13", 0x0002: "s2", 0x7f1c: "00"} {
		require.Equal(t, want, clienthello.Hello{Legacy: v}.JA4()[1:3])
	}
	many := clienthello.Hello{Legacy: 0x0303, ServerName: strings.Repeat("a", 70000), ALPN: make([]string, 30000)}
	for i := range uint16(30000) {
		many.Ciphers, many.Extensions = append(many.Ciphers, i), append(many.Extensions, i)
	}
	require.Equal(t, "t12d9999", many.JA4()[:8])
	for _, s := range []string{many.CipherList(), many.ExtensionList(), many.Name(), many.Protocols(), many.JA4Raw()} {
		require.LessOrEqual(t, len(s), 3000)
	}
}
