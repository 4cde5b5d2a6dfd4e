package embedded_test

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
	"github.com/decnet/decnet/internal/fault"
)

func TestPostgres_KilledServerComesBack(t *testing.T) {
	t.Parallel()
	var log logBook
	p := startPostgres(t, lock(t, filepath.Join(t.TempDir(), "data")), &log)
	query(t, p.URL(), "WITH made AS (SELECT lo_from_bytea(7, 'x')) SELECT 'ok' FROM made")

	busy, err := pgx.Connect(t.Context(), p.URL())
	require.NoError(t, err)
	defer func() { _ = busy.Close(context.Background()) }()
	slept := make(chan error, 1)
	go func() {
		_, err := busy.Exec(context.Background(), "SELECT pg_sleep(60)")
		slept <- err
	}()
	pid := p.Child().PID()
	kill(t, pid)
	require.Error(t, <-slept)
	eventually(t, "restarted", func() bool {
		out, err := tryQuery(t.Context(), p.URL(), "SELECT oid::text FROM pg_largeobject_metadata")
		return err == nil && out == "7"
	})
	require.NotEqual(t, pid, p.Child().PID())
	require.Contains(t, log.String(), "will be started again")
}

func TestPostgres_RoleIsNoSuperuserAndSettingsHold(t *testing.T) {
	t.Parallel()
	var log logBook
	p := startPostgres(t, lock(t, filepath.Join(t.TempDir(), "data")), &log)
	require.Equal(t, "false", query(t, p.URL(), "SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user"))
	for name, want := range map[string]string{
		"listen_addresses": "", "fsync": "on", "synchronous_commit": "on", "jit": "off",
		"shared_buffers": "256MB", "max_connections": "200", "server_encoding": "UTF8", "lc_collate": "C",
	} {
		require.Equal(t, want, query(t, p.URL(), "SELECT current_setting('"+name+"')"), name)
	}
}

func TestPostgres_OtherUsersAreKeptOut(t *testing.T) {
	t.Parallel()
	psql, err := exec.LookPath("psql")
	if os.Geteuid() != 0 || err != nil {
		t.Skip("needs root, to become somebody else, and psql")
	}
	var log logBook
	p := startPostgres(t, lock(t, filepath.Join(t.TempDir(), "data")), &log)
	cmd := exec.CommandContext(t.Context(), psql, p.URL(), "-c", "SELECT 1")
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "Permission denied")
}

func TestPostgres_VersionMismatchNamesPackage(t *testing.T) {
	t.Parallel()
	d := lock(t, filepath.Join(t.TempDir(), "data"))
	cluster := d.Join("postgres", "cluster")
	require.NoError(t, os.Mkdir(cluster, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(cluster, "PG_VERSION"), []byte("9\n"), 0o600))
	var log logBook
	_, err := embedded.StartPostgres(t.Context(), embedded.PostgresOptions{Dir: d, Logger: log.logger()}, nil)
	f := requireFault(t, err, fault.Unprocessable, "postgres_version_mismatch")
	require.Contains(t, f.Message, "postgresql-9")
}

func TestPostgres_MissingServerNamesPackage(t *testing.T) {
	t.Parallel()
	var log logBook
	_, err := embedded.StartPostgres(t.Context(), embedded.PostgresOptions{
		Dir: lock(t, filepath.Join(t.TempDir(), "data")), BinDirs: []string{t.TempDir()}, Logger: log.logger(),
	}, nil)
	f := requireFault(t, err, fault.Unavailable, "postgres_missing")
	require.Contains(t, f.Message, "install the package postgresql")
}

func TestPostgres_LongPathUsesShortSocketAndRemembersIt(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 30), "data")
	var socket string
	for range 2 {
		var log logBook
		d := lock(t, dir)
		p := startPostgres(t, d, &log)
		u, err := url.Parse(p.URL())
		require.NoError(t, err)
		host := u.Query().Get("host")
		require.LessOrEqual(t, len(host), 80)
		if socket == "" {
			socket = host
			t.Cleanup(func() { _ = os.RemoveAll(host) })
		}
		require.Equal(t, socket, host)
		info, err := os.Stat(host)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
		p.Stop(context.Background())
		require.NoError(t, d.Unlock())
	}
}

func TestPostgres_BlockedDirectoryStaysBlocked(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: only root's Postgres runs as somebody else")
	}
	blocked := filepath.Join(t.TempDir(), "b")
	require.NoError(t, os.Mkdir(blocked, 0o700))
	var log logBook
	d := lock(t, filepath.Join(blocked, "deep", "data"))
	p := startPostgres(t, d, &log)
	require.Equal(t, "1", query(t, p.URL(), "SELECT '1'"))
	for _, dir := range []string{blocked, filepath.Join(blocked, "deep")} {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	}
	var st syscall.Stat_t
	require.NoError(t, syscall.Stat(fmt.Sprintf("/proc/%d", p.Child().PID()), &st))
	require.NotZero(t, st.Uid, "the server must not run as root")
	require.Contains(t, query(t, p.AdminURL(), "SHOW data_directory"), d.Path(), "paths mean the same inside and outside")
}

func TestPostgres_StalePIDFileOfLivingStrangerDoesNotBlock(t *testing.T) {
	t.Parallel()
	var log logBook
	d := lock(t, filepath.Join(t.TempDir(), "data"))
	p := startPostgres(t, d, &log)
	kill(t, p.Child().PID())
	p.Stop(context.Background())

	stranger := sleeper(t)
	pid := strconv.Itoa(stranger)
	file := d.Join("postgres", "cluster", "postmaster.pid")
	require.NoError(t, os.WriteFile(file, []byte(pid+"\n"+d.Join("postgres", "cluster")+"\n1\n5432\n\n\n"), 0o600))
	again := startPostgres(t, d, &log)
	require.Equal(t, "1", query(t, again.URL(), "SELECT '1'"))
	require.False(t, gone(stranger), "a process that is not ours must be left alone")
}

func TestPostgres_UnrecordedServerIsRefusedNotKilled(t *testing.T) {
	t.Parallel()
	var log logBook
	d := lock(t, filepath.Join(t.TempDir(), "data"))
	p := startPostgres(t, d, &log)
	require.NoError(t, os.Remove(d.Join("run", "postgres.process")))
	_, err := embedded.StartPostgres(t.Context(), embedded.PostgresOptions{Dir: d, Logger: log.logger()}, nil)
	requireFault(t, err, fault.Conflict, "postgres_running")
	require.Equal(t, "1", query(t, p.URL(), "SELECT '1'"))
}

func TestPostgres_RecordedSurvivorIsStopped(t *testing.T) {
	t.Parallel()
	var log, second logBook
	d := lock(t, filepath.Join(t.TempDir(), "data"))
	first := startPostgres(t, d, &log)
	pid := first.Child().PID()
	// The first supervisor still runs here and would start its server again; freeze that by ending it meanwhile.
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for !gone(pid) {
			time.Sleep(time.Millisecond)
		}
		first.Stop(context.Background())
	}()
	again := startPostgres(t, d, &second)
	<-stopped
	require.True(t, gone(pid))
	require.Contains(t, second.String(), "child process of an earlier run stopped")
	eventually(t, "serves", func() bool {
		_, err := tryQuery(t.Context(), again.URL(), "SELECT '1'")
		return err == nil
	})
}

func TestPostgres_InterruptedInitdbIsSwept(t *testing.T) {
	t.Parallel()
	var log logBook
	d := lock(t, filepath.Join(t.TempDir(), "data"))
	touch(t, d.Join("postgres", "init-123", "PG_VERSION"))
	p := startPostgres(t, d, &log)
	require.Equal(t, "1", query(t, p.URL(), "SELECT '1'"))
	require.NoDirExists(t, d.Join("postgres", "init-123"))
}

// sleeper starts a process that is none of decnet's business.
func sleeper(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

func TestPostgres_NoPrivateViewIsRefused(t *testing.T) {
	t.Parallel()
	setpriv, err := exec.LookPath("setpriv")
	if os.Geteuid() != 0 || err != nil {
		t.Skip("needs root and setpriv, to lose a capability")
	}
	blocked := filepath.Join(t.TempDir(), "b")
	require.NoError(t, os.Mkdir(blocked, 0o700))
	self, err := os.Executable()
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), setpriv, "--bounding-set=-sys_admin", "--",
		self, parentWord, filepath.Join(blocked, "data"), embeddedtest.TemporalBinary(t)).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "data_dir_blocked")
	require.Contains(t, string(out), "choose another --data-dir")
}
