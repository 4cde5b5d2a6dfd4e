package redis

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
)

var (
	returnNumber = regexp.MustCompile(`^\s*return\s*\(?\s*(-?\d{1,18})\s*\)?\s*;?\s*$`)
	returnText   = regexp.MustCompile(`^\s*return\s*\(?\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*\)?\s*;?\s*$`)
	luaGlobal    = regexp.MustCompile(`\b(package|io|os|require|loadlib|dofile|debug|load|loadfile)\s*[.(]`)
)

func sha256Hex(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }

func sha(s string) string { sum := sha1.Sum([]byte(s)); return hex.EncodeToString(sum[:]) }

const errCompile = "ERR Error compiling script (new function): user_script:1: '=' expected near '<eof>'"

// noScript reports whether a text is a single word, which compiles to nothing.
func noScript(s string) bool { return !strings.ContainsAny(s, "(= ") }

// eval answers constants, refuses what reaches for the machine as a patched server does, and otherwise finds nothing.
func eval(c *client, args []string) {
	n, ok := c.integerArg(args[2], "")
	script := args[1]
	switch {
	case !ok:
	case n < 0:
		c.fail("ERR Number of keys can't be negative")
	case n > int64(len(args)-3):
		c.fail("ERR Number of keys can't be greater than number of args")
	case returnNumber.MatchString(script):
		v, _ := strconv.ParseInt(returnNumber.FindStringSubmatch(script)[1], 10, 64)
		c.integer(v)
	case returnText.MatchString(script):
		m := returnText.FindStringSubmatch(script)
		c.bulk(m[1] + m[2])
	case luaGlobal.MatchString(script):
		c.fail(c.s.v.luaGlobal(luaGlobal.FindStringSubmatch(script)[1], sha(script)))
	case noScript(script):
		c.fail(errCompile)
	default:
		c.null()
	}
}

// luaGlobal is the error of a script that uses a global the sandbox does not have.
func (v version) luaGlobal(name, hash string) string {
	text := "Script attempted to access nonexistent global variable '" + name + "'"
	if v.atLeast(7, 0) {
		return "ERR user_script:1: " + text + " script: " + hash + ", on @user_script:1."
	}
	return "ERR Error running script (call to f_" + hash + "): @enable_strict_lua:15: user_script:1: " + text
}

func evalsha(c *client, _ []string) { c.fail("NOSCRIPT No matching script. Please use EVAL.") }

func script(c *client, args []string) {
	switch sub := strings.ToLower(args[1]); {
	case sub == "load" && len(args) == 3 && noScript(args[2]):
		c.fail(errCompile)
	case sub == "load" && len(args) == 3:
		c.bulk(sha(args[2]))
	case sub == "exists":
		c.array(len(args) - 2)
		for range args[2:] {
			c.integer(0)
		}
	case sub == "flush":
		c.ok()
	case sub == "kill":
		c.fail("NOTBUSY No scripts in execution right now.")
	default:
		c.fail(c.s.v.subcommand("script", args[1]))
	}
}

func function(c *client, args []string) {
	switch strings.ToLower(args[1]) {
	case "list":
		c.array(0)
	case "flush":
		c.ok()
	default:
		c.fail(c.s.v.subcommand("function", args[1]))
	}
}
