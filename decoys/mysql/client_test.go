package mysql_test

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	stock "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/decoytest"
)

// stockConn logs in with Go's driver, which does what the client library of 8.0 does.
func (b *bundle) stockConn(t *testing.T, user, password string, conf *tls.Config) error {
	t.Helper()
	c := stock.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DBName, c.Timeout, c.TLS, c.Logger = "tcp", b.addr, user, password, "app", 15*time.Second, conf, &stock.NopLogger{}
	connector, err := stock.NewConnector(c)
	require.NoError(t, err)
	var k driver.Conn
	if k, err = connector.Connect(t.Context()); k != nil {
		_ = k.Close()
	}
	return err
}

func requireDenied(t *testing.T, err error, user string) {
	t.Helper()
	e, ok := errors.AsType[*stock.MySQLError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, uint16(1045), e.Number)
	require.Equal(t, "28000", string(e.SQLState[:]))
	require.Equal(t, "Access denied for user '"+user+"'@'127.0.0.1' (using password: YES)", e.Message)
}

func TestClient_HandsOverItsPassword(t *testing.T) {
	t.Parallel()
	b := setup(t, "8.0.36")
	requireDenied(t, b.stockConn(t, "rsa", "hunter2 ünder RSA", nil), "rsa")
	line := b.log.Wait(t, ` auth .*username="rsa"`)
	require.Equal(t, []string{"plaintext", "hunter2 ??nder RSA", "false", "app", "Go-MySQL-Driver"}, []string{decoytest.Field(line, "secret_kind"), decoytest.Field(line, "secret_printable"), decoytest.Field(line, "tls"), decoytest.Field(line, "database"), decoytest.Field(line, "client_name")})
	requireDenied(t, b.stockConn(t, "tls", "hunter2 in TLS", &tls.Config{InsecureSkipVerify: true}), "tls")
	line = b.log.Wait(t, ` auth .*username="tls"`)
	require.Equal(t, []string{"plaintext", "hunter2 in TLS", "true"}, []string{decoytest.Field(line, "secret_kind"), decoytest.Field(line, "secret_printable"), decoytest.Field(line, "tls")})
	require.Empty(t, decoytest.Field(line, "salt"))
	err := b.stockConn(t, "nopass", "", nil)
	require.ErrorContains(t, err, "Access denied for user 'nopass'@'127.0.0.1' (using password: NO)")
	require.NotContains(t, b.log.Wait(t, ` auth .*username="nopass"`), "secret_")
}

func TestClient_NativePasswordCanBeCracked(t *testing.T) {
	t.Parallel()
	b := setup(t, "5.7.44")
	requireDenied(t, b.stockConn(t, "bob", "hunter2", nil), "bob")
	line := b.log.Wait(t, " auth ")
	salt, err := hex.DecodeString(decoytest.Field(line, "salt"))
	require.NoError(t, err)
	one := sha1.Sum([]byte("hunter2"))
	two := sha1.Sum(one[:])
	mix := sha1.Sum(append(salt, two[:]...))
	for i := range mix {
		mix[i] ^= one[i]
	}
	require.Equal(t, hex.EncodeToString(mix[:]), decoytest.Field(line, "secret_printable"))
}

// certificates asks for TLS and returns what the server shows.
func (b *bundle) certificates(t *testing.T, lowest, highest uint16) []*x509.Certificate {
	t.Helper()
	var seen []*x509.Certificate
	conf := &tls.Config{InsecureSkipVerify: true, MinVersion: lowest, MaxVersion: highest, VerifyConnection: func(s tls.ConnectionState) error { seen = s.PeerCertificates; return nil }}
	_ = b.stockConn(t, "tls", "x", conf)
	return seen
}

func TestCertificate_IsTheDeckysOwnAndStays(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	b := setupAs(t, "db-01", config.MySQL{Version: "8.0.36-0ubuntu0.22.04.1"}, state)
	entries, err := os.ReadDir(state)
	require.NoError(t, err)
	require.Empty(t, entries, "keys are made when they are needed")
	chain := b.certificates(t, 0, 0)
	require.Len(t, chain, 2)
	require.Equal(t, "CN=MySQL_Server_8.0.36_Auto_Generated_Server_Certificate", chain[0].Subject.String())
	require.Equal(t, "CN=MySQL_Server_8.0.36_Auto_Generated_CA_Certificate", chain[1].Subject.String())
	require.NoError(t, chain[0].CheckSignatureFrom(chain[1]))
	require.Equal(t, []int64{2, 1}, []int64{chain[0].SerialNumber.Int64(), chain[1].SerialNumber.Int64()})
	require.Equal(t, 3650*24*time.Hour, chain[0].NotAfter.Sub(chain[0].NotBefore))
	require.Less(t, chain[0].NotBefore, time.Now().Add(-24*time.Hour))
	require.Len(t, chain[0].Extensions, 1)
	st, err := os.Stat(filepath.Join(state, "server.pem"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	again := setupAs(t, "db-01", config.MySQL{Version: "8.0.40"}, state).certificates(t, 0, 0)
	require.Equal(t, chain[0].Raw, again[0].Raw, "an upgrade keeps the certificate")
	require.NotEqual(t, chain[0].PublicKey, setup(t, "8.0.36").certificates(t, 0, 0)[0].PublicKey)

	require.Empty(t, b.certificates(t, tls.VersionTLS10, tls.VersionTLS11), "8.0.36 speaks TLS from 1.2 on")
	old := setup(t, "5.7.44")
	require.NotEmpty(t, old.certificates(t, tls.VersionTLS10, tls.VersionTLS10))
	require.Empty(t, old.certificates(t, tls.VersionTLS13, tls.VersionTLS13))
	old.log.Wait(t, ` protocol_error .*error="tls handshake"`)
	require.Empty(t, setup(t, "10.11.6-MariaDB").certificates(t, 0, 0))
}

func TestKeys_BrokenFilesEndTheConnection(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(state, "server.pem"), []byte("nonsense"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(state, "private_key.pem"), []byte("nonsense"), 0o600))
	b := setupAs(t, "db-01", config.MySQL{Version: "8.0.36"}, state)
	require.Empty(t, b.certificates(t, 0, 0))
	require.Error(t, b.stockConn(t, "rsa", "x", nil))
	b.log.Wait(t, ` auth .*username="rsa".* secret_kind="caching_sha2_password"`)
	require.NotContains(t, b.log.String(), "panic")
}

func (b *bundle) run(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skip(args[0] + " is not installed: the stock client is not tested")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	return string(out)
}

func TestClient_Mariadb(t *testing.T) {
	t.Parallel()
	for version, kind := range map[string]string{"5.7.44": "mysql_native_password", "8.0.36": "plaintext", "10.11.6-MariaDB": "mysql_native_password"} {
		b := setup(t, version)
		out := b.run(t, "mysql", "--no-defaults", "-h", "127.0.0.1", "-P", b.port, "-u", "bob", "-phunter2", "app")
		require.Contains(t, out, "ERROR 1045 (28000): Access denied for user 'bob'@'127.0.0.1' (using password: YES)", version)
		line := b.log.Wait(t, ` auth .*secret_kind="`+kind+`"`)
		require.Equal(t, []string{"app", "mysql", "libmariadb"}, []string{decoytest.Field(line, "database"), decoytest.Field(line, "program_name"), decoytest.Field(line, "client_name")})
		out = b.run(t, "mysql", "--no-defaults", "-h", "127.0.0.1", "-P", b.port, "-u", "bob", "--skip-password")
		require.Contains(t, out, "(using password: NO)")
		if version == "10.11.6-MariaDB" {
			require.Contains(t, b.run(t, "mysql", "--no-defaults", "--ssl", "-h", "127.0.0.1", "-P", b.port, "-u", "bob", "-px"), "ERROR")
			continue
		}
		out = b.run(t, "mysql", "--no-defaults", "--ssl", "-h", "127.0.0.1", "-P", b.port, "-u", "eve", "-phunter2")
		require.Contains(t, out, "Access denied for user 'eve'", version)
		require.Equal(t, "true", decoytest.Field(b.log.Wait(t, ` auth .*username="eve"`), "tls"))
	}
}

func TestClient_Hydra(t *testing.T) {
	t.Parallel()
	for version, kind := range map[string]string{"5.7.44": "mysql_native_password", "8.0.36": "plaintext"} {
		b := setup(t, version)
		out := b.run(t, "hydra", "-I", "-t", "2", "-l", "root", "-p", "toor", "-s", b.port, "mysql://127.0.0.1")
		require.Contains(t, out, "0 valid password")
		require.NotContains(t, out, "[ERROR]")
		b.log.Wait(t, ` auth .*username="root".* secret_kind="`+kind+`"`)
	}
}

func TestVersion_IsObservable(t *testing.T) {
	t.Parallel()
	c := setup(t, "8.0.36-marker").dial(t)
	_, p := c.next()
	require.True(t, strings.HasPrefix(p, "\x0a8.0.36-marker\x00"))
}
