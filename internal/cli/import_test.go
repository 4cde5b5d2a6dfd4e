package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/cli"
)

const importID = "0190b6c1-0000-7000-8000-0000000000aa"

// imported is one look at an import.
func imported(name, state string, read, kept int) string {
	m := map[string]any{
		"id": importID, "format": "cowrie", "name": name, "actor": "admin", "state": state, "bytes_total": 2 << 20, "bytes_read": 1 << 20,
		"lines": map[string]any{
			"read": read, "kept": kept, "skipped": read - kept, "reasons": map[string]int{"truncated": 1, "blank": read - kept - 1},
			"kinds": map[string]int{"cowrie.command.input": kept},
		},
		"stored": kept - 1, "duplicates": 1, "created_at": "2026-01-02T03:04:05Z", "started_at": "2026-01-02T03:04:05Z",
		"ended_at": "2026-01-02T03:04:07Z", "workflow_id": "import/" + importID, "workflow_url": nil,
	}
	if state == "failed" {
		m["fault"] = map[string]any{"code": "import_nothing_kept", "message": "none of its lines", "errors": []any{}}
	}
	b, _ := json.Marshal(m)
	return string(b)
}

// imports answers uploads, each of which is seen running once before it ends in the state of its name: x.failed fails.
func (f *fakeAPI) imports(seen func(*http.Request)) {
	var name string
	var looks int
	f.on("POST /imports", func(w http.ResponseWriter, r *http.Request) {
		name, looks = r.URL.Query().Get("name"), 0
		seen(r)
		w.Header().Set("Location", "/api/v1/imports/"+importID)
		write(w, http.StatusAccepted, imported(name, "running", 0, 0))
	})
	f.on("GET /imports/"+importID, func(w http.ResponseWriter, _ *http.Request) {
		state := "running"
		if looks++; looks > 1 {
			if state = "succeeded"; strings.Contains(name, "failed") {
				state = "failed"
			}
		}
		write(w, http.StatusOK, imported(name, state, 13, 10))
	})
}

func TestImport_SeveralFilesAndTheStandardInput(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	var formats []string
	api.imports(func(r *http.Request) {
		formats = append(formats, r.URL.Query().Get("format"), r.Header.Get("Content-Type"), r.Header.Get("Expect"))
	})
	b := setup(t, api)
	b.stdin = "from stdin\n"
	one, two := b.writeFile("one.json", "first\n"), b.writeFile("empty.json", "")
	out, errOut, err := b.run("import", "cowrie", one, "-", two, "-o", "table")
	require.NoError(t, err, errOut)
	var bodies []string
	for _, r := range api.seen(http.MethodPost) {
		bodies = append(bodies, r.body)
		require.Equal(t, "Bearer "+token, r.auth)
	}
	require.Equal(t, []string{"first\n", "from stdin\n", ""}, bodies)
	require.Equal(t, []string{"cowrie", "application/octet-stream"}, formats[:2])
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 4)
	require.Equal(t, []string{"LOG", "STATE", "READ", "KEPT", "SKIPPED", "STORED", "DUPLICATES", "TOOK"}, strings.Fields(lines[0]))
	for n, name := range []string{"one.json", "stdin", "empty.json"} {
		require.Equal(t, []string{name, "succeeded", "13", "10", "3", "(blank", "2,", "truncated", "1)", "9", "1", "2.0s"}, strings.Fields(lines[n+1]))
		require.Contains(t, errOut, name+": uploading\n")
		require.Contains(t, errOut, name+": import "+importID+" running\n"+name+": import "+importID+" succeeded\n")
	}
	require.NotContains(t, errOut, "\x1b", "no terminal, no rewriting")
}

func TestImport_JSONIsTheBodiesOfTheAPI(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.imports(func(*http.Request) {})
	b := setup(t, api)
	out, _, err := b.run("import", "opencanary", b.writeFile("a", "x"), b.writeFile("b", "x"), "-o", "json")
	require.NoError(t, err)
	requireVerbatim(t, imported("a", "succeeded", 13, 10)+"\n"+imported("b", "succeeded", 13, 10)+"\n", out)
}

func TestImport_OneFailedFileFailsTheCommandAfterTheOthers(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.imports(func(*http.Request) {})
	b := setup(t, api)
	out, _, err := b.run("import", "cowrie", b.writeFile("x.failed", "x"), b.writeFile("good", "x"), "-o", "table")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.ErrorContains(t, err, "the import of x.failed failed (import "+importID+"): import_nothing_kept: none of its lines")
	require.Regexp(t, `x\.failed +failed[^\n]+\ngood +succeeded`, out)
}

func TestImport_Detached(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.imports(func(*http.Request) {})
	b := setup(t, api)
	out, _, err := b.run("import", "cowrie", "--detach", "--name", "night", b.writeFile("a", "x"), "-o", "table")
	require.NoError(t, err)
	require.Equal(t, "night: import "+importID+" is running\n  look with: decnet imports show "+importID+" --wait\n", out)
	require.Empty(t, api.seen(http.MethodGet))
}

func TestImport_OneLineIsRewrittenOnATerminal(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.imports(func(*http.Request) {})
	b := setup(t, api)
	b.terminals = "err"
	_, errOut, err := b.run("import", "cowrie", b.writeFile("a", strings.Repeat("x", 3000)), "-o", "table")
	require.NoError(t, err)
	require.NotContains(t, errOut, "\n")
	require.Contains(t, errOut, "\r\x1b[2Ka: uploading, ")
	require.Contains(t, errOut, "\r\x1b[2Ka: running, 50%: 13 lines read, 9 events stored, 1 known")
	require.True(t, strings.HasSuffix(errOut, "\r\x1b[2K"), "it is gone at the end")
}

func TestImport_MistakesAreFoundBeforeAnythingIsUploaded(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.imports(func(*http.Request) {})
	b := setup(t, api)
	file := b.writeFile("a", "x")
	for want, args := range map[string][]string{
		"no such file":              {"import", "cowrie", file, b.dir + "/missing"},
		"is a directory":            {"import", "cowrie", file, b.dir},
		"can be read once":          {"import", "cowrie", "-", "-"},
		"requires at least 1 arg":   {"import", "cowrie"},
		"unknown command \"kippo\"": {"import", "kippo", file},
	} {
		_, _, err := b.run(args...)
		require.ErrorContains(t, err, want)
		require.NotZero(t, cli.ExitCode(err))
	}
	b.terminals = "in"
	_, _, err := b.run("import", "cowrie", "-")
	require.Equal(t, cli.ExitUsage, cli.ExitCode(err))
	require.Empty(t, api.seen(http.MethodPost))
}

func TestImport_RefusedUploadStopsTheRest(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("POST /imports", http.StatusRequestEntityTooLarge, problem("body_too_large", 413, "the body is larger than 5 bytes"))
	b := setup(t, api)
	_, _, err := b.run("import", "cowrie", b.writeFile("a", "xxxxxx"), b.writeFile("b", "x"), "-o", "table")
	require.ErrorContains(t, err, "body_too_large")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.Len(t, api.seen(http.MethodPost), 1)
}

func TestImport_InterruptedWhileWatching(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	b := setup(t, api)
	ctx, interrupt := context.WithCancel(t.Context())
	b.ctx = ctx
	api.answer("POST /imports", http.StatusAccepted, imported("a", "running", 0, 0))
	api.on("GET /imports/"+importID, func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, imported("a", "running", 0, 0))
		interrupt()
	})
	_, errOut, err := b.run("import", "cowrie", b.writeFile("a", "x"), "-o", "table")
	require.ErrorContains(t, err, "interrupted before import "+importID+" ended")
	require.Contains(t, errOut, "decnet imports show "+importID)
	require.Len(t, api.seen(http.MethodPost), 1, "nothing was cancelled")
}

func TestImports_ListShowAndCancel(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	hostile := imported("\x1b[31mevil\n", "failed", 13, 10)
	api.answer("GET /imports", http.StatusOK, fmt.Sprintf(`{"items":[%s],"next_cursor":null}`, hostile))
	api.answer("GET /imports/"+importID, http.StatusOK, hostile)
	api.answer("POST /imports/"+importID+"/cancel", http.StatusAccepted, imported("a", "cancelled", 13, 10))
	b := setup(t, api)
	out, _, err := b.run("imports", "list", "-o", "table")
	require.NoError(t, err)
	require.Contains(t, out, importID)
	require.Contains(t, out, `\x1b[31mevil\n`)
	out, _, err = b.run("imports", "show", importID, "-o", "table")
	require.NoError(t, err)
	for _, want := range []string{"skipped   3 (blank 2, truncated 1)", "bytes       1MiB of 2MiB read", "cowrie.command.input  10", "import_nothing_kept"} {
		require.Contains(t, out, want)
	}
	_, _, err = b.run("imports", "show", importID, "--wait", "-o", "table")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	out, _, err = b.run("imports", "cancel", importID, "-o", "json")
	require.NoError(t, err)
	requireVerbatim(t, imported("a", "cancelled", 13, 10)+"\n", out)
	require.False(t, bytes.Contains([]byte(out), []byte{0x1b}))
}
