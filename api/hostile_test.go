package api_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/auth"
)

const marker = "zq-marker-4711"

// hostileValues are JSON values that are wrong wherever we expect a name.
var hostileValues = map[string]string{
	"number":        `17`,
	"huge number":   `1e400`,
	"long number":   strings.Repeat("9", 5000),
	"bool":          `true`,
	"list":          `["` + marker + `"]`,
	"object":        `{"` + marker + `":1}`,
	"empty":         `""`,
	"10 kB":         `"` + strings.Repeat("a", 10<<10) + `"`,
	"control":       `"a\u0001` + marker + `"`,
	"nul":           `"a\u0000` + marker + `"`,
	"newline":       `"a\n` + marker + `"`,
	"SQL":           `"'; DROP TABLE deckies; -- ` + marker + `"`,
	"path":          `"../../etc/` + marker + `"`,
	"markup":        `"<script>` + marker + `</script>"`,
	"subject":       `"a.>.*.` + marker + `"`,
	"surrogate":     `"\ud800` + marker + `"`,
	"right-to-left": `"\u202e` + marker + `"`,
	"upper case":    `"ZQ-MARKER"`,
}

func TestHostile_Names(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01")
	before := len(b.operations(t))
	routes := map[string]string{
		"/deckies": "name", "/deckies/web-01/services": "name", "/users": "username", "/tokens": "name",
	}
	for path, field := range routes {
		for name, value := range hostileValues {
			if name == "upper case" && (path == "/users" || path == "/tokens") {
				continue // allowed there
			}
			body := `{"` + field + `":` + value + `,"password":"` + password + `","role":"viewer"}`
			if strings.HasPrefix(path, "/deckies") {
				body = `{"` + field + `":` + value + `}`
			}
			r := b.do(t, call{as: auth.Admin, method: http.MethodPost, path: path, body: body})
			require.Contains(t, []int{400, 422}, r.status, "%s %s: %s", path, name, r.body)
			r.code(t)
			require.NotEmpty(t, r.locations(t), "%s %s", path, name)
			require.NotContains(t, string(r.body), marker, "%s %s", path, name)
		}
	}
	require.Len(t, b.operations(t), before)
	users, err := b.store.Users(t.Context(), "", 100)
	require.NoError(t, err)
	require.Len(t, users, 3)
	require.NotContains(t, b.log.String(), marker)
}

func TestHostile_Bodies(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, c := range map[string]struct {
		body     string
		status   int
		location string
	}{
		"nothing":               {"", 400, ""},
		"blank":                 {"   ", 400, "body"},
		"text":                  {marker, 400, "body"},
		"cut off":               {`{"name":"` + marker, 400, "body"},
		"two values":            {`{"name":"a"}{"name":"b"}`, 400, "body"},
		"trailing":              {`{"name":"a"} ` + marker, 400, "body"},
		"null":                  {`null`, 422, "body"},
		"list":                  {`[{"name":"a"}]`, 422, "body"},
		"no name":               {`{}`, 422, "body"},
		"unknown field":         {`{"name":"a","admin":"` + marker + `"}`, 422, "body.admin"},
		"field of later":        {`{"name":"a","expires_at":"2030-01-01T00:00:00Z"}`, 422, "body.expires_at"},
		"other case":            {`{"Name":"a"}`, 422, "body"},
		"duplicate":             {`{"name":"a","name":"` + marker + `"}`, 400, "body"},
		"duplicate, folded":     {`{"name":"a","NAME":"` + marker + `"}`, 400, "body"},
		"duplicate inside":      {`{"name":"a","service_config":{"ssh":{"user":"a","user":"b"}}}`, 400, "body"},
		"invalid UTF-8":         {"{\"name\":\"a\xff\"}", 400, "body"},
		"byte order mark":       {"\xef\xbb\xbf{\"name\":\"a\"}", 400, "body"},
		"UTF-16":                {"{\x00\"\x00n\x00", 400, "body"},
		"deep":                  {`{"name":"a","service_config":{"ssh":{"user":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}}}`, 400, "body"},
		"deeper than the stack": {strings.Repeat(`{"a":`, 100000), 400, "body"},
		"services of text":      {`{"name":"a","services":"ssh"}`, 422, "body.services"},
		"services of numbers":   {`{"name":"a","services":[1]}`, 422, "body.services[0]"},
		"unknown service":       {`{"name":"a","services":["` + marker + `"]}`, 422, "body.services[0]"},
		"service twice":         {`{"name":"a","services":["ssh","ssh"]}`, 422, "body.services[1]"},
		"many services":         {`{"name":"a","services":[` + strings.Repeat(`"ssh",`, 99) + `"ssh"]}`, 422, "body.services"},
		"config of text":        {`{"name":"a","services":["ssh"],"service_config":"` + marker + `"}`, 422, "body.service_config"},
		"config of numbers":     {`{"name":"a","services":["ssh"],"service_config":{"ssh":1}}`, 422, "body.service_config.ssh"},
		"config value object":   {`{"name":"a","services":["ssh"],"service_config":{"ssh":{"user":{"` + marker + `":1}}}}`, 422, "body.service_config.ssh.user"},
		"config value control":  {`{"name":"a","services":["ssh"],"service_config":{"ssh":{"password":"` + marker + `\u0000"}}}`, 422, "body.service_config.ssh.password"},
		"config undeclared":     {`{"name":"a","services":[],"service_config":{"ssh":{}}}`, 422, "body.service_config"},
		"archetype":             {`{"name":"a","archetype":"` + marker + `"}`, 422, "body.archetype"},
		"distro":                {`{"name":"a","distro":"` + marker + `"}`, 422, "body.distro"},
		"nmap_os":               {`{"name":"a","nmap_os":"` + marker + `"}`, 422, "body.nmap_os"},
		"hostname":              {`{"name":"a","hostname":"` + marker + ` x"}`, 422, "body.hostname"},
		"address":               {`{"name":"a","ip":"` + marker + `"}`, 422, "body.ip"},
		"address elsewhere":     {`{"name":"a","ip":"10.0.0.1"}`, 422, "body.ip"},
		"reserved":              {`{"name":"events"}`, 422, "body.name"},
		"like a topology key":   {`{"name":"deadbeef-a"}`, 422, "body.name"},
	} {
		r := b.do(t, call{as: auth.Admin, method: http.MethodPost, path: "/deckies", body: c.body})
		require.Equal(t, c.status, r.status, "%s: %s", name, r.body)
		r.code(t)
		if c.location != "" {
			require.Contains(t, r.locations(t), c.location, name)
		}
		require.NotContains(t, string(r.body), marker, name)
	}
	require.Empty(t, b.operations(t))
	require.NotContains(t, b.log.String(), marker)
}

func TestHostile_UnknownFieldsAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var body strings.Builder
	body.WriteString(`{"name":"a"`)
	for i := range 1000 {
		body.WriteString(`,"` + strings.Repeat("k", 500) + string(rune('a'+i%26)) + strings.Repeat("x", i) + `":1`)
	}
	r := b.do(t, call{as: auth.Admin, method: http.MethodPost, path: "/deckies", body: body.String() + `}`})
	require.Equal(t, http.StatusUnprocessableEntity, r.status)
	require.Less(t, len(r.body), 16<<10)
}

func TestHostile_PathsAndQueries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	texts := []string{
		"A", "-a", strings.Repeat("a", 10<<10), "a\x00b", "a\xff", "' OR 1=1 --", "a b", "a%b", "\u202e", "a.b", "<b>" + marker,
	}
	for _, text := range texts {
		for _, c := range []call{
			{method: http.MethodGet, path: "/deckies/" + url.PathEscape(text)},
			{method: http.MethodDelete, path: "/deckies/" + url.PathEscape(text)},
			{method: http.MethodPost, path: "/deckies/" + url.PathEscape(text) + "/services", body: object{"name": "ssh"}},
			{method: http.MethodDelete, path: "/deckies/a/services/" + url.PathEscape(text+"!")},
			{method: http.MethodGet, path: "/deckies/services/" + url.PathEscape(text+"!") + "/schema"},
			{method: http.MethodGet, path: "/operations/" + url.PathEscape(text)},
			{method: http.MethodGet, path: "/operations?decky=" + url.QueryEscape(text)},
			{method: http.MethodGet, path: "/operations?service=" + url.QueryEscape(text+"!")},
			{method: http.MethodGet, path: "/operations?kind=" + url.QueryEscape(text+"!")},
			{method: http.MethodGet, path: "/operations?state=" + url.QueryEscape(text)},
			{method: http.MethodGet, path: "/operations?actor=" + url.QueryEscape(text+"!")},
			{method: http.MethodGet, path: "/operations?cursor=" + url.QueryEscape(text)},
			{method: http.MethodGet, path: "/operations?limit=" + url.QueryEscape(text)},
			{method: http.MethodGet, path: "/deckies?cursor=" + url.QueryEscape(text+"!")},
			{method: http.MethodDelete, path: "/users/" + url.PathEscape(text)},
			{method: http.MethodDelete, path: "/tokens/" + url.PathEscape(text)},
		} {
			c.as = auth.Admin
			r := b.do(t, c)
			require.Equal(t, http.StatusUnprocessableEntity, r.status, "%s %q: %s", c.method, c.path, r.body)
			r.code(t)
			require.NotEmpty(t, r.locations(t))
			require.NotContains(t, string(r.body), marker)
		}
	}
	for _, query := range []string{"limit=0", "limit=501", "limit=-1", "limit=1e3", "limit=99999999999999999999"} {
		require.Equal(t, 422, b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/deckies?" + query}).status, query)
	}
	require.Empty(t, b.operations(t))
	require.NotContains(t, b.log.String(), marker)
}

func TestHostile_PreferIsNeverAnError(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01")
	for _, prefer := range []string{"wait=x", "wait=-1", "wait=99999999999999999999", "wait", "=", ";;,,", "wait=1e2", strings.Repeat("a", 5000), "wait=61"} {
		for _, method := range []string{http.MethodPost, http.MethodDelete} {
			c := addSSH("web-01")
			if method == http.MethodDelete {
				c = call{as: auth.Operator, method: method, path: "/deckies/web-01/services/ssh"}
			}
			c.headers = map[string]string{"Prefer": prefer}
			require.Less(t, b.do(t, c).status, 300, prefer)
		}
	}
}

// A secret that was submitted comes back nowhere: not in answers, not in the log, not in what is stored in the clear.
func TestSecrets_AreNeverEchoed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01")
	body := object{"name": "ssh", "config": object{"password": marker, "user_password": marker}}
	c := call{as: auth.Operator, method: http.MethodPost, path: "/deckies/web-01/services", body: body}
	require.Equal(t, http.StatusCreated, b.do(t, c).status)
	require.Equal(t, http.StatusConflict, b.do(t, c).status)
	for _, path := range []string{"/deckies", "/deckies/web-01", "/operations", "/status", "/deckies/services/ssh/schema"} {
		for _, role := range auth.Roles() {
			r := b.do(t, call{as: role, method: http.MethodGet, path: path})
			require.Equal(t, http.StatusOK, r.status)
			require.NotContains(t, string(r.body), marker, path)
		}
	}
	for _, wrong := range []call{
		{method: http.MethodPost, path: "/auth/login", body: object{"username": marker, "password": marker}},
		{method: http.MethodPost, path: "/auth/login", body: object{"username": "admin", "password": strings.Repeat(marker, 10)}},
		{method: http.MethodPost, path: "/auth/change-password", as: auth.Admin, body: object{"old_password": marker, "new_password": marker}},
		{method: http.MethodPost, path: "/users", as: auth.Admin, body: object{"username": "x", "password": marker[:11]}},
		{method: http.MethodGet, path: "/deckies", token: "decnet_" + marker},
		{method: http.MethodGet, path: "/deckies", token: marker},
	} {
		r := b.do(t, wrong)
		require.GreaterOrEqual(t, r.status, 400)
		require.Less(t, r.status, 500)
		require.NotContains(t, string(r.body), marker[:11], wrong.path)
	}
	for _, op := range b.operations(t) {
		require.NotContains(t, string(op.Response), marker)
	}
	require.NotContains(t, b.log.String(), marker)
}
