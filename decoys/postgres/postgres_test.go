package postgres_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/decnet/decnet/decoys/decoytest"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bundle struct {
	addr, port string
	log        *decoytest.Log
}

func setup(t *testing.T, node, distro string) *bundle {
	t.Helper()
	b := &bundle{log: &decoytest.Log{}}
	host := persona.New(persona.Options{Identity: identity.New(node, "i"), Distro: distro, Hostname: "SRV-DB-31", Local: netip.MustParseAddr("127.66.0.2")})
	s := postgres.New(postgres.Options{Log: eventlog.New(b.log, node, "postgres", "boot", 1, nil), Host: host})
	b.addr, _ = decoytest.Serve(t, s)
	_, b.port, _ = net.SplitHostPort(b.addr)
	return b
}

const (
	sslRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	gssRequest = "\x00\x00\x00\x08\x04\xd2\x16\x30"
)

func packet(protocol uint32, body string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+8))
	return string(binary.BigEndian.AppendUint32(b, protocol)) + body
}

func startup(pairs ...string) string { return packet(3<<16, strings.Join(pairs, "\x00")+"\x00\x00") }

func password(text string) string {
	return "p" + string(binary.BigEndian.AppendUint32(nil, uint32(len(text)+5))) + text + "\x00"
}

// talk sends each part after an answer to the one before, then closes its side and returns all that comes back.
func (b *bundle) talk(t *testing.T, parts ...string) string {
	t.Helper()
	c, err := net.Dial("tcp", b.addr)
	require.NoError(t, err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	var got bytes.Buffer
	buf := make([]byte, 4096)
	for i, p := range parts {
		_, _ = io.WriteString(c, p)
		if i == len(parts)-1 {
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(&got, c)
			break
		}
		n, err := c.Read(buf)
		require.NoError(t, err)
		got.Write(buf[:n])
	}
	return got.String()
}

// fields reads an error message; what stands before it is dropped.
func fields(t *testing.T, out string) map[byte]string {
	t.Helper()
	i := strings.Index(out, "E\x00\x00")
	require.GreaterOrEqual(t, i, 0, "%q", out)
	require.Equal(t, uint32(len(out)-i-1), binary.BigEndian.Uint32([]byte(out[i+1:])))
	m := map[byte]string{}
	for part := range strings.SplitSeq(strings.TrimRight(out[i+5:], "\x00"), "\x00") {
		m[part[0]] = part[1:]
	}
	return m
}

func TestPassword_IsChallengedRecordedAndRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, "db-01", "debian")
	digest := "md5" + strings.Repeat("0a", 16)
	out := b.talk(t, startup("user", "bob", "database", "postgres", "application_name", "tool\n1"), password(digest))
	require.Equal(t, "R\x00\x00\x00\x0c\x00\x00\x00\x05", out[:9])
	e := fields(t, out)
	require.Equal(t, `FATAL FATAL 28P01 password authentication failed for user "bob" auth.c auth_failed`, strings.Join([]string{e['S'], e['V'], e['C'], e['M'], e['F'], e['R']}, " "))

	line := b.log.Wait(t, " startup ")
	require.Equal(t, []string{"127.0.0.1", "bob", "postgres", `tool\n1`, "3.0"}, []string{decoytest.Field(line, "src_ip"), decoytest.Field(line, "username"), decoytest.Field(line, "database"), decoytest.Field(line, "application_name"), decoytest.Field(line, "protocol")})
	line = b.log.Wait(t, " auth ")
	require.Equal(t, []string{"127.0.0.1", "bob", "bob", "postgres", digest}, []string{decoytest.Field(line, "src_ip"), decoytest.Field(line, "username"), decoytest.Field(line, "principal"), decoytest.Field(line, "database"), decoytest.Field(line, "pw_hash")})
	require.Equal(t, []string{"postgres_md5_challenge", digest[3:], base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{10}, 16))}, []string{decoytest.Field(line, "secret_kind"), decoytest.Field(line, "secret_printable"), decoytest.Field(line, "secret_b64")})
	require.Equal(t, hex.EncodeToString([]byte(out[9:13])), decoytest.Field(line, "salt"))
	b.log.Wait(t, " disconnect ")
}

func TestPassword_EdgesEndLikeTheRealOnes(t *testing.T) {
	t.Parallel()
	b := setup(t, "db-01", "debian")
	begin := startup("user", "bob", "database", "template1")
	for send, want := range map[string][3]string{
		password("hello"):               {"28P01", `password authentication failed for user "bob"`, "aGVsbG8="},
		password("md5zz"):               {"28P01", `password authentication failed for user "bob"`, "bWQ1eno="},
		password(""):                    {"28P01", "empty password returned by client", ""},
		"p\x00\x00\x00\x09hello":        {"08P01", "invalid password packet size", "aGVsbG8="},
		"p\x00\x00\x00\x0aab\x00cd\x00": {"08P01", "invalid password packet size", "YWI="},
		"p\x00\x00\x00\x04":             {"08P01", "invalid password packet size", ""},
		"Q\x00\x00\x00\x08abc\x00":      {"08P01", "expected password response, got message type 81", "-"},
		"p\x00\x00\x00\x03":             {},
		"p\x00\x00\x27\x11":             {},
		"p\xff\xff\xff\xff":             {},
		"p\x00\x00":                     {},
		"p\x00\x00\x00\x0aab":           {},
		"":                              {},
	} {
		before := strings.Count(b.log.String(), " auth ")
		gone := strings.Count(b.log.String(), " disconnect ")
		out := b.talk(t, begin, send)
		require.Eventually(t, func() bool { return strings.Count(b.log.String(), " disconnect ") > gone }, 10*time.Second, time.Millisecond)
		if want[0] == "" {
			require.Len(t, out, 13, "%q", send)
			require.Equal(t, before, strings.Count(b.log.String(), " auth "))
			continue
		}
		e := fields(t, out)
		require.Equal(t, want[0]+" "+want[1], e['C']+" "+e['M'], "%q", send)
		if want[2] == "-" {
			require.Equal(t, before, strings.Count(b.log.String(), " auth "))
			continue
		}
		log := b.log.String()
		line := log[strings.LastIndex(log, " auth "):]
		require.Equal(t, want[2], decoytest.Field(line, "secret_b64"), "%q", send)
		require.Equal(t, want[2] != "", strings.Contains(line, "secret_kind"))
	}
	longest := password(strings.Repeat("x", 9995))
	require.Contains(t, b.talk(t, begin, longest), "28P01")
}

func TestStartup_EdgesEndLikeTheRealOnes(t *testing.T) {
	t.Parallel()
	b := setup(t, "db-01", "debian")
	const layout = "invalid startup packet layout: expected terminator as last byte"
	for send, want := range map[string][2]string{
		startup("user", "bob", "database", "nope"):                                           {"3D000", `database "nope" does not exist`},
		startup("user", "bob"):                                                               {"3D000", `database "bob" does not exist`},
		startup("user", "bob", "database", strings.Repeat("n", 80)):                          {"3D000", `database "` + strings.Repeat("n", 63) + `" does not exist`},
		startup("user", "bob", "database", "template0"):                                      {"55000", `database "template0" is not currently accepting connections`},
		startup("database", "postgres"):                                                      {"28000", "no PostgreSQL user name specified in startup packet"},
		startup("user", "bob", "replication", "true"):                                        {"28000", `no pg_hba.conf entry for replication connection from host "127.0.0.1", user "bob", no encryption`},
		startup("user", "bob", "replication", "bogus"):                                       {"22023", `invalid value for parameter "replication": "bogus"`},
		packet(3<<16, "user\x00bob\x00"):                                                     {"08P01", layout},
		packet(3<<16, ""):                                                                    {"08P01", layout},
		packet(4<<16, "user\x00bob\x00\x00"):                                                 {"0A000", "unsupported frontend protocol 4.0: server supports 3.0 to 3.0"},
		"\x00\x00\x00\xa4\xffSMBr\x00\x00\x00\x00\x08\x01\x40" + strings.Repeat("\x00", 148): {"0A000", "unsupported frontend protocol 65363.19778: server supports 3.0 to 3.0"},
	} {
		e := fields(t, b.talk(t, send))
		require.Equal(t, want[0]+" "+want[1], e['C']+" "+e['M'], "%q", send)
	}
	require.Equal(t, "EFATAL:  unsupported frontend protocol 2.0: server supports 3.0 to 3.0\n\x00", b.talk(t, packet(2<<16, strings.Repeat("a", 288))))
	for _, silent := range []string{"\x00\x00\x00\x07\x00\x03\x00", "\x00\x00\x27\x11\x00\x03\x00\x00", "\xff\xff\xff\xff", "GET / HTTP/1.0\r\n\r\n", "\x16\x03\x01\x02\x00" + strings.Repeat("a", 512), "\x00\x00", "", "\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02"} {
		require.Empty(t, b.talk(t, silent), "%q", silent)
	}
	require.Contains(t, b.talk(t, packet(3<<16, "user\x00bob\x00options\x00"+strings.Repeat("x", 9992-19)+"\x00\x00")), "3D000", "the longest packet")
	require.Equal(t, "R", b.talk(t, startup("user", "bob", "database", "postgres", "replication", "database"))[:1])
}

func TestStartup_NegotiatesTheProtocol(t *testing.T) {
	t.Parallel()
	b := setup(t, "db-01", "debian")
	require.Equal(t, "v\x00\x00\x00\x0c\x00\x03\x00\x00\x00\x00\x00\x00R", b.talk(t, packet(3<<16|2, "user\x00bob\x00database\x00postgres\x00\x00"))[:14])
	out := b.talk(t, packet(3<<16, "user\x00bob\x00database\x00postgres\x00_pq_.foo\x00x\x00\x00"))
	require.Equal(t, "v\x00\x00\x00\x15\x00\x03\x00\x00\x00\x00\x00\x01_pq_.foo\x00R", out[:23])
}

func TestEncryption_IsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, "db-01", "debian")
	require.Equal(t, "NNR", b.talk(t, sslRequest, gssRequest, startup("user", "bob", "database", "postgres"))[:3])
	e := fields(t, b.talk(t, sslRequest, sslRequest))
	require.Equal(t, "unsupported frontend protocol 1234.5679: server supports 3.0 to 3.0", e['M'])
	ssl := fields(t, b.talk(t, sslRequest+startup("user", "bob")))
	require.Equal(t, "received unencrypted data after SSL request", ssl['M'])
	require.Contains(t, ssl['D'], "man-in-the-middle")
	gss := fields(t, b.talk(t, gssRequest+startup("user", "bob")))
	require.Equal(t, "received unencrypted data after GSSAPI encryption request", gss['M'])
	require.NotEqual(t, ssl['L'], gss['L'])
	var many []string
	for range 20 {
		many = append(many, sslRequest, gssRequest)
	}
	c, err := net.Dial("tcp", b.addr)
	require.NoError(t, err)
	defer c.Close()
	for _, r := range many {
		if _, err = io.WriteString(c, r); err == nil {
			_, err = c.Read(make([]byte, 1))
		}
	}
	require.Error(t, err, "nobody asks for ever")
}

func TestErrors_AreThoseOfTheRelease(t *testing.T) {
	t.Parallel()
	// centos7 has the lines released servers reported; new compilers name the first line of the same statement.
	known := map[string][]string{"debian": {"326", "323"}, "ubuntu22": {"335", "323"}, "ubuntu20": {"330", "335"}, "rocky9": {"331", "326", "323"}, "centos7": {"333", "338", "329"}}
	for distro, want := range known {
		b := setup(t, "db-01", distro)
		e := fields(t, b.talk(t, startup("user", "bob", "database", "postgres"), password("x")))
		require.Contains(t, want, e['L'], distro)
	}
	focal := setup(t, findNode(t, "ubuntu20", "330"), "ubuntu20")
	require.Equal(t, "EFATAL:  received unencrypted data after SSL request\n\x00", focal.talk(t, sslRequest+"x")[1:])
	require.Equal(t, "unsupported frontend protocol 4.0: server supports 2.0 to 3.0", fields(t, focal.talk(t, packet(4<<16, "")))['M'])
	require.Contains(t, fields(t, focal.talk(t, startup("user", "bob", "replication", "1")))['M'], `user "bob", SSL off`)
	old := "postgres" + strings.Repeat("\x00", 56) + "bob" + strings.Repeat("\x00", 29) + strings.Repeat("\x00", 192)
	out := focal.talk(t, packet(2<<16, old), "\x00\x00\x00\x0ahello\x00")
	require.Equal(t, "R\x00\x00\x00\x05", out[:5])
	require.Equal(t, "EFATAL:  password authentication failed for user \"bob\"\n\x00", out[9:])
	focal.log.Wait(t, ` auth .* username="bob" .*secret_b64="aGVsbG8="`)
}

// findNode returns a decky of a distribution whose failed logins name a line.
func findNode(t *testing.T, distro, line string) string {
	t.Helper()
	for _, node := range []string{"db-01", "db-02", "db-03", "db-04", "db-05", "db-06", "db-07"} {
		b := setup(t, node, distro)
		if fields(t, b.talk(t, startup("user", "bob", "database", "postgres"), password("x")))['L'] == line {
			return node
		}
	}
	t.Fatal("no such decky")
	return ""
}

func TestDeckies_DifferAndStay(t *testing.T) {
	t.Parallel()
	face := func(node string) string {
		b := setup(t, node, "alpine")
		var open []string
		for _, db := range []string{"app", "billing", "crm", "gitlab", "grafana", "inventory", "keycloak", "nextcloud", "orders", "production", "reporting", "shop", "staging", "wiki", "zabbix"} {
			if b.talk(t, startup("user", "bob", "database", db))[:1] == "R" {
				open = append(open, db)
			}
		}
		require.NotEmpty(t, open)
		e := fields(t, b.talk(t, startup("user", "bob", "database", "nope")))
		return e['L'] + strings.Join(open, ",")
	}
	a := face("db-01")
	require.Equal(t, a, face("db-01"))
	require.NotEqual(t, a, face("db-02"))
	b := setup(t, "db-01", "debian")
	begin := startup("user", "bob", "database", "postgres")
	first := b.talk(t, begin)
	require.NotEqual(t, first, b.talk(t, begin), "the challenge is fresh")
}

func (b *bundle) run(t *testing.T, env []string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skip(args[0] + " is not installed: the stock client is not tested")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(cmd.Environ(), env...)
	out, _ := cmd.CombinedOutput()
	return string(out)
}

func TestClient_Psql(t *testing.T) {
	t.Parallel()
	b := setup(t, "db-01", "debian")
	out := b.run(t, []string{"PGPASSWORD=hunter2"}, "psql", "-h", "127.0.0.1", "-p", b.port, "-U", "bob", "postgres", "-c", "select 1")
	require.Contains(t, out, `FATAL:  password authentication failed for user "bob"`)
	line := b.log.Wait(t, " auth .* application_name=\"psql\"")
	salt, err := hex.DecodeString(decoytest.Field(line, "salt"))
	require.NoError(t, err)
	inner := md5.Sum([]byte("hunter2bob"))
	outer := md5.Sum(append([]byte(hex.EncodeToString(inner[:])), salt...))
	require.Equal(t, "md5"+hex.EncodeToString(outer[:]), decoytest.Field(line, "pw_hash"), "the hash can be cracked")
	b.log.Wait(t, " ssl_request ")
	require.Contains(t, b.run(t, nil, "psql", "-h", "127.0.0.1", "-p", b.port, "-U", "bob", "nope", "-c", "select 1"), `FATAL:  database "nope" does not exist`)
	require.Contains(t, b.run(t, []string{"PGSSLMODE=require"}, "psql", "-h", "127.0.0.1", "-p", b.port, "-U", "bob", "postgres"), "server does not support SSL, but SSL was required")
}

func TestClient_Hydra(t *testing.T) {
	t.Parallel()
	b := setup(t, "db-01", "debian")
	// hydra forgets the port when it calls libpq.
	out := b.run(t, []string{"PGPORT=" + b.port}, "hydra", "-I", "-t", "2", "-l", "postgres", "-p", "toor", "-s", b.port, "postgres://127.0.0.1/template1")
	require.Contains(t, out, "0 valid password")
	require.NotContains(t, out, "[ERROR]")
	b.log.Wait(t, ` auth .*username="postgres" .*database="template1".* secret_kind="postgres_md5_challenge"`)
}

func TestBytes_NeverBreakIt(t *testing.T) {
	t.Parallel()
	b := setup(t, "db-01", "debian")
	r := identity.New("noise", "n").Rand("noise")
	for range 60 {
		raw := make([]byte, r.IntN(300))
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		b.talk(t, string(raw))
		b.talk(t, startup("user", "bob", "database", "postgres"), string(raw))
	}
	require.NotContains(t, b.log.String(), "panic")
	m, err := pgproto3.NewFrontend(strings.NewReader(b.talk(t, startup("user", "bob", "database", "postgres"))), io.Discard).Receive()
	require.NoError(t, err)
	require.IsType(t, &pgproto3.AuthenticationMD5Password{}, m)
}
