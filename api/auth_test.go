package api_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/operation"
)

func succeeded(ops []operation.Operation) (done []operation.Operation) {
	for _, op := range ops {
		if op.State == operation.Succeeded {
			done = append(done, op)
		}
	}
	return done
}

func login(username, password string) call {
	return call{method: http.MethodPost, path: "/auth/login", body: object{"username": username, "password": password}}
}

func (b *bundle) me(t *testing.T, token string) reply {
	t.Helper()
	return b.do(t, call{method: http.MethodGet, path: "/auth/me", token: token})
}

func (b *bundle) login(t *testing.T, username, password string) string {
	t.Helper()
	r := b.do(t, login(username, password))
	require.Equal(t, http.StatusOK, r.status, "%s", r.body)
	return r.json(t)["access_token"].(string)
}

func TestLogin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.do(t, login("viewer", password))
	require.Equal(t, http.StatusOK, r.status, "%s", r.body)
	require.Equal(t, "bearer", r.json(t)["token_type"])
	require.Equal(t, false, r.json(t)["must_change_password"])
	me := b.me(t, r.json(t)["access_token"].(string))
	require.Equal(t, "viewer", me.json(t)["username"])
	require.Equal(t, "viewer", me.json(t)["role"])

	var details []any
	for _, c := range []call{
		login("viewer", "wrong"), login("nobody", password), login("a b\x00", password), login("Viewer", password),
		login("'; --", "x"), login("viewer", strings.Repeat("ä", 72)),
	} {
		r := b.do(t, c)
		require.Equal(t, http.StatusUnauthorized, r.status, "%s", r.body)
		require.Equal(t, "login_failed", r.code(t))
		details = append(details, r.json(t)["detail"])
	}
	for _, d := range details {
		require.Equal(t, details[0], d, "one message for every reason")
	}
	require.Equal(t, http.StatusUnprocessableEntity, b.do(t, login("viewer", strings.Repeat("x", 73))).status)
}

func TestLogout_RevokesOneToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second := b.tokenOf(t, b.users[auth.Viewer]), b.tokenOf(t, b.users[auth.Viewer])
	r := b.do(t, call{method: http.MethodPost, path: "/auth/logout", token: first})
	require.Equal(t, http.StatusOK, r.status, "%s", r.body)
	require.Equal(t, http.StatusUnauthorized, b.me(t, first).status)
	require.Equal(t, http.StatusOK, b.me(t, second).status)
}

func TestToken_OutOfTimeOrForeign(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u := b.users[auth.Admin]
	signer := auth.NewSigner(installationKey, 0)
	expired, err := signer.Issue(u, time.Now().Add(-5*time.Hour))
	require.NoError(t, err)
	future, err := signer.Issue(u, time.Now().Add(time.Hour))
	require.NoError(t, err)
	foreign, err := auth.NewSigner([]byte(strings.Repeat("x", 32)), 0).Issue(u, time.Now())
	require.NoError(t, err)
	nobody, err := signer.Issue(auth.User{ID: uuid.New(), TokenGeneration: 1}, time.Now())
	require.NoError(t, err)
	for _, token := range []string{expired, future, foreign, nobody, "x", "a.b.c", "decnet_unknown", strings.Repeat("a", 5000)} {
		r := b.me(t, token)
		require.Equal(t, http.StatusUnauthorized, r.status)
		require.Equal(t, "Bearer", r.header.Get("WWW-Authenticate"))
	}
	for _, header := range []string{"", "Bearer", "Bearer ", "Basic YTpi", b.tokenOf(t, u)} {
		r := b.do(t, call{method: http.MethodGet, path: "/auth/me", headers: map[string]string{"Authorization": header}})
		require.Equal(t, http.StatusUnauthorized, r.status, header)
	}
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fresh := b.addUser(t, "fresh", auth.Viewer, true)
	old := b.tokenOf(t, fresh)
	change := func(token, from, to string) reply {
		return b.do(t, call{
			method: http.MethodPost, path: "/auth/change-password", token: token, body: object{"old_password": from, "new_password": to},
		})
	}
	const next = "another good password"
	require.Equal(t, http.StatusForbidden, b.do(t, call{method: http.MethodGet, path: "/deckies", token: old}).status)
	require.Equal(t, http.StatusUnauthorized, change(old, "wrong", next).status)
	for _, bad := range []string{"", "short", password, strings.Repeat("x", 73), strings.Repeat("ä", 40)} {
		r := change(old, password, bad)
		require.Equal(t, http.StatusUnprocessableEntity, r.status, bad)
		require.Equal(t, []string{"body.new_password"}, r.locations(t))
	}
	r := change(old, password, next)
	require.Equal(t, http.StatusOK, r.status, "%s", r.body)
	require.Equal(t, http.StatusUnauthorized, b.me(t, old).status, "died in the same second")
	require.Equal(t, http.StatusOK, b.do(t, call{method: http.MethodGet, path: "/deckies", token: r.json(t)["access_token"].(string)}).status)
	require.Equal(t, http.StatusOK, b.me(t, b.login(t, "fresh", next)).status, "a login in the same second works")
	require.Equal(t, http.StatusUnauthorized, b.do(t, login("fresh", password)).status)
}

func TestUsers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	create := call{
		as: auth.Admin, method: http.MethodPost, path: "/users", body: object{"username": "eve", "password": password, "role": "operator"},
	}
	r := b.do(t, create)
	require.Equal(t, http.StatusCreated, r.status, "%s", r.body)
	require.NotContains(t, string(r.body), password)
	var eve api.UserBody
	r.into(t, &eve)
	require.True(t, eve.MustChangePassword)
	require.Equal(t, "user_exists", b.do(t, create).code(t))
	for _, body := range []object{
		{"username": "system", "password": password},
		{"username": "Temporal-CLI", "password": password},
		{"username": "token:x", "password": password},
		{"username": "x", "password": "short"},
		{"username": "x", "password": password, "role": "root"},
		{"username": "x", "password": password, "uuid": "y"},
	} {
		require.Equal(t, 422, b.do(t, call{as: auth.Admin, method: http.MethodPost, path: "/users", body: body}).status, body)
	}

	token := b.login(t, "eve", password)
	role := call{as: auth.Admin, method: http.MethodPut, path: "/users/" + eve.UUID + "/role", body: object{"role": "viewer"}}
	require.Equal(t, "viewer", b.do(t, role).json(t)["role"])
	require.Equal(t, http.StatusUnauthorized, b.me(t, token).status)

	token = b.login(t, "eve", password)
	reset := call{
		as: auth.Admin, method: http.MethodPut, path: "/users/" + eve.UUID + "/reset-password", body: object{"new_password": "a password by admin"},
	}
	require.Equal(t, http.StatusOK, b.do(t, reset).status)
	require.Equal(t, http.StatusUnauthorized, b.me(t, token).status)
	token = b.login(t, "eve", "a password by admin")

	var page api.Page[api.UserBody]
	b.do(t, call{as: auth.Admin, method: http.MethodGet, path: "/users?limit=2"}).into(t, &page)
	require.Equal(t, "admin", page.Items[0].Username)
	require.NotNil(t, page.NextCursor)

	remove := call{as: auth.Admin, method: http.MethodDelete, path: "/users/" + eve.UUID}
	require.Equal(t, http.StatusOK, b.do(t, remove).status)
	require.Equal(t, http.StatusUnauthorized, b.me(t, token).status)
	require.Equal(t, "user_not_found", b.do(t, remove).code(t))
	role.path, reset.path = "/users/"+eve.UUID+"/role", "/users/"+eve.UUID+"/reset-password"
	require.Equal(t, http.StatusNotFound, b.do(t, role).status)
	require.Equal(t, http.StatusNotFound, b.do(t, reset).status)

	own := "/users/" + b.users[auth.Admin].ID.String()
	require.Equal(t, "own_account", b.do(t, call{as: auth.Admin, method: http.MethodDelete, path: own}).code(t))
	require.Equal(t, http.StatusForbidden,
		b.do(t, call{as: auth.Admin, method: http.MethodPut, path: own + "/role", body: object{"role": "viewer"}}).status)
}

func TestAPITokens(t *testing.T) {
	t.Parallel()
	b := setup(t)
	create := call{as: auth.Admin, method: http.MethodPost, path: "/tokens", body: object{"name": "ci", "role": "operator"}}
	r := b.do(t, create)
	require.Equal(t, http.StatusCreated, r.status, "%s", r.body)
	token, id := r.json(t)["token"].(string), r.json(t)["id"].(string)
	require.True(t, strings.HasPrefix(token, "decnet_"))
	require.Equal(t, "token_exists", b.do(t, create).code(t))

	me := b.me(t, token).json(t)
	require.Equal(t, "token:ci", me["actor"])
	require.Equal(t, "operator", me["role"])
	b.createDecky(t, "web-01")
	add := addSSH("web-01")
	add.token = token
	require.Equal(t, http.StatusCreated, b.do(t, add).status)
	require.Equal(t, "token:ci", b.operations(t)[0].Actor)
	for _, path := range []string{"/auth/logout", "/auth/change-password"} {
		r := b.do(t, call{method: http.MethodPost, path: path, token: token, body: object{"old_password": "x", "new_password": "another good password"}})
		require.Equal(t, http.StatusForbidden, r.status, path)
	}

	list := b.do(t, call{as: auth.Admin, method: http.MethodGet, path: "/tokens"})
	require.NotContains(t, string(list.body), token)
	require.Contains(t, string(list.body), `"created_by":"admin"`)
	past := call{as: auth.Admin, method: http.MethodPost, path: "/tokens", body: object{"name": "p", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}}
	require.Equal(t, []string{"body.expires_at"}, b.do(t, past).locations(t))

	remove := call{as: auth.Admin, method: http.MethodDelete, path: "/tokens/" + id}
	require.Equal(t, http.StatusOK, b.do(t, remove).status)
	require.Equal(t, http.StatusNotFound, b.do(t, remove).status)
	require.Equal(t, http.StatusUnauthorized, b.me(t, token).status)
}

// A token never may more than its owner, and an admin's token can be the last way in: it cannot saw off that branch.
func TestAPITokens_AreBoundToTheirOwner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	second := b.addUser(t, "second", auth.Admin, false)
	token := b.do(t, call{
		token: b.tokenOf(t, second), method: http.MethodPost, path: "/tokens", body: object{"name": "root", "role": "admin"},
	}).json(t)["token"].(string)
	list := call{token: token, method: http.MethodGet, path: "/users"}
	require.Equal(t, http.StatusOK, b.do(t, list).status)
	demote := func(id uuid.UUID, as call) reply {
		as.method, as.path, as.body = http.MethodPut, "/users/"+id.String()+"/role", object{"role": "viewer"}
		return b.do(t, as)
	}
	require.Equal(t, "own_account", demote(second.ID, call{token: token}).code(t))
	require.Equal(t, http.StatusOK, demote(second.ID, call{as: auth.Admin}).status)
	require.Equal(t, http.StatusForbidden, b.do(t, list).status, "its owner is a viewer now")
}

func limited(_ *api.Deps, opts *api.Options) { opts.LimiterEnabled = true }

func TestRateLimit_LoginPerAddress(t *testing.T) {
	t.Parallel()
	b := setup(t, limited)
	for i := range 10 {
		c := login("user"+strconv.Itoa(i), "wrong")
		c.headers = map[string]string{"X-Forwarded-For": "10.0.0." + strconv.Itoa(i)}
		require.Equal(t, http.StatusUnauthorized, b.do(t, c).status)
	}
	r := b.do(t, login("viewer", password))
	require.Equal(t, http.StatusTooManyRequests, r.status)
	require.Equal(t, "rate_limited", r.code(t))
	after, err := strconv.Atoi(r.header.Get("Retry-After"))
	require.NoError(t, err)
	require.InDelta(t, 300, after, 60)
}

func TestRateLimit_LoginPerUsername(t *testing.T) {
	t.Parallel()
	b := setup(t, limited)
	for range 5 {
		_, err := b.store.Hit(t.Context(), "unrelated", 1, time.Minute)
		require.NoError(t, err)
	}
	statuses := map[int]int{}
	for i := range 11 {
		statuses[b.from(t, "192.0.2."+strconv.Itoa(i), login("viewer", "wrong"))]++
	}
	require.Equal(t, map[int]int{401: 10, 429: 1}, statuses)
	require.Equal(t, 200, b.from(t, "192.0.2.99", login("operator", password)))

	statuses = map[int]int{}
	for i := range 11 {
		c := login("", "")
		c.body = []string{`{`, `[]`, `{"username":7}`, `null`}[i%4]
		statuses[b.from(t, "198.51.100."+strconv.Itoa(i), c)]++
	}
	require.Equal(t, 1, statuses[429], "unreadable bodies share a bucket: %v", statuses)
}

func TestRateLimit_ChangePassword(t *testing.T) {
	t.Parallel()
	b := setup(t, limited)
	c := call{as: auth.Viewer, method: http.MethodPost, path: "/auth/change-password", body: object{"old_password": "wrong", "new_password": "another good password"}}
	for range 5 {
		require.Equal(t, http.StatusUnauthorized, b.do(t, c).status)
	}
	require.Equal(t, http.StatusTooManyRequests, b.do(t, c).status)
}
