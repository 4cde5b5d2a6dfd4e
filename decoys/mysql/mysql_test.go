package mysql_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/decoytest"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/mysql"
	"github.com/decnet/decnet/decoys/persona"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bundle struct {
	addr, port, state string
	log               *decoytest.Log
}

func setup(t *testing.T, version string) *bundle {
	return setupAs(t, "db-01", config.MySQL{Version: version}, t.TempDir())
}

func setupAs(t *testing.T, node string, cfg config.MySQL, state string) *bundle {
	t.Helper()
	b := &bundle{log: &decoytest.Log{}, state: state}
	root, err := os.OpenRoot(state)
	require.NoError(t, err)
	host := persona.New(persona.Options{Identity: identity.New(node, "i"), Distro: "debian", Hostname: "SRV-DB-31", Local: netip.MustParseAddr("127.66.0.2")})
	s := mysql.New(mysql.Options{Log: eventlog.New(b.log, node, "mysql", "boot", 1, nil), Config: cfg, Host: host, State: root})
	t.Cleanup(func() {
		_ = root.Close()
	})
	b.addr, _ = decoytest.Serve(t, s)
	_, b.port, _ = net.SplitHostPort(b.addr)
	return b
}

// conn is a client that speaks packets.
type conn struct {
	t *testing.T
	net.Conn
}

func (b *bundle) dial(t *testing.T) *conn {
	t.Helper()
	c, err := net.Dial("tcp", b.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &conn{t, c}
}

// next returns the number and content of a packet.
func (c *conn) next() (byte, string) {
	c.t.Helper()
	var head [4]byte
	_, err := io.ReadFull(c, head[:])
	require.NoError(c.t, err)
	body := make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
	_, err = io.ReadFull(c, body)
	require.NoError(c.t, err)
	return head[3], string(body)
}

func (c *conn) send(seq byte, body string) {
	_, _ = io.WriteString(c, string([]byte{byte(len(body)), byte(len(body) >> 8), byte(len(body) >> 16), seq})+body)
}

func (c *conn) end() {
	c.t.Helper()
	rest, _ := io.ReadAll(c)
	require.Empty(c.t, rest)
}

// greeting returns number and salt of a server's first packet.
func (c *conn) greeting() (uint32, string) {
	c.t.Helper()
	seq, p := c.next()
	require.Zero(c.t, seq)
	i := strings.IndexByte(p, 0)
	return binary.LittleEndian.Uint32([]byte(p[i+1:])), p[i+5:i+13] + p[i+32:i+44]
}

const (
	capDB     = 1 << 3
	cap41     = 1 << 9
	capSSL    = 1 << 11
	capSecure = 1 << 15
	capPlugin = 1 << 19
	capAttrs  = 1 << 20
	plain     = cap41 | capSecure | capPlugin
)

func login(caps uint32, user, response string, rest ...string) string {
	b := binary.LittleEndian.AppendUint32(nil, caps)
	b = binary.LittleEndian.AppendUint32(b, 1<<24)
	b = append(append(b, 33), make([]byte, 23)...)
	return string(b) + user + "\x00" + string([]byte{byte(len(response))}) + response + strings.Join(rest, "")
}

const (
	native = "mysql_native_password\x00"
	sha2   = "caching_sha2_password\x00"
)

func denied(user, using string) string {
	return "\xff\x15\x04#28000Access denied for user '" + user + "'@'127.0.0.1' (using password: " + using + ")"
}

func TestNative_IsRecordedAndRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, "5.7.44")
	c := b.dial(t)
	id, salt := c.greeting()
	secret := strings.Repeat("\xa5", 20)
	attrs := "\x0c_client_name\x05py\nlb\x0cprogram_name\x04tool"
	c.send(1, login(plain|capDB|capAttrs, "bob", secret, "app\x00", native, string([]byte{byte(len(attrs))}), attrs))
	seq, p := c.next()
	require.Equal(t, byte(2), seq)
	require.Equal(t, denied("bob", "YES"), p)
	c.end()
	line := b.log.Wait(t, " auth ")
	for name, want := range map[string]string{
		"src_ip": "127.0.0.1", "connection_id": strconv.Itoa(int(id)), "username": "bob", "principal": "bob", "database": "app", "plugin": "mysql_native_password",
		"client_name": `py\nlb`, "program_name": "tool", "tls": "false", "salt": hex.EncodeToString([]byte(salt)), "secret_kind": "mysql_native_password",
		"secret_printable": strings.Repeat("a5", 20), "secret_b64": base64.StdEncoding.EncodeToString([]byte(secret)),
	} {
		require.Equal(t, want, decoytest.Field(line, name), name)
	}
	require.Equal(t, strconv.Itoa(int(id)), decoytest.Field(b.log.Wait(t, " connect "), "connection_id"))
	require.Equal(t, 1, strings.Count(b.log.String(), " connect "))
	next, fresh := b.dial(t).greeting()
	require.Equal(t, id+1, next)
	require.NotEqual(t, salt, fresh)
}

// TestLogin_EdgesEndLikeTheRealOnes holds what a MariaDB 10.11 answered to the same bytes, but for the short packets.
func TestLogin_EdgesEndLikeTheRealOnes(t *testing.T) {
	t.Parallel()
	b := setup(t, "10.11.6-MariaDB")
	const bad, order = "\xff\x13\x04#08S01Bad handshake", "\xff\x84\x04#08S01Got packets out of order"
	full := login(plain, "root", strings.Repeat("x", 20), native)
	for name, c := range map[string]struct {
		seq  byte
		send string
		back byte
		want string
	}{
		"wrong":                {1, full, 2, denied("root", "YES")},
		"empty":                {1, login(plain, "root", "", native), 2, denied("root", "NO")},
		"nobody":               {1, login(plain, "", strings.Repeat("x", 20), native), 2, denied("", "YES")},
		"long name":            {1, login(plain, strings.Repeat("u", 200), strings.Repeat("x", 20), native), 2, denied(strings.Repeat("u", 48), "YES")},
		"no plugin":            {1, login(cap41|capSecure, "root", strings.Repeat("x", 20)), 2, denied("root", "YES")},
		"response of 5":        {1, login(plain, "root", "abcde", native), 2, bad},
		"number 2":             {2, full, 1, order},
		"number 0":             {0, full, 1, order},
		"32 bytes":             {1, strings.Repeat("\x00", 32), 2, denied("<unknown>", "NO")},
		"request of TLS":       {1, login(plain|capSSL, "", "")[:32], 2, denied("<unknown>", "NO")},
		"1 byte":               {1, "x", 2, denied("<unknown>", "NO")},
		"before 4.1":           {1, "\x05\x00\x00\x00\x01root\x00abcdefgh\x00" + strings.Repeat("\x00", 32), 2, "\xff\xe3\x04Client does not support authentication protocol requested by server; consider upgrading MariaDB client"},
		"no end of the name":   {1, login(plain, "root", "")[:36], 2, bad},
		"length without bytes": {1, login(plain, "root", "")[:37] + "\xc8abc", 2, bad},
	} {
		k := b.dial(t)
		k.greeting()
		k.send(c.seq, c.send)
		seq, p := k.next()
		require.Equal(t, c.want, p, name)
		require.Equal(t, c.back, seq, name)
		k.end()
	}
	for name, raw := range map[string]string{"http": "GET / HTTP/1.0\r\n\r\n", "lines": "\r\n\r\n"} {
		k := b.dial(t)
		k.greeting()
		_, _ = io.WriteString(k, raw)
		seq, p := k.next()
		require.Equal(t, order, p, name)
		require.Equal(t, byte(1), seq)
	}
	k := b.dial(t)
	k.greeting()
	_, _ = io.WriteString(k, "\x01\x00\x10\x01")
	k.end()
	b.log.Wait(t, ` protocol_error .*error="packet too large"`)
	require.Equal(t, 7, strings.Count(b.log.String(), " auth "), "malformed logins are none")
	log := b.log.String()
	require.Equal(t, 4, strings.Count(log, "secret_kind"), log)
	require.NotContains(t, log, "unknown>\" principal")
	for line := range strings.SplitSeq(strings.TrimSpace(log), "\n") {
		require.Equal(t, "127.0.0.1", decoytest.Field(line, "src_ip"), line)
	}
}

func TestPackets_EmptyOnesAreIgnoredAndBigOnesAreRead(t *testing.T) {
	t.Parallel()
	b := setup(t, "5.7.44")
	for _, seq := range []byte{1, 2} {
		c := b.dial(t)
		c.greeting()
		c.send(1, "")
		c.send(seq, login(plain, "bob", strings.Repeat("x", 20), native))
		got, p := c.next()
		require.Equal(t, denied("bob", "YES"), p)
		require.Equal(t, seq+1, got)
	}
	c := b.dial(t)
	c.greeting()
	big := login(plain, "big", strings.Repeat("x", 20), native)
	c.send(1, big+strings.Repeat("\x00", 1<<20-len(big)))
	_, p := c.next()
	require.Equal(t, denied("big", "YES"), p)
	c = b.dial(t)
	c.greeting()
	for range 65 {
		c.send(1, "")
	}
	c.end()
	b.log.Wait(t, ` protocol_error .*error="too many empty packets"`)
	c = b.dial(t)
	c.greeting()
	_, _ = io.WriteString(c, "\x40\x00\x00\x01partial")
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	c.end()
}

func TestSwitch_AsksForThePluginOfTheAccount(t *testing.T) {
	t.Parallel()
	old := setup(t, "5.7.44")
	c := old.dial(t)
	_, salt := c.greeting()
	c.send(1, login(plain, "bob", strings.Repeat("y", 32), sha2))
	seq, p := c.next()
	require.Equal(t, byte(2), seq)
	require.Equal(t, "\xfe"+native, p[:1+len(native)])
	fresh := p[1+len(native) : len(p)-1]
	require.Len(t, fresh, 20)
	require.NotEqual(t, salt, fresh)
	c.send(3, strings.Repeat("z", 20))
	seq, p = c.next()
	require.Equal(t, byte(4), seq)
	require.Equal(t, denied("bob", "YES"), p)
	line := old.log.Wait(t, " auth ")
	require.Equal(t, []string{"mysql_native_password", strings.Repeat("7a", 20), hex.EncodeToString([]byte(fresh)), "caching_sha2_password"},
		[]string{decoytest.Field(line, "secret_kind"), decoytest.Field(line, "secret_printable"), decoytest.Field(line, "salt"), decoytest.Field(line, "client_plugin")})
	c = old.dial(t)
	c.greeting()
	c.send(1, login(plain, "empty", "", sha2))
	c.next()
	c.send(3, "")
	_, p = c.next()
	require.Equal(t, denied("empty", "NO"), p)
	require.NotContains(t, old.log.Wait(t, ` auth .*username="empty"`), "secret_")

	c = old.dial(t)
	c.greeting()
	c.send(1, login(plain, "clear", "hunter2\x00", "mysql_clear_password\x00"))
	c.next()
	_ = c.Close()
	require.Equal(t, "hunter2", decoytest.Field(old.log.Wait(t, ` auth .*username="clear".* secret_kind="plaintext"`), "secret_printable"))

	modern := setup(t, "8.0.36")
	c = modern.dial(t)
	_, salt = c.greeting()
	c.send(1, login(plain, "bob", strings.Repeat("x", 20), native))
	_, p = c.next()
	require.Equal(t, "\xfe"+sha2, p[:1+len(sha2)])
	_ = c.Close()
	line = modern.log.Wait(t, ` auth .*secret_kind="mysql_native_password"`)
	require.Equal(t, hex.EncodeToString([]byte(salt)), decoytest.Field(line, "salt"), "the client that gives up leaves its first response")
	c = modern.dial(t)
	c.greeting()
	c.send(1, login(cap41|capSecure, "noplugin", strings.Repeat("x", 20)))
	_, p = c.next()
	require.Equal(t, "\xff\xe3\x04#08004Client does not support authentication protocol requested by server; consider upgrading MySQL client", p)
	modern.log.Wait(t, ` auth .*username="noplugin".* secret_kind="mysql_native_password"`)
}

func TestSHA2_EdgesEndLikeTheRealOnes(t *testing.T) {
	t.Parallel()
	b := setup(t, "8.0.36")
	scramble := strings.Repeat("s", 32)
	for name, c := range map[string]struct{ response, using string }{"none": {"", "NO"}, "zero": {"\x00", "NO"}, "short": {"abc", "YES"}} {
		k := b.dial(t)
		k.greeting()
		k.send(1, login(plain, "bob", c.response, sha2))
		_, p := k.next()
		require.Equal(t, denied("bob", c.using), p, name)
	}
	c := b.dial(t)
	c.greeting()
	c.send(1, login(plain, "gone", scramble, sha2))
	seq, p := c.next()
	require.Equal(t, byte(2), seq)
	require.Equal(t, "\x01\x04", p)
	_ = c.Close()
	line := b.log.Wait(t, ` auth .*username="gone"`)
	require.Equal(t, []string{"caching_sha2_password", hex.EncodeToString([]byte(scramble))}, []string{decoytest.Field(line, "secret_kind"), decoytest.Field(line, "secret_printable")})
	c = b.dial(t)
	c.greeting()
	c.send(1, login(plain, "key", scramble, sha2))
	c.next()
	c.send(3, "\x02")
	seq, p = c.next()
	require.Equal(t, byte(4), seq)
	require.True(t, strings.HasPrefix(p, "\x01-----BEGIN PUBLIC KEY-----\n"))
	c.send(5, strings.Repeat("\x01", 256))
	seq, p = c.next()
	require.Equal(t, byte(6), seq)
	require.Equal(t, denied("key", "YES"), p)
	require.Equal(t, "caching_sha2_password", decoytest.Field(b.log.Wait(t, ` auth .*username="key"`), "secret_kind"))
}

func TestConnections_HaveALimit(t *testing.T) {
	t.Parallel()
	b := setup(t, "8.0.36")
	from := func(ip string) *conn {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).Dial("tcp", b.addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		return &conn{t, c}
	}
	for i := range 151 {
		from("127.0.1." + strconv.Itoa(1+i/30)).greeting()
	}
	seq, p := from("127.0.2.1").next()
	require.Zero(t, seq)
	require.Equal(t, "\xff\x10\x04Too many connections", p)
}

func TestSilence_EndsTheConnection(t *testing.T) {
	t.Parallel()
	b := setup(t, "8.0.36")
	c := b.dial(t)
	began := time.Now()
	c.greeting()
	c.end()
	require.InDelta(t, 10, time.Since(began).Seconds(), 3)
	b.log.Wait(t, " disconnect ")
	require.NotContains(t, b.log.String(), " auth ")
}

func TestDeckies_DifferAndStay(t *testing.T) {
	t.Parallel()
	face := func(node string) string {
		c := setupAs(t, node, config.MySQL{}, t.TempDir()).dial(t)
		_, p := c.next()
		return p[:strings.IndexByte(p, 0)+5]
	}
	a := face("db-01")
	require.Equal(t, a, face("db-01"))
	faces, versions := map[string]bool{}, map[string]bool{}
	for i := range 12 {
		f := face("db-" + strconv.Itoa(i+10))
		faces[f], versions[f[:strings.IndexByte(f, 0)]] = true, true
	}
	require.Len(t, faces, 12)
	require.Greater(t, len(versions), 2)
}

func TestBytes_NeverBreakIt(t *testing.T) {
	t.Parallel()
	b := setup(t, "8.0.36")
	r := identity.New("noise", "n").Rand("noise")
	noise := func(n int) string {
		raw := make([]byte, r.IntN(n))
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		return string(raw)
	}
	for range 60 {
		c := b.dial(t)
		c.greeting()
		c.send(1, login(r.Uint32()|cap41, noise(40), noise(40), noise(80)))
		c.send(2, noise(300))
		c.send(3, noise(300))
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		_, _ = io.ReadAll(c)
	}
	require.NotContains(t, b.log.String(), "panic")
	c := b.dial(t)
	c.greeting()
}
