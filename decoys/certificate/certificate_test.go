package certificate_test

import (
	"crypto/rsa"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/certificate"
)

func options(t *testing.T, dir, name, distro string) certificate.Options {
	t.Helper()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = root.Close() })
	return certificate.Options{State: root, Name: name, Distro: distro, From: time.Date(2024, 3, 1, 10, 20, 30, 0, time.UTC)}
}

func leaf(t *testing.T, o certificate.Options) *x509.Certificate {
	t.Helper()
	c, err := certificate.Kept(o).Get()
	require.NoError(t, err)
	return c.Leaf
}

func TestKept_StaysUntilTheNameChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := leaf(t, options(t, dir, "srv-web-31", "debian"))
	require.Equal(t, first, leaf(t, options(t, dir, "srv-web-31", "debian")))
	st, err := os.Stat(filepath.Join(dir, certificate.File))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	other := leaf(t, options(t, dir, "www.example.org", "debian"))
	require.NotEqual(t, first.SerialNumber, other.SerialNumber)
	require.NotEqual(t, first.PublicKey, other.PublicKey)
	require.Equal(t, []string{"www.example.org"}, other.DNSNames)
	require.NoError(t, os.WriteFile(filepath.Join(dir, certificate.File), []byte("damaged"), 0o600))
	require.NotEqual(t, other.SerialNumber, leaf(t, options(t, dir, "www.example.org", "debian")).SerialNumber)
	require.NotEqual(t, first.PublicKey, leaf(t, options(t, t.TempDir(), "srv-web-31", "debian")).PublicKey, "another decky")
}

func TestKept_IsRSA2048ForTenYears(t *testing.T) {
	t.Parallel()
	for _, distro := range []string{"debian", "ubuntu20", "rocky9"} {
		c := leaf(t, options(t, t.TempDir(), "srv-web-31", distro))
		require.Equal(t, 2048, c.PublicKey.(*rsa.PublicKey).N.BitLen())
		require.Equal(t, 3650*24*time.Hour, c.NotAfter.Sub(c.NotBefore))
		require.Equal(t, "CN=srv-web-31", c.Subject.String())
		require.Equal(t, c.RawSubject, c.RawIssuer)
		require.NoError(t, c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature))
	}
	require.Equal(t, "192.0.2.7", leaf(t, options(t, t.TempDir(), "192.0.2.7", "debian")).IPAddresses[0].String())
}

// TestKept_LooksLikeOpenSSLs compares with what the stock program makes, all but numbers and names of the day.
func TestKept_LooksLikeOpenSSLs(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed: the look of certificates is not compared")
	}
	conf := "[req]\ndefault_bits=2048\ndistinguished_name=dn\nprompt=no\nx509_extensions=v3\n[dn]\ncommonName=SRV-WEB-31\n" +
		"[v3]\nbasicConstraints=CA:FALSE\nsubjectAltName=DNS:SRV-WEB-31\n"
	for distro, args := range map[string][]string{
		"debian": {"-config", "snakeoil.cnf", "-new"},
		"rocky9": {"-newkey", "rsa:2048", "-subj", "/CN=SRV-WEB-31", "-addext", "subjectAltName=DNS:SRV-WEB-31"},
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "snakeoil.cnf"), []byte(conf), 0o600))
		openssl(t, dir, append([]string{"req", "-x509", "-days", "3650", "-nodes", "-sha256", "-out", "ref.pem", "-keyout", "ref.key"}, args...)...)
		leaf(t, options(t, dir, "SRV-WEB-31", distro))
		require.Equal(t, shape(t, dir, "ref.pem"), shape(t, dir, certificate.File), distro)
	}
}

func openssl(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openssl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// shape is the ASN.1 of a certificate without its numbers, times and lengths.
func shape(t *testing.T, dir, name string) string {
	t.Helper()
	openssl(t, dir, "x509", "-in", name, "-outform", "DER", "-out", "x.der")
	out := openssl(t, dir, "asn1parse", "-inform", "DER", "-in", "x.der")
	var b strings.Builder
	for line := range strings.Lines(out) {
		_, line, _ = strings.Cut(line, ":")
		line = regexp.MustCompile(`l= *\d+`).ReplaceAllString(line, "")
		line = regexp.MustCompile(`(INTEGER +:)[0-9A-F]{10,}|(UTCTIME +:).*`).ReplaceAllString(line, "$1$2")
		line = regexp.MustCompile(`:(0414|30168014)[0-9A-F]{40}`).ReplaceAllString(line, ":$1")
		b.WriteString(line)
	}
	return b.String()
}

func TestGiven_MustMatch(t *testing.T) {
	t.Parallel()
	read := func() string {
		dir := t.TempDir()
		leaf(t, options(t, dir, "a", "debian"))
		raw, err := os.ReadFile(filepath.Join(dir, certificate.File))
		require.NoError(t, err)
		return string(raw)
	}
	a, b := read(), read()
	c, err := certificate.Given(a, a)
	require.NoError(t, err)
	_, err = c.Get()
	require.NoError(t, err)
	for _, pair := range [][2]string{{a, b}, {"", ""}, {a, "hunter2"}, {"hunter2", a}} {
		_, err := certificate.Given(pair[0], pair[1])
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
	}
}
