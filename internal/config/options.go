package config

import (
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/decnet/decnet/internal/ingest"
)

// Group is a set of settings that a command offers as flags. Settings of other groups still come from the environment
// and the file: the groups decide what --help shows, not what applies.
type Group string

// The groups of settings.
const (
	// GroupCommon is for every command: the file and logging.
	GroupCommon Group = "common"
	// GroupData is for what touches the data directory.
	GroupData Group = "data"
	// GroupExternal names Postgres, NATS and Temporal outside this process.
	GroupExternal Group = "external"
	// GroupEmbedded is for the parts that `decnet up` starts itself.
	GroupEmbedded Group = "embedded"
	// GroupAPI is for what serves the API.
	GroupAPI Group = "api"
	// GroupRole is for a role that runs alone.
	GroupRole Group = "role"
	// GroupRuntime is for what starts decoys.
	GroupRuntime Group = "runtime"
	// GroupIngest is for what reads the output of decoys.
	GroupIngest Group = "ingest"
)

// fileFlag names the YAML file. It is not a setting: a file cannot name its successor.
const fileFlag = "config"

// clientEnv are variables of the client commands: known, but no settings of a process.
var clientEnv = map[string]bool{"DECNET_API_URL": true, "DECNET_TOKEN": true}

const envPrefix = "DECNET_"

// option describes one setting; the type of def is the type of the setting (string, int or bool).
type option struct {
	key   string
	group Group
	def   any
	usage string
	// noFlag keeps a secret out of the process list.
	noFlag bool
}

func (o option) flag() string { return strings.ReplaceAll(o.key, "_", "-") }

func (o option) env() string { return envPrefix + strings.ToUpper(o.key) }

// parse turns text from the environment into the option's type. Its error never repeats the text.
func (o option) parse(text string) (any, error) {
	switch o.def.(type) {
	case int:
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return nil, errNotNumber
		}
		return n, nil
	case bool:
		b, err := strconv.ParseBool(strings.TrimSpace(text))
		if err != nil {
			return nil, errNotBool
		}
		return b, nil
	default:
		return text, nil
	}
}

// gate is where the defaults of the noise gate are.
var gate = ingest.DefaultGate()

// options lists every setting once, in the order in which they are printed.
var options = []option{
	{key: "data_dir", group: GroupData, def: "./data", usage: "directory of everything decnet keeps on this host"},
	{key: "listen", group: GroupAPI, def: "127.0.0.1:8080", usage: "host:port of the API and the web UI"},
	{key: "ops_listen", group: GroupRole, def: "", usage: "host:port for health and metrics of a single role (empty: none)"},
	{key: "runtime", group: GroupRuntime, def: "auto", usage: "what decoys run as: auto, docker or process"},
	{key: "ready_file", group: GroupEmbedded, def: "", usage: "file to write when every role serves"},
	{key: "unsafe_process_runtime", group: GroupRuntime, def: false, usage: "run decoy processes even where the kernel cannot sandbox them"},
	{key: "database_url", group: GroupExternal, def: "", usage: "external Postgres, postgres://user@host/database (empty: embedded)"},
	{key: "nats_url", group: GroupExternal, def: "", usage: "external NATS with JetStream, nats://host:4222,... (empty: embedded)"},
	{key: "temporal_address", group: GroupExternal, def: "", usage: "external Temporal frontend, host:port (empty: embedded)"},
	{key: "temporal_namespace", group: GroupExternal, def: "decnet", usage: "Temporal namespace of this installation"},
	{key: "secret_key_file", group: GroupData, def: "", usage: "file of the installation key (empty: secret.key in the data directory)"},
	{key: "host_id", group: GroupData, def: "", usage: "name of this host (empty: the one stored in the data directory)"},
	{key: "admin_user", group: GroupAPI, def: "admin", usage: "name of the bootstrap admin"},
	{key: "admin_password", group: GroupAPI, def: "", noFlag: true, usage: "password of the bootstrap admin, 12 to 72 bytes (empty: generated)"},
	{key: "artifacts_root", group: GroupData, def: "", usage: "directory of recordings and captured files (empty: artifacts in the data directory)"},
	{key: "port_offset", group: GroupRuntime, def: 20000, usage: "added to a decoy's port where the real one cannot be bound (1 to 45000)"},
	{key: "jwt_exp_minutes", group: GroupAPI, def: 240, usage: "life of an access token in minutes"},
	{key: "limiter_enabled", group: GroupAPI, def: true, usage: "limit the rate of logins"},
	{key: "sse_max_per_user", group: GroupAPI, def: 5, usage: "event streams one user may have open at a time"},
	{key: "collector_drop_apps", group: GroupIngest, def: strings.Join(gate.DropApps, ","), usage: "applications whose lines are dropped"},
	{key: "collector_rl_event_types", group: GroupIngest, def: strings.Join(gate.Limited, ","), usage: "event types that are rate limited"},
	{key: "collector_rl_window_sec", group: GroupIngest, def: strconv.FormatFloat(gate.Window.Seconds(), 'f', 1, 64), usage: "seconds in which an attacker gets one of them per decky and service (0: no limit)"},
	{key: "trusted_proxies", group: GroupIngest, def: "", usage: "addresses and networks of proxies whose headers tell nothing of an attacker"},
	{key: "import_max_bytes", group: GroupAPI, def: 2 << 30, usage: "bytes of one log that may be uploaded to be imported"},
	{key: "log_level", group: GroupCommon, def: "info", usage: "debug, info, warn or error"},
	{key: "log_format", group: GroupCommon, def: "auto", usage: "json, text, or auto: text on a terminal"},
	{key: "postgres_bin_dir", group: GroupEmbedded, def: "", usage: "directory of initdb and postgres (empty: searched)"},
	{key: "temporal_binary", group: GroupEmbedded, def: "", usage: "the temporal command (empty: searched)"},
	{key: "decoy_binary", group: GroupRuntime, def: "", usage: "the decoy command (empty: searched)"},
	{key: "docker_host", group: GroupRuntime, def: "unix:///var/run/docker.sock", usage: "address of the Docker engine"},
	{key: "docker_network", group: GroupRuntime, def: "bridge", usage: "network of containers: bridge, or macvlan for a real LAN"},
	{key: "docker_subnet", group: GroupRuntime, def: "198.19.0.0/16", usage: "subnet of that network"},
	{key: "docker_pool", group: GroupRuntime, def: "", usage: "part of the subnet that deckies get addresses from (empty: all)"},
	{key: "docker_gateway", group: GroupRuntime, def: "", usage: "gateway of the subnet (empty: its first address)"},
	{key: "docker_parent", group: GroupRuntime, def: "", usage: "interface of the host that a macvlan network is on"},
}

// envAliases are variables that differ from the rule DECNET_ + key.
var envAliases = map[string]string{
	"DECNET_POSTGRES_BIN": "postgres_bin_dir",
	"DECNET_CONFIG":       fileFlag,
}

// byKey and byEnv index options; byEnv holds the aliases too, but for the one of the file.
var byKey, byEnv = indexOptions()

func indexOptions() (keys, envs map[string]option) {
	keys, envs = make(map[string]option, len(options)), make(map[string]option, len(options))
	for _, o := range options {
		keys[o.key], envs[o.env()] = o, o
	}
	for name, key := range envAliases {
		if o, ok := keys[key]; ok {
			envs[name] = o
		}
	}
	return keys, envs
}

// AddFlags declares the flags of groups on fs, all of them when no group is named, and always --config. Secrets get no
// flag: a command line is visible to every user of the machine.
func AddFlags(fs *pflag.FlagSet, groups ...Group) {
	fs.String(fileFlag, "", "YAML file with settings (environment: DECNET_CONFIG)")
	for _, o := range options {
		if o.noFlag || !inGroups(o.group, groups) {
			continue
		}
		usage := o.usage + " (environment: " + o.env() + ")"
		switch def := o.def.(type) {
		case int:
			fs.Int(o.flag(), def, usage)
		case bool:
			fs.Bool(o.flag(), def, usage)
		case string:
			fs.String(o.flag(), def, usage)
		}
	}
}

func inGroups(g Group, groups []Group) bool {
	if len(groups) == 0 || g == GroupCommon {
		return true
	}
	for _, x := range groups {
		if x == g {
			return true
		}
	}
	return false
}
