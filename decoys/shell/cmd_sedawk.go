package shell

import (
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/decnet/decnet/decoys/vfs"
)

// sedRule is one editing command: s, d, p or q, with an optional line number or pattern.
type sedRule struct {
	line   int
	last   bool
	match  *regexp.Regexp
	cmd    byte
	re     *regexp.Regexp
	with   string
	global bool
	print  bool
}

func cmdSed(c *call) int {
	o, rest := c.flags("e")
	script, ok := o["e"]
	if !ok {
		if len(rest) == 0 {
			return c.fail(1, "no script specified\nUsage: sed [OPTION]... {script-only-if-no-other-script} [input-file]...")
		}
		script, rest = rest[0], rest[1:]
	}
	rules, bad := parseSed(script, has(o, "E", "r"))
	if bad != "" {
		return c.fail(1, "-e expression #1, char %d: %s", len(script), bad)
	}
	quiet := has(o, "n")
	if has(o, "i") {
		status := 0
		for _, f := range rest {
			b, err := c.s.fs.ReadFile(c.cred(), c.abs(f))
			if err != nil {
				status = c.fail(2, "can't read %s: %s", f, reason(err))
				continue
			}
			if err := c.save(f, []byte(c.sed(rules, strings.NewReader(string(b)), quiet)), 0); err != nil {
				status = c.fail(4, "couldn't open file %s: %s", f, reason(err))
			}
		}
		return status
	}
	return c.sources(rest, func(_ string, r io.Reader) { c.printf("%s", c.sed(rules, r, quiet)) })
}

func parseSed(script string, extended bool) ([]sedRule, string) {
	var out []sedRule
	compile := func(p string) (*regexp.Regexp, bool) {
		if !extended {
			p = basicRegexp(p)
		}
		re, err := regexp.Compile(p)
		return re, err == nil
	}
	for _, part := range splitSed(script) {
		var r sedRule
		ok := true
		if strings.HasPrefix(part, "/") {
			end := strings.IndexByte(part[1:], '/')
			if end < 0 {
				return nil, "unterminated address regex"
			}
			r.match, ok = compile(part[1 : 1+end])
			part = part[end+2:]
		} else if n := len(part) - len(strings.TrimLeft(part, "0123456789")); n > 0 {
			r.line, _ = strconv.Atoi(part[:n])
			part = part[n:]
		} else if strings.HasPrefix(part, "$") {
			r.last, part = true, part[1:]
		}
		if part = strings.TrimSpace(part); part == "" || !ok {
			return nil, "missing command"
		}
		if r.cmd = part[0]; r.cmd == 's' && len(part) > 1 {
			f := strings.Split(strings.ReplaceAll(part[2:], `\`+part[1:2], "\x00"), part[1:2])
			if len(f) < 3 {
				return nil, "unterminated `s' command"
			}
			for i := range f {
				f[i] = strings.ReplaceAll(f[i], "\x00", part[1:2])
			}
			if strings.Contains(f[2], "I") || strings.Contains(f[2], "i") {
				f[0] = "(?i)" + f[0]
			}
			if r.re, ok = compile(f[0]); !ok {
				return nil, "Invalid preceding regular expression"
			}
			r.with = regexp.MustCompile(`\\(\d)`).ReplaceAllString(strings.ReplaceAll(strings.ReplaceAll(f[1], "$", "$$"), "&", "${0}"), "${$1}")
			r.with = strings.ReplaceAll(r.with, `\n`, "\n")
			r.global, r.print = strings.Contains(f[2], "g"), strings.Contains(f[2], "p")
		} else if !strings.ContainsRune("dpq", rune(r.cmd)) {
			return nil, "unknown command: `" + part[:1] + "'"
		}
		out = append(out, r)
	}
	return out, ""
}

func splitSed(s string) []string {
	var out []string
	for _, p := range strings.FieldsFunc(s, func(r rune) bool { return r == '\n' }) {
		if t := strings.TrimSpace(p); strings.HasPrefix(t, "s") || strings.Count(t, "/") > 1 {
			out = append(out, t)
			continue
		}
		for _, q := range strings.Split(p, ";") {
			if q = strings.TrimSpace(q); q != "" {
				out = append(out, q)
			}
		}
	}
	return out
}

func (c *call) sed(rules []sedRule, r io.Reader, quiet bool) string {
	var lines []string
	c.eachLine(r, func(l string) bool { lines = append(lines, l); return true })
	var b strings.Builder
	for n, l := range lines {
		drop, quit := false, false
		for _, ru := range rules {
			if ru.line > 0 && ru.line != n+1 || ru.last && n != len(lines)-1 || ru.match != nil && !ru.match.MatchString(l) {
				continue
			}
			switch ru.cmd {
			case 'd':
				drop = true
			case 'q':
				quit = true
			case 'p':
				b.WriteString(l + "\n")
			case 's':
				was := l
				l = substitute(ru, l)
				if ru.print && was != l {
					b.WriteString(l + "\n")
				}
			}
		}
		if !drop && !quiet {
			b.WriteString(l + "\n")
		}
		if quit || b.Len() > maxOutput {
			break
		}
	}
	return b.String()
}

func substitute(r sedRule, l string) string {
	if r.global {
		return r.re.ReplaceAllString(l, r.with)
	}
	m := r.re.FindStringSubmatchIndex(l)
	if m == nil {
		return l
	}
	return l[:m[0]] + string(r.re.ExpandString(nil, r.with, l, m)) + l[m[1]:]
}

var awkProgram = regexp.MustCompile(`^\s*(BEGIN\s*|END\s*|/(?:[^/\\]|\\.)*/\s*|NR\s*[=><]=?\s*\d+\s*)?(?:\{\s*(?:print|printf)?\s*(.*?)\s*;?\s*\})?\s*$`)

// cmdAwk knows the programs intruders use: an optional pattern and one print.
func cmdAwk(c *call) int {
	o, rest := c.flags("Fvf")
	if len(rest) == 0 {
		return c.fail(2, "usage: awk [-F fs][-v var=value][prog | -f progfile][file ...]")
	}
	m := awkProgram.FindStringSubmatch(rest[0])
	if m == nil {
		return c.fail(2, "syntax error at source line 1\n context is\n\t >>> %s <<<", clipText(rest[0]))
	}
	pat, expr := strings.TrimSpace(m[1]), m[2]
	sep := strings.Trim(o["F"], "[]")
	if pat == "BEGIN" {
		c.printf("%s\n", awkPrint(expr, nil, 0, ""))
		return 0
	}
	var re *regexp.Regexp
	if strings.HasPrefix(pat, "/") {
		var err error
		if re, err = regexp.Compile(pat[1 : len(pat)-1]); err != nil {
			return c.fail(2, "illegal primary in regular expression")
		}
	}
	n := 0
	last := ""
	st := c.sources(rest[1:], func(_ string, r io.Reader) {
		c.eachLine(r, func(l string) bool {
			n++
			last = l
			if re != nil && !re.MatchString(l) || strings.HasPrefix(pat, "NR") && !awkNR(pat, n) || pat == "END" {
				return true
			}
			c.printf("%s\n", awkPrint(expr, awkSplit(l, sep), n, l))
			return true
		})
	})
	if pat == "END" {
		c.printf("%s\n", awkPrint(expr, awkSplit(last, sep), n, last))
	}
	return st
}

func awkSplit(l, sep string) []string {
	if sep == "" || sep == " " {
		return strings.Fields(l)
	}
	return strings.Split(l, strings.ReplaceAll(sep, `\t`, "\t"))
}

func awkNR(pat string, n int) bool {
	i := strings.IndexAny(pat, "0123456789")
	want, _ := strconv.Atoi(strings.TrimSpace(pat[i:]))
	switch strings.TrimSpace(pat[2:i]) {
	case "==":
		return n == want
	case ">":
		return n > want
	case ">=":
		return n >= want
	case "<":
		return n < want
	}
	return n <= want
}

var awkToken = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"|\$NF|\$\(NF-(\d+)\)|\$(\d+)|NF|NR|\d+|,`)

func awkPrint(expr string, f []string, nr int, line string) string {
	if expr == "" {
		return line
	}
	var b strings.Builder
	field := func(i int) string {
		if i == 0 {
			return line
		}
		if i >= 1 && i <= len(f) {
			return f[i-1]
		}
		return ""
	}
	for _, m := range awkToken.FindAllStringSubmatch(expr, 64) {
		switch t := m[0]; {
		case t == ",":
			b.WriteByte(' ')
		case t == "NF":
			b.WriteString(itoa(len(f)))
		case t == "NR":
			b.WriteString(itoa(nr))
		case t == "$NF":
			b.WriteString(field(max(len(f), 1)))
		case m[2] != "":
			n, _ := strconv.Atoi(m[2])
			b.WriteString(field(len(f) - n))
		case m[3] != "":
			n, _ := strconv.Atoi(m[3])
			b.WriteString(field(n))
		case t[0] == '"':
			b.WriteString(strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\"`, `"`).Replace(m[1]))
		default:
			b.WriteString(t)
		}
		if b.Len() > vfs.MaxFileBytes/64 {
			break
		}
	}
	return b.String()
}
