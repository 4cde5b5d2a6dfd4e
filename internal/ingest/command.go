package ingest

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// commandTextKeys are tried in this order (bus sheet 5.8).
var commandTextKeys = [...]string{"command", "query", "input", "line", "sql", "cmd"}

func (e *extraction) command() {
	if !slices.Contains(commandTypes, e.Event.Type) {
		return
	}
	shell := parseShell(e.Event.Msg)
	c := Command{
		ID: commandID(&e.Event), Session: e.Event.Session, Attacker: e.Event.Attacker, Service: e.Event.Service, Time: e.Event.Time,
		Text: e.commandText(shell),
	}
	for _, f := range []struct {
		to       *string
		key, msg string
	}{{&c.UID, "uid", shell.uid}, {&c.User, "user", shell.user}, {&c.Dir, "pwd", shell.pwd}, {&c.Src, "src", shell.src}} {
		var ok bool
		if *f.to, ok = e.fields.Lookup(f.key); !ok {
			*f.to = f.msg
		}
	}
	e.Commands = append(e.Commands, c)
}

// commandText is the first field that is there, else what the message says, else the message.
func (e *extraction) commandText(shell shellLine) string {
	for _, k := range commandTextKeys {
		if v, ok := e.fields.Lookup(k); ok {
			return v
		}
	}
	if shell.ok {
		return shell.cmd
	}
	return e.Event.Msg
}

// commandID numbers by the line, not by a count: a count shifts when a line is lost, read again or forgotten.
func commandID(e *Event) string {
	id := e.Session
	if id == "" {
		id = e.Attacker.String() + "-" + e.Time.Format(time.RFC3339Nano)
	}
	if e.Line > 0 {
		id += "#" + strconv.FormatUint(e.Line, 10)
	}
	return id
}

// shellLine is the body `CMD uid= user= src= pwd= cmd=`.
type shellLine struct {
	uid, user, src, pwd, cmd string
	ok                       bool
}

// parseShell takes the keys in their order, each up to the next one's first occurrence; `cmd=` is last and runs to the end,
// so a command can hold anything. A user or directory that holds the text of a later key confuses this message only: decoys
// send the same as fields, which win.
func parseShell(msg string) shellLine {
	rest, ok := strings.CutPrefix(msg, cmdPrefix)
	if !ok {
		return shellLine{}
	}
	l := shellLine{}
	head, cmd, ok := strings.Cut(" "+rest, " cmd=")
	l.cmd, l.ok = cmd, ok
	targets := []*string{&l.uid, &l.user, &l.src, &l.pwd}
	for i, key := range []string{" uid=", " user=", " src=", " pwd="} {
		_, value, found := strings.Cut(head, key)
		if !found {
			continue
		}
		for _, later := range []string{" uid=", " user=", " src=", " pwd="}[i+1:] {
			if v, _, cut := strings.Cut(value, later); cut {
				value = v
				break
			}
		}
		*targets[i] = value
	}
	return l
}
