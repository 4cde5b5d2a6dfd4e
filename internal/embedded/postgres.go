package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgresOptions configures StartPostgres.
type PostgresOptions struct {
	// Dir is the locked data directory; the cluster lives in postgres/cluster.
	Dir *DataDir
	// BinDirs may hold the server's binaries, best first; nil means where Debian's packages put them.
	BinDirs []string
	// Volatile trades durability for speed. It is for tests: a crash of the machine destroys the cluster.
	Volatile bool
	// Logger gets state changes; what the server prints goes to run/postgres.log.
	Logger *slog.Logger
}

// Postgres is a running private server, reachable through its Unix socket only.
type Postgres struct {
	child *Child
	url   string
	admin string
}

// postgresReadyTimeout leaves room for crash recovery.
const postgresReadyTimeout = 5 * time.Minute

// StartPostgres creates the cluster if there is none, stops a survivor of an earlier run, and returns once the role
// and the database decnet accept connections. A fault says what to do when the machine lacks something. fail is called
// when the server cannot be kept running later; it may be nil.
func StartPostgres(ctx context.Context, o PostgresOptions, fail func(error)) (*Postgres, error) {
	home, err := postgresHome(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := stopPostgresSurvivor(ctx, o.Dir, o.Logger); err != nil {
		return nil, err
	}
	out := newOutput(o.Dir.Join("run", "postgres.log"))
	if err := home.ensure(out); err != nil {
		return nil, unwrapPermanent(err)
	}
	p := &Postgres{url: socketURL(home.socketDir, postgresRole, postgresDatabase), admin: socketURL(home.socketDir, postgresSuperuser, "postgres")}
	p.child, err = startChild(ctx, childSpec{
		name: "postgres", dir: home.cluster, record: postgresRecord(o.Dir),
		command:      home.server,
		ready:        func(ctx context.Context) error { return poll(ctx, 15*time.Millisecond, p.bootstrap) },
		readyTimeout: postgresReadyTimeout,
		// Fast shutdown ends sessions and writes a checkpoint; immediate shutdown leaves recovery to the next start.
		steps: []stopStep{{syscall.SIGINT, 20 * time.Second}, {syscall.SIGQUIT, 5 * time.Second}},
		out:   out, log: o.Logger,
	}, fail)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// URL connects as the role decnet, which owns the database decnet and is no superuser.
func (p *Postgres) URL() string { return p.url }

// AdminURL connects to the database postgres as superuser; decnet itself does not use it after the start.
func (p *Postgres) AdminURL() string { return p.admin }

// Child returns the supervised process.
func (p *Postgres) Child() *Child { return p.child }

// Stop shuts the server down: fast, then immediate, then by force.
func (p *Postgres) Stop(ctx context.Context) { p.child.Stop(ctx) }

func postgresRecord(d *DataDir) string { return d.Join("run", "postgres.process") }

func postgresCluster(d *DataDir) string { return d.Join("postgres", "cluster") }

func postgresHome(ctx context.Context, o PostgresOptions) (clusterHome, error) {
	h := clusterHome{home: o.Dir.Join("postgres"), cluster: postgresCluster(o.Dir), volatile: o.Volatile}
	var err error
	if h.install, err = chooseInstall(ctx, h.cluster, o.BinDirs); err != nil {
		return h, err
	}
	if h.as, err = postgresAccount(h.cluster); err != nil {
		return h, err
	}
	h.socketDir, err = chooseSocketDir(o.Dir.Join("run"), h.as)
	return h, err
}

// stopPostgresSurvivor ends the server of an earlier run. SIGQUIT is what the kernel sent it as well when its parent
// died: quick, and safe because the log of changes is on disk.
func stopPostgresSurvivor(ctx context.Context, d *DataDir, log *slog.Logger) error {
	pid, err := stopSurvivor(postgresRecord(d), postgresCluster(d), syscall.SIGQUIT, 10*time.Second)
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	if pid != 0 {
		log.WarnContext(ctx, "child process of an earlier run stopped", "child", "postgres", "pid", pid)
	}
	return nil
}

// server builds the command of one attempt.
func (h clusterHome) server(ctx context.Context) (*exec.Cmd, error) {
	if err := h.prepare(ctx); err != nil {
		return nil, err
	}
	return h.launcher(syscall.SIGQUIT).command(filepath.Join(h.install.dir, "postgres"), h.serverArgs()...)
}

func socketURL(dir, role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Path: "/" + database}
	u.RawQuery = url.Values{"host": {dir}, "sslmode": {"disable"}}.Encode()
	return u.String()
}

// bootstrap creates the role and the database where they are missing and proves that decnet can connect.
func (p *Postgres) bootstrap(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	admin, err := pgx.Connect(ctx, p.admin)
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close(ctx) }()
	if err := createMissing(ctx, admin, "SELECT FROM pg_roles WHERE rolname = $1", postgresRole, "CREATE ROLE decnet LOGIN"); err != nil {
		return err
	}
	if err := createMissing(ctx, admin, "SELECT FROM pg_database WHERE datname = $1", postgresDatabase, "CREATE DATABASE decnet OWNER decnet"); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func createMissing(ctx context.Context, conn *pgx.Conn, query, name, create string) error {
	tag, err := conn.Exec(ctx, query, name)
	if err != nil || tag.RowsAffected() > 0 {
		return err
	}
	_, err = conn.Exec(ctx, create)
	return err
}
