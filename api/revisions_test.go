package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/operation"
)

func rollback(decky string, revision any) call {
	return call{as: auth.Operator, method: http.MethodPost, path: "/deckies/" + decky + "/rollback", body: object{"revision": revision}}
}

func past(decky string, at time.Time) call {
	return call{as: auth.Viewer, method: http.MethodGet, path: "/deckies/" + decky + "?at=" + at.UTC().Format(time.RFC3339Nano)}
}

func TestExpiry_SetMoveAndClear(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.configDecky(t, "web-01")
	revision, events := b.shown(t, "/deckies/web-01").Revision, b.eventCount(t)
	var named string
	for _, at := range []any{"2100-01-02T03:04:05.123456789+01:00", nil} {
		wrong := b.do(t, expire("web-01", "ssh", "2000-01-01T00:00:00Z"))
		require.Equal(t, "expiry_invalid", wrong.code(t))
		require.Equal(t, []string{"body.expires_at"}, wrong.locations(t))
		require.Equal(t, "expiry_invalid", b.do(t, expire("nowhere", "ssh", at2100)).code(t), "before the decky is looked for")
		if at != nil {
			require.Equal(t, "expiry_invalid", b.do(t, expire("web-01", "ssh", at)).code(t), "farther than a year away")
			at = time.Now().Add(24 * time.Hour).UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano)
		}
		r := b.must(t, http.StatusOK, expire("web-01", "ssh", at))
		require.Equal(t, object{"decky_name": "web-01", "service_name": "ssh", "topology_id": nil, "expires_at": at}, r.json(t))
		op := b.operations(t)[0]
		require.Equal(t, r.header.Get("Decnet-Operation"), op.ID.String())
		require.Equal(t, []any{operation.SetExpiry, operation.Succeeded, "operator", "ssh"}, []any{op.Kind, op.State, op.Actor, op.Service})
		shown := b.shown(t, "/deckies/web-01")
		require.Equal(t, revision, shown.Revision, "an end is no revision")
		require.Nil(t, shown.Services[1].ExpiresAt)
		if at == nil {
			require.Nil(t, shown.Services[0].ExpiresAt)
		} else {
			require.Equal(t, at, shown.Services[0].ExpiresAt.Format(time.RFC3339Nano))
			named = b.desired(t, "web-01")[0].ExpiryID.String()
			require.Equal(t, op.ID.String(), named, "the wish is named after its operation")
		}
	}
	require.Equal(t, events, b.eventCount(t))

	b.must(t, http.StatusOK, expire("web-01", "ssh", time.Now().Add(time.Hour)))
	first := b.desired(t, "web-01")[0].ExpiryID
	require.NotEqual(t, named, first.String(), "one wish ended with the clearing, this is another")
	b.must(t, http.StatusOK, expire("web-01", "ssh", time.Now().Add(2*time.Hour)))
	require.Equal(t, first, b.desired(t, "web-01")[0].ExpiryID, "moving an end keeps its name")
	b.must(t, http.StatusOK, save("web-01", "ssh", object{"config": object{"user": "eve"}}))
	require.Equal(t, first, b.desired(t, "web-01")[0].ExpiryID, "an end outlives other changes")
}

const at2100 = "2100-01-01T00:00:00Z"

func TestExpiry_Refusals(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01", "ssh")
	soon := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for _, c := range []struct {
		call   call
		status int
		code   string
		stored bool
	}{
		{expire("nowhere", "ssh", soon), 404, "decky_not_found", true},
		{expire("web-01", "redis", soon), 409, "service_not_present", true},
		{expire("web-01", "gopher", nil), 409, "service_not_present", true},
		{call{as: auth.Operator, method: http.MethodPut, path: "/deckies/web-01/services/ssh/expiry", body: object{}}, 422, "validation_failed", false},
		{call{as: auth.Operator, method: http.MethodPut, path: "/deckies/web-01/services/ssh/expiry"}, 400, "body_invalid", false},
		{expire("web-01", "ssh", "tomorrow"), 422, "validation_failed", false},
	} {
		recorded := len(b.operations(t))
		r := b.do(t, c.call)
		require.Equal(t, c.status, r.status, "%v: %s", c.call, r.body)
		require.Equal(t, c.code, r.code(t), "%v: %s", c.call, r.body)
		if c.stored {
			recorded++
			require.Equal(t, operation.Refused, b.operations(t)[0].State)
			require.Equal(t, r.header.Get("Decnet-Operation"), b.operations(t)[0].ID.String())
		}
		require.Len(t, b.operations(t), recorded)
	}

	// While a removal has begun, its outcome is not decided by an end any more.
	hold := make(chan struct{})
	defer close(hold)
	b.lane.set(func(l *lane) { l.hold = hold })
	remove := call{as: auth.Operator, method: http.MethodDelete, path: "/deckies/web-01/services/ssh", headers: map[string]string{"Prefer": "wait=0"}}
	b.must(t, http.StatusAccepted, remove)
	require.Eventually(t, func() bool { return b.operations(t)[0].State == operation.Running }, time.Minute, 5*time.Millisecond)
	require.Equal(t, "service_being_removed", b.do(t, expire("web-01", "ssh", soon)).code(t))
}

func TestAddService_Temporary(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01")
	add := func(at any) call {
		return call{as: auth.Operator, method: http.MethodPost, path: "/deckies/web-01/services", body: object{"name": "ssh", "expires_at": at}}
	}
	recorded := len(b.operations(t))
	require.Equal(t, "expiry_invalid", b.do(t, add("2000-01-01T00:00:00Z")).code(t))
	require.Equal(t, "expiry_invalid", b.do(t, add(at2100)).code(t))
	require.Len(t, b.operations(t), recorded)
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	b.must(t, http.StatusCreated, add(at))
	require.Equal(t, at, *b.shown(t, "/deckies/web-01").Services[0].ExpiresAt)
	require.Equal(t, b.operations(t)[0].ID, b.desired(t, "web-01")[0].ExpiryID)
}

func TestRevisions_ListAndRollBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.configDecky(t, "web-01")                                                                                                                       // 1
	b.must(t, http.StatusCreated, apply("web-01", "ssh", object{"config": object{"password": "marker-two"}}))                                        // 2
	b.must(t, http.StatusOK, call{as: auth.Operator, method: http.MethodDelete, path: "/deckies/web-01/services/http"})                              // 3
	b.must(t, http.StatusCreated, call{as: auth.Operator, method: http.MethodPost, path: "/deckies/web-01/services", body: object{"name": "redis"}}) // 4

	r := b.must(t, http.StatusOK, rollback("web-01", 1))
	require.JSONEq(t, `{"decky_name":"web-01","topology_id":null,"services":["ssh","http"]}`, string(r.body))
	stored := b.desired(t, "web-01")
	require.EqualValues(t, object{"password": "marker-one", "user": "bob"}, stored[0].Config, "secrets come back too")
	require.Equal(t, []int{5, 5}, []int{stored[0].Revision, stored[1].Revision})
	event := b.events(t)[b.eventCount(t)-1]
	require.Equal(t, "decky.web-01.mutation", event.Topic)
	require.JSONEq(t, fmt.Sprintf(`{"decky":"web-01","topology_id":null,"old_services":["ssh","redis"],"new_services":["ssh","http"],
		"trigger":"operator","actor":"operator","operation_id":%q}`, r.header.Get("Decnet-Operation")), string(event.Payload))

	var kinds []string
	var cursor string
	var closed *time.Time
	for range 3 {
		var page api.Page[api.RevisionBody]
		b.must(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: "/deckies/web-01/revisions?limit=2&cursor=" + cursor}).into(t, &page)
		for _, rev := range page.Items {
			require.Equal(t, 5-len(kinds), rev.Number)
			require.Equal(t, map[bool]string{true: "active", false: "superseded"}[rev.Number == 5], rev.State)
			require.Equal(t, closed, rev.ClosedAt, "revisions follow each other without a gap")
			closed = &rev.ActivatedAt
			kinds = append(kinds, rev.Kind)
		}
		require.Equal(t, len(kinds) == 5, page.NextCursor == nil)
		if page.NextCursor != nil {
			cursor = *page.NextCursor
		}
	}
	require.Equal(t, []string{"rollback", "add_service", "remove_service", "apply_config", "create_decky"}, kinds)

	again := b.must(t, http.StatusOK, rollback("web-01", 5))
	require.JSONEq(t, string(r.body), string(again.body))
	require.Equal(t, []int{5, 5}, []int{b.desired(t, "web-01")[0].Revision, b.desired(t, "web-01")[1].Revision}, "what is the same is left alone")
}

func TestRevisions_Refusals(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01", "ssh")
	for _, c := range []struct {
		call   call
		status int
		code   string
	}{
		{rollback("nowhere", 1), 404, "decky_not_found"},
		{rollback("web-01", 2), 404, "revision_not_found"},
		{rollback("web-01", 0), 422, "validation_failed"},
		{rollback("web-01", -1), 422, "validation_failed"},
		{rollback("web-01", "1"), 422, "validation_failed"},
		{rollback("web-01", 1<<40), 404, "revision_not_found"},
		{call{as: auth.Viewer, method: http.MethodGet, path: "/deckies/nowhere/revisions"}, 404, "decky_not_found"},
		{call{as: auth.Viewer, method: http.MethodGet, path: "/deckies/web-01/revisions?cursor=AA"}, 422, "cursor_invalid"},
		{call{as: auth.Viewer, method: http.MethodGet, path: "/deckies/web-01?at=yesterday"}, 422, "validation_failed"},
		{past("nowhere", time.Now()), 404, "decky_not_found"},
	} {
		r := b.do(t, c.call)
		require.Equal(t, c.status, r.status, "%v: %s", c.call, r.body)
		require.Equal(t, c.code, r.code(t), "%v: %s", c.call, r.body)
	}
}

// A service that is there now keeps the end it has now, also when its earlier one is over.
func TestRollback_DoesNotTurnTheClockBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01")
	at := time.Now().Add(3 * time.Second)
	b.must(t, http.StatusCreated, call{as: auth.Operator, method: http.MethodPost, path: "/deckies/web-01/services", body: object{"name": "ssh", "expires_at": at}})
	b.must(t, http.StatusCreated, call{as: auth.Operator, method: http.MethodPost, path: "/deckies/web-01/services", body: object{"name": "http", "expires_at": at}})
	b.createDecky(t, "web-02") // something else in between
	require.Eventually(t, func() bool { return time.Now().After(at) }, time.Minute, time.Millisecond)
	b.must(t, http.StatusCreated, call{as: auth.Operator, method: http.MethodPost, path: "/deckies/web-01/services", body: object{"name": "redis"}})
	b.must(t, http.StatusOK, expire("web-01", "ssh", nil))
	b.must(t, http.StatusOK, call{as: auth.Operator, method: http.MethodDelete, path: "/deckies/web-01/services/http"})
	r := b.must(t, http.StatusOK, rollback("web-01", 3))
	require.Equal(t, []any{"ssh"}, r.json(t)["services"], "http's time is over, ssh stays")
	require.Nil(t, b.desired(t, "web-01")[0].ExpiresAt)
}

func TestPast_LivesOfAName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ended := func(r reply) time.Time {
		t.Helper()
		at, err := time.Parse(time.RFC3339Nano, b.must(t, http.StatusOK, call{
			as: auth.Viewer, method: http.MethodGet, path: "/operations/" + r.header.Get("Decnet-Operation"),
		}).json(t)["ended_at"].(string))
		require.NoError(t, err)
		return at
	}
	create := call{as: auth.Admin, method: http.MethodPost, path: "/deckies", body: object{"name": "web-01", "services": []string{}}}
	born := ended(b.must(t, http.StatusCreated, create))
	first := b.shown(t, "/deckies/web-01")
	added := ended(b.must(t, http.StatusCreated, addSSH("web-01")))
	gone := ended(b.must(t, http.StatusOK, call{as: auth.Admin, method: http.MethodDelete, path: "/deckies/web-01"}))
	reborn := ended(b.must(t, http.StatusCreated, create))
	second := b.shown(t, "/deckies/web-01")
	require.NotEqual(t, first.UUID, second.UUID)

	for name, c := range map[string]struct {
		at       time.Time
		uuid     string
		services int
	}{
		"before": {born.Add(-time.Microsecond), "", 0}, "born": {born, first.UUID, 0}, "just before the add": {added.Add(-time.Microsecond), first.UUID, 0},
		"added": {added, first.UUID, 1}, "just before the end": {gone.Add(-time.Microsecond), first.UUID, 1}, "gone": {gone, "", 0},
		"just before the second": {reborn.Add(-time.Microsecond), "", 0}, "reborn": {reborn, second.UUID, 0}, "in a year": {reborn.AddDate(1, 0, 0), second.UUID, 0},
	} {
		r := b.do(t, past("web-01", c.at))
		if c.uuid == "" {
			require.Equal(t, "decky_not_found", r.code(t), name)
			continue
		}
		var d api.DeckyBody
		r.into(t, &d)
		require.Equal(t, c.uuid, d.UUID, name)
		require.Len(t, d.Services, c.services, name)
		require.Equal(t, strings.Contains("born just before the add added just before the end", name), d.State == "", "%s: a past revision has no state", name)
	}
	var viaZone api.DeckyBody
	b.must(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: "/deckies/web-01?at=" +
		strings.ReplaceAll(added.In(time.FixedZone("", 2*3600)).Format(time.RFC3339Nano), "+", "%2B")}).into(t, &viaZone)
	require.Len(t, viaZone.Services, 1)
}
