package mysql

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
)

func TestGreeting_IsThatOfTheRelease(t *testing.T) {
	t.Parallel()
	salt := []byte("abcdefghijklmnopqrst")
	for version, want := range map[string]string{
		"8.0.36":                  "\x0a8.0.36\x00\x01\x02\x00\x00abcdefgh\x00\xff\xff\xff\x02\x00\xff\xdf\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00caching_sha2_password\x00",
		"8.0.26":                  "\x0a8.0.26\x00\x01\x02\x00\x00abcdefgh\x00\xff\xff\xff\x02\x00\xff\xcf\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00caching_sha2_password\x00",
		"8.0.20-0ubuntu0.20.04.1": "\x0a8.0.20-0ubuntu0.20.04.1\x00\x01\x02\x00\x00abcdefgh\x00\xff\xff\xff\x02\x00\xff\xc7\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00caching_sha2_password\x00",
		"8.0.11":                  "\x0a8.0.11\x00\x01\x02\x00\x00abcdefgh\x00\xff\xff\xff\x02\x00\xff\xc3\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00caching_sha2_password\x00",
		"5.7.44-log":              "\x0a5.7.44-log\x00\x01\x02\x00\x00abcdefgh\x00\xff\xff\x08\x02\x00\xff\xc1\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00mysql_native_password\x00",
		"5.6.51":                  "\x0a5.6.51\x00\x01\x02\x00\x00abcdefgh\x00\xff\xf7\x08\x02\x00\x7f\x80\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00mysql_native_password\x00",
		// As a released server sent it, but for salt and number.
		"10.11.19-MariaDB-0+deb12u1": "\x0a5.5.5-10.11.19-MariaDB-0+deb12u1\x00\x01\x02\x00\x00abcdefgh\x00\xfe\xf7\x2d\x02\x00\xff\x81\x15\x00\x00\x00\x00\x00\x00\x1d\x00\x00\x00ijklmnopqrst\x00mysql_native_password\x00",
	} {
		require.Equal(t, want, string(parseRelease(version).greeting(0x201, salt)), version)
	}
	require.Equal(t, "5.5.5-10.11.6-MariaDB", parseRelease("5.5.5-10.11.6-MariaDB").text)
	require.Equal(t, "11.4.2-MariaDB", parseRelease("11.4.2-MariaDB").text)
}

func TestNewSalt_HasNoForbiddenBytes(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, version := range []string{"8.0.36", "10.11.6-MariaDB"} {
		r := parseRelease(version)
		for range 500 {
			salt := r.newSalt()
			require.Len(t, salt, 20)
			for _, b := range salt {
				require.True(t, b > 0 && b < 0x80 && (r.maria || b != '$'), "%x", salt)
			}
			require.False(t, seen[string(salt)])
			seen[string(salt)] = true
		}
	}
}

// TestPackages_AreConsistent reads every release a decky may claim.
func TestPackages_AreConsistent(t *testing.T) {
	t.Parallel()
	all := map[string]bool{}
	for _, distro := range append(persona.Distros(), "solaris") {
		for i := range 60 {
			h := persona.New(persona.Options{Identity: identity.New(distro+strings.Repeat("x", i), "i"), Distro: distro, Local: netip.MustParseAddr("127.66.0.2")})
			r := newRelease(h, "")
			all[r.text] = true
			require.True(t, r.num[0] == 5 || r.num[0] == 8 || r.num[0] == 10, r.text)
			require.Equal(t, r.encrypts(), r.capabilities()&capSSL != 0, r.text)
			require.NotContains(t, map[string]string{"debian": "ubuntu", "ubuntu22": "deb12", "ubuntu20": "22.04", "rocky9": "ubuntu", "centos7": "ubuntu"}[distro]+"\x00", r.text)
			require.LessOrEqual(t, len("MySQL_Server_"+r.short+"_Auto_Generated_Server_Certificate"), 64)
		}
	}
	require.Greater(t, len(all), 15)
}

// response spells a login as clients do.
func response(caps uint32, user string, parts ...string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, caps)
	b = binary.LittleEndian.AppendUint32(b, 1<<24)
	b = append(append(b, 33), make([]byte, 23)...)
	return append(b, user+"\x00"+strings.Join(parts, "")...)
}

const modern = capProtocol41 | capSecure | capPluginAuth

func TestParseLogin(t *testing.T) {
	t.Parallel()
	l, err := parseLogin(response(modern|capConnectWithDB|capConnectAttrs|capLenencAuth, "bob", "\x14"+strings.Repeat("r", 20), "app\x00", "mysql_native_password\x00", "\x11\x0c_client_name\x03lib"))
	require.NoError(t, err)
	require.Equal(t, []string{"bob", "app", "mysql_native_password", "lib", strings.Repeat("r", 20)}, []string{l.user, l.database, l.plugin, l.attr("_client_name"), string(l.response)})
	require.Equal(t, byte(33), l.charset)
	l, err = parseLogin(response(capProtocol41, "bob", "old\x00"))
	require.NoError(t, err)
	require.Equal(t, "old", string(l.response))
	l, err = parseLogin(response(modern, "bob", "\x00", "plugin without end"))
	require.NoError(t, err)
	require.Equal(t, "plugin without end", l.plugin)
	l, err = parseLogin(append([]byte("\x05\x00\x00\x00\x01root\x00abcdefgh\x00"), make([]byte, 32)...))
	require.NoError(t, err)
	require.Equal(t, "root", l.user)
	for name, p := range map[string][]byte{
		"response too long":   response(modern, "bob", "\xc8abc"),
		"no end of database":  response(modern|capConnectWithDB, "bob", "\x00app"),
		"huge length":         response(modern|capLenencAuth, "bob", "\xfe\xff\xff\xff\xff\xff\xff\xff\xff"),
		"NULL length":         response(modern|capLenencAuth, "bob", "\xfb"),
		"attributes too long": response(modern|capConnectAttrs, "bob", "\x00", "p\x00", "\x20abc"),
		"no end of the name":  bytes.TrimRight(response(modern, "bob"), "\x00"),
	} {
		l, err := parseLogin(p)
		require.ErrorIs(t, err, errMalformed, name)
		if name != "no end of the name" {
			require.Equal(t, "bob", l.user)
		}
	}
	l, err = parseLogin(response(modern|capConnectAttrs, "bob", "\x00", "p\x00", "\x04\x01a\x20b"))
	require.NoError(t, err, "broken attributes are no reason to refuse")
	require.Empty(t, l.attrs)
}

func FuzzParseLogin(f *testing.F) {
	f.Add(response(modern|capConnectWithDB|capConnectAttrs|capLenencAuth, "bob", "\x14"+strings.Repeat("r", 20), "app\x00", "mysql_native_password\x00", "\x11\x0c_client_name\x03lib"))
	f.Add(response(capProtocol41, "bob", "old\x00"))
	f.Add(append([]byte("\x05\x00\x00\x00\x01root\x00abcdefgh\x00"), make([]byte, 32)...))
	f.Add(response(modern|capLenencAuth, "bob", "\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) <= headBytes {
			return
		}
		l, _ := parseLogin(p)
		n := len(l.user) + len(l.database) + len(l.plugin) + len(l.response)
		for _, a := range l.attrs {
			n += len(a.name) + len(a.value)
		}
		require.LessOrEqual(t, n, len(p))
		require.LessOrEqual(t, len(l.attrs), maxAttrs)
	})
}
