package ingest_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/ingest"
)

func TestAddress_OfAField(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"192.0.2.1":                 "192.0.2.1",
		"192.0.2.1:80":              "192.0.2.1 80",
		"[192.0.2.1]":               "192.0.2.1",
		"2001:db8::1":               "2001:db8::1",
		"2001:DB8:0::1":             "2001:db8::1",
		"[2001:db8::1]":             "2001:db8::1",
		"[2001:db8::1]:65535":       "2001:db8::1 65535",
		"::1":                       "::1",
		"::ffff:192.0.2.1":          "192.0.2.1",
		"[::ffff:192.0.2.1]:8080":   "192.0.2.1 8080",
		"::ffff:c000:201":           "192.0.2.1",
		"":                          "",
		"Unknown":                   "",
		"host.example":              "",
		"host:80":                   "",
		"192.0.2":                   "",
		"192.0.2.256":               "",
		"192.0.2.01":                "",
		"192.0.2.1:0":               "",
		"192.0.2.1:080":             "",
		"192.0.2.1:65536":           "",
		"192.0.2.1:99999":           "",
		"192.0.2.1:":                "",
		"192.0.2.1:8x":              "",
		"192.0.2.1 ":                "",
		"fe80::1%eth0":              "",
		"[fe80::1%eth0]:80":         "",
		"[2001:db8::1]:":            "",
		"[2001:db8::1]80":           "",
		"[2001:db8::1":              "",
		"[]":                        "",
		"[192.0.2.1]:80":            "",
		"2001:db8::1:80:1:2:3:4:5":  "",
		strings.Repeat("1", 10_000): "",
		"192.0.2.1/24":              "",
	} {
		r := ingest.Record{Fields: ingest.Fields{{Key: "src_ip", Value: value}}, Msg: "from 203.0.113.9"}
		r.Resolve()
		got := ""
		if r.Attacker.IsValid() {
			got = strings.TrimSuffix(r.Attacker.String()+" "+r.Fields.Get("remote_port"), " ")
		}
		require.Equal(t, want, got, value)
		require.Empty(t, r.Attacker.Zone())
	}
}

func TestAddress_FirstPresentKeyDecides(t *testing.T) {
	t.Parallel()
	keys := []string{"src_ip", "src", "client_ip", "remote_ip", "remote_addr", "target_ip", "ip"}
	for i := range keys {
		r := ingest.Record{}
		for j := len(keys) - 1; j >= i; j-- {
			r.Fields = append(r.Fields, ingest.Field{Key: keys[j], Value: "192.0.2." + string(rune('1'+j))})
		}
		r.Resolve()
		require.Equal(t, "192.0.2."+string(rune('1'+i)), r.AttackerText(), keys[i])
	}
	r := ingest.Record{Fields: ingest.Fields{{Key: "ip", Value: "192.0.2.1"}, {Key: "src_ip", Value: "nobody"}}}
	r.Resolve()
	require.Equal(t, ingest.Unknown, r.AttackerText(), "present, though no address")
}

func TestAddress_Ports(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fields ingest.Fields
		port   uint16
		remote string
	}{
		"src_port":             {ingest.Fields{{Key: "src_ip", Value: "192.0.2.1"}, {Key: "src_port", Value: "7"}}, 7, ""},
		"src_port first":       {ingest.Fields{{Key: "src_port", Value: "7"}, {Key: "src", Value: "192.0.2.1:9"}}, 7, "9"},
		"with the address":     {ingest.Fields{{Key: "src", Value: "192.0.2.1:9"}}, 9, "9"},
		"does not overwrite":   {ingest.Fields{{Key: "src", Value: "192.0.2.1:9"}, {Key: "remote_port", Value: "5"}}, 9, "5"},
		"remote_port":          {ingest.Fields{{Key: "remote_addr", Value: "192.0.2.1"}, {Key: "remote_port", Value: "5"}}, 5, "5"},
		"no port":              {ingest.Fields{{Key: "src", Value: "192.0.2.1"}, {Key: "src_port", Value: "x"}}, 0, ""},
		"IPv6 is not split":    {ingest.Fields{{Key: "src", Value: "2001:db8::1"}}, 0, ""},
		"address of the other": {ingest.Fields{{Key: "target_port", Value: "443"}, {Key: "target_ip", Value: "192.0.2.1"}}, 0, ""},
	} {
		r := ingest.Record{Fields: c.fields}
		r.Resolve()
		require.Equal(t, c.port, r.Port, name)
		require.Equal(t, c.remote, r.Fields.Get("remote_port"), name)
		require.Equal(t, c.port != 0, r.Peer().IsValid(), name)
	}
}

func TestAddress_OfAMessage(t *testing.T) {
	t.Parallel()
	for msg, want := range map[string]string{
		"Failed password for root from 192.0.2.1 port 22 ssh2":       "192.0.2.1",
		"Connection From: 192.0.2.1":                                 "192.0.2.1",
		"auth failure; rhost=2001:db8::5 user=root":                  "2001:db8::5",
		"CLIENT=192.0.2.1, retry":                                    "192.0.2.1",
		"src:192.0.2.1":                                              "192.0.2.1",
		"from [2001:db8::1]:4242 closed":                             "2001:db8::1",
		"from 192.0.2.1:99.":                                         "192.0.2.1",
		"a=b src=192.0.2.2 from 192.0.2.1":                           "192.0.2.2",
		"from 192.0.2.1 ip=192.0.2.2":                                "192.0.2.2",
		"src=nobody from 192.0.2.1":                                  "Unknown",
		"from nobody via 192.0.2.3 and 192.0.2.4":                    "192.0.2.3",
		"wherefrom 192.0.2.1 x":                                      "192.0.2.1",
		"version 1.2.3.4.5 at 192.0.2.9":                             "192.0.2.9",
		"v1.2.3.4 x1.2.3.4 1.2.3.4x":                                 "Unknown",
		"999.1.1.1 300.2.2.2":                                        "Unknown",
		"from fe80::1%eth0":                                          "Unknown",
		"nothing here":                                               "Unknown",
		"":                                                           "Unknown",
		"client 192.0.2.5 is no marker, but the address is one":      "192.0.2.5",
		strings.Repeat("from ", 3000) + "192.0.2.1":                  "192.0.2.1",
		strings.Repeat("1.", 8000):                                   "Unknown",
		"from 9.9.9.999 from=" + strings.Repeat(":", 200) + " 1.1.1": "Unknown",
	} {
		r := ingest.Record{Msg: msg}
		r.Resolve()
		require.Equal(t, want, r.AttackerText(), msg)
		require.Empty(t, r.Fields, "a message makes no field")
	}
}

func FuzzResolve(f *testing.F) {
	f.Add("192.0.2.1:80", "from 1.2.3.4")
	f.Add("[::1%x]:1", "src=a rhost=::")
	f.Fuzz(func(t *testing.T, value, msg string) {
		for _, r := range []ingest.Record{{Fields: ingest.Fields{{Key: "src", Value: value}}, Msg: msg}, {Msg: msg}} {
			withField := len(r.Fields) > 0
			r.Resolve()
			require.False(t, r.Attacker.Is4In6())
			require.Empty(t, r.Attacker.Zone())
			if r.Attacker.IsValid() {
				again, err := netip.ParseAddr(r.Attacker.String())
				require.NoError(t, err)
				require.Equal(t, r.Attacker, again)
			}
			if withField {
				other := ingest.Record{Fields: ingest.Fields{{Key: "src", Value: value}}}
				other.Resolve()
				require.Equal(t, other.Attacker, r.Attacker, "fields win over the message")
			}
		}
	})
}
