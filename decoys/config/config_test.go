package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/config"
)

const good = `{"decky_key":"web-01","node_name":"web-01","instance_id":"5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f","service":"ssh",
"listen":[{"protocol":"tcp","port":22,"addresses":["127.66.0.2:22"]}],"persona":{"hostname":"SRV","distro":"debian","nmap_os":"linux"},
"service_config":{"password":"pw"},"spool":"/a","state":"/b","boot_id":"5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f","line_start":1,"revision":7,
"user":{"uid":1,"gid":1},"unsafe":false}`

func TestDecode_Good(t *testing.T) {
	t.Parallel()
	c, err := config.Decode(strings.NewReader(good))
	require.NoError(t, err)
	s, err := c.DecodeSSH()
	require.NoError(t, err)
	require.Equal(t, "pw", s.Password)
}

func TestDecode_RefusesWithoutQuotingValues(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string][2]string{
		"unknown field": {`"unsafe"`, `"unsafee"`}, "bad key": {`"web-01","node`, `"Web_01","node`}, "bad uuid": {"5a0e6b1c", "zz"},
		"bad address": {"127.66.0.2:22", "localhost:22"}, "root user": {`"uid":1`, `"uid":0`}, "relative spool": {`"/a"`, `"a"`},
		"wrong type": {`"revision":7`, `"revision":"hunter2"`}, "trailing": {`"unsafe":false}`, `"unsafe":false} {}`}, "bad host": {`"SRV"`, `"S\nRV"`},
		"secret in syntax error": {`"pw"`, `hunter2`},
	} {
		_, err := config.Decode(strings.NewReader(strings.Replace(good, edit[0], edit[1], 1)))
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "hunter2", name)
	}
	c, err := config.Decode(strings.NewReader(strings.Replace(good, `"password"`, `"passwort"`, 1)))
	require.NoError(t, err)
	_, err = c.DecodeSSH()
	require.Error(t, err)
}

func FuzzDecode(f *testing.F) {
	f.Add(good)
	f.Add("{}")
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := config.Decode(strings.NewReader(s)); err == nil {
			_, _ = c.DecodeSSH()
			require.NotEmpty(t, c.Listen)
		}
	})
}
