package ftp

import (
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/vfs"
)

// key names what a server has to say. Every product has a text for every key; a test checks that.
type key string

// product is one server: what it says and what it knows. A text is a reply of one or more lines, separated by line feeds, with
// {arg}, {path}, {name}, {user}, {cmd}, {n} and the like for what fills it.
type product struct {
	name string
	text map[key]string
	// commands are known, early ones are answered before login.
	commands, early string
	// anonymousAtOnce logs anonymous users in without asking for a password.
	anonymousAtOnce bool
	maxTries        int
	idle            time.Duration
	// ascii turns line feeds into CR LF in transfers of that type; noASCIIResume refuses REST in them.
	ascii, noASCIIResume bool
	dotsInNLST           bool
	line                 func(i vfs.Info, name string, o owner, now time.Time) string
	facts                func(i vfs.Info, kind string, o owner) string
}

func (p *product) knows(cmd string) bool { return contains(p.commands, cmd) }

func (p *product) beforeLogin(cmd string) bool { return contains(p.early, cmd) }

func contains(words, w string) bool { return strings.Contains(" "+words+" ", " "+w+" ") }

// owner names who a file belongs to.
type owner struct {
	uid, gid   int
	user, team string
}

// pick chooses the product for a decky: servers of Windows for Windows machines, else the usual ones of Linux.
func pick(id identity.Identity, nmapOS string) *product {
	linux := []identity.Weighted[*product]{{Value: &vsftpd, Weight: 5}, {Value: &proftpd, Weight: 4}, {Value: &pureftpd, Weight: 3}}
	if strings.HasPrefix(nmapOS, "windows") {
		linux = []identity.Weighted[*product]{{Value: &fileZilla, Weight: 3}, {Value: &microsoft, Weight: 4}}
	}
	return identity.PickWeighted(id, "ftp-server", linux)
}

// versionOf returns the version of vsftpd that the distribution packages.
func versionOf(h *persona.Host) string {
	switch {
	case h.Release.ID == "centos":
		return "3.0.2"
	case h.Release.ID == "debian", h.VersionID == "20.04":
		return "3.0.3"
	}
	return "3.0.5"
}

// greetingOfProFTPD follows the package: from 1.3.7 on no version is shown.
func greetingOfProFTPD(h *persona.Host) string {
	switch {
	case h.PackageTool == "apt":
		return "ProFTPD Server (Debian)"
	case h.Release.ID == "centos":
		return "ProFTPD 1.3.5e Server (ProFTPD server)"
	}
	return "ProFTPD Server (ProFTPD server)"
}

// stamp is the time column of a long listing.
func stamp(t, now time.Time) string {
	if t.After(now.Add(-182*24*time.Hour)) && !t.After(now.Add(time.Hour)) {
		return t.Format("Jan 02 15:04")
	}
	return t.Format("Jan 02  2006")
}

func mode(i vfs.Info) string {
	kind := "-"
	if i.IsDir() {
		kind = "d"
	}
	return kind + strings.TrimPrefix((i.Mode()&fs.ModePerm).String(), "-")
}

func factTime(i vfs.Info) string { return i.ModTime().UTC().Format("20060102150405") }

func factSize(i vfs.Info, kind string) string {
	if kind == "file" {
		return fmt.Sprintf("size=%d;", i.Size())
	}
	return ""
}

func unique(i vfs.Info, format string) string { return fmt.Sprintf(format, i.Ino) }
