package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/internal/auth"
)

// apiToken makes an API token of the admin and returns its value and id.
func (b *bundle) apiToken(t *testing.T, name string, role auth.Role) (value, id string) {
	t.Helper()
	r := b.do(t, call{
		as: auth.Admin, method: http.MethodPost, path: "/tokens", body: map[string]any{"name": name, "role": role},
	})
	require.Equal(t, http.StatusCreated, r.status, "%s", r.body)
	var made api.NewTokenBody
	r.into(t, &made)
	return made.Token, made.ID
}

func TestTicket_OpensOneStream(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	ticket := l.ticket(t, call{as: auth.Viewer})
	s := l.open(t, ask{ticket: ticket})
	require.Equal(t, "snapshot", s.next().Type)
	require.Equal(t, "unauthorized", l.refusal(t, ask{ticket: ticket}).code(t))

	// Of many at the same time one gets in.
	ticket = l.ticket(t, call{as: auth.Operator})
	var in atomic.Int32
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.url+"/deckies/events?ticket="+ticket, nil)
			if err != nil {
				return
			}
			res, err := l.http.Do(req)
			if err != nil {
				return
			}
			if res.StatusCode == http.StatusOK {
				in.Add(1)
			}
			_ = res.Body.Close()
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, in.Load())
}

func TestTicket_IsWorthNothingElsewhere(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	ticket := l.ticket(t, call{as: auth.Admin})
	require.Equal(t, http.StatusUnauthorized, l.do(t, call{token: ticket, method: http.MethodGet, path: "/auth/me"}).status)
	require.Equal(t, http.StatusUnauthorized, l.do(t, call{method: http.MethodGet, path: "/deckies?ticket=" + ticket}).status)
	require.Equal(t, "snapshot", l.open(t, ask{ticket: ticket}).next().Type, "and was not used up there")
}

func TestTicket_ExpiresAndIsStoredHashed(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	value, hash, err := auth.NewTicket()
	require.NoError(t, err)
	viewer := auth.Ticket{UserID: l.users[auth.Viewer].ID, Claims: l.claims(t, auth.Viewer), Role: auth.Viewer}
	require.NoError(t, l.store.AddTicket(t.Context(), hash, viewer, 0))
	require.Equal(t, "unauthorized", l.refusal(t, ask{ticket: value}).code(t))
	require.NotContains(t, string(hash), value)

	for _, bad := range []string{"ticket_", "ticket_" + strings.Repeat("a", 5000), "x", "ticket_%00%ff"} {
		require.Equal(t, http.StatusUnauthorized, l.refusal(t, ask{ticket: bad}).status, bad)
	}
}

func (l *liveBundle) claims(t *testing.T, role auth.Role) auth.Claims {
	t.Helper()
	claims, err := auth.NewSigner(installationKey, 0).Parse(l.tokenOf(t, l.users[role]))
	require.NoError(t, err)
	return claims
}

func TestTicket_DiesWithWhatItWasGivenFor(t *testing.T) {
	t.Parallel()
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := setupLive(t)
			token, happens := lose(t, l)
			ticket := l.ticket(t, call{token: token})
			happens()
			require.Equal(t, http.StatusUnauthorized, l.refusal(t, ask{ticket: ticket}).status)
		})
	}
}

func TestStream_EndsWhenItsReaderMayNotReadAnyMore(t *testing.T) {
	t.Parallel()
	for name, lose := range losses {
		for _, by := range []string{"header", "ticket"} {
			t.Run(name+" by "+by, func(t *testing.T) {
				t.Parallel()
				l := setupLive(t, func(_ *api.Deps, o *api.Options) { o.SSEKeepAlive = 600 * time.Millisecond })
				token, happens := lose(t, l)
				a := ask{token: token}
				if by == "ticket" {
					a = ask{ticket: l.ticket(t, call{token: token})}
				}
				s, other := l.open(t, a), l.open(t, ask{as: auth.Viewer})
				s.next()
				other.next()
				happens()
				// Also when it is never silent.
				for quiet := false; !quiet; {
					l.publish(t, "decky.a.state", nil)
					select {
					case _, ok := <-s.events:
						quiet = !ok
					case <-time.After(20 * time.Millisecond):
					}
				}
				require.Equal(t, "decky.state", other.next().Type)
			})
		}
	}
}

// losses are the ways to lose access: each returns a token that is good, and makes it bad.
var losses = map[string]func(*testing.T, *liveBundle) (token string, happens func()){
	"logout": func(t *testing.T, l *liveBundle) (string, func()) {
		t.Helper()
		token := l.tokenOf(t, l.users[auth.Operator])
		return token, func() { l.do(t, call{token: token, method: http.MethodPost, path: "/auth/logout"}) }
	},
	"role changed": func(t *testing.T, l *liveBundle) (string, func()) {
		t.Helper()
		return l.tokenOf(t, l.users[auth.Operator]), func() {
			_, err := l.store.SetRole(t.Context(), l.users[auth.Operator].ID, auth.Viewer)
			require.NoError(t, err)
		}
	},
	"user deleted": func(t *testing.T, l *liveBundle) (string, func()) {
		t.Helper()
		return l.tokenOf(t, l.users[auth.Operator]), func() {
			require.NoError(t, l.store.DeleteUser(t.Context(), l.users[auth.Operator].ID))
		}
	},
	"password reset": func(t *testing.T, l *liveBundle) (string, func()) {
		t.Helper()
		return l.tokenOf(t, l.users[auth.Operator]), func() {
			_, err := l.store.SetPassword(t.Context(), l.users[auth.Operator].ID, "x", true)
			require.NoError(t, err)
		}
	},
	"API token deleted": func(t *testing.T, l *liveBundle) (string, func()) {
		t.Helper()
		token, id := l.apiToken(t, "ci", auth.Viewer)
		return token, func() {
			r := l.do(t, call{as: auth.Admin, method: http.MethodDelete, path: "/tokens/" + id})
			require.Equal(t, http.StatusOK, r.status)
		}
	},
	"API token's owner demoted": func(t *testing.T, l *liveBundle) (string, func()) {
		t.Helper()
		l.addUser(t, "second", auth.Admin, false)
		token, _ := l.apiToken(t, "ci", auth.Operator)
		return token, func() {
			_, err := l.store.SetRole(t.Context(), l.users[auth.Admin].ID, auth.Viewer)
			require.NoError(t, err)
		}
	},
}

func TestStream_CredentialsInTheQueryAreRefusedAndNeverLogged(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	token := l.tokenOf(t, l.users[auth.Viewer])
	for _, path := range []string{"?token=" + token, "?access_token=" + token} {
		for _, a := range []ask{{}, {as: auth.Viewer}} {
			a.path = "/deckies/events" + path + "&x=" // what open adds comes behind
			require.Equal(t, "credential_in_query", l.refusal(t, a).code(t))
		}
	}
	require.Equal(t, "unauthorized", l.refusal(t, ask{ticket: token}).code(t))
	api, _ := l.apiToken(t, "ci", auth.Viewer)
	require.Equal(t, "unauthorized", l.refusal(t, ask{ticket: api}).code(t))

	ticket := l.ticket(t, call{as: auth.Viewer})
	s := l.open(t, ask{ticket: ticket, queryID: marker})
	s.next()
	l.stop()
	s.ended()
	for _, secret := range []string{token, ticket, api, marker} {
		require.NotContains(t, l.log.String(), secret)
	}
	require.Contains(t, l.log.String(), "/api/v1/deckies/events", "the route is logged")
}

func TestStream_CountsOpenOnes(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	l.open(t, ask{as: auth.Viewer}).next()
	metrics := l.request(t, "/metrics", call{method: http.MethodGet})
	require.Contains(t, string(metrics.body), "decnet_event_streams 1")
}

func TestOpenAPI_DocumentsBothStreams(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var doc struct {
		Paths map[string]struct {
			Get struct {
				Responses map[string]struct {
					Content map[string]json.RawMessage
				}
				Security []map[string][]string
			}
		}
	}
	b.do(t, call{method: http.MethodGet, path: "/openapi.json"}).into(t, &doc)
	for _, path := range []string{"/deckies/events", "/topologies/{topology_id}/events"} {
		get := doc.Paths[path].Get
		require.Contains(t, get.Responses["200"].Content, "text/event-stream", path)
		require.Contains(t, get.Responses["default"].Content, "application/problem+json", path)
		require.Len(t, get.Security, 2, path)
	}
}
