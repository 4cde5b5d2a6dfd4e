package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	diskFail = 512 << 20
	diskWarn = 5 << 30
)

func (d *doctor) readyPath() string {
	if d.cfg.ReadyFile != "" {
		return d.cfg.ReadyFile
	}
	return filepath.Join(d.cfg.DataDir, "run", "ready.json")
}

func (d *doctor) dataDir(context.Context) finding {
	const name = "data directory"
	path, err := filepath.Abs(d.cfg.DataDir)
	if err != nil {
		return finding{name, failed, err.Error(), "choose another --data-dir"}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.newDataDir(path)
	case err != nil:
		return finding{name, failed, err.Error(), "choose another --data-dir, or let this user in"}
	case !info.IsDir():
		return finding{name, failed, path + " is no directory", "choose another --data-dir"}
	case unix.Access(path, unix.R_OK|unix.W_OK|unix.X_OK) != nil:
		return finding{name, failed, "this user cannot write to " + path, "chown it to the user who starts decnet, or choose another --data-dir"}
	case d.running != nil:
		return finding{name, fine, fmt.Sprintf("%s, in use by the running decnet (pid %d)", path, d.running.PID), ""}
	case foreign(path):
		return finding{name, failed, path + " is not empty and no decnet data directory", "choose another --data-dir"}
	}
	return finding{name, fine, path, ""}
}

func (d *doctor) newDataDir(path string) finding {
	const name = "data directory"
	parent := existing(path)
	if unix.Access(parent, unix.W_OK|unix.X_OK) != nil {
		return finding{
			name, failed, fmt.Sprintf("%s is not there and this user cannot create it in %s", path, parent),
			"create it for the user who starts decnet, or choose another --data-dir",
		}
	}
	return finding{name, fine, path + " will be created", ""}
}

// foreign reports whether a directory holds something and is not decnet's.
func foreign(path string) bool {
	entries, err := os.ReadDir(path)
	if err != nil {
		return false
	}
	other := false
	for _, e := range entries {
		if e.Name() == "decnet.lock" {
			return false
		}
		other = other || e.Name() != "lost+found"
	}
	return other
}

// existing returns path or its nearest ancestor that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// traversal matters to root only: the user who runs Postgres has to pass every directory above the cluster.
func (d *doctor) traversal(context.Context) finding {
	const name = "data dir path"
	u, err := serverUser()
	if os.Geteuid() != 0 || d.cfg.DatabaseURL != "" || err != nil {
		return finding{name, fine, "passable", ""}
	}
	path, _ := filepath.Abs(d.cfg.DataDir) // judged by dataDir
	if at := blocker(u, filepath.Dir(path)); at != "" {
		return finding{
			name, warned, fmt.Sprintf("%s cannot pass %s: Postgres gets a private view, if this machine permits one", u.Username, at),
			"chmod o+x " + at + ", or choose a --data-dir elsewhere, such as /var/lib/decnet",
		}
	}
	return finding{name, fine, "passable for " + u.Username, ""}
}

// blocker returns the topmost existing directory of path that u may not pass, "" when there is none.
func blocker(u *user.User, path string) string {
	at := "/"
	for _, element := range strings.Split(strings.Trim(path, "/"), "/") {
		at = filepath.Join(at, element)
		info, err := os.Stat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return "" // decnet creates the rest passable
		}
		if err != nil || !passes(u, info) {
			return at
		}
	}
	return ""
}

func passes(u *user.User, info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	bit := fs.FileMode(0o001)
	switch {
	case u.Uid == strconv.Itoa(int(st.Uid)):
		bit = 0o100
	case u.Gid == strconv.Itoa(int(st.Gid)):
		bit = 0o010
	}
	return info.Mode().Perm()&bit != 0
}

// secrets checks that nobody else can read what must stay private.
func (d *doctor) secrets(context.Context) finding {
	const name = "secret files"
	var open []string
	for _, path := range []string{d.cfg.SecretKeyPath(), filepath.Join(d.cfg.DataDir, "admin-password"), d.readyPath()} {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
			open = append(open, path)
		}
	}
	if open != nil {
		return finding{name, failed, "others may read " + joined(open), "chmod 600 " + strings.Join(open, " ")}
	}
	return finding{name, fine, "private", ""}
}

func (d *doctor) disk(context.Context) finding {
	const name = "disk"
	path, _ := filepath.Abs(d.cfg.DataDir) // judged by dataDir
	var st unix.Statfs_t
	if err := unix.Statfs(existing(path), &st); err != nil {
		return finding{name, warned, "free space is unknown: " + err.Error(), ""}
	}
	free := st.Bavail * uint64(max(st.Bsize, 0))
	detail := fmt.Sprintf("%.1f GiB free", float64(free)/(1<<30))
	switch {
	case free < diskFail:
		return finding{name, failed, detail, "free at least 512 MiB, better 5 GiB, or choose a --data-dir elsewhere"}
	case free < diskWarn:
		return finding{name, warned, detail + "; recordings and captured files need room", "free 5 GiB, or choose a --data-dir elsewhere"}
	case st.Files > 0 && st.Ffree*100 < st.Files:
		return finding{name, warned, detail + ", but hardly any inodes", "remove small files from this file system"}
	}
	return finding{name, fine, detail, ""}
}

func (d *doctor) apiPort(ctx context.Context) finding {
	const name = "api port"
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", d.cfg.Listen)
	if err == nil {
		_ = l.Close()
		return finding{name, fine, d.cfg.Listen + " is free", ""}
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && d.ours():
		return finding{name, fine, d.cfg.Listen + " is served by the running decnet", ""}
	case errors.Is(err, syscall.EADDRINUSE):
		return finding{name, failed, "something else listens on " + d.cfg.Listen, "stop it, or choose another --listen"}
	case errors.Is(err, syscall.EACCES):
		return finding{name, failed, "this user may not listen on " + d.cfg.Listen, "choose a --listen port above 1023"}
	}
	return finding{name, failed, "cannot listen on " + d.cfg.Listen + ": " + rootCause(err).Error(), "choose another --listen"}
}

// ours reports whether the running decnet serves the configured port.
func (d *doctor) ours() bool {
	if d.running == nil {
		return false
	}
	u, err := url.Parse(d.running.APIURL)
	_, port, splitErr := net.SplitHostPort(d.cfg.Listen)
	return err == nil && splitErr == nil && u.Port() == port
}
