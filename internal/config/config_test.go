package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/decnet/decnet/internal/config"
	"github.com/decnet/decnet/internal/fault"
)

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "decnet.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(fs)
	require.NoError(t, fs.Parse(args))
	return fs
}

func TestLoad_Defaults(t *testing.T) {
	t.Parallel()
	c, err := config.Load(nil, nil)
	require.NoError(t, err)
	require.Equal(t, config.Config{
		DataDir: "./data", Listen: "127.0.0.1:8080", Runtime: "auto", TemporalNamespace: "decnet", AdminUser: "admin",
		ArtifactsRoot: "data/artifacts", PortOffset: 20000, JWTExpMinutes: 240, LimiterEnabled: true, SSEMaxPerUser: 5, ImportMaxBytes: 2 << 30,
		LogLevel: "info", LogFormat: "auto", DockerHost: "unix:///var/run/docker.sock", DockerNetwork: "bridge", DockerSubnet: "198.19.0.0/16",
		CollectorDropApps:     "sshd,pam_unix,sudo,su,CRON,cron,systemd,kernel,rsyslogd,dbus-daemon",
		CollectorRLEventTypes: "connect,disconnect,connection,accept,close", CollectorRLWindowSec: "1.0",
	}, c)
	require.Equal(t, "data/secret.key", c.SecretKeyPath())
}

func TestLoad_FlagsBeatEnvironmentBeatsFileBeatsDefaults(t *testing.T) {
	t.Parallel()
	path := write(t, "data_dir: /file\nlisten: 127.0.0.1:1\nport_offset: 7\nlimiter_enabled: false\nadmin_user:\n")
	env := []string{"DECNET_LISTEN=127.0.0.1:2", "DECNET_PORT_OFFSET=8", "DECNET_HOST_ID=", "PATH=/bin", "HOME=/root"}
	c, err := config.Load(flags(t, "--config", path, "--port-offset=9"), env)
	require.NoError(t, err)
	require.Equal(t, "/file", c.DataDir)
	require.Equal(t, "/file/artifacts", c.ArtifactsRoot)
	require.Equal(t, "127.0.0.1:2", c.Listen)
	require.Equal(t, 9, c.PortOffset)
	require.False(t, c.LimiterEnabled)
	require.Equal(t, "admin", c.AdminUser, "a key without a value is unset")
	require.Equal(t, "/bin", c.SearchPath)
	require.Nil(t, c.Warnings)

	fromEnv, err := config.Load(nil, []string{"DECNET_CONFIG=" + path})
	require.NoError(t, err)
	require.Equal(t, 7, fromEnv.PortOffset)
}

func TestLoad_FlagSetToItsDefaultStillWins(t *testing.T) {
	t.Parallel()
	c, err := config.Load(flags(t, "--runtime=auto", "--limiter-enabled=true"), []string{"DECNET_RUNTIME=docker", "DECNET_LIMITER_ENABLED=false"})
	require.NoError(t, err)
	require.Equal(t, "auto", c.Runtime)
	require.True(t, c.LimiterEnabled)
}

func TestLoad_AliasAndUnknownVariable(t *testing.T) {
	t.Parallel()
	c, err := config.Load(nil, []string{"DECNET_TYPO=1", "DECNET_POSTGRES_BIN=/alias", "broken"})
	require.NoError(t, err)
	require.Equal(t, "/alias", c.PostgresBinDir)
	require.Equal(t, []string{"environment variable DECNET_TYPO names no setting"}, c.Warnings)
	c, err = config.Load(nil, []string{"DECNET_POSTGRES_BIN_DIR=/real", "DECNET_POSTGRES_BIN=/alias"})
	require.NoError(t, err)
	require.Equal(t, "/real", c.PostgresBinDir)
}

func TestLoad_ValuesMayHoldEqualsSigns(t *testing.T) {
	t.Parallel()
	c, err := config.Load(nil, []string{"DECNET_DATABASE_URL=postgres:///decnet?host=/run/pg&sslmode=disable"})
	require.NoError(t, err)
	require.Equal(t, "postgres:///decnet?host=/run/pg&sslmode=disable", c.DatabaseURL)
}

func TestLoad_BadFileIsRefusedWithPositionAndName(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"unknown key":     {"listen: 127.0.0.1:1\nlistne: x\n", ":2:1: listne is not a setting"},
		"duplicate key":   {"listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", ":2:1: listen is set twice"},
		"wrong type":      {"port_offset: many\n", ":1:14: port_offset must be a whole number"},
		"wrong bool":      {"limiter_enabled: perhaps\n", ":1:18: limiter_enabled must be true or false"},
		"nested":          {"listen:\n  host: x\n", ":2:3: listen must be a single value"},
		"a list":          {"- a\n", ":1:1 must be a mapping"},
		"a word":          {"word\n", ":1:1 must be a mapping"},
		"two documents":   {"listen: 127.0.0.1:1\n---\nlisten: 127.0.0.1:2\n", "holds more than one document"},
		"no YAML":         {"a: b: c\n", "is not YAML"},
		"key as sequence": {"? [a]\n: b\n", "is not a setting"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, tc.text)
			_, err := config.Load(nil, []string{"DECNET_CONFIG=" + path})
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.ErrorContains(t, err, tc.want)
			require.ErrorContains(t, err, path)
		})
	}
	_, err := config.Load(nil, []string{"DECNET_CONFIG=/nonexistent.yaml"})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

func TestLoad_QuotedAndLeadingZeroTextStaysText(t *testing.T) {
	t.Parallel()
	c, err := config.Load(nil, []string{"DECNET_CONFIG=" + write(t, "admin_password: 012345678901\nhost_id: 007\nport_offset: \"30\"\n")})
	require.NoError(t, err)
	require.Equal(t, config.Secret("012345678901"), c.AdminPassword)
	require.Equal(t, "007", c.HostID)
	require.Equal(t, 30, c.PortOffset)
}

func TestLoad_AllProblemsAreReportedAndNoValue(t *testing.T) {
	t.Parallel()
	_, err := config.Load(nil, []string{
		"DECNET_ADMIN_PASSWORD=tooshort", "DECNET_RUNTIME=podman", "DECNET_PORT_OFFSET=45001", "DECNET_LISTEN=nowhere",
		"DECNET_DATABASE_URL=host=h password=topsecret", "DECNET_NATS_URL=nats://ok,http://token@x", "DECNET_TEMPORAL_ADDRESS=:7233",
		"DECNET_HOST_ID=a.b", "DECNET_TEMPORAL_NAMESPACE=a b", "DECNET_ADMIN_USER=a b", "DECNET_JWT_EXP_MINUTES=0", "DECNET_SSE_MAX_PER_USER=0",
		"DECNET_LOG_LEVEL=loud", "DECNET_OPS_LISTEN=x", "DECNET_DOCKER_HOST=ssh://h", "DECNET_DOCKER_NETWORK=ipvlan",
		"DECNET_DOCKER_POOL=10.0.0.0/24", "DECNET_DOCKER_GATEWAY=10.0.0.1",
	})
	f, ok := fault.As(err)
	require.True(t, ok)
	var names []string
	for _, field := range f.Fields {
		names = append(names, field.Location)
	}
	require.ElementsMatch(t, []string{
		"admin_password", "runtime", "port_offset", "listen", "database_url", "nats_url", "temporal_address", "host_id",
		"temporal_namespace", "admin_user", "jwt_exp_minutes", "sse_max_per_user", "log_level", "ops_listen",
		"docker_host", "docker_network", "docker_pool", "docker_gateway",
	}, names)
	for _, secret := range []string{"tooshort", "topsecret", "token", "podman"} {
		require.NotContains(t, err.Error(), secret)
	}
}

func TestLoad_BadVariableIsNamedWithoutItsValue(t *testing.T) {
	t.Parallel()
	_, err := config.Load(nil, []string{"DECNET_PORT_OFFSET=hunter2"})
	require.ErrorContains(t, err, "DECNET_PORT_OFFSET must be a whole number")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestRequire_NamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	c, err := config.Load(nil, []string{"DECNET_HOST_ID=h1"})
	require.NoError(t, err)
	require.NoError(t, c.Require("host_id"))
	require.ErrorContains(t, c.Require("host_id", "database_url"), "database_url is required (--database-url or DECNET_DATABASE_URL)")
	require.Panics(t, func() { _ = c.Require("nonsense") })
}

func TestRedacted_ShowsEverySettingAndNoSecret(t *testing.T) {
	t.Parallel()
	c, err := config.Load(nil, []string{
		"DECNET_ADMIN_PASSWORD=correct horse", "DECNET_DATABASE_URL=postgres://u:hunter2@h/d?sslpassword=hunter3&sslmode=require",
		"DECNET_NATS_URL=nats://tok-1@a:4222,tls://u:tok-2@b:4222",
	})
	require.NoError(t, err)
	encoded, err := json.Marshal(c.AdminPassword)
	require.NoError(t, err)
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("config", "config", c, "password", c.AdminPassword)
	for _, text := range []string{c.Redacted(), fmt.Sprintf("%v %+v %#v %s", c, c, c, c), fmt.Sprintf("%v %#v", c.AdminPassword, c.AdminPassword), string(encoded), logged.String()} {
		for _, secret := range []string{"correct", "horse", "hunter2", "hunter3", "tok-1", "tok-2"} {
			require.NotContains(t, text, secret)
		}
	}
	require.Contains(t, c.Redacted(), "postgres://u:REDACTED@h/d")

	var printed map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(c.Redacted()), &printed))
	for i := range reflect.TypeFor[config.Config]().NumField() {
		if key := reflect.TypeFor[config.Config]().Field(i).Tag.Get("yaml"); key != "-" {
			require.Contains(t, printed, key)
		}
	}
}

func TestRedacted_IsItselfAValidFile(t *testing.T) {
	t.Parallel()
	c, err := config.Load(nil, nil)
	require.NoError(t, err)
	again, err := config.Load(nil, []string{"DECNET_CONFIG=" + write(t, c.Redacted())})
	require.NoError(t, err)
	require.Equal(t, c, again)
}

func TestAddFlags_CoversEverySettingButSecrets(t *testing.T) {
	t.Parallel()
	fs := flags(t)
	typ := reflect.TypeFor[config.Config]()
	for i := range typ.NumField() {
		key := typ.Field(i).Tag.Get("yaml")
		if key == "-" {
			continue
		}
		f := fs.Lookup(strings.ReplaceAll(key, "_", "-"))
		if key == "admin_password" {
			require.Nil(t, f)
			continue
		}
		require.NotNil(t, f, key)
		require.Contains(t, f.Usage, "DECNET_"+strings.ToUpper(key))
	}
	some := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(some, config.GroupExternal)
	require.NotNil(t, some.Lookup("nats-url"))
	require.NotNil(t, some.Lookup("log-level"))
	require.NotNil(t, some.Lookup("config"))
	require.Nil(t, some.Lookup("listen"))
}

func TestBinaries_ConfiguredThenBesideThenPath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	decoy := filepath.Join(dir, "decoy")
	require.NoError(t, os.WriteFile(decoy, []byte("#!/bin/sh\n"), 0o700))
	c := config.Config{SearchPath: "relative:" + dir}
	path, err := c.DecoyPath()
	require.NoError(t, err)
	require.Equal(t, decoy, path)
	c.DecoyBinary = filepath.Join(dir, "other")
	_, err = c.DecoyPath()
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	_, err = config.Config{}.TemporalPath()
	require.ErrorContains(t, err, "DECNET_TEMPORAL_BINARY")
	require.Equal(t, []string{"/pg"}, config.Config{PostgresBinDir: "/pg", SearchPath: "/a"}.PostgresBinDirs())
	dirs := config.Config{SearchPath: "/a:/b"}.PostgresBinDirs()
	require.Equal(t, []string{"/a", "/b"}, dirs[len(dirs)-2:])
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("listen: 127.0.0.1:1\n"), "DECNET_PORT_OFFSET=1\x00DECNET_X")
	f.Add([]byte("a: &a [*a]\n<<: *a\n"), "DECNET_=\x00=\x00DECNET_NATS_URL=nats://%zz")
	f.Add([]byte("? {a: b}\n: !!binary x\n---\n"), "DECNET_DATABASE_URL=postgres://u:p@[::1/d")
	f.Add([]byte("data_dir: !!null x\nruntime: AUTO \n\xff"), "DECNET_DATA_DIR=\xff\n")
	f.Fuzz(func(t *testing.T, file []byte, environment string) {
		path := filepath.Join(t.TempDir(), "decnet.yaml")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Skip(err)
		}
		env := append(strings.Split(environment, "\x00"), "DECNET_CONFIG="+path)
		c, err := config.Load(nil, env)
		if err != nil {
			e, ok := fault.As(err)
			if !ok || e.Kind != fault.Invalid || e.Message == "" {
				t.Fatalf("unclear error: %v", err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		if p := string(c.AdminPassword); p != "" && !strings.Contains("REDACTED", p) && strings.Contains(c.Redacted(), "admin_password: "+p) {
			t.Fatal("password is shown")
		}
	})
}

func TestDockerNet_DefaultsToTheWholeSubnetAndItsFirstAddress(t *testing.T) {
	t.Parallel()
	c, err := config.Load(nil, []string{"DECNET_DOCKER_SUBNET=192.168.40.7/24"})
	require.NoError(t, err)
	n := c.DockerNet()
	require.Equal(t, "192.168.40.0/24", n.Subnet.String())
	require.Equal(t, n.Subnet, n.Pool)
	require.Equal(t, "192.168.40.1", n.Gateway.String())
	c, err = config.Load(nil, []string{
		"DECNET_DOCKER_SUBNET=192.168.40.0/24", "DECNET_DOCKER_POOL=192.168.40.128/26", "DECNET_DOCKER_GATEWAY=192.168.40.254",
		"DECNET_DOCKER_NETWORK=macvlan", "DECNET_DOCKER_PARENT=eth0",
	})
	require.NoError(t, err)
	require.Equal(t, "192.168.40.128/26", c.DockerNet().Pool.String())
	require.Equal(t, "192.168.40.254", c.DockerNet().Gateway.String())
	for _, bad := range []string{"DECNET_DOCKER_SUBNET=fd00::/64", "DECNET_DOCKER_SUBNET=10.0.0.0/30", "DECNET_DOCKER_NETWORK=macvlan"} {
		_, err := config.Load(nil, []string{bad})
		require.Error(t, err, bad)
	}
}
