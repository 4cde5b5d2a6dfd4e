package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
)

const masked = "********"

// configDecky creates a decky with ssh, whose password is marked, and http.
func (b *bundle) configDecky(t *testing.T, name string) {
	t.Helper()
	r := b.do(t, call{as: auth.Admin, method: http.MethodPost, path: "/deckies", body: object{
		"name": name, "services": []string{"ssh", "http"}, "service_config": object{"ssh": object{"password": "marker-one", "user": "bob"}},
	}})
	require.Equal(t, http.StatusCreated, r.status, "%s", r.body)
}

func save(decky, service string, body any) call {
	return call{as: auth.Operator, method: http.MethodPut, path: "/deckies/" + decky + "/services/" + service + "/config", body: body}
}

func apply(decky, service string, body any) call {
	return call{as: auth.Operator, method: http.MethodPost, path: "/deckies/" + decky + "/services/" + service + "/apply", body: body}
}

func expire(decky, service string, at any) call {
	return call{
		as: auth.Operator, method: http.MethodPut, path: "/deckies/" + decky + "/services/" + service + "/expiry", body: object{"expires_at": at},
	}
}

func (b *bundle) must(t *testing.T, status int, c call) reply {
	t.Helper()
	r := b.do(t, c)
	require.Equal(t, status, r.status, "%s %s: %s", c.method, c.path, r.body)
	return r
}

// desired returns the services of a fleet decky as they are stored, secrets included.
func (b *bundle) desired(t *testing.T, name string) []decky.Service {
	t.Helper()
	d, err := b.store.DeckyByName(t.Context(), decky.FleetScope, name)
	require.NoError(t, err)
	return d.Services
}

func (b *bundle) shown(t *testing.T, path string) api.DeckyBody {
	t.Helper()
	var d api.DeckyBody
	b.must(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: path}).into(t, &d)
	return d
}

func TestConfig_SaveThenApply(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.configDecky(t, "web-01")

	saved := b.must(t, http.StatusOK, save("web-01", "ssh", object{"config": object{
		"password": masked, "user": "eve", "hostname": "", "user_password": nil, "surprise": 1,
	}}))
	require.JSONEq(t, `{"decky_name":"web-01","service_name":"ssh","topology_id":null,"config":{"password":"********","user":"eve"},
		"recreated":false,"restart_needed":true}`, string(saved.body))
	stored := b.desired(t, "web-01")
	require.EqualValues(t, object{"password": "marker-one", "user": "bob"}, stored[0].Config, "the decoy keeps what it has")
	require.EqualValues(t, object{"password": "marker-one", "user": "eve"}, stored[0].SavedConfig, "the mask stands for the value; null and empty are left out")
	require.Equal(t, 1, stored[0].Revision, "saving touches no decoy")
	d := b.shown(t, "/deckies/web-01")
	require.True(t, d.Services[0].RestartNeeded)
	require.Equal(t, object{"password": masked, "user": "eve"}, d.Services[0].SavedConfig)
	require.Equal(t, object{"password": masked, "user": "bob"}, d.Services[0].Config)

	applied := b.must(t, http.StatusCreated, apply("web-01", "ssh", object{}))
	require.JSONEq(t, `{"decky_name":"web-01","service_name":"ssh","topology_id":null,"config":{"password":"********","user":"eve"},
		"recreated":true,"restart_needed":false}`, string(applied.body))
	stored = b.desired(t, "web-01")
	require.EqualValues(t, object{"password": "marker-one", "user": "eve"}, stored[0].Config)
	require.Nil(t, stored[0].SavedConfig)
	require.Equal(t, []int{3, 1}, []int{stored[0].Revision, stored[1].Revision}, "only this decoy is made anew")

	again := b.must(t, http.StatusCreated, apply("web-01", "ssh", object{"config": nil}))
	require.JSONEq(t, string(applied.body), string(again.body), "with nothing saved the present one is applied again")
	require.Equal(t, 4, b.desired(t, "web-01")[0].Revision)
}

// Neither verb needs a body: save without one clears, as the empty configuration does, apply takes what is saved.
func TestConfig_BodyMayBeAbsent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.configDecky(t, "web-01")
	b.must(t, http.StatusOK, save("web-01", "ssh", object{"config": object{"user": "eve"}}))
	b.must(t, http.StatusCreated, apply("web-01", "ssh", nil))
	require.EqualValues(t, object{"user": "eve"}, b.desired(t, "web-01")[0].Config)

	for _, body := range []any{nil, object{}, object{"config": object{}}} {
		r := b.must(t, http.StatusOK, save("web-01", "ssh", body))
		require.Equal(t, object{}, r.json(t)["config"], "%v clears", body)
		require.EqualValues(t, object{}, b.desired(t, "web-01")[0].SavedConfig)
	}
	r := b.must(t, http.StatusCreated, apply("web-01", "ssh", object{"config": object{}}))
	require.Equal(t, object{}, r.json(t)["config"])
	require.Empty(t, b.desired(t, "web-01")[0].Config)

	back := b.must(t, http.StatusOK, save("web-01", "ssh", nil))
	require.Equal(t, false, back.json(t)["restart_needed"], "what is applied already needs no restart")
}

// A mask of something that has no value stands for the default, on every way in.
func TestConfig_MaskWithoutAValueIsTheDefault(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.must(t, http.StatusCreated, call{as: auth.Admin, method: http.MethodPost, path: "/deckies", body: object{
		"name": "web-01", "services": []string{"ssh"}, "service_config": object{"ssh": object{"password": masked, "user": "bob"}},
	}})
	require.NotContains(t, string(r.body), masked)
	require.EqualValues(t, object{"user": "bob"}, b.desired(t, "web-01")[0].Config)

	b.createDecky(t, "web-02")
	b.must(t, http.StatusCreated, call{as: auth.Operator, method: http.MethodPost, path: "/deckies/web-02/services", body: object{
		"name": "ssh", "config": object{"password": masked, "hostname": "edge"},
	}})
	require.EqualValues(t, object{"hostname": "edge"}, b.desired(t, "web-02")[0].Config)
	b.must(t, http.StatusCreated, apply("web-02", "ssh", object{"config": object{"user_password": masked}}))
	require.Empty(t, b.desired(t, "web-02")[0].Config)
}

// No role reads a secret, neither the applied nor the saved one, now or in the past.
func TestConfig_SecretsAreMaskedForEverybody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.configDecky(t, "web-01")
	b.must(t, http.StatusOK, save("web-01", "ssh", object{"config": object{"password": "marker-two"}}))
	b.must(t, http.StatusCreated, apply("web-01", "ssh", object{"config": object{"user_password": "marker-three"}}))
	b.must(t, http.StatusOK, save("web-01", "ssh", object{"config": object{"password": "marker-four"}}))
	now, err := b.store.Now(t.Context())
	require.NoError(t, err)
	at := "?at=" + now.UTC().Format(time.RFC3339Nano)
	for _, role := range auth.Roles() {
		for _, path := range []string{"/deckies", "/deckies/web-01", "/deckies/web-01" + at, "/deckies/web-01/revisions", "/operations"} {
			r := b.must(t, http.StatusOK, call{as: role, method: http.MethodGet, path: path})
			require.NotContains(t, string(r.body), "marker", "%s %s", role, path)
		}
		if role != auth.Viewer {
			c := apply("web-01", "ssh", object{"config": object{"password": "marker-five"}})
			c.as, c.path = role, c.path+"?dry_run=true"
			r := b.must(t, http.StatusOK, c)
			require.NotContains(t, string(r.body), "marker")
		}
	}
	for _, op := range b.operations(t) {
		require.NotContains(t, string(op.Response), "marker")
	}
	require.NotContains(t, b.log.String(), "marker")
}

func TestConfig_DoorOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01", "http")
	recorded := len(b.operations(t))
	for _, c := range []struct {
		name, decky, service string
		config               object
		status               int
		code, location       string
		stored               bool
	}{
		{"unknown service on no decky", "nowhere", "gopher", nil, 422, "unknown_service", "path.service", false},
		{"unknown service before its config", "web-01", "gopher", object{"user": "A B"}, 422, "unknown_service", "path.service", false},
		{"bad config on no decky", "nowhere", "ssh", object{"user": "A B"}, 422, "config_invalid", "body.config.user", false},
		{"bad config next to a mask", "nowhere", "ssh", object{"user": "A B", "password": masked}, 422, "config_invalid", "body.config.user", false},
		{"bad config of a service that is not there", "web-01", "ssh", object{"user": "A B"}, 422, "config_invalid", "body.config.user", false},
		{"no decky", "nowhere", "ssh", object{"user": "bob"}, 404, "decky_not_found", "", true},
		{"not on the decky", "web-01", "ssh", object{"user": "bob"}, 409, "service_not_present", "", true},
		{"not on the decky, masked", "web-01", "ssh", object{"password": masked}, 409, "service_not_present", "", true},
	} {
		for verb, request := range map[string]call{
			"save": save(c.decky, c.service, object{"config": c.config}), "apply": apply(c.decky, c.service, object{"config": c.config}),
		} {
			dry := request
			dry.path += "?dry_run=true"
			r := b.do(t, dry)
			require.Equal(t, c.status, r.status, "dry %s: %s: %s", verb, c.name, r.body)
			require.Equal(t, c.code, r.code(t), c.name)
			require.Len(t, b.operations(t), recorded, "a dry run leaves no trace")

			r = b.do(t, request)
			require.Equal(t, c.status, r.status, "%s: %s: %s", verb, c.name, r.body)
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
}

// While something is open in the lane, the configuration is judged against what the decky is like at its turn.
func TestConfig_MasksAreResolvedInTheLane(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.configDecky(t, "web-01")
	b.lane.set(func(l *lane) { l.away = true })
	var waiting []operation.Operation
	for _, password := range []string{"marker-two", masked} {
		c := apply("web-01", "ssh", object{"config": object{"password": password}})
		c.headers = map[string]string{"Prefer": "wait=0"}
		require.Equal(t, http.StatusAccepted, b.do(t, c).status)
		waiting = append(waiting, b.operations(t)[0])
	}
	for _, op := range waiting {
		b.lane.run(t.Context(), op, nil, nil)
	}
	require.EqualValues(t, object{"password": "marker-two"}, b.desired(t, "web-01")[0].Config, "the value of that moment")
}

func TestConfig_ApplyThatFailsIsUndone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.configDecky(t, "web-01")
	b.must(t, http.StatusOK, save("web-01", "ssh", object{"config": object{"user": "eve"}}))
	before := b.desired(t, "web-01")
	b.lane.set(func(l *lane) {
		l.fail = fault.New(fault.OperationFailed, "decoy_start_failed", "service ssh did not start")
	})
	r := b.must(t, http.StatusBadGateway, apply("web-01", "ssh", object{}))
	require.Equal(t, "operation-failed", r.code(t))
	require.Equal(t, before, b.desired(t, "web-01"), "what was saved is still saved")
}

// What is saved says nothing about the decoys: a decky that is given up stays given up.
func TestConfig_SaveLeavesTheStateAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.configDecky(t, "web-01")
	d, err := b.store.DeckyByName(t.Context(), decky.FleetScope, "web-01")
	require.NoError(t, err)
	require.NoError(t, b.store.InTx(t.Context(), func(tx *db.Tx) error {
		if err := tx.SetRepairs(t.Context(), d.ID, 4, time.Hour); err != nil {
			return err
		}
		return tx.SetDeckyState(t.Context(), d.ID, decky.Quarantined, "4 repairs in a row failed")
	}))
	b.must(t, http.StatusOK, save("web-01", "ssh", object{"config": object{"user": "eve"}}))
	b.lane.set(func(l *lane) { l.fail = fault.New(fault.OperationFailed, "interrupted", "interrupted") })
	b.must(t, http.StatusBadGateway, save("web-01", "ssh", object{"config": object{"user": "mallory"}}))
	d, err = b.store.DeckyByName(t.Context(), decky.FleetScope, "web-01")
	require.NoError(t, err)
	require.Equal(t, decky.Quarantined, d.State)
	require.Equal(t, "4 repairs in a row failed", d.StateReason)
	require.Equal(t, 4, d.RepairFailures)
	require.EqualValues(t, object{"user": "eve"}, d.Services[0].SavedConfig)
}

func TestConfig_DryRun(t *testing.T) {
	t.Parallel()
	b := setup(t, func(deps *api.Deps, _ *api.Options) { deps.Compose = stamps })
	b.configDecky(t, "web-01")
	before, recorded, events := b.desired(t, "web-01"), len(b.operations(t)), b.eventCount(t)

	dry := func(c call) object {
		t.Helper()
		c.path += "?dry_run=true"
		c.headers = map[string]string{"Idempotency-Key": "dry"}
		r := b.must(t, http.StatusOK, c)
		require.NotContains(t, string(r.body), "marker")
		require.Empty(t, r.header.Get("Decnet-Operation"))
		return r.json(t)
	}
	body := object{"config": object{"password": "marker-two", "hostname": "edge-7"}}
	saved := dry(save("web-01", "ssh", body))
	require.Equal(t, object{
		"decky_name": "web-01", "service_name": "ssh", "topology_id": nil, "config": object{"password": masked, "hostname": "edge-7"},
		"recreated": false, "restart_needed": true, "dry_run": true, "compose_diff": "",
		"config_diff": []any{
			object{"key": "password", "before": masked, "after": masked, "secret": true},
			object{"key": "user", "before": "bob", "after": nil, "secret": false},
			object{"key": "hostname", "before": nil, "after": "edge-7", "secret": false},
		},
	}, saved)
	applied := dry(apply("web-01", "ssh", body))
	require.Equal(t, saved["config_diff"], applied["config_diff"])
	require.Equal(t, []any{true, false}, []any{applied["recreated"], applied["restart_needed"]})
	require.Equal(t, "--- compose.yaml\n+++ compose.yaml\n@@ -1,2 +1,2 @@\n-web-01-ssh: 1\n+web-01-ssh: 2\n web-01-http: 1\n", applied["compose_diff"])

	same := dry(apply("web-01", "ssh", object{"config": object{"password": masked, "user": "bob"}}))
	require.Empty(t, same["config_diff"])
	require.NotEmpty(t, same["compose_diff"], "the decoy would be made anew all the same")

	require.Equal(t, before, b.desired(t, "web-01"))
	require.Len(t, b.operations(t), recorded)
	require.Equal(t, events, b.eventCount(t))
	b.must(t, http.StatusCreated, func() call {
		c := apply("web-01", "ssh", body)
		c.headers = map[string]string{"Idempotency-Key": "dry"}
		return c
	}())
}

// stamps stands in for a compose file: the services with the revisions that a change of theirs would raise.
func stamps(_ context.Context, d decky.Decky) ([]byte, error) {
	var s strings.Builder
	for _, service := range d.Services {
		_, _ = fmt.Fprintf(&s, "%s-%s: %d\n", d.Name, service.Name, service.Revision)
	}
	return []byte(s.String()), nil
}

func (b *bundle) eventCount(t *testing.T) int {
	t.Helper()
	return len(b.events(t))
}

func (b *bundle) events(t *testing.T) []db.Event {
	t.Helper()
	all, err := b.store.Unpublished(t.Context(), 10_000)
	require.NoError(t, err)
	return all
}

func TestConfig_IdempotencyKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.configDecky(t, "web-01")
	at := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for name, c := range map[string]call{
		"save": save("web-01", "ssh", object{"config": object{"user": "eve"}}), "apply": apply("web-01", "ssh", object{"config": object{"user": "eve"}}),
		"expiry": expire("web-01", "http", at), "refused": expire("web-01", "redis", at),
		"rollback": {as: auth.Operator, method: http.MethodPost, path: "/deckies/web-01/rollback", body: object{"revision": 1}},
	} {
		c.headers = map[string]string{"Idempotency-Key": name}
		first, recorded := b.do(t, c), len(b.operations(t))
		second := b.do(t, c)
		require.Equal(t, first.status, second.status, name)
		require.Equal(t, first.header.Get("Decnet-Operation"), second.header.Get("Decnet-Operation"), name)
		require.NotEmpty(t, first.header.Get("Decnet-Operation"), name)
		if first.status < 300 {
			require.JSONEq(t, string(first.body), string(second.body), name)
		}
		require.Len(t, b.operations(t), recorded, name)
		other := c
		other.path = strings.Replace(c.path, "web-01", "web-02", 1)
		require.Equal(t, "idempotency_key_reused", b.do(t, other).code(t), name)
	}
}

func TestConfig_EventIsMasked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.configDecky(t, "web-01")
	before := b.eventCount(t)
	config := object{"password": "marker-two", "user": "eve"}
	b.must(t, http.StatusOK, save("web-01", "ssh", object{"config": config}))
	b.must(t, http.StatusCreated, apply("web-01", "ssh", nil))
	events := b.events(t)[before:]
	require.Len(t, events, 2, "one event per change; saving changes no state")
	operations := b.operations(t)
	for i, e := range events {
		require.Equal(t, "decky.web-01.service_config_changed", e.Topic)
		require.Equal(t, "service_config_changed", e.Type)
		require.JSONEq(t, fmt.Sprintf(`{"decky_name":"web-01","service_name":"ssh","topology_id":null,
			"service_config":{"password":"********","user":"eve"},"recreated":%t,"operation_id":%q}`, i == 1, operations[1-i].ID), string(e.Payload))
	}
}
