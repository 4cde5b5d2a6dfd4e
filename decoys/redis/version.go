package redis

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
)

// version is the release a decoy claims to be; texts and commands depend on it.
type version struct {
	text         string
	major, minor int
}

// newVersion parses a configured version, or picks a release. Most are older than 7.0, which guards the directory of the dump.
func newVersion(h *persona.Host, configured string) version {
	text := configured
	if text == "" {
		text = identity.PickWeighted(h.ID, "redis-version", []identity.Weighted[string]{
			{Value: "4.0.14", Weight: 1},
			{Value: "5.0.7", Weight: 3},
			{Value: "5.0.14", Weight: 3},
			{Value: "6.0.16", Weight: 5},
			{Value: "6.2.6", Weight: 4},
			{Value: "6.2.7", Weight: 3},
			{Value: "6.2.14", Weight: 3},
			{Value: "7.0.15", Weight: 1},
		})
	}
	v := version{text: text}
	parts := strings.Split(text, ".")
	v.major, _ = strconv.Atoi(parts[0])
	if len(parts) > 1 {
		v.minor, _ = strconv.Atoi(parts[1])
	}
	return v
}

func (v version) atLeast(major, minor int) bool {
	return v.major > major || (v.major == major && v.minor >= minor)
}

// has reports whether the release knows a command.
func (v version) has(c command) bool { return c.since == 0 || v.atLeast(c.since, c.sinceMinor) }

// unknown is the reply to a command that does not exist.
func (v version) unknown(args []string) string {
	name := cut(args[0], 128)
	if !v.atLeast(5, 0) {
		return "ERR unknown command '" + name + "'"
	}
	quote := "`"
	closing := ", "
	if v.atLeast(7, 0) {
		quote, closing = "'", " "
	}
	var b strings.Builder
	middle := quote + ", with args beginning with: "
	b.WriteString("ERR unknown command " + quote + name + middle)
	for _, a := range args[1:] {
		if b.Len() > 200 {
			break
		}
		b.WriteString(quote + cut(a, 128) + quote + closing)
	}
	return b.String()
}

// subcommand is the reply to an unknown subcommand.
func (v version) subcommand(container, name string) string {
	container = strings.ToUpper(container)
	if v.atLeast(7, 0) {
		return fmt.Sprintf("ERR unknown subcommand '%s'. Try %s HELP.", cut(name, 128), container)
	}
	return fmt.Sprintf("ERR Unknown subcommand or wrong number of arguments for '%s'. Try %s HELP.", cut(name, 128), container)
}

// arity is the reply to a subcommand with the wrong number of arguments.
func (v version) arity(container, name string) string {
	if v.atLeast(7, 0) {
		return fmt.Sprintf("ERR wrong number of arguments for '%s|%s' command", container, strings.ToLower(name))
	}
	return v.subcommand(container, name)
}

// expiry is the reply to an expire time that makes no sense.
func (v version) expiry(name string) string {
	if v.atLeast(7, 0) {
		return fmt.Sprintf("ERR invalid expire time in '%s' command", name)
	}
	return "ERR invalid expire time in " + name
}

// notAllowed is how 7.0 and later refuse DEBUG and MODULE.
func notAllowed(name string) string {
	return fmt.Sprintf(`ERR %s command not allowed. If the enable-%s-command option is set to "local", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.`,
		strings.ToUpper(name), name)
}
