package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/proto"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/internal/bus"
)

// secretsStayInside lets marked passwords pass through every kind of change and looks for the mark everywhere.
func secretsStayInside(t *testing.T, s *system) {
	mark := "mark" + strings.ReplaceAll(uuid.NewString(), "-", "")
	config := map[string]any{"password": mark + "-root", "user_password": mark + "-user"}
	answers := useSecrets(t, s, mark, config)
	answers = append(answers, configureSecrets(t, s, mark)...)
	answers = append(answers, everyAnswer(t, s, "secret-01")...)

	for _, a := range answers {
		require.NotContains(t, string(a.Body), mark, "an answer of the API")
		require.NotContains(t, strings.Join(slices.Concat(a.Header["Location"], a.Header["Decnet-Operation"]), " "), mark)
	}
	histories := workflowHistories(t, s)
	require.NotEmpty(t, histories)
	for id, history := range histories {
		require.NotContains(t, string(history), mark, "the history of %s", id)
	}
	events := allEvents(t, s)
	require.NotEmpty(t, events)
	for _, e := range events {
		require.NotContains(t, string(e), mark, "an event")
	}
	inProc := harness.Processes(func(pid int, _ []string) bool {
		return holds(t, filepath.Join("/proc", itoa(pid), "cmdline"), mark) || holds(t, filepath.Join("/proc", itoa(pid), "environ"), mark)
	})
	require.Empty(t, inProc, "arguments and environments of processes")
	require.False(t, holds(t, s.Log, mark), "the log")
	onDisk(t, s, mark)
	inDatabase(t, s, mark)
}

// useSecrets creates, fails, repeats and succeeds with marked passwords and returns all answers.
func useSecrets(t *testing.T, s *system, mark string, config map[string]any) (answers []harness.Answer) {
	t.Helper()
	create := map[string]any{"name": "secret-01", "services": []string{"ssh"}, "service_config": map[string]any{"ssh": config}, "ip": s.ip()}
	for range 2 {
		answers = append(answers, s.must(t, http.StatusCreated, http.MethodPost, "/deckies", create, "Idempotency-Key", "secret-create"))
	}
	d := s.create(t, "secret-02")
	first, second := occupy(t, d.IP, 22), occupy(t, d.IP, 22+s.PortOffset)
	add := map[string]any{"name": "ssh", "config": config}
	for range 2 {
		answers = append(answers, s.must(t, http.StatusBadGateway, http.MethodPost, "/deckies/secret-02/services", add, "Idempotency-Key", "secret-fails"))
	}
	_, _ = first.Close(), second.Close()
	answers = append(answers, s.must(t, http.StatusCreated, http.MethodPost, "/deckies/secret-02/services", add, "Idempotency-Key", "secret-add"))
	answers = append(answers, s.must(t, http.StatusConflict, http.MethodPost, "/deckies/secret-02/services", add))
	// What is refused is not repeated.
	for _, wrong := range []map[string]any{
		{"password": map[string]any{mark: mark}},
		{"password": mark + "\x00"},
		{"user": mark + " with blanks"},
		{"password": strings.Repeat(mark, 600)},
	} {
		body := map[string]any{"name": "ssh", "config": wrong}
		answers = append(answers, s.must(t, http.StatusUnprocessableEntity, http.MethodPost, "/deckies/secret-02/services", body))
	}
	answers = append(answers, s.must(t, http.StatusUnprocessableEntity, http.MethodPost, "/deckies/secret-02/services", map[string]any{"name": "ssh", "surprise": mark}))
	wrongKey := map[string]any{"name": mark, "config": config}
	return append(answers, s.must(t, http.StatusUnprocessableEntity, http.MethodPost, "/deckies/secret-02/services", wrongKey, "Idempotency-Key", "secret-add"))
}

// configureSecrets saves, applies, writes masks back, asks for what would be, and goes back, and returns all answers.
func configureSecrets(t *testing.T, s *system, mark string) (answers []harness.Answer) {
	t.Helper()
	body := func(tag string) map[string]any {
		return map[string]any{"config": map[string]any{"password": mark + tag, "user_password": "********"}}
	}
	const save, apply = "/deckies/secret-01/services/ssh/config", "/deckies/secret-01/services/ssh/apply"
	do := func(status int, method, path string, body any, header ...string) {
		answers = append(answers, s.must(t, status, method, path, body, header...))
	}
	for range 2 {
		do(http.StatusOK, http.MethodPut, save, body("-saved"), "Idempotency-Key", "secret-save")
	}
	do(http.StatusCreated, http.MethodPost, apply, nil)
	do(http.StatusCreated, http.MethodPost, apply, body("-applied"))
	do(http.StatusOK, http.MethodPost, apply+"?dry_run=true", body("-dry"))
	do(http.StatusOK, http.MethodPut, save+"?dry_run=true", body("-dry"))
	do(http.StatusOK, http.MethodPost, "/deckies/secret-01/rollback", map[string]any{"revision": 1})
	do(http.StatusUnprocessableEntity, http.MethodPut, save, map[string]any{"config": map[string]any{"password": mark + "\n"}})
	do(http.StatusConflict, http.MethodPut, "/deckies/secret-01/services/redis/config", map[string]any{"config": map[string]any{"version": "6.2.1", "x": mark}})
	do(http.StatusNotFound, http.MethodPut, "/deckies/secret-03/services/ssh/config", body("-nowhere"))
	do(http.StatusOK, http.MethodPut, save, body("-kept")) // and stays saved
	config := filepath.Join(s.Dir, "decoys", s.decky(t, "secret-01").UUID.String(), "ssh", "config.json")
	require.True(t, holds(t, config, mark+"-root"), "going back brought the password back")
	require.False(t, holds(t, config, mark+"-kept"))
	return answers
}

// inDatabase looks at every row of every table: the mark may be in the services of revisions and nowhere else.
func inDatabase(t *testing.T, s *system, mark string) {
	t.Helper()
	ctx := harness.Within(t, patience)
	c, err := pgx.Connect(ctx, s.Ready.DatabaseURL)
	require.NoError(t, err)
	defer func() { _ = c.Close(ctx) }()
	rows, err := c.Query(ctx, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'")
	require.NoError(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	var found []string
	for _, table := range tables {
		var there bool
		name := pgx.Identifier{table}.Sanitize()
		require.NoError(t, c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+name+" t WHERE t::text LIKE '%' || $1 || '%')", mark).Scan(&there))
		if there {
			found = append(found, table)
		}
	}
	require.Equal(t, []string{"revision_services"}, found)
}

// everyAnswer reads all there is to read, as every role.
func everyAnswer(t *testing.T, s *system, decky string) (answers []harness.Answer) {
	t.Helper()
	ctx := harness.Within(t, patience)
	clients := map[string]*harness.Client{"admin": &s.Client}
	for _, role := range []string{"viewer", "operator"} {
		c, err := s.NewUser(ctx, "secret-"+role, role)
		require.NoError(t, err)
		clients[role] = c
	}
	operations := s.operations(t)
	for _, path := range readable(t, s) {
		for role, c := range clients {
			for _, concrete := range instances(t, s, path, decky, operations) {
				a, err := c.Do(ctx, http.MethodGet, concrete, nil)
				require.NoError(t, err)
				if !strings.HasSuffix(path, "/cast") && !strings.HasSuffix(path, "/content") { // which not all of them have
					require.Contains(t, []int{http.StatusOK, http.StatusForbidden}, a.Status, "%s %s: %s", role, concrete, a.Body)
				}
				answers = append(answers, a)
			}
		}
	}
	for _, path := range []string{"/metrics", "/readyz", "/healthz"} {
		root := harness.Client{URL: strings.TrimSuffix(s.URL, "/api/v1")}
		a, err := root.Do(ctx, http.MethodGet, path, nil)
		require.NoError(t, err)
		answers = append(answers, a)
	}
	return answers
}

// readable lists the paths that the OpenAPI document says can be read.
func readable(t *testing.T, s *system) (paths []string) {
	t.Helper()
	document := read[struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}](t, &s.Client, "/openapi.json")
	for path, methods := range document.Paths {
		// What streams carry is read from the bus.
		if get, ok := methods["get"]; ok && !bytes.Contains(get, []byte("text/event-stream")) {
			paths = append(paths, path)
		}
	}
	require.Greater(t, len(paths), 5)
	return paths
}

func instances(t *testing.T, s *system, path, decky string, operations []harness.Operation) []string {
	t.Helper()
	path = strings.NewReplacer("{decky}", decky, "{slug}", "ssh").Replace(path)
	if !strings.Contains(path, "{id}") {
		if strings.Contains(path, "{") {
			return nil
		}
		if strings.HasSuffix(path, "/"+decky) {
			return []string{path, path + "?at=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339), path + "?at=" + time.Now().Add(-time.Second).UTC().Format(time.RFC3339Nano)}
		}
		return []string{path}
	}
	var all []string
	collection, _, _ := strings.Cut(path, "/{id}")
	if collection == "/operations" {
		for _, op := range operations {
			if strings.HasPrefix(op.Decky, "secret-") {
				all = append(all, strings.ReplaceAll(path, "{id}", op.ID.String()))
			}
		}
		return all
	}
	const some = 20
	for _, item := range read[struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}](t, &s.Client, collection+"?limit="+itoa(some)).Items {
		all = append(all, strings.ReplaceAll(path, "{id}", item.ID))
	}
	return all
}

// workflowHistories returns every execution Temporal knows, inputs and results included.
func workflowHistories(t *testing.T, s *system) map[string][]byte {
	t.Helper()
	ctx, c := harness.Within(t, patience), s.temporal(t)
	histories := map[string][]byte{}
	var page []byte
	for {
		list, err := c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{NextPageToken: page})
		require.NoError(t, err)
		for _, e := range list.GetExecutions() {
			run := e.GetExecution()
			var history bytes.Buffer
			events := c.GetWorkflowHistory(ctx, run.GetWorkflowId(), run.GetRunId(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
			for events.HasNext() {
				event, err := events.Next()
				require.NoError(t, err)
				b, err := proto.Marshal(event) // payloads as they are, not in base64
				require.NoError(t, err)
				_, _ = history.Write(b)
			}
			b, err := proto.Marshal(e) // memo and search attributes
			require.NoError(t, err)
			histories[run.GetWorkflowId()+" "+run.GetRunId()] = append(history.Bytes(), b...)
		}
		if page = list.GetNextPageToken(); len(page) == 0 {
			return histories
		}
	}
}

// allEvents reads the bus from its beginning until nothing more comes.
func allEvents(t *testing.T, s *system) (events [][]byte) {
	t.Helper()
	ctx := harness.Within(t, patience)
	b, err := bus.Connect(ctx, s.Ready.NATSURL, "e2e", bus.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	defer func() { _ = b.Close() }()
	idle, stop := context.WithCancel(ctx)
	defer stop()
	last := time.AfterFunc(5*time.Second, stop)
	require.NoError(t, b.Tail(idle, []string{">"}, time.Unix(1, 0), func(e bus.Envelope) error {
		last.Reset(time.Second)
		text, err := json.Marshal(e)
		events = append(events, text)
		return err
	}))
	return events
}

// onDisk looks at every file of the data directory but the database itself: the mark may be in the configuration of the
// decoys it is for, and nowhere else.
func onDisk(t *testing.T, s *system, mark string) {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(s.Dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && os.IsNotExist(err): // others change things meanwhile
			return nil
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "postgres":
			return fs.SkipDir
		case entry.Type().IsRegular() && holds(t, path, mark):
			found = append(found, path)
		}
		return nil
	}))
	var want []string
	for _, name := range []string{"secret-01", "secret-02"} {
		path := filepath.Join(s.Dir, "decoys", s.decky(t, name).UUID.String(), "ssh", "config.json")
		want = append(want, path)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o400), info.Mode().Perm())
	}
	require.ElementsMatch(t, want, found)
}
