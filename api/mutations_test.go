package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
)

type object = map[string]any

func (b *bundle) createDecky(t *testing.T, name string, services ...string) {
	t.Helper()
	if services == nil {
		services = []string{}
	}
	r := b.do(t, call{as: auth.Admin, method: http.MethodPost, path: "/deckies", body: object{"name": name, "services": services}})
	require.Equal(t, http.StatusCreated, r.status, "%s", r.body)
}

func addSSH(decky string) call {
	return call{as: auth.Operator, method: http.MethodPost, path: "/deckies/" + decky + "/services", body: object{"name": "ssh"}}
}

func TestCreateDecky_AnswersWithTheDecky(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.do(t, call{as: auth.Admin, method: http.MethodPost, path: "/deckies", body: object{
		"name": "web-01", "archetype": "linux-server", "service_config": object{"ssh": object{"password": "s3cret-marker"}},
	}})
	require.Equal(t, http.StatusCreated, r.status, "%s", r.body)
	require.NotContains(t, string(r.body), "s3cret-marker")
	var d api.DeckyBody
	r.into(t, &d)
	require.Equal(t, "web-01", d.Name)
	require.Equal(t, "fleet", d.Scope)
	require.Equal(t, "running", d.State)
	require.Equal(t, "127.66.0.2", d.IP)
	require.Equal(t, "linux-server", *d.Archetype)
	require.Equal(t, 1, d.Revision)
	require.Equal(t, "ssh", d.Services[0].Name)
	require.Equal(t, "********", d.Services[0].Config["password"])
	require.Equal(t, []api.Endpoint{{Service: "ssh", Protocol: "tcp", IP: "127.66.0.2", Port: 22}}, d.Endpoints)

	same := b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/deckies/web-01"})
	require.JSONEq(t, string(r.body), string(same.body))

	op := b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/operations/" + r.header.Get("Decnet-Operation")})
	require.Equal(t, http.StatusOK, op.status)
	body := op.json(t)
	require.Equal(t, "create_decky", body["kind"])
	require.Equal(t, "succeeded", body["state"])
	require.Equal(t, "admin", body["actor"])
	require.Nil(t, body["service"])
	require.Equal(t, "http://127.0.0.1:8233/namespaces/decnet/workflows/mutation%2F"+body["id"].(string), body["workflow_url"])
}

func TestServices_AddAndRemove(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01")
	added := b.do(t, addSSH("web-01"))
	require.Equal(t, http.StatusCreated, added.status, "%s", added.body)
	require.JSONEq(t, `{"decky_name":"web-01","topology_id":null,"services":["ssh"]}`, string(added.body))

	again := b.do(t, addSSH("web-01"))
	require.Equal(t, http.StatusConflict, again.status)
	require.Equal(t, "service_already_present", again.code(t))

	remove := call{as: auth.Operator, method: http.MethodDelete, path: "/deckies/web-01/services/ssh"}
	removed := b.do(t, remove)
	require.Equal(t, http.StatusOK, removed.status, "%s", removed.body)
	require.JSONEq(t, `{"decky_name":"web-01","topology_id":null,"services":[]}`, string(removed.body))
	require.Equal(t, "service_not_present", b.do(t, remove).code(t))

	gone := b.do(t, call{as: auth.Admin, method: http.MethodDelete, path: "/deckies/web-01"})
	require.Equal(t, http.StatusOK, gone.status, "%s", gone.body)
	require.Equal(t, http.StatusNotFound, b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/deckies/web-01"}).status)
}

// The order of the checks: service, configuration, decky, membership.
func TestAddService_DoorOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01", "ssh")
	recorded := len(b.operations(t))
	for _, c := range []struct {
		name, decky string
		body        object
		status      int
		code        string
		location    string
		stored      bool
	}{
		{"unknown service on no decky", "nowhere", object{"name": "gopher"}, 422, "unknown_service", "body.name", false},
		{"bad config on no decky", "nowhere", object{"name": "ssh", "config": object{"user": "A B"}}, 422, "config_invalid", "body.config.user", false},
		{"bad config on a decky that has it", "web-01", object{"name": "ssh", "config": object{"user": "A B"}}, 422, "config_invalid", "body.config.user", false},
		{"no decky", "nowhere", object{"name": "ssh"}, 404, "decky_not_found", "", true},
		{"has it", "web-01", object{"name": "ssh"}, 409, "service_already_present", "", true},
	} {
		r := b.do(t, call{as: auth.Operator, method: http.MethodPost, path: "/deckies/" + c.decky + "/services", body: c.body})
		require.Equal(t, c.status, r.status, c.name)
		require.Equal(t, c.code, r.code(t), c.name)
		if c.location != "" {
			require.Equal(t, []string{c.location}, r.locations(t), c.name)
		}
		if c.stored {
			recorded++
			require.Equal(t, r.header.Get("Decnet-Operation"), r.json(t)["operation_id"], c.name)
			require.Equal(t, operation.Refused, b.operations(t)[0].State, c.name)
		}
		require.Len(t, b.operations(t), recorded, c.name)
	}
}

// While something is open in the decky's lane, membership at the request's turn is not known at the door.
func TestAddService_BusyLaneDecidesItself(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01", "ssh")
	hold := make(chan struct{})
	b.lane.set(func(l *lane) { l.hold = hold })
	remove := b.do(t, call{
		as: auth.Operator, method: http.MethodDelete, path: "/deckies/web-01/services/ssh", headers: map[string]string{"Prefer": "wait=0"},
	})
	require.Equal(t, http.StatusAccepted, remove.status, "%s", remove.body)
	b.lane.set(func(l *lane) { l.away = true })
	add := addSSH("web-01")
	add.headers = map[string]string{"Prefer": "wait=0"}
	require.Equal(t, http.StatusAccepted, b.do(t, add).status)
	close(hold)
}

func TestCreateDecky_TakenNameIsRecordedConflict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01")
	r := b.do(t, call{as: auth.Admin, method: http.MethodPost, path: "/deckies", body: object{"name": "web-01", "services": []string{}}})
	require.Equal(t, http.StatusConflict, r.status)
	require.Equal(t, "decky_exists", r.code(t))
	require.Equal(t, operation.Refused, b.operations(t)[0].State)
}

func TestMutation_FailureIsBadGateway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01")
	b.lane.set(func(l *lane) { l.fail = fault.New(fault.Unavailable, "port_taken", "port 22 did not answer") })
	r := b.do(t, addSSH("web-01"))
	require.Equal(t, http.StatusBadGateway, r.status, "%s", r.body)
	require.Equal(t, "operation-failed", r.code(t))
	require.Equal(t, "port 22 did not answer", r.json(t)["detail"])
	require.Equal(t, b.operations(t)[0].ID.String(), r.json(t)["operation_id"])
	require.Equal(t, b.operations(t)[0].ID.String(), r.header.Get("Decnet-Operation"))
}

func TestMutation_TemporalAwayIsAccepted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01")
	b.lane.set(func(l *lane) { l.away = true })
	started := time.Now()
	r := b.do(t, addSSH("web-01"))
	require.Less(t, time.Since(started), 10*time.Second, "nothing to wait for")
	require.Equal(t, http.StatusAccepted, r.status)
	require.Equal(t, "received", r.json(t)["state"])
	require.Equal(t, "/api/v1/operations/"+r.json(t)["operation_id"].(string), r.header.Get("Location"))
}

func TestMutation_PreferWaitZeroDoesNotWait(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01")
	hold := make(chan struct{})
	b.lane.set(func(l *lane) { l.hold = hold })
	c := addSSH("web-01")
	c.headers = map[string]string{"Prefer": "respond-async, wait=0"}
	r := b.do(t, c)
	require.Equal(t, http.StatusAccepted, r.status)
	close(hold)
	b.lane.stop()
	id := r.json(t)["operation_id"].(string)
	require.Equal(t, "succeeded", b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/operations/" + id}).json(t)["state"])
}

func TestCancel(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01")
	hold := make(chan struct{})
	b.lane.set(func(l *lane) { l.hold = hold; l.fail = operation.CancelledFault() })
	c := addSSH("web-01")
	c.headers = map[string]string{"Prefer": "wait=0"}
	id := b.do(t, c).json(t)["operation_id"].(string)
	cancel := call{as: auth.Operator, method: http.MethodPost, path: "/operations/" + id + "/cancel"}
	r := b.do(t, cancel)
	require.Equal(t, http.StatusAccepted, r.status, "%s", r.body)
	require.Equal(t, id, r.json(t)["operation_id"])
	close(hold)
	b.lane.stop()
	require.Equal(t, http.StatusConflict, b.do(t, cancel).status)
	require.Equal(t, "operation_final", b.do(t, cancel).code(t))

	cancel.path = "/operations/" + uuid.NewString() + "/cancel"
	require.Equal(t, http.StatusNotFound, b.do(t, cancel).status)
	cancel.path = "/operations/nonsense/cancel"
	require.Equal(t, http.StatusUnprocessableEntity, b.do(t, cancel).status)
}

func TestCancel_CreationIsTheAdminsToCancel(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hold := make(chan struct{})
	b.lane.set(func(l *lane) { l.hold = hold })
	r := b.do(t, call{
		as: auth.Admin, method: http.MethodPost, path: "/deckies", body: object{"name": "web-01"}, headers: map[string]string{"Prefer": "wait=0"},
	})
	path := "/operations/" + r.json(t)["operation_id"].(string) + "/cancel"
	require.Equal(t, http.StatusForbidden, b.do(t, call{as: auth.Operator, method: http.MethodPost, path: path}).status)
	require.Equal(t, http.StatusAccepted, b.do(t, call{as: auth.Admin, method: http.MethodPost, path: path}).status)
	close(hold)
}

func TestIdempotencyKey_ConcurrentRepetitionsAreEqual(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := call{
		as: auth.Admin, method: http.MethodPost, path: "/deckies", body: object{"name": "web-01", "services": []string{"ssh"}},
		headers: map[string]string{"Idempotency-Key": "the same", "Prefer": "wait=60"},
	}
	c.token = b.tokenOf(t, b.users[auth.Admin])
	const n = 100
	replies := make([]reply, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { replies[i] = b.do(t, c) })
	}
	wg.Wait()
	for _, r := range replies {
		require.Equal(t, http.StatusCreated, r.status, "%s", r.body)
		require.Equal(t, string(replies[0].body), string(r.body))
		require.Equal(t, replies[0].header.Get("Decnet-Operation"), r.header.Get("Decnet-Operation"))
	}
	require.Len(t, b.operations(t), 1)

	// Later changes, even deletion, do not change the answer.
	require.Equal(t, http.StatusOK, b.do(t, call{as: auth.Admin, method: http.MethodDelete, path: "/deckies/web-01"}).status)
	require.Equal(t, string(replies[0].body), string(b.do(t, c).body))

	c.body = object{"name": "web-02"}
	other := b.do(t, c)
	require.Equal(t, http.StatusUnprocessableEntity, other.status)
	require.Equal(t, "idempotency_key_reused", other.code(t))
}

func TestIdempotencyKey_RefusalIsRepeatedThoughTheStateChanged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := addSSH("web-01")
	c.headers = map[string]string{"Idempotency-Key": "k"}
	require.Equal(t, http.StatusNotFound, b.do(t, c).status)
	b.createDecky(t, "web-01")
	require.Equal(t, http.StatusNotFound, b.do(t, c).status)
	c.headers["Idempotency-Key"] = "another"
	require.Equal(t, http.StatusCreated, b.do(t, c).status)
	require.Equal(t, http.StatusCreated, b.do(t, c).status)
	require.Len(t, b.operations(t), 3)
}

// Nobody recorded the answer before the decky was deleted: the client had gone.
func TestIdempotencyKey_AnswerOfADeckyThatIsGone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hold := make(chan struct{})
	b.lane.set(func(l *lane) { l.hold = hold })
	c := call{
		as: auth.Admin, method: http.MethodPost, path: "/deckies", body: object{"name": "web-01", "services": []string{"ssh"}},
		headers: map[string]string{"Idempotency-Key": "k", "Prefer": "wait=0"},
	}
	require.Equal(t, http.StatusAccepted, b.do(t, c).status)
	close(hold)
	b.lane.stop()
	require.Equal(t, http.StatusOK, b.do(t, call{as: auth.Admin, method: http.MethodDelete, path: "/deckies/web-01"}).status)
	first, second := b.do(t, c), b.do(t, c)
	require.Equal(t, http.StatusCreated, first.status, "%s", first.body)
	require.Equal(t, string(first.body), string(second.body))
	var d api.DeckyBody
	first.into(t, &d)
	require.Equal(t, "ssh", d.Services[0].Name)
}

func TestIdempotencyKey_Form(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, key := range []string{"", "a\x01b", "ümlaut", string(make([]byte, 129)), fmt.Sprintf("%0129d", 0)} {
		c := addSSH("web-01")
		c.headers = map[string]string{"Idempotency-Key": key}
		r := b.do(t, c)
		require.Equal(t, http.StatusUnprocessableEntity, r.status, "%q", key)
		require.Contains(t, r.locations(t), "header.Idempotency-Key")
	}
	require.Empty(t, b.operations(t))
}

func TestOperations_FiltersAndPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01")
	b.createDecky(t, "web-02")
	b.do(t, addSSH("web-02"))
	b.do(t, addSSH("web-02"))

	var ids []string
	path := "/operations?limit=1"
	for range 10 {
		var page api.Page[api.OperationBody]
		b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: path}).into(t, &page)
		for _, op := range page.Items {
			ids = append(ids, op.ID)
		}
		if page.NextCursor == nil {
			break
		}
		path = "/operations?limit=1&cursor=" + *page.NextCursor
	}
	require.Len(t, ids, 4)
	require.True(t, slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(b, a) }), "newest first")

	for query, n := range map[string]int{
		"decky=web-02": 3, "service=ssh": 2, "kind=create_decky": 2, "state=refused": 1, "actor=operator": 2,
		"decky=web-01&state=refused": 0, "unknown=ignored": 4,
	} {
		var page api.Page[api.OperationBody]
		b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/operations?" + query}).into(t, &page)
		require.Len(t, page.Items, n, query)
		require.Nil(t, page.NextCursor)
	}
}

func TestDeckies_Pages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, name := range []string{"c", "a", "b"} {
		b.createDecky(t, name)
	}
	var page api.Page[api.DeckyBody]
	b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/deckies?limit=2"}).into(t, &page)
	require.Len(t, page.Items, 2)
	require.Equal(t, "a", page.Items[0].Name)
	b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/deckies?limit=2&cursor=" + *page.NextCursor}).into(t, &page)
	require.Equal(t, "c", page.Items[0].Name)
	require.Len(t, page.Items, 1)
}
