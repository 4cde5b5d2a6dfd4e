package shell

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/decnet/decnet/decoys/vfs"
)

func cmdLs(c *call) int {
	o, files := c.flags("I")
	if c.args[0] == "ll" {
		o["l"], o["a"] = "", ""
	}
	if len(files) == 0 {
		files = []string{"."}
	}
	l := lister{c: c, o: o}
	var plain []vfs.Info
	var dirs []string
	status := 0
	for _, f := range files {
		i, err := c.s.fs.Stat(c.cred(), c.abs(f), !has(o, "l", "d"))
		if err != nil {
			if i, err = c.s.fs.Stat(c.cred(), c.abs(f), false); err != nil {
				status = c.fail(2, "cannot access '%s': %s", f, reason(err))
				continue
			}
		}
		if t, err := c.s.fs.Stat(c.cred(), c.abs(f), true); err == nil && t.IsDir() && !has(o, "d") && (i.IsDir() || !has(o, "l")) {
			dirs = append(dirs, f)
		} else {
			l.names = append(l.names, f)
			plain = append(plain, i)
		}
	}
	if len(plain) > 0 {
		l.show(plain, l.names)
	}
	many := len(files) > 1 || has(o, "R")
	for n, d := range dirs {
		if many {
			if n > 0 || len(plain) > 0 {
				c.printf("\n")
			}
			c.printf("%s:\n", d)
		}
		status = max(status, l.dir(c.abs(d), d, 0))
	}
	return status
}

type lister struct {
	c     *call
	o     map[string]string
	names []string
}

func (l *lister) dir(p, shown string, depth int) int {
	c := l.c
	kids, err := c.s.fs.ReadDir(c.cred(), p)
	if err != nil {
		return c.fail(2, "cannot open directory '%s': %s", shown, reason(err))
	}
	var infos []vfs.Info
	var names []string
	add := func(i vfs.Info, n string) { infos, names = append(infos, i), append(names, n) }
	if has(l.o, "a", "all") {
		for _, n := range []string{".", ".."} {
			if i, err := c.s.fs.Stat(c.cred(), path.Join(p, n), true); err == nil {
				add(i, n)
			}
		}
	}
	for _, k := range kids {
		if !strings.HasPrefix(k.Name(), ".") || has(l.o, "a", "A", "all", "almost-all") {
			add(k, k.Name())
		}
	}
	if has(l.o, "l") {
		blocks := int64(0)
		for _, i := range infos {
			blocks += (i.Size() + 4095) / 4096 * 4
		}
		c.printf("total %d\n", blocks)
	}
	l.show(infos, names)
	if has(l.o, "R") && depth < 20 {
		for _, k := range kids {
			if k.IsDir() && !c.stopped() {
				sub := strings.TrimSuffix(shown, "/") + "/" + k.Name()
				c.printf("\n%s:\n", sub)
				l.dir(path.Join(p, k.Name()), sub, depth+1)
			}
		}
	}
	return 0
}

func (l *lister) show(infos []vfs.Info, names []string) {
	order := make([]int, len(infos))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return names[order[a]] < names[order[b]] })
	switch {
	case has(l.o, "t"):
		sort.SliceStable(order, func(a, b int) bool { return infos[order[a]].ModTime().After(infos[order[b]].ModTime()) })
	case has(l.o, "S"):
		sort.SliceStable(order, func(a, b int) bool { return infos[order[a]].Size() > infos[order[b]].Size() })
	}
	if has(l.o, "r") {
		slices.Reverse(order)
	}
	if has(l.o, "l") {
		l.long(infos, names, order)
		return
	}
	var out []string
	for _, i := range order {
		out = append(out, l.decorate(names[i], infos[i]))
	}
	if !l.c.tty() || has(l.o, "1") {
		for _, n := range out {
			l.c.printf("%s\n", n)
		}
		return
	}
	l.c.printf("%s", columns(out, l.c.s.width()))
}

func (l *lister) long(infos []vfs.Info, names []string, order []int) {
	var wl, wu, wg, ws int
	rows := make([][4]string, len(infos))
	for n, i := range infos {
		sz := fmt.Sprint(i.Size())
		if has(l.o, "h") {
			sz = human(i.Size())
		}
		if i.Mode()&fs.ModeDevice != 0 {
			sz = "1, 3"
		}
		u, g := l.c.s.userName(i.UID), l.c.s.groupName(i.GID)
		if has(l.o, "n") {
			u, g = itoa(i.UID), itoa(i.GID)
		}
		rows[n] = [4]string{fmt.Sprint(i.Links), u, g, sz}
		wl, wu, wg, ws = max(wl, len(rows[n][0])), max(wu, len(u)), max(wg, len(g)), max(ws, len(sz))
	}
	now := l.c.s.m.Host.Now()
	for _, n := range order {
		i := infos[n]
		t := i.ModTime().UTC()
		stamp := t.Format("Jan _2 15:04")
		if d := now.Sub(t); d > 182*24*3600e9 || d < -3600e9 {
			stamp = t.Format("Jan _2  2006")
		}
		name := l.decorate(names[n], i)
		if i.Mode()&fs.ModeSymlink != 0 {
			name += " -> " + i.Target
		}
		ino := ""
		if has(l.o, "i") {
			ino = fmt.Sprintf("%d ", i.Ino)
		}
		l.c.printf("%s%s %*s %-*s %-*s %*s %s %s\n", ino, modeText(i.Mode()), wl, rows[n][0], wu, rows[n][1], wg, rows[n][2], ws, rows[n][3], stamp, name)
	}
}

func (l *lister) decorate(name string, i vfs.Info) string {
	if has(l.o, "F", "p") && i.IsDir() {
		return name + "/"
	}
	if has(l.o, "F") && i.Mode().IsRegular() && i.Mode()&0o111 != 0 {
		return name + "*"
	}
	return name
}

// modeText renders permissions like ls does.
func modeText(m fs.FileMode) string {
	kind := "-"
	switch {
	case m.IsDir():
		kind = "d"
	case m&fs.ModeSymlink != 0:
		kind = "l"
	case m&fs.ModeCharDevice != 0:
		kind = "c"
	case m&fs.ModeDevice != 0:
		kind = "b"
	}
	b := []byte(kind + m.Perm().String()[1:])
	for _, s := range []struct {
		bit fs.FileMode
		at  int
		c   byte
	}{{fs.ModeSetuid, 3, 's'}, {fs.ModeSetgid, 6, 's'}, {fs.ModeSticky, 9, 't'}} {
		if m&s.bit != 0 {
			if b[s.at] == '-' {
				s.c -= 32
			}
			b[s.at] = s.c
		}
	}
	return string(b)
}

// columns lays names out top to bottom in as many columns as fit.
func columns(names []string, width int) string {
	if len(names) == 0 {
		return ""
	}
	rows := 1
	var widths []int
	for ; rows <= len(names); rows++ {
		widths = widths[:0]
		total := 0
		for i := 0; i < len(names); i += rows {
			w := 0
			for _, n := range names[i:min(i+rows, len(names))] {
				w = max(w, len([]rune(n)))
			}
			widths = append(widths, w)
			total += w + 2
		}
		if total-2 <= width {
			break
		}
	}
	var b strings.Builder
	for r := range min(rows, len(names)) {
		for col, i := 0, r; i < len(names); col, i = col+1, i+rows {
			if i+rows < len(names) {
				fmt.Fprintf(&b, "%-*s", widths[col]+2, names[i])
			} else {
				b.WriteString(names[i])
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
