package shell

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/vfs"
)

func cmdFind(c *call) int {
	var roots []string
	i := 1
	for ; i < len(c.args) && !strings.HasPrefix(c.args[i], "-"); i++ {
		roots = append(roots, c.args[i])
	}
	if len(roots) == 0 {
		roots = []string{"."}
	}
	q := findQuery{depth: 1 << 30}
	if err := q.parse(c.args[i:]); err != "" {
		return c.fail(1, "%s", err)
	}
	status := 0
	for _, r := range roots {
		if _, err := c.s.fs.Stat(c.cred(), c.abs(r), false); err != nil {
			status = c.fail(1, "‘%s’: %s", r, reason(err))
			continue
		}
		c.find(q, c.abs(r), r, 0)
	}
	return status
}

type findQuery struct {
	name, kind, user string
	perm, depth      int
	fold, del, null  bool
	writable         bool
}

func (q *findQuery) parse(args []string) string {
	for i := 0; i < len(args); i++ {
		v := ""
		if i+1 < len(args) {
			v = args[i+1]
		}
		switch args[i] {
		case "-name", "-iname":
			q.name, q.fold = v, args[i] == "-iname"
			i++
		case "-type":
			q.kind = v
			i++
		case "-user":
			q.user = v
			i++
		case "-perm":
			n, _ := strconv.ParseInt(strings.TrimLeft(v, "-/+u=s"), 8, 32)
			if q.perm = int(n); strings.Contains(v, "s") {
				q.perm = 0o4000
			}
			i++
		case "-maxdepth":
			q.depth, _ = strconv.Atoi(v)
			i++
		case "-mtime", "-size", "-mindepth", "-newer", "-group", "-path", "-mmin", "-ctime", "-atime":
			i++
		case "-delete":
			q.del = true
		case "-print0":
			q.null = true
		case "-writable":
			q.writable = true
		case "-exec", "-ok":
			return ""
		case "-print", "-o", "-a", "-not", "!", "(", ")", "-ls", "-xdev", "-mount", "-follow", "-executable", "-readable", "-empty", "-prune":
		default:
			return "unknown predicate `" + args[i] + "'"
		}
	}
	return ""
}

func (q findQuery) match(c *call, i vfs.Info, base, p string) bool {
	pat := q.name
	if q.fold {
		pat, base = strings.ToLower(pat), strings.ToLower(base)
	}
	if pat != "" {
		if ok, _ := path.Match(pat, base); !ok {
			return false
		}
	}
	switch q.kind {
	case "f":
		if !i.Mode().IsRegular() {
			return false
		}
	case "d":
		if !i.IsDir() {
			return false
		}
	case "l":
		if i.Mode()&fs.ModeSymlink == 0 {
			return false
		}
	}
	return (q.user == "" || c.s.userName(i.UID) == q.user) && (q.perm == 0 || octal(i.Mode())&q.perm == q.perm) &&
		(!q.writable || c.s.fs.Access(c.cred(), p, 2) == nil)
}

func (c *call) find(q findQuery, p, shown string, depth int) {
	i, err := c.s.fs.Stat(c.cred(), p, false)
	if err != nil || c.stopped() {
		return
	}
	if q.match(c, i, path.Base(p), p) {
		end := "\n"
		if q.null {
			end = "\x00"
		}
		if q.del {
			_ = c.s.fs.Remove(c.cred(), p)
		} else {
			c.printf("%s%s", shown, end)
		}
	}
	if !i.IsDir() || depth >= q.depth {
		return
	}
	kids, err := c.s.fs.ReadDir(c.cred(), p)
	if err != nil {
		c.fail(1, "‘%s’: %s", shown, reason(err))
	}
	for _, k := range kids {
		c.find(q, path.Join(p, k.Name()), strings.TrimSuffix(shown, "/")+"/"+k.Name(), depth+1)
	}
}

func cmdDd(c *call) int {
	o := map[string]string{"bs": "512"}
	for _, a := range c.args[1:] {
		k, v, _ := strings.Cut(a, "=")
		o[k] = v
	}
	in := c.in
	if f := o["if"]; f != "" {
		if in = c.source(f); in == nil {
			return 1
		}
	}
	bs := size(o["bs"])
	limit := int64(maxOutput)
	if n, err := strconv.ParseInt(o["count"], 10, 64); err == nil && n < limit {
		limit = min(n*bs, limit)
	}
	if n, _ := strconv.ParseInt(o["skip"], 10, 64); n > 0 {
		_, _ = io.CopyN(io.Discard, in, min(n*bs, limit*2))
	}
	started := time.Now()
	data, _ := io.ReadAll(io.LimitReader(in, limit))
	if f := o["of"]; f != "" {
		if err := c.save(f, data, 0); err != nil {
			return c.fail(1, "failed to open '%s': %s", f, reason(err))
		}
	} else {
		_, _ = c.out.Write(data)
	}
	n := int64(len(data))
	el := max(time.Since(started).Seconds(), 0.000041)
	fmt.Fprintf(c.err, "%d+%d records in\n%d+%d records out\n%d bytes copied, %.6g s, %.1f MB/s\n", n/bs, min(n%bs, 1), n/bs, min(n%bs, 1), n, el, float64(n)/el/1e6)
	return 0
}

func size(s string) int64 {
	mult := int64(1)
	for suffix, m := range map[string]int64{"k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30} {
		if t, ok := strings.CutSuffix(s, suffix); ok {
			s, mult = t, m
		}
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n <= 0 {
		return 512
	}
	return n * mult
}

func cmdDu(c *call) int {
	o, files := c.flags("d")
	if len(files) == 0 {
		files = []string{"."}
	}
	status := 0
	for _, f := range files {
		if _, err := c.s.fs.Stat(c.cred(), c.abs(f), false); err != nil {
			status = c.fail(1, "cannot access '%s': %s", f, reason(err))
			continue
		}
		c.du(o, c.abs(f), f, 0)
	}
	return status
}

func (c *call) du(o map[string]string, p, shown string, depth int) int64 {
	i, err := c.s.fs.Stat(c.cred(), p, false)
	if err != nil || c.stopped() {
		return 0
	}
	total := (i.Size() + 4095) / 4096 * 4
	if i.IsDir() {
		kids, _ := c.s.fs.ReadDir(c.cred(), p)
		for _, k := range kids {
			total += c.du(o, path.Join(p, k.Name()), path.Join(shown, k.Name()), depth+1)
		}
	}
	if depth == 0 || i.IsDir() && !has(o, "s", "summarize") && depth <= number(o, 99, "d", "max-depth") {
		if has(o, "h") {
			c.printf("%s\t%s\n", human(total*1024), shown)
		} else {
			c.printf("%d\t%s\n", total, shown)
		}
	}
	return total
}

func human(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10)
	}
	f := float64(n)
	for _, u := range []string{"K", "M", "G", "T"} {
		if f /= 1024; f < 1024 {
			if f < 10 {
				return fmt.Sprintf("%.1f%s", f, u)
			}
			return fmt.Sprintf("%.0f%s", f, u)
		}
	}
	return "1P"
}

func cmdRealpath(c *call) int {
	_, files := c.flags("")
	status := 0
	for _, f := range files {
		p, err := c.s.fs.Real(c.cred(), c.abs(f))
		if c.args[0] == "readlink" && !slices.Contains(c.args, "-f") {
			i, serr := c.s.fs.Stat(c.cred(), c.abs(f), false)
			if p, err = i.Target, serr; p == "" {
				status = 1
				continue
			}
		}
		if err != nil {
			status = c.fail(1, "%s: %s", f, reason(err))
			continue
		}
		c.printf("%s\n", p)
	}
	return status
}
