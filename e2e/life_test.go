package e2e_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/workflows"
)

// TestLife follows one installation from its first start through stops, kills and restores. Its decoys can try to break
// out. The parts build on each other.
func TestLife(t *testing.T) {
	t.Parallel()
	bin := harness.Build(t)
	bin.Decoy = bin.ProbeDecoy
	s := newSystem(harness.NewUp(t, bin))
	for _, part := range []struct {
		name string
		run  func(*testing.T, *system)
	}{
		{"GeneratedPasswordMustBeChanged", generatedPassword},
		{"NothingGetsOutOfADecoy", containment},
		{"SecondUpIsRefused", secondUp},
		{"TermDrainsAndDecoysAreAdopted", drainAndAdopt},
		{"KilledParentLeavesNothing", killedParent},
		{"KilledDuringAnImport", killedImport},
		{"RestoredDatabaseUnderALiveTemporal", restoredDatabase},
		{"RestoredDatabaseWithoutTemporal", restoredWithoutTemporal},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, s) }) {
			return
		}
	}
}

func generatedPassword(t *testing.T, s *system) {
	s.AdminPassword = ""
	s.Start()
	s.AdminPassword = harness.AdminPassword // does nothing from now on: the password is changed
	file := s.Ready.AdminPasswordFile
	require.Equal(t, filepath.Join(s.Dir, "admin-password"), file)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	generated := strings.TrimSpace(string(text))

	ctx := harness.Within(t, patience)
	require.Error(t, s.Login(ctx), "nobody knows the password yet")
	require.NoError(t, s.LoginAs(ctx, s.Ready.AdminUser, generated))
	for _, path := range []string{"/deckies", "/operations", "/status", "/users"} {
		answer := s.must(t, http.StatusForbidden, http.MethodGet, path, nil)
		require.Contains(t, string(answer.Body), "password_change_required")
	}
	s.must(t, http.StatusForbidden, http.MethodPost, "/deckies", map[string]any{"name": "early-01"})
	old := s.Token
	require.NoError(t, s.ChangePassword(ctx, generated, harness.AdminPassword))
	s.must(t, http.StatusOK, http.MethodGet, "/deckies", nil)
	stale := harness.Client{URL: s.URL, Token: old}
	answer, err := stale.Do(ctx, http.MethodGet, "/auth/me", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, answer.Status)
	require.Error(t, s.LoginAs(ctx, s.Ready.AdminUser, generated))
	require.NoError(t, s.Login(ctx))
}

// containment lets an intruder with the program in hand try everything that is worth reaching.
func containment(t *testing.T, s *system) {
	d := s.create(t, "jail-01", "ssh")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	datagrams, err := net.ListenPacket("udp", listener.Addr().String())
	require.NoError(t, err)
	var arrived atomic.Int64
	watch(listener, datagrams, &arrived)

	secrets := []string{filepath.Join(s.Dir, "secret.key"), filepath.Join(s.Dir, "admin-password"), filepath.Join(s.Dir, "run", "ready.json"), s.Log, postgresSocket(t, s)}
	for what, address := range map[string]string{
		"the test": listener.Addr().String(), "the API": host(t, s.URL), "NATS": host(t, s.Ready.NATSURL),
		"Temporal": s.Ready.TemporalAddress, "the Temporal UI": host(t, s.Ready.TemporalUIURL),
	} {
		command := "decnet-probe " + address + " " + strings.Join(secrets, " ")
		out, code := openssh(t, d, "admin", "", command)
		require.Zero(t, code, out)
		require.NotContains(t, out, "OPENED", what)
		tried := []string{"tcp", "udp", "unix", "listen", "raw", "execve", "fork", "unshare", "ptrace", "mount", "kill", "read /etc/shadow", "openat /etc/shadow"}
		for _, file := range secrets {
			tried = append(tried, "read "+file, "openat "+file)
		}
		for _, try := range tried {
			require.Contains(t, out, try+": denied: ", what)
		}
	}
	require.NoError(t, listener.Close())
	require.NoError(t, datagrams.Close())
	require.Zero(t, arrived.Load(), "something got out")
}

// watch counts what arrives until the listeners are closed.
func watch(l net.Listener, datagrams net.PacketConn, arrived *atomic.Int64) {
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
			arrived.Add(1)
		}
	}()
	go func() {
		for {
			if _, _, err := datagrams.ReadFrom(make([]byte, 64)); err != nil {
				return
			}
			arrived.Add(1)
		}
	}()
}

func host(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	require.NotEmpty(t, u.Port(), raw)
	return u.Host
}

func postgresSocket(t *testing.T, s *system) string {
	t.Helper()
	config, err := pgx.ParseConfig(s.Ready.DatabaseURL)
	require.NoError(t, err)
	require.True(t, filepath.IsAbs(config.Host), "Postgres listens on a Unix socket only")
	path := filepath.Join(config.Host, ".s.PGSQL."+itoa(int(config.Port)))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.ModeSocket, info.Mode().Type())
	return path
}

func secondUp(t *testing.T, s *system) {
	before := harness.DecoyPIDs(s.Dir)
	out, code := s.TryUp(harness.Within(t, patience), "--listen", "127.0.0.1:"+harness.FreePort(t))
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "in use by another decnet process (pid "+itoa(s.PID())+")")
	out, code = s.TryUp(harness.Within(t, patience))
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "is another decnet up?")
	require.Equal(t, before, harness.DecoyPIDs(s.Dir))
	s.must(t, http.StatusOK, http.MethodGet, "/status", nil)
}

func drainAndAdopt(t *testing.T, s *system) {
	s.create(t, "adopt-01", "ssh")
	s.quiet(t)
	before := harness.DecoyPIDs(s.Dir)
	require.Len(t, before, 2)
	require.NoError(t, s.Stop(), "SIGTERM is a clean end")
	require.Equal(t, before, harness.DecoyPIDs(s.Dir), "decoys live on")
	require.Empty(t, s.Parts())
	require.NoFileExists(t, filepath.Join(s.Dir, "run", "ready.json"))

	out, code := s.TryUp(harness.Within(t, patience), "--runtime", "docker")
	require.NotZero(t, code, "another runtime is refused while deckies exist, or there is no engine")
	require.Contains(t, strings.ToLower(out), "docker")
	require.Equal(t, before, harness.DecoyPIDs(s.Dir), "a refused start touches no decoy")
	require.Empty(t, s.Parts())

	s.Start()
	s.quiet(t)
	require.Equal(t, before, harness.DecoyPIDs(s.Dir), "decoys are adopted")
	require.Empty(t, s.operations(t, "kind", "reconcile"), "nothing had to be repaired")
}

func killedParent(t *testing.T, s *system) {
	before := harness.DecoyPIDs(s.Dir)
	s.Kill()
	eventually(t, func() bool { return len(s.Parts()) == 0 }, "Postgres and Temporal go with their parent")
	s.Start()
	s.quiet(t)
	require.Equal(t, before, harness.DecoyPIDs(s.Dir))
	s.create(t, "after-01", "ssh")
}

// restoredDatabase puts back a database that knows less than Temporal, the data directory and the decoys do.
func restoredDatabase(t *testing.T, s *system) {
	backup := s.stopAndSave(t)
	s.Start()
	s.change(t, "one")
	old, err := s.temporal(t).DescribeWorkflowExecution(t.Context(), workflows.ScopeID("fleet"), "")
	require.NoError(t, err)
	scope := old.GetWorkflowExecutionInfo().GetExecution()

	require.NoError(t, s.Stop())
	s.restore(t, backup)
	s.Start()
	s.restored(t, 2)
	eventually(t, func() bool {
		ended, err := s.temporal(t).DescribeWorkflowExecution(t.Context(), scope.GetWorkflowId(), scope.GetRunId())
		return err == nil && ended.GetWorkflowExecutionInfo().GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_TERMINATED
	}, "the sequencer of the old epoch is terminated")
	s.worksAgain(t, "two")
}

// restoredWithoutTemporal has only the data directory's memory to tell that the database is an old one.
func restoredWithoutTemporal(t *testing.T, s *system) {
	backup := s.stopAndSave(t)
	s.Start()
	s.change(t, "three")
	// Recovery writes down what it finds, at every start at the latest.
	require.NoError(t, s.Stop())
	s.Start()
	require.Equal(t, s.highest(t), remembered(t, s))

	s.Kill()
	eventually(t, func() bool { return len(s.Parts()) == 0 }, "the parts end")
	s.restore(t, backup)
	require.NoError(t, os.RemoveAll(filepath.Join(s.Dir, "temporal")))
	s.Start()
	s.restored(t, 3)
	s.worksAgain(t, "four")
}

// remembered returns the highest operation that the data directory knows.
func remembered(t *testing.T, s *system) int64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Dir, "run", "highest-operation.json"))
	require.NoError(t, err)
	var mark struct{ Highest int64 }
	require.NoError(t, json.Unmarshal(b, &mark))
	return mark.Highest
}

// stopAndSave ends the process and copies the database.
func (s *system) stopAndSave(t *testing.T) (backup string) {
	t.Helper()
	require.NoError(t, s.Stop())
	backup = filepath.Join(filepath.Dir(s.Dir), "backup")
	copyTree(t, filepath.Join(s.Dir, "postgres"), backup)
	return backup
}

func (s *system) restore(t *testing.T, backup string) {
	t.Helper()
	copyTree(t, backup, filepath.Join(s.Dir, "postgres"))
}

// copyTree replaces a directory by a copy, owners included.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(to))
	out, code := harness.Run(harness.Within(t, patience), t, os.Environ(), "", "cp", "-a", from, to)
	require.Zero(t, code, out)
}

// change makes a decky that the backup does not know and takes a decoy away that it knows.
func (s *system) change(t *testing.T, tag string) {
	t.Helper()
	s.create(t, "forgotten-"+tag, "ssh")
	s.must(t, http.StatusOK, http.MethodDelete, "/deckies/adopt-01/services/ssh", nil)
}

// restored checks what a restore must lead to.
func (s *system) restored(t *testing.T, epoch int) {
	t.Helper()
	s.quiet(t)
	status := read[struct{ Epoch int }](t, &s.Client, "/status")
	require.Equal(t, epoch, status.Epoch)
	require.True(t, s.killSwitch(t), "no mail leaves after a restore")
	deckies, err := harness.List[harness.Decky](harness.Within(t, patience), &s.Client, "/deckies")
	require.NoError(t, err)
	var want []string
	for _, d := range deckies {
		require.NotContains(t, d.Name, "forgotten")
		require.Equal(t, "running", d.State, d.Name)
		for _, service := range d.Services {
			want = append(want, d.UUID.String()+"/"+service.Name)
		}
	}
	require.Len(t, s.decky(t, "adopt-01").Services, 1)
	have := slices.Collect(maps.Values(harness.DecoyPIDs(s.Dir)))
	require.ElementsMatch(t, want, have, "decoys are those of the restored database")
}

func (s *system) worksAgain(t *testing.T, tag string) {
	t.Helper()
	d := s.create(t, "again-"+tag, "ssh")
	out, code := openssh(t, d, "admin", "", "id -un")
	require.Zero(t, code, out)
	s.quiet(t)
}

func (s *system) killSwitch(t *testing.T) (on bool) {
	t.Helper()
	s.query(t, "SELECT relay_kill_switch FROM installation", &on)
	return on
}

func (s *system) highest(t *testing.T) (seq int64) {
	t.Helper()
	s.query(t, "SELECT max(seq) FROM operations", &seq)
	return seq
}

func (s *system) query(t *testing.T, sql string, into any) {
	t.Helper()
	ctx := harness.Within(t, 10*time.Second)
	c, err := pgx.Connect(ctx, s.Ready.DatabaseURL)
	require.NoError(t, err)
	defer func() { _ = c.Close(ctx) }()
	require.NoError(t, c.QueryRow(ctx, sql).Scan(into))
}
