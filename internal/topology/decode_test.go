package topology_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/internal/topology"
)

func ptr[T any](v T) *T { return &v }

func TestDecodeOp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		op, payload string
		want        topology.Op
	}{
		{"add_lan", `{"name":"a","subnet":"10.0.0.0/24","is_dmz":true,"x":1.5,"y":-2}`, topology.AddLAN{Name: "a", Subnet: "10.0.0.0/24", DMZ: true, X: ptr(1.5), Y: ptr(-2.0)}},
		{"add_lan", `{"name":"a","subnet":null}`, topology.AddLAN{Name: "a"}},
		{"remove_lan", `{"name":"a"}`, topology.RemoveLAN{LAN: "a"}},
		{"update_lan", `{"name":"a","patch":{"name":"b","subnet":"x","is_dmz":false},"x":1}`, topology.UpdateLAN{
			LAN: "a", Patch: topology.LANPatch{Name: ptr("b"), Subnet: ptr("x"), DMZ: ptr(false)}, X: ptr(1.0),
		}},
		{
			"add_decky", `{"name":"d","lan":"a","services":["ssh"],"service_config":{"ssh":{"user":"bob"}},"archetype":"deaddeck","forwards_l3":true,"ip":"10.0.0.9"}`,
			topology.AddDecky{
				Name: "d", LAN: "a", Services: []string{"ssh"}, Configs: map[string]service.Config{"ssh": {"user": "bob"}},
				Archetype: "deaddeck", ForwardsL3: true, IP: "10.0.0.9",
			},
		},
		{"add_decky", `{"name":"d","services":[]}`, topology.AddDecky{Name: "d", Services: []string{}}},
		{"attach_decky", `{"decky":"d","lan":"a","ip":"10.0.0.9","forwards_l3":true}`, topology.AttachDecky{Decky: "d", LAN: "a", IP: "10.0.0.9", ForwardsL3: true}},
		{"detach_decky", `{"decky":"d","lan":"a"}`, topology.DetachDecky{Decky: "d", LAN: "a"}},
		{"remove_decky", `{"decky":"d"}`, topology.RemoveDecky{Decky: "d"}},
		{"update_decky", `{"decky":"d"}`, topology.UpdateDecky{Decky: "d"}},
		{
			"update_decky", `{"decky":"d","patch":{"archetype":"","forwards_l3":false,"ips_by_lan":{"z":"1","a":"2"},"service_config":{}},"services":[],"y":0,"force":true}`,
			topology.UpdateDecky{
				Decky: "d", Services: &[]string{}, Y: ptr(0.0), Force: true,
				Patch: topology.DeckyPatch{
					Archetype: ptr(""), ForwardsL3: ptr(false), IPs: &[]topology.Address{{LAN: "z", IP: "1"}, {LAN: "a", IP: "2"}},
					Configs: &map[string]service.Config{},
				},
			},
		},
	} {
		got, err := topology.DecodeOp(c.op, json.RawMessage(c.payload))
		require.NoError(t, err, c.payload)
		require.Equal(t, c.want, got, c.payload)
		require.Equal(t, c.op, got.Op())
	}
	require.Len(t, topology.Ops(), 8)
}

func TestDecodeOp_Strict(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ op, payload, at string }{
		{"add_lan", ``, "body.payload"},
		{"add_lan", `null`, "body.payload"},
		{"add_lan", `[]`, "body.payload"},
		{"add_lan", `"x"`, "body.payload"},
		{"add_lan", `{"name":"a"} {}`, "body.payload"},
		{"add_lan", `{"name":"a"`, "body.payload"},
		{"add_lan", `{"name":"a","name":"b"}`, "body.payload"},
		{"add_lan", `{"Name":"a"}`, "body.payload"},
		{"add_lan", `{"name":"a","dmz":true}`, "body.payload"},
		{"add_lan", `{"name":1}`, "body.payload.name"},
		{"add_lan", `{"name":"a","x":"1"}`, "body.payload.x"},
		{"add_lan", `{"name":"a","x":1e999}`, "body.payload.x"},
		{"update_lan", `{"name":"a","patch":{"docker_network_id":"x"}}`, "body.payload.patch"},
		{"update_lan", `{"name":"a","patch":[]}`, "body.payload.patch"},
		{"add_decky", `{"name":"d","services":"ssh"}`, "body.payload.services"},
		{"add_decky", `{"name":"d","service_config":{"ssh":1}}`, "body.payload.service_config"},
		{"add_decky", `{"name":"d","service_config":{"ssh":{},"ssh":{}}}`, "body.payload.service_config"},
		{"attach_decky", `{"decky":"d","lan":"a","is_bridge":false}`, "body.payload"},
		{"update_decky", `{"decky":"d","patch":{"services":["ssh"]}}`, "body.payload.patch"},
		{"update_decky", `{"decky":"d","patch":{"ips_by_lan":{"a":null}}}`, "body.payload.patch.ips_by_lan"},
		{"update_decky", `{"decky":"d","patch":{"ips_by_lan":{"a":"1","a":"2"}}}`, "body.payload.patch.ips_by_lan"},
		{"update_decky", `{"decky":"d","patch":{"ips_by_lan":["10.0.0.9"]}}`, "body.payload.patch.ips_by_lan"},
		{"update_decky", `{"decky":"d","force":"true"}`, "body.payload.force"},
	} {
		_, err := topology.DecodeOp(c.op, json.RawMessage(c.payload))
		f := refused(t, fault.Unprocessable, "payload_invalid", err)
		require.Equal(t, c.at, f.Fields[0].Location, c.payload)
	}
	_, err := topology.DecodeOp("add_lan", json.RawMessage(`{"nome":"a","x":[],"y":{}}`))
	require.Len(t, fault.From(err).Fields, 3, "every refused field is named")
	_, err = topology.DecodeOp("add_lan", json.RawMessage(`{"<script>":1}`))
	require.NotContains(t, fault.From(err).Fields[0].Message, "script", "nothing odd is repeated")
	for _, op := range []string{"", "ADD_LAN", "drop_table"} {
		_, err := topology.DecodeOp(op, json.RawMessage(`{}`))
		refused(t, fault.Unprocessable, "unknown_op", err)
	}
	_, err = topology.DecodeOp("add_lan", json.RawMessage(`{"name":"`+strings.Repeat("a", topology.MaxPayloadBytes)+`"}`))
	refused(t, fault.TooLarge, "payload_too_large", err)
}

// FuzzDecodeOp also applies what was decoded: it is accepted and leaves a valid graph, or refused with a fault.
func FuzzDecodeOp(f *testing.F) {
	for _, s := range []string{
		`{"name":"a","subnet":"10.0.9.0/24"}`, `{"decky":"gw","lan":"inner","ip":"10.0.1.9"}`, `{"decky":"mid","patch":{"ips_by_lan":{"dmz":"10.0.0.9"}}}`,
		`{"decky":"mid","services":["ssh"],"patch":{"service_config":{"ssh":{"user":"x"}}}}`, `{"name":"d","lan":"dmz","services":["ssh","http"]}`,
		`{"name":"inner","patch":{"name":"i2","subnet":"10.0.1.0/25"}}`, `{"decky":"mid"}`, `{"name":"inner"}`,
	} {
		for i := range topology.Ops() {
			f.Add(i, s, i%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, n int, payload string, live bool) {
		ops := topology.Ops()
		op, err := topology.DecodeOp(ops[uint(n)%uint(len(ops))], json.RawMessage(payload))
		if err != nil {
			require.NotEqual(t, fault.Internal, fault.KindOf(err))
			return
		}
		g, _, err := topology.Apply(valid(), site(live), op)
		if err != nil {
			require.NotEqual(t, fault.Internal, fault.KindOf(err), err)
			return
		}
		requireInvariants(t, g, live)
	})
}
