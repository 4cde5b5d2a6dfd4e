// Package config is the configuration of one decnet process: one struct, filled from flags, the environment, a YAML
// file and defaults (in that order of precedence), validated before anything starts, and printable without secrets.
//
// It is the only place that interprets DECNET_* variables, and it sees them only through the slice handed to [Load];
// no other package reads the environment. It opens no connection and creates no file.
package config

import (
	"log/slog"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// Config holds every setting of a process. The yaml tag of a field is its key in the file; the flag is the key with
// dashes (--data-dir), the variable the key in capitals after DECNET_ (DECNET_DATA_DIR). A Config from [Load] is valid.
type Config struct {
	// DataDir is where everything embedded lives. It may be relative to the working directory.
	DataDir string `yaml:"data_dir"`
	// Listen is the host:port of the API; port 0 picks a free one.
	Listen string `yaml:"listen"`
	// OpsListen is the host:port on which a role of its own serves health and metrics; empty means it does not.
	OpsListen string `yaml:"ops_listen"`
	// Runtime says what decoys run as: auto (Docker when a daemon answers, else processes), docker or process.
	Runtime string `yaml:"runtime"`
	// ReadyFile is written when every role serves and removed on a clean stop; empty means none.
	ReadyFile string `yaml:"ready_file"`
	// UnsafeProcessRuntime permits decoy processes without a sandbox where the kernel offers none.
	UnsafeProcessRuntime bool `yaml:"unsafe_process_runtime"`
	// DatabaseURL is an external Postgres (postgres://); empty means the embedded one. It may hold a password.
	DatabaseURL string `yaml:"database_url"`
	// NATSURL lists external NATS servers, separated by commas; empty means the embedded one. It may hold a token.
	NATSURL string `yaml:"nats_url"`
	// TemporalAddress is the host:port of an external Temporal frontend; empty means the embedded one.
	TemporalAddress string `yaml:"temporal_address"`
	// TemporalNamespace is the Temporal namespace of this installation.
	TemporalNamespace string `yaml:"temporal_namespace"`
	// SecretKeyFile holds the installation key (32 bytes); empty means secret.key in DataDir.
	SecretKeyFile string `yaml:"secret_key_file"`
	// HostID names this host for the runtime's task queue; empty means the one stored in DataDir.
	HostID string `yaml:"host_id"`
	// AdminUser is the name of the bootstrap admin.
	AdminUser string `yaml:"admin_user"`
	// AdminPassword is the bootstrap admin's password, 12 to 72 bytes; empty means one is generated.
	AdminPassword Secret `yaml:"admin_password"`
	// ArtifactsRoot is where recordings and captured files are kept; Load fills it with DataDir/artifacts when unset.
	ArtifactsRoot string `yaml:"artifacts_root"`
	// PortOffset (1 to 45000) is added to a decoy's port where the real one cannot be bound.
	PortOffset int `yaml:"port_offset"`
	// JWTExpMinutes (1 to 43200) is the life of an access token, in minutes.
	JWTExpMinutes int `yaml:"jwt_exp_minutes"`
	// LimiterEnabled turns the login rate limits on.
	LimiterEnabled bool `yaml:"limiter_enabled"`
	// SSEMaxPerUser (1 to 1000) bounds the event streams one user has open at a time, over all processes.
	SSEMaxPerUser int `yaml:"sse_max_per_user"`
	// CollectorDropApps lists applications (APP-NAME) whose lines are dropped, separated by commas.
	CollectorDropApps string `yaml:"collector_drop_apps"`
	// CollectorRLEventTypes lists event types of which an attacker gets one per window, decky and service.
	CollectorRLEventTypes string `yaml:"collector_rl_event_types"`
	// CollectorRLWindowSec is that window in seconds; 0 or less is none, what is no number is the default.
	CollectorRLWindowSec string `yaml:"collector_rl_window_sec"`
	// TrustedProxies lists addresses and networks, separated by commas, whose headers tell no attacker's other address.
	TrustedProxies string `yaml:"trusted_proxies"`
	// ImportMaxBytes (1 to 1 TiB) bounds the upload of one log to import.
	ImportMaxBytes int `yaml:"import_max_bytes"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `yaml:"log_level"`
	// LogFormat is json, text, or auto: text where a person watches, json elsewhere.
	LogFormat string `yaml:"log_format"`
	// PostgresBinDir holds initdb and postgres; empty means they are searched for.
	PostgresBinDir string `yaml:"postgres_bin_dir"`
	// TemporalBinary is the temporal command; empty means it is searched for.
	TemporalBinary string `yaml:"temporal_binary"`
	// DecoyBinary is the decoy command; empty means it is searched for.
	DecoyBinary string `yaml:"decoy_binary"`
	// DockerHost is the address of the Docker engine, unix:///path or tcp://host:port.
	DockerHost string `yaml:"docker_host"`
	// DockerNetwork is the driver of the network deckies are on: bridge or macvlan.
	DockerNetwork string `yaml:"docker_network"`
	// DockerSubnet is the IPv4 subnet of that network. Every role must be told the same.
	DockerSubnet string `yaml:"docker_subnet"`
	// DockerPool is the part of the subnet deckies get addresses from; empty means all of it.
	DockerPool string `yaml:"docker_pool"`
	// DockerGateway is the subnet's gateway; empty means its first address.
	DockerGateway string `yaml:"docker_gateway"`
	// DockerParent is the host's interface that a macvlan network is on.
	DockerParent string `yaml:"docker_parent"`

	// SearchPath is the PATH of the environment given to Load; binaries are searched on it last.
	SearchPath string `yaml:"-"`
	// Warnings are remarks for the log, in a stable order: DECNET_* variables that name no setting. Nil when none.
	Warnings []string `yaml:"-"`
}

// Secret is a value that prints as a mask. Convert it to string where the value itself is needed.
type Secret string

const mask = "REDACTED"

// String returns the mask, or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// GoString returns the same as String, so that %#v cannot leak the value.
func (s Secret) GoString() string { return s.String() }

// LogValue returns the mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns the mask, for JSON and YAML alike.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Redacted returns the configuration as YAML that may be shown to anybody: passwords, tokens and keys are masked.
// Empty settings are included, so that it also lists what can be set.
func (c Config) Redacted() string {
	c.DatabaseURL = redactURLs(c.DatabaseURL)
	c.NATSURL = redactURLs(c.NATSURL)
	out, err := yaml.Marshal(struct {
		Config `yaml:",inline"`
	}{c})
	if err != nil { // a struct of strings, numbers and booleans always marshals
		return "# " + err.Error() + "\n"
	}
	return string(out)
}

// String returns Redacted.
func (c Config) String() string { return c.Redacted() }

// GoString returns Redacted, so that %#v cannot leak a secret.
func (c Config) GoString() string { return c.Redacted() }

// LogValue returns Redacted.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.Redacted()) }

// SecretKeyPath returns the file of the installation key: SecretKeyFile, or the one in DataDir.
func (c Config) SecretKeyPath() string {
	if c.SecretKeyFile != "" {
		return c.SecretKeyFile
	}
	return filepath.Join(c.DataDir, "secret.key")
}
