package shell

import (
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/decnet/decnet/decoys/vfs"
)

func mode(octal int) fs.FileMode {
	m := fs.FileMode(octal & 0o777)
	for bit, f := range map[int]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if octal&bit != 0 {
			m |= f
		}
	}
	return m
}

func octal(m fs.FileMode) int {
	n := int(m.Perm())
	for bit, f := range map[int]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&f != 0 {
			n |= bit
		}
	}
	return n
}

func cmdCat(c *call) int {
	o, files := c.flags("")
	n := 0
	return c.sources(files, func(_ string, r io.Reader) {
		if !has(o, "n", "A", "b") {
			_, _ = io.Copy(c.out, r)
			return
		}
		c.eachLine(r, func(l string) bool {
			if n++; has(o, "A") {
				c.printf("%s$\n", l)
			} else {
				c.printf("%6d\t%s\n", n, l)
			}
			return true
		})
	})
}

func cmdTouch(c *call) int {
	o, files := c.flags("rtd")
	if len(files) == 0 {
		return c.fail(1, "missing file operand\nTry 'touch --help' for more information.")
	}
	at := c.s.m.Host.Now()
	if ref := o["r"]; ref != "" {
		if i, err := c.s.fs.Stat(c.cred(), c.abs(ref), true); err == nil {
			at = i.ModTime()
		}
	}
	status := 0
	for _, f := range files {
		h, err := c.s.fs.Open(c.cred(), c.abs(f), os.O_CREATE, 0o644)
		if err != nil {
			status = c.fail(1, "cannot touch '%s': %s", f, reason(err))
			continue
		}
		_ = h.Close()
		_ = c.s.fs.Chtimes(c.cred(), c.abs(f), at)
	}
	return status
}

func cmdMkdir(c *call) int {
	o, dirs := c.flags("m")
	if len(dirs) == 0 {
		return c.fail(1, "missing operand\nTry 'mkdir --help' for more information.")
	}
	status := 0
	for _, d := range dirs {
		p := c.abs(d)
		if has(o, "p", "parents") {
			for i := range p {
				if i > 0 && p[i] == '/' {
					_ = c.s.fs.Mkdir(c.cred(), p[:i], 0o755)
				}
			}
		}
		if err := c.s.fs.Mkdir(c.cred(), p, 0o755); err != nil && !(has(o, "p", "parents") && reason(err) == "File exists") {
			status = c.fail(1, "cannot create directory ‘%s’: %s", d, reason(err))
		}
	}
	return status
}

func cmdRmdir(c *call) int {
	_, dirs := c.flags("")
	status := 0
	for _, d := range dirs {
		i, err := c.s.fs.Stat(c.cred(), c.abs(d), false)
		if err == nil && !i.IsDir() {
			status = c.fail(1, "failed to remove '%s': Not a directory", d)
			continue
		}
		if err == nil {
			err = c.s.fs.Remove(c.cred(), c.abs(d))
		}
		if err != nil {
			status = c.fail(1, "failed to remove '%s': %s", d, reason(err))
		}
	}
	return status
}

func cmdRm(c *call) int {
	o, files := c.flags("")
	force := has(o, "f", "force")
	if len(files) == 0 && !force {
		return c.fail(1, "missing operand\nTry 'rm --help' for more information.")
	}
	status := 0
	for _, f := range files {
		p := c.abs(f)
		i, err := c.s.fs.Stat(c.cred(), p, false)
		switch {
		case err != nil:
			if !force {
				status = c.fail(1, "cannot remove '%s': %s", f, reason(err))
			}
		case p == "/" && !has(o, "no-preserve-root"):
			status = c.fail(1, "it is dangerous to operate recursively on '/'\nrm: use --no-preserve-root to override this failsafe")
		case i.IsDir() && !has(o, "r", "R", "recursive"):
			status = c.fail(1, "cannot remove '%s': Is a directory", f)
		default:
			status = max(status, c.removeAll(p, f))
		}
	}
	return status
}

func (c *call) removeAll(p, shown string) int {
	status := 0
	if i, err := c.s.fs.Stat(c.cred(), p, false); err == nil && i.IsDir() {
		kids, err := c.s.fs.ReadDir(c.cred(), p)
		if err != nil {
			return c.fail(1, "cannot remove '%s': %s", shown, reason(err))
		}
		for _, k := range kids {
			if c.stopped() {
				return 1
			}
			status = max(status, c.removeAll(path.Join(p, k.Name()), path.Join(shown, k.Name())))
		}
	}
	if p == "/" || strings.HasPrefix(p, "/proc") || strings.HasPrefix(p, "/sys") || p == "/dev" {
		return c.fail(1, "cannot remove '%s': %s", shown, map[bool]string{true: "Device or resource busy", false: "Operation not permitted"}[p == "/dev" || p == "/"])
	}
	if err := c.s.fs.Remove(c.cred(), p); err != nil && status == 0 {
		return c.fail(1, "cannot remove '%s': %s", shown, reason(err))
	}
	return status
}

func cmdCopy(c *call) int {
	o, files := c.flags("tSm")
	if len(files) < 2 {
		return c.fail(1, "missing file operand\nTry '%s --help' for more information.", c.args[0])
	}
	move := c.args[0] == "mv"
	dst := files[len(files)-1]
	di, derr := c.s.fs.Stat(c.cred(), c.abs(dst), true)
	isDir := derr == nil && di.IsDir()
	if len(files) > 2 && !isDir {
		return c.fail(1, "target '%s' is not a directory", dst)
	}
	status := 0
	for _, f := range files[:len(files)-1] {
		to := c.abs(dst)
		if isDir {
			to = path.Join(to, path.Base(c.abs(f)))
		}
		i, err := c.s.fs.Stat(c.cred(), c.abs(f), !move)
		switch {
		case err != nil:
			status = c.fail(1, "cannot stat '%s': %s", f, reason(err))
		case move:
			if err := c.s.fs.Rename(c.cred(), c.abs(f), to); err != nil {
				status = c.fail(1, "cannot move '%s' to '%s': %s", f, dst, reason(err))
			} else if i.Mode().IsRegular() {
				c.moved(to)
			}
		case i.IsDir() && !has(o, "r", "R", "a", "recursive"):
			status = c.fail(1, "-r not specified; omitting directory '%s'", f)
		default:
			status = max(status, c.copyTree(c.abs(f), to, f, 0))
		}
	}
	return status
}

// moved reports a file that arrived by renaming, as close-write would not see it.
func (c *call) moved(to string) {
	if b, err := c.s.fs.ReadFile(c.cred(), to); err == nil && !isStub(b) {
		c.s.captured(to, b, c.args[0], strings.Join(c.args, " "))
	}
}

func isStub(b []byte) bool {
	return len(b) > stubTagAt+len(stubTag) && string(b[stubTagAt:stubTagAt+len(stubTag)]) == stubTag
}

func (c *call) copyTree(from, to, shown string, depth int) int {
	i, err := c.s.fs.Stat(c.cred(), from, true)
	if err != nil || depth > 32 || c.stopped() {
		return 1
	}
	if i.IsDir() {
		if to == from || strings.HasPrefix(to+"/", from+"/") {
			return c.fail(1, "cannot copy a directory, '%s', into itself, '%s'", shown, to)
		}
		_ = c.s.fs.Mkdir(c.cred(), to, i.Mode().Perm())
		kids, _ := c.s.fs.ReadDir(c.cred(), from)
		status := 0
		for _, k := range kids {
			status = max(status, c.copyTree(path.Join(from, k.Name()), path.Join(to, k.Name()), shown, depth+1))
		}
		return status
	}
	data, err := c.s.fs.ReadFile(c.cred(), from)
	if err != nil {
		return c.fail(1, "cannot open '%s' for reading: %s", shown, reason(err))
	}
	h, err := c.s.fs.Open(c.cred(), to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, i.Mode().Perm())
	if err != nil {
		return c.fail(1, "cannot create regular file '%s': %s", to, reason(err))
	}
	defer h.Close()
	if _, err := h.Write(data); err != nil {
		return c.fail(1, "error writing '%s': %s", to, reason(err))
	}
	if !isStub(data) {
		c.s.captured(to, data, c.args[0], strings.Join(c.args, " "))
	}
	return 0
}

func cmdLn(c *call) int {
	o, f := c.flags("")
	if len(f) == 0 {
		return c.fail(1, "missing file operand\nTry 'ln --help' for more information.")
	}
	to := path.Base(f[0])
	if len(f) > 1 {
		to = f[1]
	}
	p := c.abs(to)
	if i, err := c.s.fs.Stat(c.cred(), p, true); err == nil && i.IsDir() {
		p = path.Join(p, path.Base(f[0]))
	}
	if has(o, "f") {
		_ = c.s.fs.Remove(c.cred(), p)
	}
	var err error
	kind := ""
	if has(o, "s") {
		kind, err = "symbolic ", c.s.fs.Symlink(c.cred(), f[0], p)
	} else {
		err = c.s.fs.Link(c.cred(), c.abs(f[0]), p)
	}
	if err != nil {
		return c.fail(1, "failed to create %slink '%s': %s", kind, to, reason(err))
	}
	return 0
}

func cmdChmod(c *call) int {
	var files []string
	spec, recursive := "", false
	for _, a := range c.args[1:] {
		switch {
		case a == "-R" || a == "--recursive":
			recursive = true
		case a == "-v" || a == "-f" || a == "-c":
		case spec == "":
			spec = a
		default:
			files = append(files, a)
		}
	}
	if len(files) == 0 {
		return c.fail(1, "missing operand\nTry 'chmod --help' for more information.")
	}
	status := 0
	for _, f := range files {
		status = max(status, c.chmod(c.abs(f), f, spec, recursive))
	}
	return status
}

func (c *call) chmod(p, shown, spec string, recursive bool) int {
	i, err := c.s.fs.Stat(c.cred(), p, true)
	if err != nil {
		return c.fail(1, "cannot access '%s': %s", shown, reason(err))
	}
	m, ok := applyMode(i.Mode(), spec)
	if !ok {
		return c.fail(1, "invalid mode: ‘%s’\nTry 'chmod --help' for more information.", spec)
	}
	if err := c.s.fs.Chmod(c.cred(), p, m); err != nil {
		return c.fail(1, "changing permissions of '%s': %s", shown, reason(err))
	}
	if recursive && i.IsDir() {
		kids, _ := c.s.fs.ReadDir(c.cred(), p)
		for _, k := range kids {
			if k.Mode()&fs.ModeSymlink == 0 {
				c.chmod(path.Join(p, k.Name()), path.Join(shown, k.Name()), spec, true)
			}
		}
	}
	return 0
}

// applyMode understands octal and symbolic modes.
func applyMode(m fs.FileMode, spec string) (fs.FileMode, bool) {
	if n, err := strconv.ParseInt(spec, 8, 32); err == nil && n >= 0 && n <= 0o7777 {
		return mode(int(n)), true
	}
	bits := octal(m)
	for _, part := range strings.Split(spec, ",") {
		i := strings.IndexAny(part, "+-=")
		if i < 0 {
			return 0, false
		}
		who, op, what := part[:i], part[i], part[i+1:]
		mask, set := 0, 0
		if who == "" || strings.Contains(who, "a") {
			who = "ugo"
		}
		for j, w := range "ogu" {
			if strings.ContainsRune(who, w) {
				mask |= 7 << (3 * j)
			}
		}
		for _, w := range what {
			v, ok := map[rune]int{'r': 0o444, 'w': 0o222, 'x': 0o111, 'X': 0o111, 's': 0o6000, 't': 0o1000}[w]
			if !ok {
				return 0, false
			}
			set |= v & (mask | 0o7000)
		}
		switch op {
		case '+':
			bits |= set
		case '-':
			bits &^= set
		default:
			bits = bits&^mask | set
		}
	}
	return mode(bits), true
}

func cmdChown(c *call) int {
	o, args := c.flags("")
	if len(args) < 2 {
		return c.fail(1, "missing operand\nTry '%s --help' for more information.", c.args[0])
	}
	owner, group, _ := strings.Cut(strings.Replace(args[0], ".", ":", 1), ":")
	if c.args[0] == "chgrp" {
		owner, group = "", args[0]
	}
	uid, gid := -1, -1
	if owner != "" {
		u, ok := c.s.find(owner)
		if !ok {
			return c.fail(1, "invalid user: ‘%s’", args[0])
		}
		uid = u.UID
	}
	if group != "" {
		if u, ok := c.s.find(group); ok {
			gid = u.GID
		}
	}
	status := 0
	for _, f := range args[1:] {
		status = max(status, c.chown(c.abs(f), f, uid, gid, has(o, "R")))
	}
	return status
}

func (c *call) chown(p, shown string, uid, gid int, recursive bool) int {
	if err := c.s.fs.Chown(c.cred(), p, uid, gid); err != nil {
		return c.fail(1, "changing ownership of '%s': %s", shown, reason(err))
	}
	if kids, err := c.s.fs.ReadDir(c.cred(), p); recursive && err == nil {
		for _, k := range kids {
			c.chown(path.Join(p, k.Name()), path.Join(shown, k.Name()), uid, gid, true)
		}
	}
	return 0
}

func cmdStat(c *call) int {
	o, files := c.flags("cf")
	status := 0
	for _, f := range files {
		i, err := c.s.fs.Stat(c.cred(), c.abs(f), false)
		if err != nil {
			status = c.fail(1, "cannot statx '%s': %s", f, reason(err))
			continue
		}
		if format, ok := o["c"]; ok {
			c.printf("%s\n", strings.NewReplacer("%n", f, "%s", strconv.FormatInt(i.Size(), 10), "%a", strconv.FormatInt(int64(octal(i.Mode())), 8),
				"%U", c.s.userName(i.UID), "%G", c.s.groupName(i.GID), "%u", itoa(i.UID), "%g", itoa(i.GID), "%Y", strconv.FormatInt(i.ModTime().Unix(), 10)).Replace(format))
			continue
		}
		t := i.ModTime().UTC().Format("2006-01-02 15:04:05.000000000 -0700")
		c.printf("  File: %s\n  Size: %-15d Blocks: %-10d IO Block: 4096   %s\nDevice: 801h/2049d\tInode: %-11d Links: %d\nAccess: (%04o/%s)  Uid: (%5d/%8s)   Gid: (%5d/%8s)\nAccess: %s\nModify: %s\nChange: %s\n Birth: -\n",
			f, i.Size(), (i.Size()+4095)/4096*8, kindOf(i), i.Ino, i.Links, octal(i.Mode()), modeText(i.Mode()), i.UID, c.s.userName(i.UID), i.GID, c.s.groupName(i.GID), t, t, t)
	}
	return status
}

func kindOf(i vfs.Info) string {
	switch m := i.Mode(); {
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeCharDevice != 0:
		return "character special file"
	case m&fs.ModeDevice != 0:
		return "block special file"
	case i.Size() == 0:
		return "regular empty file"
	}
	return "regular file"
}

func cmdFile(c *call) int {
	_, files := c.flags("")
	for _, f := range files {
		i, err := c.s.fs.Stat(c.cred(), c.abs(f), false)
		what := "cannot open `" + f + "' (No such file or directory)"
		if err == nil {
			what = kindOf(i)
			if i.Mode()&fs.ModeSymlink != 0 {
				what = "symbolic link to " + i.Target
			} else if b, err := c.s.fs.ReadFile(c.cred(), c.abs(f)); err == nil {
				what = sniff(b)
			}
		}
		c.printf("%s: %s\n", f, what)
	}
	return 0
}

func sniff(b []byte) string {
	switch s := string(b[:min(len(b), 64)]); {
	case s == "":
		return "empty"
	case strings.HasPrefix(s, "\x7fELF\x02"):
		return "ELF 64-bit LSB pie executable, x86-64, version 1 (SYSV), dynamically linked, interpreter /lib64/ld-linux-x86-64.so.2, for GNU/Linux 3.2.0, stripped"
	case strings.HasPrefix(s, "\x7fELF\x01"):
		return "ELF 32-bit LSB executable, Intel 80386, version 1 (SYSV), statically linked, stripped"
	case strings.HasPrefix(s, "#!"):
		return "Bourne-Again shell script, ASCII text executable"
	case strings.HasPrefix(s, "\x1f\x8b"):
		return "gzip compressed data, from Unix"
	case strings.HasPrefix(s, "PK"):
		return "Zip archive data, at least v2.0 to extract"
	case strings.IndexByte(s, 0) >= 0:
		return "data"
	}
	return "ASCII text"
}

// human renders a size like ls -h.
