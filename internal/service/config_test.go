package service_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

// every has one field of each type, so that coercion is tested apart from what services exist.
var every = service.Definition{Name: "every", Fields: []service.Field{
	{Key: "s", Type: service.String},
	{Key: "p", Type: service.Password, Secret: true, Default: "admin"},
	{Key: "i", Type: service.Int, Min: 1, Max: 65535},
	{Key: "b", Type: service.Bool},
	{Key: "t", Type: service.Textarea},
	{Key: "e", Type: service.Enum, Enum: []string{"none", "some"}},
	{Key: "m", Type: service.MultiEnum, Enum: []string{"a", "b"}},
}}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &m))
	return m
}

func TestValidate_Accepts(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]service.Config{
		`{}`:                              {},
		`{"nope":1}`:                      {},
		`{"s":null,"p":"","i":null}`:      {},
		`{"s":"b64:not decoded"}`:         {"s": "b64:not decoded"},
		`{"s":" x "}`:                     {"s": " x "},
		`{"i":22}`:                        {"i": int64(22)},
		`{"i":" +22 "}`:                   {"i": int64(22)},
		`{"i":4.0}`:                       {"i": int64(4)},
		`{"i":4e1}`:                       {"i": int64(40)},
		`{"s":22,"p":true,"t":1.5}`:       {"s": "22", "p": "true", "t": "1.5"},
		`{"s":9007199254740992}`:          {"s": "9007199254740992"},
		`{"b":true}`:                      {"b": true},
		`{"b":"YES"}`:                     {"b": true},
		`{"b":"1"}`:                       {"b": true},
		`{"b":"oFF"}`:                     {"b": false},
		`{"e":"some"}`:                    {"e": "some"},
		`{"m":["b","a","b"]}`:             {"m": []string{"b", "a"}},
		`{"t":"line\nline"}`:              {"t": "line\nline"},
		`{"t":"b64:bGluZQ=="}`:            {"t": "line"},
		`{"t":"b64:"}`:                    {"t": ""},
		`{"t":"B64:bGluZQ=="}`:            {"t": "B64:bGluZQ=="},
		`{"p":"pass word with ümlaut ☃"}`: {"p": "pass word with ümlaut ☃"},
	} {
		got, err := every.Validate("body.config", parse(t, in))
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	got, err := every.Validate("body.config", nil)
	require.NoError(t, err)
	require.Equal(t, service.Config{}, got)
}

func TestValidate_Refuses(t *testing.T) {
	t.Parallel()
	for in, key := range map[string]string{
		`{"i":"4.5"}`: "i", `{"i":"0x10"}`: "i", `{"i":"eighty"}`: "i", `{"i":4.5}`: "i", `{"i":true}`: "i", `{"i":[1]}`: "i",
		`{"i":"4.0"}`: "i", `{"i":false}`: "i", `{"s":12345678901234567890}`: "s", `{"p":1e300}`: "p", `{"t":{}}`: "t", `{"p":[]}`: "p",
		`{"i":0}`: "i", `{"i":65536}`: "i", `{"i":1e300}`: "i", `{"i":"99999999999999999999"}`: "i",
		`{"b":0}`: "b", `{"b":1}`: "b", `{"b":" true"}`: "b", `{"b":"maybe"}`: "b", `{"b":[]}`: "b",
		`{"e":"SOME"}`: "e", `{"e":"other"}`: "e", `{"e":["some"]}`: "e",
		`{"m":[]}`: "m", `{"m":"a"}`: "m", `{"m":["a","c"]}`: "m", `{"m":[["a"]]}`: "m",
		`{"t":"b64:bGluZQ"}`: "t", `{"t":"b64:bGlu ZQ=="}`: "t", `{"t":"b64:bGlu\nZQ=="}`: "t", `{"t":"b64:!!!!"}`: "t", `{"t":"b64:/w=="}`: "t",
		`{"s":{"a":1}}`: "s", `{"s":["a"]}`: "s", `{"s":"a\u0000b"}`: "s", `{"s":"a\nb"}`: "s", `{"p":"\u001b[2J"}`: "p", `{"t":"a\u0000"}`: "t",
		`{"s":"` + strings.Repeat("a", service.MaxValueBytes+1) + `"}`: "s",
	} {
		_, err := every.Validate("body.config", parse(t, in))
		f, ok := fault.As(err)
		require.True(t, ok, "%.60s", in)
		require.Equal(t, "config_invalid", f.Code)
		require.True(t, strings.HasPrefix(f.Message, key+":"), f.Message)
		require.Equal(t, "body.config."+key, f.Fields[0].Location)
	}
}

func TestValidate_NamesEveryRefusedFieldAndEchoesNone(t *testing.T) {
	t.Parallel()
	_, err := every.Validate("body.config", parse(t, `{"i":"marker-secret","b":"marker-secret","s":"fine"}`))
	f, _ := fault.As(err)
	require.Len(t, f.Fields, 2)
	text, err := json.Marshal(f)
	require.NoError(t, err)
	require.NotContains(t, string(text), "marker-secret")
}

func TestComplete_FillsInDefaults(t *testing.T) {
	t.Parallel()
	require.Equal(t, service.Config{"p": "admin"}, every.Complete(nil))
	require.Equal(t, service.Config{"p": "other", "s": "x"}, every.Complete(service.Config{"p": "other", "s": "x"}))
}

func TestMasked_HidesSecretsAndUnknownServices(t *testing.T) {
	t.Parallel()
	c := service.Config{"p": "marker-secret", "s": "x"}
	require.Equal(t, service.Config{"p": service.Mask, "s": "x"}, every.Masked(c))
	require.Equal(t, "marker-secret", c["p"], "the original is left alone")
	require.Empty(t, service.Masked("not_in_the_registry", c))
}

func TestRegistry_IsConsistent(t *testing.T) {
	t.Parallel()
	require.NotEmpty(t, service.All())
	for _, d := range service.All() {
		require.True(t, service.ValidSlug(d.Name))
		require.NotEmpty(t, d.Ports, d.Name)
		for _, f := range d.Fields {
			require.NotEmpty(t, f.Label, d.Name+"."+f.Key)
			require.NotEmpty(t, f.Help, d.Name+"."+f.Key)
			require.True(t, f.Type != service.Password || f.Secret, "%s.%s is a password and not secret", d.Name, f.Key)
			if f.Default != nil {
				_, err := d.Validate("x", map[string]any{f.Key: f.Default})
				require.NoError(t, err, "the default of %s.%s is not valid", d.Name, f.Key)
			}
		}
	}
}

// TestRegistry_AgreesWithTheDecoys keeps schema and decoy in step: what the registry starts a decoy with is what the decoy would
// choose itself, and every choice and limit offered is one it accepts.
func TestRegistry_AgreesWithTheDecoys(t *testing.T) {
	t.Parallel()
	decode := func(d service.Definition, c service.Config) (any, error) {
		raw, err := json.Marshal(c)
		require.NoError(t, err)
		cfg := config.Config{ServiceConfig: raw}
		switch d.Name {
		case "http":
			return cfg.DecodeHTTP()
		case "mysql":
			return cfg.DecodeMySQL()
		case "postgres":
			return cfg.DecodePostgres()
		case "https":
			return cfg.DecodeHTTPS()
		case "redis":
			return cfg.DecodeRedis()
		case "ssh":
			return cfg.DecodeSSH()
		case "ftp":
			return cfg.DecodeFTP()
		case "telnet":
			return cfg.DecodeTelnet()
		}
		return nil, errors.New("no decoy")
	}
	for _, d := range service.All() {
		full, err := decode(d, d.Complete(nil))
		require.NoError(t, err, d.Name)
		if d.Name != "ssh" && d.Name != "telnet" { // their defaults are credentials, which only the registry knows
			empty, err := decode(d, service.Config{})
			require.NoError(t, err)
			require.Equal(t, empty, full, d.Name)
		}
		for _, f := range d.Fields {
			for _, choice := range f.Enum {
				value := any(choice)
				if f.Type == service.MultiEnum {
					value = []string{choice}
				}
				_, err := decode(d, service.Config{f.Key: value})
				require.NoError(t, err, "%s.%s=%s", d.Name, f.Key, choice)
			}
			for _, edge := range []int64{f.Min, f.Max} {
				if f.Type == service.Int {
					_, err := decode(d, service.Config{f.Key: edge})
					require.NoError(t, err, "%s.%s=%d", d.Name, f.Key, edge)
				}
			}
		}
	}
	http, _ := service.Lookup("http")
	require.Equal(t, config.FakeApps(), http.Fields[2].Enum)
	require.Equal(t, config.HTTPVersions(), http.Fields[5].Enum)
	https, _ := service.Lookup("https")
	require.Equal(t, config.FakeApps(), https.Fields[2].Enum)
	require.Equal(t, config.HTTPSVersions(), https.Fields[5].Enum)
}

func TestForDecky_UnknownIsUnprocessable(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "gopher", "SSH", "ssh ", strings.Repeat("a", 10_000), "'; --"} {
		_, err := service.ForDecky(name)
		require.Equal(t, fault.Unprocessable, fault.KindOf(err), "%.40q", name)
	}
}

func FuzzValidate(f *testing.F) {
	f.Add(`{"s":"x","i":1,"b":"on","t":"b64:AA=="}`)
	f.Add(`{"s":"x","i":1,"b":"on","t":"b64:YQ==","e":"none","m":["a"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var m map[string]any
		if json.Unmarshal([]byte(text), &m) != nil {
			return
		}
		c, err := every.Validate("body", m)
		if err != nil {
			return
		}
		// What was accepted survives storage and is accepted again.
		b, err := json.Marshal(c)
		require.NoError(t, err)
		var stored map[string]any
		require.NoError(t, json.Unmarshal(b, &stored))
		if s, ok := stored["t"].(string); ok && strings.HasPrefix(s, "b64:") {
			return // decoded text may look encoded again
		}
		_, err = every.Validate("body", stored)
		require.NoError(t, err)
	})
}
