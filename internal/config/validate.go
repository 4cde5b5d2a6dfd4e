package config

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/decnet/decnet/internal/fault"
)

// maxPasswordBytes is bcrypt's limit; a longer password would be cut silently.
const (
	minPasswordBytes = 12
	maxPasswordBytes = 72
)

// The names below become parts of task queues, workflow ids and subjects, so they hold neither dots nor blanks where
// those separate tokens.
var (
	namespacePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	hostIDPattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)
	userPattern      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)
)

// problems collects what is wrong, so that one run reports everything.
type problems []fault.Field

func (p *problems) add(where, message string) {
	*p = append(*p, fault.Field{Location: where, Message: message})
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	texts := make([]string, len(p))
	for i, f := range p {
		texts[i] = f.Location + " " + f.Message
	}
	return fault.New(fault.Invalid, "config_invalid", "%s", strings.Join(texts, "; ")).With(p...)
}

func refuse(where, message string) *fault.Error {
	return fault.New(fault.Invalid, "config_invalid", "%s %s", where, message).With(fault.Field{Location: where, Message: message})
}

// Validate returns nil or one fault.Invalid that names every setting that is wrong, never its value.
func (c Config) Validate() error {
	var bad problems
	c.checkText(&bad)
	c.checkWords(&bad)
	c.checkNumbers(&bad)
	c.checkAddresses(&bad)
	c.checkNames(&bad)
	c.checkDocker(&bad)
	return bad.err()
}

// Require returns a fault.Invalid that names every setting of keys which is empty. It is for roles that run alone and
// cannot fall back on an embedded part. An unknown key is a programmer error and panics.
func (c Config) Require(keys ...string) error {
	var bad problems
	values := c.texts()
	for _, key := range keys {
		o, ok := byKey[key]
		if !ok {
			panic("config: no setting " + key)
		}
		if values[key] == "" {
			bad.add(key, "is required (--"+o.flag()+" or "+o.env()+")")
		}
	}
	return bad.err()
}

// texts returns the settings that are text, by key.
func (c Config) texts() map[string]string {
	return map[string]string{
		"data_dir": c.DataDir, "listen": c.Listen, "ops_listen": c.OpsListen, "runtime": c.Runtime, "ready_file": c.ReadyFile,
		"database_url": c.DatabaseURL, "nats_url": c.NATSURL, "temporal_address": c.TemporalAddress,
		"temporal_namespace": c.TemporalNamespace, "secret_key_file": c.SecretKeyFile, "host_id": c.HostID,
		"admin_user": c.AdminUser, "admin_password": string(c.AdminPassword), "artifacts_root": c.ArtifactsRoot,
		"log_level": c.LogLevel, "log_format": c.LogFormat,
		"collector_drop_apps": c.CollectorDropApps, "collector_rl_event_types": c.CollectorRLEventTypes,
		"collector_rl_window_sec": c.CollectorRLWindowSec, "trusted_proxies": c.TrustedProxies,
		"postgres_bin_dir": c.PostgresBinDir, "temporal_binary": c.TemporalBinary, "decoy_binary": c.DecoyBinary,
		"docker_host": c.DockerHost, "docker_network": c.DockerNetwork, "docker_subnet": c.DockerSubnet,
		"docker_pool": c.DockerPool, "docker_gateway": c.DockerGateway, "docker_parent": c.DockerParent,
	}
}

func (c Config) checkText(bad *problems) {
	texts := c.texts()
	for _, o := range options {
		if text, ok := texts[o.key]; ok && printable(text) != text {
			bad.add(o.key, "holds control characters or is not UTF-8")
		}
	}
	if c.DataDir == "" {
		bad.add("data_dir", "must not be empty")
	}
	if n := len(c.AdminPassword); n > 0 && (n < minPasswordBytes || n > maxPasswordBytes) {
		bad.add("admin_password", fmt.Sprintf("must have %d to %d bytes", minPasswordBytes, maxPasswordBytes))
	}
}

func (c Config) checkWords(bad *problems) {
	for _, w := range []struct {
		key, value string
		allowed    []string
	}{
		{"runtime", c.Runtime, []string{"auto", "docker", "process"}},
		{"docker_network", c.DockerNetwork, []string{"bridge", "macvlan"}},
		{"log_level", c.LogLevel, []string{"debug", "info", "warn", "error"}},
		{"log_format", c.LogFormat, []string{"auto", "json", "text"}},
	} {
		if !slices.Contains(w.allowed, w.value) {
			bad.add(w.key, "must be one of "+strings.Join(w.allowed, ", "))
		}
	}
}

func (c Config) checkNumbers(bad *problems) {
	for _, n := range []struct {
		key            string
		value, min, mx int
	}{
		{"port_offset", c.PortOffset, 1, 45000},
		{"jwt_exp_minutes", c.JWTExpMinutes, 1, 43200},
		{"sse_max_per_user", c.SSEMaxPerUser, 1, 1000},
		{"import_max_bytes", c.ImportMaxBytes, 1, 1 << 40},
	} {
		if n.value < n.min || n.value > n.mx {
			bad.add(n.key, fmt.Sprintf("must be between %d and %d", n.min, n.mx))
		}
	}
}

func (c Config) checkAddresses(bad *problems) {
	if !validHostPort(c.Listen, 0) {
		bad.add("listen", "must be host:port")
	}
	if c.OpsListen != "" && !validHostPort(c.OpsListen, 0) {
		bad.add("ops_listen", "must be host:port")
	}
	if c.TemporalAddress != "" && (!validHostPort(c.TemporalAddress, 1) || strings.HasPrefix(c.TemporalAddress, ":")) {
		bad.add("temporal_address", "must be host:port")
	}
	if c.DatabaseURL != "" && !validURL(c.DatabaseURL, "postgres", "postgresql") {
		bad.add("database_url", "must be a postgres:// URL")
	}
	if c.NATSURL == "" {
		return
	}
	for _, u := range strings.Split(c.NATSURL, ",") {
		if !validURL(strings.TrimSpace(u), "nats", "tls", "ws", "wss") {
			bad.add("nats_url", "must be nats:// URLs separated by commas")
			return
		}
	}
}

func (c Config) checkNames(bad *problems) {
	if !namespacePattern.MatchString(c.TemporalNamespace) {
		bad.add("temporal_namespace", "must be letters, digits, dot, dash and underscore, at most 100")
	}
	if c.HostID != "" && !hostIDPattern.MatchString(c.HostID) {
		bad.add("host_id", "must be letters, digits, dash and underscore, at most 63")
	}
	if !userPattern.MatchString(c.AdminUser) {
		bad.add("admin_user", "must be letters, digits and ._@-, at most 64")
	}
}

func validHostPort(address string, minPort int) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && int(n) >= minPort
}

func validURL(raw string, schemes ...string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Opaque == "" && slices.Contains(schemes, u.Scheme) && (u.Host != "" || u.Query().Has("host"))
}

// printable returns text without control characters and bad UTF-8, at most 200 bytes of it when it had to change.
func printable(text string) string {
	clean := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return '?'
		}
		return r
	}, text)
	if clean != text && len(clean) > 200 {
		clean = strings.ToValidUTF8(clean[:200], "")
	}
	return clean
}
