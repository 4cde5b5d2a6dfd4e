package http_test

import (
	"io"
	nethttp "net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/decoytest"
)

func TestHTTP2_PriorKnowledgeAndUpgrade(t *testing.T) {
	t.Parallel()
	for banner, order := range map[string]string{apacheBanner: "date: ", nginxBanner: "server: "} {
		b := setup(t, config.HTTP{ServerHeader: banner, HTTPVersions: config.HTTPVersions()})
		out := b.curl(t, "/", "-i", "--http2-prior-knowledge", "-u", "a:b")
		require.True(t, strings.HasPrefix(out, "HTTP/2 200 \r\n"+order), "%.80q", out)
		line := b.log.Wait(t, " http2_settings ")
		require.Regexp(t, `^3:100;4:\d+;2:0`, decoytest.Field(line, "settings"))
		require.True(t, strings.HasPrefix(decoytest.Field(line, "frame_order"), "SETTINGS,"), line)
		require.Equal(t, "m,p,s,a", decoytest.Field(line, "pseudo_headers"))
		require.Regexp(t, `^ge20nn03`, decoytest.Field(b.log.Wait(t, ` http_request_fingerprint .*proto="h2"`), "ja4h"))
		require.Equal(t, "a", decoytest.Field(b.log.Wait(t, ` request .*protocol="HTTP/2.0"`), "principal"))
		up := b.curl(t, "/", "-i", "--http2")
		require.Contains(t, up, "101 Switching Protocols\r\n")
		require.Contains(t, up, "HTTP/2 200")
		require.Contains(t, b.curl(t, "/", "-i"), "HTTP/1.1 200 OK")
		require.Contains(t, b.curl(t, "/nope", "-I", "--http2-prior-knowledge"), "HTTP/2 404")
	}
}

func TestHTTP2_BodiesBothWays(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789", 12000)
	b := setup(t, config.HTTP{ServerHeader: apacheBanner, CustomBody: big, HTTPVersions: []string{"http/2"}})
	h2c := &nethttp.Transport{Protocols: &nethttp.Protocols{}}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	c := &nethttp.Client{Transport: h2c}
	defer c.CloseIdleConnections()
	first, err := c.Get(b.url + "/0") // opens the connection all others use
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, first.Body)
	_ = first.Body.Close()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			resp, err := c.Get(b.url + "/1")
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != big {
				t.Error("body differs", err, len(body))
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, strings.Count(b.log.String(), " connect "), "all on one connection")
	resp, err := c.Post(b.url+"/3", "text/plain", strings.NewReader(strings.Repeat("x", 300_000)))
	require.NoError(t, err)
	_ = resp.Body.Close()
	require.Contains(t, b.log.Wait(t, `path="/3" .*body_size=`), `body_size="300000"`)
}

func TestHTTP2_NotOfferedByDefault(t *testing.T) {
	t.Parallel()
	b := setup(t, config.HTTP{})
	require.Contains(t, b.curl(t, "/", "-i", "--http2"), "HTTP/1.1 200 OK")
	require.NotContains(t, b.log.String(), "http2_settings")
}
