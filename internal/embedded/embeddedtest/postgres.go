package embeddedtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// queryTimeout bounds what the harness asks Postgres, which may have to write a whole database on a busy machine.
const queryTimeout = 60 * time.Second

func noBinary() (string, error) { return "", nil }

func postgres(t testing.TB) string {
	t.Helper()
	return postgresServer.use(t, kindPostgres, noBinary).Addr
}

// EmptyDatabase returns the URL of a new, empty database that the role decnet owns, as in production. It is dropped,
// with whatever is still connected, when the test ends.
func EmptyDatabase(t testing.TB) string {
	t.Helper()
	return newDatabase(t, postgres(t), "template1")
}

// TemplateDatabase returns the URL of a new database with what migrate put into it. migrate runs once per name and
// contentHash, whichever process comes first; every call then gets a copy, which takes some ten milliseconds.
// contentHash must change whenever migrate would do something else: the template outlives the test run. migrate must
// close its connections. The copy is dropped when the test ends.
func TemplateDatabase(t testing.TB, name, contentHash string, migrate func(url string) error) string {
	t.Helper()
	admin := postgres(t)
	template := "tpl_" + shortHash(name) + shortHash(name+"\x00"+contentHash)
	if err := ensureTemplate(t.Context(), admin, template, migrate); err != nil {
		t.Fatalf("template database %s: %v", name, err)
	}
	return newDatabase(t, admin, template)
}

// ensureTemplate creates the template unless it exists. It is built under another name, so that a killed run leaves
// nothing that looks complete, and an advisory lock keeps others from building it too.
func ensureTemplate(ctx context.Context, admin, template string, migrate func(url string) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*queryTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }() // gives the lock back too
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended($1, 0))", template); err != nil {
		return err
	}
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", template).Scan(&exists); err != nil || exists {
		return err
	}
	building := template + "_building"
	for _, sql := range []string{"DROP DATABASE IF EXISTS " + building + " WITH (FORCE)", "CREATE DATABASE " + building + " OWNER decnet"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	if err := migrate(databaseURL(admin, building)); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	// migrate may have left a connection behind that is only just being closed.
	const end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1"
	if _, err := conn.Exec(ctx, end, building); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "ALTER DATABASE "+building+" RENAME TO "+template)
	return err
}

func newDatabase(t testing.TB, admin, template string) string {
	t.Helper()
	name := "t_" + strings.ToLower(rand.Text()[:16])
	if err := execAdmin(t.Context(), admin, "CREATE DATABASE "+name+" OWNER decnet TEMPLATE "+template); err != nil {
		t.Fatalf("create test database: %v", err)
	}
	t.Cleanup(func() {
		if err := execAdmin(t.Context(), admin, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	return databaseURL(admin, name)
}

// databaseURL returns the URL of a database for the role decnet.
func databaseURL(admin, name string) string {
	u, err := url.Parse(admin)
	if err != nil {
		panic(err) // our own keeper wrote it
	}
	u.User, u.Path = url.User("decnet"), "/"+name
	return u.String()
}

// execAdmin runs one statement as superuser. It outlives ctx: it also cleans up after a test.
func execAdmin(ctx context.Context, admin, sql string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql)
	return err
}

// allowCreate lets tests create databases of their own as decnet.
func allowCreate(ctx context.Context, admin string) error {
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "ALTER ROLE decnet CREATEDB")
	return err
}
