package service_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

func keyPair(t *testing.T) (chain, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	encode := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", raw)
}

func TestHTTPS_CertificateAndKeyAreOnePair(t *testing.T) {
	t.Parallel()
	d, ok := service.Lookup("https")
	require.True(t, ok)
	chain, key := keyPair(t)
	_, otherKey := keyPair(t)
	got, err := d.Validate("body.config", map[string]any{"tls_cert": chain, "tls_key": key, "tls_cn": "www.example.org"})
	require.NoError(t, err)
	require.Equal(t, service.Config{"tls_cert": service.Mask, "tls_key": service.Mask, "tls_cn": "www.example.org"}, d.Masked(got))
	for field, c := range map[string]map[string]any{
		"tls_key":  {"tls_cert": chain},
		"tls_cert": {"tls_key": key},
		"tls_cn":   {"tls_cn": strings.Repeat("a", 32) + "." + strings.Repeat("b", 32)},
	} {
		requireRefused(t, d, c, field)
	}
	requireRefused(t, d, map[string]any{"tls_cert": chain, "tls_key": otherKey}, "tls_key")
	requireRefused(t, d, map[string]any{"tls_cert": chain, "tls_key": "marker-secret"}, "tls_key")
	requireRefused(t, d, map[string]any{"tls_cert": "marker-secret", "tls_key": key}, "tls_cert")
	requireRefused(t, d, map[string]any{"tls_cert": service.Mask, "tls_key": service.Mask}, "tls_cert")
	requireRefused(t, d, map[string]any{"tls_cert": "-----BEGIN CERTIFICATE-----\nbWFya2Vy\n-----END CERTIFICATE-----\n", "tls_key": key}, "tls_cert")
	requireRefused(t, d, map[string]any{"tls_cn": "marker secret"}, "tls_cn")
}

func requireRefused(t *testing.T, d service.Definition, c map[string]any, field string) {
	t.Helper()
	_, err := d.Validate("body.config", c)
	f, ok := fault.As(err)
	require.True(t, ok, field)
	require.Equal(t, fault.Unprocessable, f.Kind)
	require.Equal(t, "config_invalid", f.Code)
	require.Len(t, f.Fields, 1)
	require.Equal(t, "body.config."+field, f.Fields[0].Location)
	text, err := json.Marshal(f)
	require.NoError(t, err)
	require.NotContains(t, string(text), "marker")
	require.NotContains(t, string(text), "BEGIN")
}

func TestHTTPS_ThirdVersionAddsAPort(t *testing.T) {
	t.Parallel()
	d, _ := service.Lookup("https")
	require.Equal(t, []service.Port{{Protocol: "tcp", Number: 443}}, d.ServedPorts(nil))
	both := []service.Port{{Protocol: "tcp", Number: 443}, {Protocol: "udp", Number: 443}}
	require.Equal(t, both, d.ServedPorts(service.Config{"http_versions": []string{"http/1.1", "http/3"}}))
	require.Equal(t, both, d.ServedPorts(service.Config{"http_versions": []any{"http/3"}}), "a list that was stored")
	web, _ := service.Lookup("http")
	for _, p := range web.ServedPorts(nil) {
		require.NotContains(t, both, p, "http and https fit on one decky")
	}
}
