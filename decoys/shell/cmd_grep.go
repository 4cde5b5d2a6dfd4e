package shell

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func cmdGrep(c *call) int {
	o, rest := c.flags("eABCm")
	pat, ok := o["e"]
	if !ok {
		if len(rest) == 0 {
			fmt.Fprintln(c.err, "Usage: grep [OPTION]... PATTERNS [FILE]...\nTry 'grep --help' for more information.")
			return 2
		}
		pat, rest = rest[0], rest[1:]
	}
	re, err := grepPattern(pat, o, c.args[0])
	if err != nil {
		return c.fail(2, "Invalid regular expression")
	}
	g := grepper{c: c, o: o, re: re, limit: number(o, 1<<30, "m")}
	if has(o, "r", "R") {
		if len(rest) == 0 {
			rest = []string{"."}
		}
		rest = g.expand(rest)
		g.names = true
	}
	g.names = (g.names || len(rest) > 1 || has(o, "H")) && !has(o, "h")
	st := c.sources(rest, g.scan)
	if st != 0 {
		return 2
	}
	if g.hits == 0 {
		return 1
	}
	return 0
}

func grepPattern(pat string, o map[string]string, name string) (*regexp.Regexp, error) {
	switch {
	case has(o, "F") || name == "fgrep":
		pat = regexp.QuoteMeta(pat)
	case !has(o, "E", "P") && name != "egrep":
		pat = basicRegexp(pat)
	}
	if has(o, "w") {
		pat = `\b(?:` + pat + `)\b`
	}
	if has(o, "x") {
		pat = `^(?:` + pat + `)$`
	}
	if has(o, "i") {
		pat = "(?i)" + pat
	}
	return regexp.Compile(pat)
}

func basicRegexp(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '\\' && i+1 < len(p) && strings.IndexByte("(){}|+?", p[i+1]) >= 0:
			i++
			b.WriteByte(p[i])
		case p[i] == '\\' && i+1 < len(p):
			b.WriteString(p[i : i+2])
			i++
		case strings.IndexByte("(){}|+?", p[i]) >= 0:
			b.WriteString(`\` + p[i:i+1])
		case p[i] == '*' && (i == 0 || p[:i] == "^"):
			b.WriteString(`\*`)
		default:
			b.WriteByte(p[i])
		}
	}
	return b.String()
}

type grepper struct {
	c     *call
	o     map[string]string
	re    *regexp.Regexp
	names bool
	hits  int
	limit int
}

func (g *grepper) expand(dirs []string) []string {
	var out []string
	var visit func(shown string, depth int)
	visit = func(shown string, depth int) {
		i, err := g.c.s.fs.Stat(g.c.cred(), g.c.abs(shown), false)
		if err != nil || depth > 20 || len(out) > 5000 {
			return
		}
		if i.Mode().IsRegular() {
			out = append(out, shown)
		}
		kids, _ := g.c.s.fs.ReadDir(g.c.cred(), g.c.abs(shown))
		if i.IsDir() {
			for _, k := range kids {
				visit(strings.TrimSuffix(shown, "/")+"/"+k.Name(), depth+1)
			}
		}
	}
	for _, d := range dirs {
		visit(d, 0)
	}
	return out
}

func (g *grepper) scan(name string, r io.Reader) {
	n, count := 0, 0
	g.c.eachLine(r, func(l string) bool {
		n++
		if g.re.MatchString(l) == has(g.o, "v") {
			return true
		}
		g.hits++
		if count++; has(g.o, "q", "c", "l") {
			return !has(g.o, "q", "l")
		}
		if strings.IndexByte(l, 0) >= 0 && !has(g.o, "a") {
			g.c.printf("grep: %s: binary file matches\n", name)
			return false
		}
		head := ""
		if g.names {
			head = name + ":"
		}
		if has(g.o, "n") {
			head += itoa(n) + ":"
		}
		if has(g.o, "o") {
			for _, m := range g.re.FindAllString(l, -1) {
				g.c.printf("%s%s\n", head, m)
			}
		} else {
			g.c.printf("%s%s\n", head, l)
		}
		return count < g.limit
	})
	switch {
	case has(g.o, "c") && g.names:
		g.c.printf("%s:%d\n", name, count)
	case has(g.o, "c"):
		g.c.printf("%d\n", count)
	case has(g.o, "l") && count > 0:
		g.c.printf("%s\n", name)
	}
}

func cmdSort(c *call) int {
	o, files := c.flags("kt")
	lines, st := c.allLines(files)
	key := func(l string) string {
		if k, err := strconv.Atoi(strings.SplitN(strings.TrimRight(o["k"], "nr"), ",", 2)[0]); err == nil {
			f := strings.Fields(l)
			if t := o["t"]; t != "" {
				f = strings.Split(l, t)
			}
			if k >= 1 && k <= len(f) {
				return f[k-1]
			}
			return ""
		}
		return l
	}
	numeric := has(o, "n", "h") || strings.Contains(o["k"], "n")
	slices.SortStableFunc(lines, func(a, b string) int {
		ka, kb := key(a), key(b)
		if numeric {
			x, y := leading(ka), leading(kb)
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			}
		}
		return strings.Compare(ka, kb)
	})
	if has(o, "r") || strings.Contains(o["k"], "r") {
		slices.Reverse(lines)
	}
	if has(o, "u") {
		lines = slices.Compact(lines)
	}
	for _, l := range lines {
		c.printf("%s\n", l)
	}
	return st
}

func leading(s string) float64 {
	s = strings.TrimSpace(s)
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.' || i == 0 && s[i] == '-') {
		i++
	}
	f, _ := strconv.ParseFloat(s[:i], 64)
	return f
}
