package ftp

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/decnet/decnet/decoys/vfs"
)

func fsMode(bits uint64) fs.FileMode { return fs.FileMode(bits) & fs.ModePerm }

// abs returns the absolute path of an argument.
func (c *conn) abs(arg string) string { return vfs.Clean(c.cwd, strings.ReplaceAll(arg, `\`, "/")) }

// named says something about a path as the client gave it.
func (c *conn) named(k key, arg string, err error) {
	p := c.abs(arg)
	c.say(k, "arg", arg, "name", arg, "path", p, "why", why(err))
}

// why is what a C library says about err.
func why(err error) string {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		text := e.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	}
	return "No such file or directory"
}

// badName reports names that no listing could show.
func badName(arg string) bool {
	return arg == "" || len(arg) > 1024 || strings.ContainsFunc(arg, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

func doPwd(_ context.Context, c *conn, _, _ string) {
	c.say("pwd", "path", strings.ReplaceAll(c.cwd, `"`, `""`))
}

func doCwd(_ context.Context, c *conn, _, arg string) {
	if arg == "" {
		c.named("cwd missing", arg, nil)
		if c.p == &pureftpd {
			c.cwd = "/"
		}
		return
	}
	c.chdir(arg, "cwd")
}

func doCdup(_ context.Context, c *conn, _, _ string) { c.chdir("..", "cdup") }

func (c *conn) chdir(arg string, k key) {
	p := c.abs(arg)
	i, err := c.fs.Stat(c.cred, p, true)
	if err == nil && !i.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		c.named("cwd no", arg, err)
		return
	}
	c.cwd = p
	c.say(k, "path", p)
}

// stat returns a file; directories yield dir and what is missing no.
func (c *conn) stat(arg string, no, dir key) (vfs.Info, bool) {
	i, err := c.fs.Stat(c.cred, c.abs(arg), true)
	switch {
	case err != nil:
		c.named(no, arg, err)
	case i.IsDir():
		c.named(dir, arg, nil)
	default:
		return i, true
	}
	return vfs.Info{}, false
}

func doSize(_ context.Context, c *conn, _, arg string) {
	if c.ascii && c.p.text["size ascii"] != c.p.text["size"] {
		c.named("size ascii", arg, nil)
		return
	}
	if i, ok := c.stat(arg, "size no", "size dir"); ok {
		c.say("size", "n", strconv.FormatInt(i.Size(), 10))
	}
}

func doModified(_ context.Context, c *conn, _, arg string) {
	if i, ok := c.stat(arg, "mdtm no", "mdtm no"); ok {
		c.say("mdtm", "time", factTime(i))
	}
}

func doMlst(_ context.Context, c *conn, _, arg string) {
	i, err := c.fs.Stat(c.cred, c.abs(arg), true)
	if err != nil {
		c.named("mlst no", arg, err)
		return
	}
	if arg == "" {
		arg = c.cwd
	}
	kind := "file"
	if i.IsDir() {
		kind = "dir"
	}
	c.say("mlst", "facts", c.p.facts(i, kind, c.owner(i)), "path", c.abs(arg), "arg", arg)
}

func (c *conn) owner(i vfs.Info) owner {
	o := owner{uid: i.UID, gid: i.GID, user: "ftp", team: "ftp"}
	if i.UID == uidNobody {
		o.user, o.team = "nobody", "nogroup"
	}
	return o
}

func doMkdir(_ context.Context, c *conn, _, arg string) {
	if badName(arg) {
		c.named("missing", arg, nil)
		return
	}
	c.done(c.fs.Mkdir(c.cred, c.abs(arg), 0o755), "mkd", "mkd no", arg)
}

func doRmdir(_ context.Context, c *conn, _, arg string) {
	i, err := c.fs.Stat(c.cred, c.abs(arg), false)
	if err == nil && !i.IsDir() {
		err = syscall.ENOTDIR
	}
	if err == nil {
		err = c.fs.Remove(c.cred, c.abs(arg))
	}
	c.done(err, "rmd", "rmd no", arg)
}

func doDelete(_ context.Context, c *conn, _, arg string) {
	i, err := c.fs.Stat(c.cred, c.abs(arg), false)
	if err == nil && i.IsDir() {
		err = syscall.EISDIR
	}
	if err == nil {
		err = c.fs.Remove(c.cred, c.abs(arg))
	}
	c.done(err, "dele", "dele no", arg)
}

func (c *conn) done(err error, yes, no key, arg string) {
	if err != nil {
		c.named(no, arg, err)
		return
	}
	c.named(yes, arg, nil)
}

func doRenameFrom(_ context.Context, c *conn, _, arg string) {
	if _, err := c.fs.Stat(c.cred, c.abs(arg), false); err != nil || arg == "" {
		c.named("rnfr no", arg, err)
		return
	}
	c.rename = c.abs(arg)
	c.say("rnfr")
}

func doRenameTo(_ context.Context, c *conn, _, arg string) {
	switch {
	case c.rename == "":
		c.say("rnto first")
	case badName(arg):
		c.named("rnto no", arg, syscall.EINVAL)
	default:
		c.done(c.fs.Rename(c.cred, c.rename, c.abs(arg)), "rnto", "rnto no", arg)
	}
}

// list returns a long listing of a path, which may be a pattern after options, and how many entries it has. Lines end with line feeds.
func (c *conn) list(arg string, long bool) (text string, n int, err error) {
	options, arg := splitOptions(arg)
	infos, names, err := c.entries(arg, strings.Contains(options, "a"), strings.Contains(options, "d"))
	if err != nil {
		return "", 0, err
	}
	var b strings.Builder
	now := c.s.o.Host.Now()
	for j, i := range infos {
		line := names[j]
		if long {
			line = c.p.line(i, names[j], c.owner(i), now)
		}
		b.WriteString(line + "\n")
	}
	return b.String(), len(infos), nil
}

// splitOptions separates the options of ls that clients send from the path.
func splitOptions(arg string) (options, rest string) {
	rest = strings.TrimSpace(arg)
	for strings.HasPrefix(rest, "-") {
		var word string
		word, rest, _ = strings.Cut(rest, " ")
		options += word[1:]
		rest = strings.TrimSpace(rest)
	}
	return options, rest
}

// entries returns what a listing of arg shows: the content of a directory, a file, or what matches a pattern.
func (c *conn) entries(arg string, all, self bool) (infos []vfs.Info, names []string, err error) {
	p := c.abs(arg)
	i, err := c.fs.Stat(c.cred, p, true)
	switch {
	case err == nil && i.IsDir() && !self:
		infos, err = c.fs.ReadDir(c.cred, p)
		infos = slices.DeleteFunc(infos, func(i vfs.Info) bool { return !all && strings.HasPrefix(i.Name(), ".") })
		for _, i := range infos {
			names = append(names, i.Name())
		}
		if all && err == nil {
			up, _ := c.fs.Stat(c.cred, path.Dir(p), true)
			infos, names = append([]vfs.Info{i, up}, infos...), append([]string{".", ".."}, names...)
		}
		return infos, names, err
	case err == nil:
		return []vfs.Info{i}, []string{arg}, nil
	case strings.ContainsAny(path.Base(p), "*?["):
		dir, derr := c.fs.ReadDir(c.cred, path.Dir(p))
		for _, i := range dir {
			if ok, _ := path.Match(path.Base(p), i.Name()); ok {
				infos, names = append(infos, i), append(names, strings.TrimSuffix(arg, path.Base(arg))+i.Name())
			}
		}
		return infos, names, derr
	}
	return nil, nil, err
}

// machineList is the listing of MLSD (RFC 3659).
func (c *conn) machineList(arg string) (text string, n int, err error) {
	p := c.abs(arg)
	infos, err := c.fs.ReadDir(c.cred, p)
	if err != nil {
		return "", 0, err
	}
	var b strings.Builder
	add := func(i vfs.Info, kind, name string) {
		b.WriteString(c.p.facts(i, kind, c.owner(i)) + " " + name + "\n")
		n++
	}
	if c.p != &fileZilla {
		here, _ := c.fs.Stat(c.cred, p, true)
		up, _ := c.fs.Stat(c.cred, path.Dir(p), true)
		add(here, "cdir", ".")
		add(up, "pdir", "..")
	}
	for _, i := range infos {
		kind := "file"
		if i.IsDir() {
			kind = "dir"
		}
		add(i, kind, i.Name())
	}
	return b.String(), n, nil
}
