package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cenkalti/backoff/v5"

	"github.com/decnet/decnet/internal/fault"
)

// The role and the database of decnet, and the superuser that creates them.
const (
	postgresRole      = "decnet"
	postgresDatabase  = "decnet"
	postgresSuperuser = "postgres"
)

// identMap is the name of the user map in pg_ident.conf.
const identMap = "decnet"

// maxSocketPath is the size of sun_path (unix(7)) without its terminating zero.
const maxSocketPath = 107

// socketFile is the name Postgres gives its socket for the port it is told, which is only a name here.
const socketFile = ".s.PGSQL.5432"

// clusterHome is where Postgres lives on disk. The home itself belongs to us, the cluster in it to the account, so
// that nothing written by us as root can be redirected by that account.
type clusterHome struct {
	home, cluster, socketDir string
	as                       account
	install                  postgresInstall
	volatile                 bool
}

// launcher returns what builds commands for this cluster.
func (h clusterHome) launcher(death syscall.Signal) launcher {
	return launcher{as: h.as, dirs: []string{h.home, h.socketDir}, death: death}
}

// ensure creates the cluster when there is none. initdb works in a directory of another name that is renamed when it
// is complete, so a kill at any moment leaves either no cluster or a whole one.
func (h clusterHome) ensure(out *output) error {
	h.sweep()
	if _, err := os.Stat(h.cluster); err == nil {
		return nil
	}
	fresh, err := os.MkdirTemp(h.home, "init-")
	if err != nil {
		return fmt.Errorf("create cluster: %w", err)
	}
	defer func() { _ = os.RemoveAll(fresh) }() // gone already when the rename succeeded
	if err := h.as.give(fresh); err != nil {
		return fmt.Errorf("create cluster: %w", err)
	}
	if err := h.initdb(fresh, out); err != nil {
		return err
	}
	if err := os.Rename(fresh, h.cluster); err != nil {
		return fmt.Errorf("create cluster: %w", err)
	}
	return syncDir(h.home)
}

// sweep removes what interrupted runs of initdb left behind.
func (h clusterHome) sweep() {
	left, _ := filepath.Glob(filepath.Join(h.home, "init-*"))
	for _, dir := range left {
		_ = os.RemoveAll(dir)
	}
}

// initdb fills an empty directory. C collation keeps indexes valid across upgrades of the C library.
func (h clusterHome) initdb(dir string, out *output) error {
	args := []string{
		"--pgdata=" + dir, "--username=" + postgresSuperuser, "--auth=peer", "--encoding=UTF8",
		"--locale=C", "--lc-ctype=C.UTF-8", "--no-instructions",
	}
	if h.volatile {
		args = append(args, "--no-sync")
	}
	cmd, err := h.launcher(syscall.SIGKILL).command(filepath.Join(h.install.dir, "initdb"), args...)
	if err != nil {
		return err
	}
	out.forget()
	cmd.Stdout, cmd.Stderr = out, out
	if err := runTied(cmd); err != nil {
		return fmt.Errorf("create cluster with initdb: %w: %s", err, out.last())
	}
	return nil
}

// writeAccess says who may connect: the system user that runs decnet, proven by the kernel (peer), as decnet or as the
// superuser. There is no password to leak into a URL, a log or a backup, and the socket lies in a directory that only
// that user, root and the account can enter. Nobody else on the machine gets as far as the socket.
func (h clusterHome) writeAccess() error {
	me, err := user.Current()
	if err != nil {
		return fault.New(fault.Unavailable, "postgres_no_account", "this process runs as a user without a name").Wrap(err)
	}
	var ident bytes.Buffer
	for _, role := range []string{postgresRole, postgresSuperuser} {
		fmt.Fprintf(&ident, "%s %s %s\n", identMap, quoteConf(me.Username), role)
	}
	// Readable for the account; the directory keeps everybody else out.
	return errors.Join(
		writeAtomic(h.identFile(), ident.Bytes(), 0o644),
		writeAtomic(h.hbaFile(), []byte("local all all peer map="+identMap+"\n"), 0o644))
}

func (h clusterHome) identFile() string { return filepath.Join(h.home, "pg_ident.conf") }

func (h clusterHome) hbaFile() string { return filepath.Join(h.home, "pg_hba.conf") }

// quoteConf quotes a word of pg_ident.conf; a leading slash would make it a regular expression.
func quoteConf(word string) string { return `"` + strings.ReplaceAll(word, `"`, `""`) + `"` }

// releasePIDFile removes a postmaster.pid whose pid was given to an unrelated process meanwhile, which Postgres would
// take for a running server. A dead pid is left to Postgres: the file also lets it find sessions that outlive a killed
// server. A Postgres on this cluster that decnet has not recorded is never touched: that is a refusal.
func (h clusterHome) releasePIDFile() error {
	root, err := os.OpenRoot(h.cluster) // the cluster belongs to another user: follow no link out of it
	if err != nil {
		return fmt.Errorf("open cluster: %w", err)
	}
	defer func() { _ = root.Close() }()
	text, err := root.ReadFile("postmaster.pid")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read postmaster.pid: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 {
		return root.Remove("postmaster.pid")
	}
	if _, err := startTicks(pid); err != nil {
		return nil //nolint:nilerr // the process is gone, which is the usual case
	}
	switch {
	case worksIn(pid, h.cluster):
		return backoff.Permanent(fault.New(fault.Conflict, "postgres_running",
			"process %d, which decnet did not record, runs Postgres on %s: stop it first", pid, h.cluster))
	case anyWorksIn(h.cluster):
		return errors.New("sessions of a killed server still end")
	}
	return root.Remove("postmaster.pid")
}

// serverArgs are the settings of the server. They are arguments and not in postgresql.conf, so that an upgrade of
// decnet changes them for existing clusters too.
func (h clusterHome) serverArgs() []string {
	settings := []string{
		"listen_addresses=",
		`unix_socket_directories="` + strings.ReplaceAll(h.socketDir, `"`, `""`) + `"`,
		"unix_socket_permissions=0700",
		"port=5432",
		"hba_file=" + h.hbaFile(),
		"ident_file=" + h.identFile(),
		"cluster_name=decnet",
		"max_connections=200",
		"shared_buffers=256MB", // the newest tenth of a log of a million events, and its indexes
		"huge_pages=off",
		"jit=off", // compiling costs more than it saves on our short queries
		"max_logical_replication_workers=0",
		"timezone=UTC", "log_timezone=UTC",
		"logging_collector=off", "log_destination=stderr", "log_min_messages=warning", "log_checkpoints=off",
		"log_error_verbosity=terse", // DETAIL lines quote values, and values come from attackers
	}
	durable := "on"
	if h.volatile {
		durable = "off"
	}
	settings = append(settings, "fsync="+durable, "synchronous_commit="+durable, "full_page_writes="+durable)
	args := []string{"-D", h.cluster}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	return args
}

// chooseSocketDir returns the directory of the socket, owned by the account and closed to everybody else: in the data
// directory, or, when the path would not fit into a socket address, a random one under /tmp that is remembered.
func chooseSocketDir(run string, as account) (string, error) {
	dir := filepath.Join(run, "postgresql")
	note := filepath.Join(run, "postgresql-socket-dir")
	if len(filepath.Join(dir, socketFile)) > maxSocketPath {
		var err error
		if dir, err = shortSocketDir(note, as); err != nil {
			return "", fmt.Errorf("socket directory: %w", err)
		}
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("socket directory: %w", err)
	}
	return dir, errors.Join(os.Chmod(dir, 0o700), as.give(dir)) //nolint:gosec // a directory
}

func shortSocketDir(note string, as account) (string, error) {
	if text, err := os.ReadFile(note); err == nil {
		dir := strings.TrimSpace(string(text))
		// Others may write to /tmp: take nothing that somebody else put there in our absence.
		info, err := os.Lstat(dir) //nolint:gosec // our own note
		if err == nil && info.IsDir() && info.Mode().Perm() == 0o700 &&
			info.Sys().(*syscall.Stat_t).Uid == as.uid {
			return dir, nil
		}
	}
	dir, err := os.MkdirTemp("/tmp", "decnet-pg-")
	if err != nil {
		return "", err
	}
	return dir, errors.Join(as.give(dir), writeAtomic(note, []byte(dir+"\n"), 0o600))
}

// prepare leaves everything in place for a start of the server.
func (h clusterHome) prepare(_ context.Context) error {
	if err := h.releasePIDFile(); err != nil {
		return err
	}
	return h.writeAccess()
}
