package redis

import (
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/decnet/decnet/decoys/identity"
)

// folders are the directories the pretended machine has, as far as intruders point the dump at them.
var folders = []string{
	"/", "/root", "/root/.ssh", "/etc", "/etc/cron.d", "/etc/cron.hourly", "/etc/init.d", "/etc/systemd/system", "/etc/profile.d", "/home", "/tmp", "/var/tmp", "/dev/shm",
	"/var", "/var/lib", "/var/lib/redis", "/var/log", "/var/log/redis", "/var/spool", "/var/spool/cron", "/var/spool/cron/crontabs", "/var/www", "/var/www/html", "/usr", "/usr/bin", "/usr/local", "/usr/local/bin",
	"/usr/lib", "/opt", "/data", "/mnt", "/srv", "/run",
}

// defaults returns the settings of a server built from source and run by root, as careless people do.
func (s *Server) defaults() map[string]string {
	dir := identity.Pick(s.host.ID, "redis-dir", []string{"/var/lib/redis", "/data", "/", "/root", "/var/lib/redis"})
	m := map[string]string{
		"dir": dir, "dbfilename": "dump.rdb", "requirepass": "", "masterauth": "", "bind": "0.0.0.0", "port": "6379", "protected-mode": "no",
		"save": identity.Pick(s.host.ID, "redis-save", []string{"900 1 300 10 60 10000", "3600 1 300 100 60 10000", "900 1 300 10 60 10000"}), "appendonly": "no", "appendfilename": "appendonly.aof", "appendfsync": "everysec",
		"maxmemory": "0", "maxmemory-policy": "noeviction", "maxmemory-samples": "5", "maxclients": "10000", "timeout": "0", "tcp-keepalive": "300", "tcp-backlog": "511",
		"databases": "16", "daemonize": "yes", "supervised": "no", "pidfile": "/var/run/redis_6379.pid", "logfile": "/var/log/redis/redis-server.log", "loglevel": "notice",
		"syslog-enabled": "no", "rdbcompression": "yes", "rdbchecksum": "yes", "stop-writes-on-bgsave-error": "yes", "slowlog-log-slower-than": "10000", "slowlog-max-len": "128",
		"latency-monitor-threshold": "0", "notify-keyspace-events": "", "hz": "10", "lua-time-limit": "5000", "cluster-enabled": "no", "slave-read-only": "yes", "slave-serve-stale-data": "yes",
		"slave-priority": "100", "repl-timeout": "60", "repl-diskless-sync": "no", "repl-backlog-size": "1048576", "unixsocket": "", "unixsocketperm": "0", "activerehashing": "yes",
		"client-output-buffer-limit": "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", "always-show-logo": "yes",
	}
	if s.v.atLeast(5, 0) {
		m["replica-read-only"], m["replica-serve-stale-data"], m["replica-priority"], m["proto-max-bulk-len"] = "yes", "yes", "100", "536870912"
	}
	if s.v.atLeast(7, 0) {
		m["enable-protected-configs"], m["enable-debug-command"], m["enable-module-command"] = "no", "no", "no"
	}
	return m
}

// fixed lists settings that only the configuration file can change.
var fixed = []string{
	"port", "databases", "daemonize", "supervised", "pidfile", "logfile", "syslog-enabled", "tcp-backlog", "cluster-enabled", "unixsocket", "unixsocketperm", "rdbchecksum", "always-show-logo",
	"enable-protected-configs", "enable-debug-command", "enable-module-command", "appendfilename",
}

func configCommand(c *client, args []string) {
	switch strings.ToLower(args[1]) {
	case "get":
		configGet(c, args)
	case "set":
		configSet(c, args)
	case "resetstat":
		c.s.commands, c.s.total = 0, 0
		c.ok()
	case "rewrite":
		c.ok()
	default:
		c.fail(c.s.v.subcommand("config", args[1]))
	}
}

func configGet(c *client, args []string) {
	if len(args) < 3 || (len(args) > 3 && !c.s.v.atLeast(7, 0)) {
		c.fail(c.s.v.arity("config", args[1]))
		return
	}
	var found []string
	for name := range c.s.settings {
		if slices.ContainsFunc(args[2:min(len(args), 66)], func(p string) bool { return Match(strings.ToLower(p), name) }) {
			found = append(found, name)
		}
	}
	sort.Strings(found)
	c.pairs(len(found))
	for _, name := range found {
		c.bulk(name)
		c.bulk(c.s.settings[name])
	}
}

func configSet(c *client, args []string) {
	if len(args) < 4 || len(args)%2 != 0 || (len(args) > 4 && !c.s.v.atLeast(7, 0)) {
		c.fail(c.s.v.arity("config", args[1]))
		return
	}
	for i := 2; i < min(len(args), 66); i += 2 {
		if why := c.s.change(strings.ToLower(args[i]), args[i+1]); why != "" {
			c.fail(why)
			return
		}
	}
	c.ok()
}

// change sets one parameter; it returns the error of the claimed release.
func (s *Server) change(name, to string) string {
	if _, known := s.settings[name]; !known {
		if s.v.atLeast(7, 0) {
			return "ERR Unknown option or number of arguments for CONFIG SET - '" + cut(name, 128) + "'"
		}
		return "ERR Unsupported CONFIG parameter: " + cut(name, 128)
	}
	if len(to) > 1024 {
		return s.badSetting(name, to, "argument is too long")
	}
	if why := s.invalid(name, to); why != "" {
		return s.badSetting(name, to, why)
	}
	if name == "dir" {
		to = cleanDir(s.settings["dir"], to)
	}
	s.settings[name] = to
	return ""
}

func (s *Server) badSetting(name, to, why string) string {
	switch {
	case s.v.atLeast(7, 0):
		return "ERR CONFIG SET failed (possibly related to argument '" + name + "') - " + why
	case name == "dir":
		return "ERR Changing directory: " + why
	case slices.Contains(fixed, name):
		return "ERR Unsupported CONFIG parameter: " + name
	case s.v.atLeast(6, 0):
		return "ERR Invalid argument '" + cut(to, 128) + "' for CONFIG SET '" + name + "' - " + why
	}
	return "ERR Invalid argument '" + cut(to, 128) + "' for CONFIG SET '" + name + "'"
}

// invalid returns why a setting is refused.
func (s *Server) invalid(name, to string) string {
	guarded := name == "dir" || name == "dbfilename"
	switch {
	case slices.Contains(fixed, name):
		return "can't set immutable config"
	case guarded && s.v.atLeast(7, 0):
		return "can't set protected config"
	case name == "dir" && !slices.Contains(folders, cleanDir(s.settings["dir"], to)):
		return "No such file or directory"
	case name == "dbfilename" && strings.Contains(to, "/"):
		return "dbfilename can't be a path, just a filename"
	case to != "yes" && to != "no" && (s.settings[name] == "yes" || s.settings[name] == "no"):
		return "argument must be 'yes' or 'no'"
	case name == "maxmemory" && !memoryValue(to):
		return "argument must be a memory value"
	}
	if _, err := strconv.Atoi(s.settings[name]); err == nil && name != "maxmemory" {
		if _, err := strconv.ParseInt(to, 10, 64); err != nil {
			return "argument couldn't be parsed into an integer"
		}
	}
	return ""
}

func memoryValue(s string) bool {
	digits := strings.TrimRight(strings.ToLower(s), "kmgb")
	_, err := strconv.ParseUint(digits, 10, 63)
	return err == nil
}

// cleanDir resolves a directory against the current one.
func cleanDir(now, to string) string {
	if !strings.HasPrefix(to, "/") {
		to = now + "/" + to
	}
	var out []string
	for part := range strings.SplitSeq(to, "/") {
		switch part {
		case "", ".":
		case "..":
			out = out[:max(len(out)-1, 0)]
		default:
			out = append(out, part)
		}
	}
	return "/" + strings.Join(out, "/")
}
