package api_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/internal/auth"
)

// who may call each route; a route without an entry fails the test.
var routeRoles = map[string]string{
	"POST /api/v1/auth/login":           "open",
	"POST /api/v1/auth/logout":          "self",
	"POST /api/v1/auth/change-password": "self",
	"GET /api/v1/auth/me":               "self",
	"POST /api/v1/auth/sse-ticket":      "viewer",

	"GET /api/v1/users":                      "admin",
	"POST /api/v1/users":                     "admin",
	"DELETE /api/v1/users/:uuid":             "admin",
	"PUT /api/v1/users/:uuid/role":           "admin",
	"PUT /api/v1/users/:uuid/reset-password": "admin",
	"GET /api/v1/tokens":                     "admin",
	"POST /api/v1/tokens":                    "admin",
	"DELETE /api/v1/tokens/:id":              "admin",

	"GET /api/v1/deckies":                                                         "viewer",
	"POST /api/v1/deckies":                                                        "admin",
	"GET /api/v1/deckies/:decky":                                                  "viewer",
	"DELETE /api/v1/deckies/:decky":                                               "admin",
	"POST /api/v1/deckies/:decky/unquarantine":                                    "operator",
	"POST /api/v1/deckies/:decky/services":                                        "operator",
	"DELETE /api/v1/deckies/:decky/services/:service":                             "operator",
	"PUT /api/v1/deckies/:decky/services/:service/config":                         "operator",
	"POST /api/v1/deckies/:decky/services/:service/apply":                         "operator",
	"PUT /api/v1/deckies/:decky/services/:service/expiry":                         "operator",
	"GET /api/v1/deckies/:decky/revisions":                                        "viewer",
	"POST /api/v1/deckies/:decky/rollback":                                        "operator",
	"GET /api/v1/topologies":                                                      "viewer",
	"POST /api/v1/topologies":                                                     "admin",
	"POST /api/v1/topologies/blank":                                               "admin",
	"GET /api/v1/topologies/next-subnet":                                          "viewer",
	"GET /api/v1/topologies/:topology_id":                                         "viewer",
	"DELETE /api/v1/topologies/:topology_id":                                      "admin",
	"GET /api/v1/topologies/:topology_id/status-events":                           "viewer",
	"GET /api/v1/topologies/:topology_id/issues":                                  "viewer",
	"POST /api/v1/topologies/:topology_id/deploy":                                 "operator",
	"POST /api/v1/topologies/:topology_id/teardown":                               "operator",
	"POST /api/v1/topologies/:topology_id/lans":                                   "admin",
	"PATCH /api/v1/topologies/:topology_id/lans/:lan_id":                          "admin",
	"DELETE /api/v1/topologies/:topology_id/lans/:lan_id":                         "admin",
	"GET /api/v1/topologies/:topology_id/lans/:lan_id/next-ip":                    "viewer",
	"POST /api/v1/topologies/:topology_id/deckies":                                "admin",
	"PATCH /api/v1/topologies/:topology_id/deckies/:decky":                        "admin",
	"DELETE /api/v1/topologies/:topology_id/deckies/:decky":                       "admin",
	"POST /api/v1/topologies/:topology_id/edges":                                  "admin",
	"DELETE /api/v1/topologies/:topology_id/edges/:edge_id":                       "admin",
	"POST /api/v1/topologies/:topology_id/mutations":                              "admin",
	"GET /api/v1/topologies/:topology_id/mutations":                               "viewer",
	"GET /api/v1/topologies/:topology_id/deckies/:decky":                          "viewer",
	"GET /api/v1/topologies/:topology_id/deckies/:decky/revisions":                "viewer",
	"POST /api/v1/topologies/:topology_id/deckies/:decky/rollback":                "operator",
	"POST /api/v1/topologies/:topology_id/deckies/:decky/services":                "operator",
	"DELETE /api/v1/topologies/:topology_id/deckies/:decky/services/:service":     "operator",
	"PUT /api/v1/topologies/:topology_id/deckies/:decky/services/:service/config": "operator",
	"POST /api/v1/topologies/:topology_id/deckies/:decky/services/:service/apply": "operator",
	"PUT /api/v1/topologies/:topology_id/deckies/:decky/services/:service/expiry": "operator",
	"GET /api/v1/topologies/services":                                             "viewer",
	"GET /api/v1/topologies/services/:slug/schema":                                "viewer",
	"GET /api/v1/topologies/archetypes":                                           "viewer",
	"GET /api/v1/deckies/services":                                                "viewer",
	"GET /api/v1/deckies/services/:slug/schema":                                   "viewer",
	"GET /api/v1/deckies/archetypes":                                              "viewer",
	"GET /api/v1/operations":                                                      "viewer",
	"GET /api/v1/operations/:id":                                                  "viewer",
	"POST /api/v1/operations/:id/cancel":                                          "operator",
	"GET /api/v1/events":                                                          "viewer",
	"GET /api/v1/events/:id":                                                      "viewer",
	"GET /api/v1/attackers":                                                       "viewer",
	"GET /api/v1/attackers/:id":                                                   "viewer",
	"GET /api/v1/sessions":                                                        "viewer",
	"GET /api/v1/sessions/:id":                                                    "viewer",
	"GET /api/v1/sessions/:id/commands":                                           "viewer",
	"GET /api/v1/sessions/:id/cast":                                               "operator",
	"GET /api/v1/commands":                                                        "viewer",
	"GET /api/v1/bounties":                                                        "viewer",
	"GET /api/v1/credentials":                                                     "viewer",
	"GET /api/v1/credential-reuse":                                                "viewer",
	"GET /api/v1/credential-reuse/:id":                                            "viewer",
	"GET /api/v1/artifacts":                                                       "viewer",
	"GET /api/v1/artifacts/:id":                                                   "viewer",
	"GET /api/v1/artifacts/:id/content":                                           "operator",
	"GET /api/v1/ingest":                                                          "viewer",
	"POST /api/v1/imports":                                                        "operator",
	"GET /api/v1/imports":                                                         "viewer",
	"GET /api/v1/imports/:id":                                                     "viewer",
	"POST /api/v1/imports/:id/cancel":                                             "operator",
	"GET /api/v1/status":                                                          "viewer",
	"GET /api/v1/deckies/events":                                                  "viewer",
	"GET /api/v1/topologies/:topology_id/events":                                  "viewer",

	"GET /api/v1/retention":        "viewer",
	"PUT /api/v1/retention/:class": "admin",
	"POST /api/v1/retention/run":   "admin",

	"GET /api/v1/openapi.yaml": "open",
	"GET /api/v1/openapi.json": "open",
	"GET /healthz":             "open",
	"GET /readyz":              "open",
	"GET /metrics":             "open",
}

var parameter = regexp.MustCompile(`:(uuid|id|topology_id)`)

func TestRoles_EveryRoute(t *testing.T) {
	t.Parallel()
	stopped := make(chan struct{})
	close(stopped) // streams end at once
	b := setup(t, func(d *api.Deps, _ *api.Options) { d.Stopping = stopped })
	fresh := b.addUser(t, "fresh", auth.Admin, true)
	routes := b.engine.Routes()
	require.Len(t, routes, len(routeRoles))
	for _, route := range routes {
		name := route.Method + " " + route.Path
		needs, ok := routeRoles[name]
		require.True(t, ok, "%s has no entry", name)
		path := parameter.ReplaceAllString(route.Path, uuid.NewString())
		path = strings.NewReplacer(":decky", "nowhere", ":service", "ssh", ":slug", "ssh", ":class", "events").Replace(path)
		c := call{method: route.Method}
		if route.Method != http.MethodGet {
			c.body = `{"nonsense":1}`
		}

		anonymous := b.request(t, path, c)
		if needs == "open" {
			require.NotContains(t, []int{401, 403}, anonymous.status, name)
			continue
		}
		require.Equal(t, http.StatusUnauthorized, anonymous.status, name)
		require.Equal(t, "Bearer", anonymous.header.Get("WWW-Authenticate"), name)
		if name == "POST /api/v1/auth/logout" {
			continue // the tokens are needed
		}
		c.token = b.tokenOf(t, fresh)
		r := b.request(t, path, c)
		if needs == "self" {
			require.NotEqual(t, http.StatusForbidden, r.status, name)
			continue
		}
		require.Equal(t, http.StatusForbidden, r.status, name)
		require.Equal(t, "password_change_required", r.code(t), name)

		for _, role := range auth.Roles() {
			c.token, c.as = "", role
			r := b.request(t, path, c)
			if role.Allows(auth.Role(needs)) {
				require.NotContains(t, []int{401, 403}, r.status, "%s as %s", name, role)
				continue
			}
			require.Equal(t, http.StatusForbidden, r.status, "%s as %s", name, role)
			require.Equal(t, "Insufficient permissions", r.json(t)["detail"])
		}
	}
	require.Empty(t, succeeded(b.operations(t)))
}
