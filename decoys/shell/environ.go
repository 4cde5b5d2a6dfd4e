package shell

import (
	"maps"
	"slices"

	"mvdan.cc/sh/v3/expand"
)

// Names of variables that replace what the interpreter would answer from the real process. They cannot be typed.
const (
	hiddenPID  = "\x00pid"
	hiddenPPID = "\x00ppid"
	hiddenZero = "\x00zero"
	tickName   = "\x00tick"
)

// environ is the initial environment of a shell. Hidden names are found but never listed.
type environ struct {
	vars   map[string]string
	hidden map[string]string
	plain  map[string]bool // not exported
	// noTemp hands the interpreter a directory for named pipes that cannot exist, until it has been set up.
	noTemp bool
}

// Get implements expand.Environ.
func (e *environ) Get(name string) expand.Variable {
	if e.noTemp && name == "TMPDIR" {
		return expand.Variable{Set: true, Kind: expand.String, Str: "/dev/null/none"}
	}
	if v, ok := e.hidden[name]; ok {
		return expand.Variable{Set: true, Kind: expand.String, Str: v}
	}
	if v, ok := e.vars[name]; ok {
		return expand.Variable{Set: true, Exported: !e.plain[name], Kind: expand.String, Str: v}
	}
	return expand.Variable{}
}

// Each implements expand.Environ.
func (e *environ) Each(fn func(string, expand.Variable) bool) {
	for _, k := range slices.Sorted(maps.Keys(e.vars)) {
		if !fn(k, e.Get(k)) {
			return
		}
	}
}

// exported lists the exported variables of env, sorted, as bash's env prints them.
func exported(env expand.Environ) [][2]string {
	found := map[string]string{}
	env.Each(func(name string, v expand.Variable) bool {
		if v.Exported && v.IsSet() {
			found[name] = v.String()
		} else {
			delete(found, name)
		}
		return true
	})
	var out [][2]string
	for _, k := range slices.Sorted(maps.Keys(found)) {
		out = append(out, [2]string{k, found[k]})
	}
	return out
}
