package shell

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/decnet/decnet/decoys/vfs"
)

// flags splits the arguments into options and operands. withValue lists the short options that take one; long options
// are returned under their name, with a value after `=`.
func (c *call) flags(withValue string) (map[string]string, []string) {
	opts, rest := map[string]string{}, []string{}
	for i := 1; i < len(c.args); i++ {
		a := c.args[i]
		switch {
		case a == "--":
			return opts, append(rest, c.args[i+1:]...)
		case strings.HasPrefix(a, "--"):
			k, v, _ := strings.Cut(a[2:], "=")
			opts[k] = v
		case len(a) > 1 && a[0] == '-':
			for j := 1; j < len(a); j++ {
				o := a[j : j+1]
				if !strings.Contains(withValue, o) {
					opts[o] = ""
					continue
				}
				if opts[o] = a[j+1:]; opts[o] == "" && i+1 < len(c.args) {
					i++
					opts[o] = c.args[i]
				}
				break
			}
		default:
			rest = append(rest, a)
		}
	}
	return opts, rest
}

func has(o map[string]string, names ...string) bool {
	for _, n := range names {
		if _, ok := o[n]; ok {
			return true
		}
	}
	return false
}

func number(o map[string]string, def int, names ...string) int {
	for _, n := range names {
		if v, ok := o[n]; ok {
			if i, err := strconv.Atoi(strings.TrimPrefix(v, "+")); err == nil {
				return i
			}
		}
	}
	return def
}

func (c *call) printf(format string, a ...any) { fmt.Fprintf(c.out, format, a...) }

// fail prints `name: message` and returns the status.
func (c *call) fail(status int, format string, a ...any) int {
	fmt.Fprintf(c.err, c.args[0]+": "+format+"\n", a...)
	return status
}

func (c *call) cred() vfs.Cred { return c.sh.cred() }

func (c *call) abs(p string) string { return vfs.Clean(c.dir, p) }

func (c *call) tty() bool {
	m, ok := c.out.w.(meter)
	return ok && m.sh == c.sh && c.s.tty != nil
}

func (c *call) env(name string) string { return c.hc.Env.Get(name).String() }

// stopped reports that nobody wants more output.
func (c *call) stopped() bool { return c.out.dead || c.ctx.Err() != nil }

// source opens an operand, `-` being standard input. It reports errors itself and then returns nil.
func (c *call) source(p string) io.Reader {
	if p == "-" || p == "/dev/stdin" {
		return c.in
	}
	h, err := c.s.fs.Open(c.cred(), c.abs(p), 0, 0)
	if err == nil && h.Info().IsDir() {
		c.fail(1, "%s: Is a directory", p)
		return nil
	}
	if err != nil {
		c.fail(1, "%s: %s", p, reason(err))
		return nil
	}
	if h.Device() == "zero" || h.Device() == "random" {
		return io.LimitReader(h, maxOutput*2)
	}
	return h
}

// sources calls do for every operand, or for standard input when there is none, and returns 1 if one could not be read.
func (c *call) sources(files []string, do func(name string, r io.Reader)) int {
	if len(files) == 0 {
		files = []string{"-"}
	}
	status := 0
	for _, f := range files {
		if r := c.source(f); r == nil {
			status = 1
		} else {
			do(f, r)
		}
		if c.stopped() {
			break
		}
	}
	return status
}

const maxTextLine = 1 << 20

// eachLine calls do for every line without its end, until do returns false.
func (c *call) eachLine(r io.Reader, do func(string) bool) {
	sc := bufio.NewScanner(io.LimitReader(r, vfs.MaxFileBytes))
	sc.Buffer(make([]byte, 0, 4096), maxTextLine)
	for sc.Scan() {
		if c.stopped() || !do(sc.Text()) {
			return
		}
	}
}

// allLines returns all lines of the operands.
func (c *call) allLines(files []string) ([]string, int) {
	var out []string
	status := c.sources(files, func(_ string, r io.Reader) {
		c.eachLine(r, func(l string) bool {
			out = append(out, l)
			return len(out) < 1<<20
		})
	})
	return out, status
}

// save writes a whole file and reports it as captured.
func (c *call) save(p string, data []byte, perm int) error {
	h, err := c.s.fs.Open(c.cred(), c.abs(p), 0o1101, 0) // O_WRONLY|O_CREAT|O_TRUNC
	if err != nil {
		return err
	}
	if _, err = h.Write(data); err == nil && perm != 0 {
		err = c.s.fs.Chmod(c.cred(), c.abs(p), mode(perm))
	}
	_ = h.Close()
	if err == nil && h.Written() {
		c.s.captured(c.abs(p), data, c.args[0], strings.Join(c.args, " "))
	}
	return err
}
