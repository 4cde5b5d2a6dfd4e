package embeddedtest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/decnet/decnet/internal/embedded/embeddedtest"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestEmptyDatabase_IsEmptyAndOwned(t *testing.T) {
	t.Parallel()
	began := time.Now()
	url := embeddedtest.EmptyDatabase(t)
	t.Logf("database after %s", time.Since(began))
	conn := connect(t, url)
	_, err := conn.Exec(t.Context(), "CREATE TABLE here (id int)")
	require.NoError(t, err)
	var super bool
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user").Scan(&super))
	require.False(t, super)
}

func TestTemplateDatabase_MigratesOnceAndCopies(t *testing.T) {
	t.Parallel()
	runs := 0
	hash := uuid.NewString()
	migrate := func(url string) error {
		runs++
		conn, err := pgx.Connect(context.Background(), url)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.Background()) }()
		_, err = conn.Exec(context.Background(), "CREATE TABLE item (id int); INSERT INTO item VALUES (1)")
		return err
	}
	for i := range 5 {
		began := time.Now()
		conn := connect(t, embeddedtest.TemplateDatabase(t, "items", hash, migrate))
		t.Logf("copy %d after %s", i, time.Since(began))
		tag, err := conn.Exec(t.Context(), "DELETE FROM item")
		require.NoError(t, err)
		require.EqualValues(t, 1, tag.RowsAffected(), "copies must not see each other")
	}
	require.Equal(t, 1, runs)
}

func TestTemplateDatabase_FailedMigrationIsTriedAgain(t *testing.T) {
	t.Parallel()
	hash := uuid.NewString()
	t.Run("second", func(t *testing.T) {
		t.Parallel()
		embeddedtest.TemplateDatabase(t, "broken", hash, func(string) error { return nil })
	})
}

func TestNATS_HasJetStream(t *testing.T) {
	t.Parallel()
	began := time.Now()
	url := embeddedtest.NATS(t)
	t.Logf("nats after %s", time.Since(began))
	conn, err := nats.Connect(url)
	require.NoError(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	require.NoError(t, err)
}

func greet(_ workflow.Context, name string) (string, error) { return "hello " + name, nil }

func TestTemporal_NamespacesAreApart(t *testing.T) {
	t.Parallel()
	for i := range 3 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			address, namespace := embeddedtest.Temporal(t)
			t.Logf("namespace after %s", time.Since(began))
			c, err := client.Dial(client.Options{HostPort: address, Namespace: namespace})
			require.NoError(t, err)
			defer c.Close()
			w := worker.New(c, "control", worker.Options{})
			w.RegisterWorkflow(greet)
			require.NoError(t, w.Start())
			defer w.Stop()
			run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
				ID: "same-id", TaskQueue: "control",
				TypedSearchAttributes: temporal.NewSearchAttributes(temporal.NewSearchAttributeKeyKeyword("DecnetScope").ValueSet("fleet")),
			}, greet, "you")
			require.NoError(t, err)
			var out string
			require.NoError(t, run.Get(t.Context(), &out))
			require.Equal(t, "hello you", out)
			t.Logf("workflow after %s", time.Since(began))
		})
	}
}
