package harness

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/embedded"
)

// RoleNames are the roles that run as processes of their own.
var RoleNames = []string{"api", "worker", "runtime", "bridge", "ingest"}

// Roles is one process per role against a Postgres, a Temporal server and a nats-server of their own.
type Roles struct {
	Client
	Dir string // the data directory of the runtime role

	t        testing.TB
	bin      Binaries
	nats     string // the program
	parts    *embedded.Parts
	lock     *embedded.DataDir
	natsPort string
	env      []string
	running  map[string]*running
}

type running struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// StartRoles starts everything on fresh directories and logs in as admin. environ adds to the environment of the roles.
func StartRoles(t testing.TB, environ ...string) *Roles {
	t.Helper()
	bin := Build(t)
	base := ShortDir(t)
	r := &Roles{
		t: t, bin: bin, nats: natsServer(t), Dir: filepath.Join(base, "runtime"), natsPort: FreePort(t), running: map[string]*running{},
	}
	require.NoError(t, os.MkdirAll(r.Dir, 0o755))
	var err error
	r.lock, err = embedded.Lock(filepath.Join(base, "parts"))
	require.NoError(t, err)
	natsURL := "nats://127.0.0.1:" + r.natsPort
	r.parts, err = embedded.Start(t.Context(), embedded.Options{
		Dir: r.lock, NATSURL: natsURL, TemporalNamespace: "decnet", TemporalBinary: bin.Temporal,
		PostgresBinDirs: nil, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(r.end)
	listen := "127.0.0.1:" + FreePort(t)
	r.URL = "http://" + listen + "/api/v1"
	r.env = append(os.Environ(),
		"DECNET_DATABASE_URL="+r.parts.DatabaseURL, "DECNET_NATS_URL="+natsURL, "DECNET_TEMPORAL_ADDRESS="+r.parts.TemporalAddress,
		"DECNET_SECRET_KEY_FILE="+r.lock.SecretKeyFile(), "DECNET_HOST_ID=h1", "DECNET_DATA_DIR="+r.Dir, "DECNET_LISTEN="+listen,
		"DECNET_RUNTIME=process", "DECNET_OPS_LISTEN=", "DECNET_ADMIN_PASSWORD="+AdminPassword, "DECNET_DECOY_BINARY="+bin.Decoy,
		"DECNET_LIMITER_ENABLED=false")
	r.env = append(r.env, environ...)
	r.StartPart("nats")
	for _, name := range RoleNames {
		r.StartPart(name)
	}
	require.Eventually(t, func() bool { return r.Login(t.Context()) == nil }, readyLimit, 100*time.Millisecond, "%s", r.tails())
	return r
}

// natsServer builds the nats-server of tools/.
func natsServer(t testing.TB) string {
	t.Helper()
	path := filepath.Join(Root(), "bin", "nats-server")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "github.com/nats-io/nats-server/v2")
	cmd.Dir = filepath.Join(Root(), "tools", "nats")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// StartPart starts one role, or "nats".
func (r *Roles) StartPart(name string) {
	r.t.Helper()
	cmd := exec.Command(r.bin.Decnet, name)
	if name == "nats" {
		cmd = exec.Command(r.nats, "-js", "-sd", r.NATSStore(), "-a", "127.0.0.1", "-p", r.natsPort)
	}
	log, err := os.OpenFile(r.log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(r.t, err)
	defer func() { _ = log.Close() }()
	cmd.Env, cmd.Stdout, cmd.Stderr = r.env, log, log
	require.NoError(r.t, cmd.Start())
	p := &running{cmd: cmd, done: make(chan struct{})}
	go func() { defer close(p.done); _ = cmd.Wait() }()
	r.running[name] = p
}

// NATSStore returns the folder of the nats-server's streams.
func (r *Roles) NATSStore() string { return filepath.Join(filepath.Dir(r.Dir), "nats") }

func (r *Roles) log(name string) string { return filepath.Join(filepath.Dir(r.Dir), name+".log") }

// KillPart ends a role, "nats", "postgres" or "temporal" with SIGKILL. The last two come back by themselves.
func (r *Roles) KillPart(name string) error {
	if child := r.parts.Child(name); child != nil {
		old := child.PID()
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			return err
		}
		return awaitAnother(name, old, child.PID)
	}
	p, ok := r.running[name]
	if !ok {
		return fmt.Errorf("no part %q", name)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	<-p.done
	return nil
}

// DatabaseURL returns where Postgres listens.
func (r *Roles) DatabaseURL() string { return r.parts.DatabaseURL }

// NATSURL returns where the broker listens.
func (r *Roles) NATSURL() string { return r.parts.NATSURL }

func (r *Roles) end() {
	for _, p := range r.running {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	r.parts.Stop(r.t.Context())
	_ = r.lock.Unlock()
	EndDecoys(r.Dir)
	if r.t.Failed() {
		r.t.Log(r.tails())
	}
}

func (r *Roles) tails() string {
	var all string
	for name := range r.running {
		all += "log of " + name + ":\n" + Tail(r.log(name)) + "\n"
	}
	return all
}
