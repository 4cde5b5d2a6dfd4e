package decky_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

func ssh(config service.Config) []decky.Service {
	return []decky.Service{{Name: "http", Revision: 1}, {Name: "ssh", Config: config, Revision: 2}, {Name: "redis", Revision: 3}}
}

func TestConfigure_MaskKeepsTheValue(t *testing.T) {
	t.Parallel()
	have := ssh(service.Config{"password": "hunter2", "user": "bob"})
	got, err := decky.Configure(have, "ssh", map[string]any{"password": service.Mask, "user": "eve", "nope": 1})
	require.NoError(t, err)
	require.Equal(t, service.Config{"password": "hunter2", "user": "eve"}, got)

	have[1].SavedConfig = service.Config{"password": "newer"}
	got, err = decky.Configure(have, "ssh", map[string]any{"password": service.Mask, "user_password": service.Mask})
	require.NoError(t, err)
	require.Equal(t, service.Config{"password": "newer"}, got, "a mask of what is not set means what is not set")
}

func TestConfigure_RefusesInTheOrderOfTheContract(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		config map[string]any
		kind   fault.Kind
		code   string
	}{
		{"nope", nil, fault.Unprocessable, "unknown_service"},
		{"telnet_x", map[string]any{}, fault.Unprocessable, "unknown_service"},
		{"ssh", map[string]any{"hostname": "-"}, fault.Unprocessable, "config_invalid"},
		{"ssh", map[string]any{}, fault.Conflict, "service_not_present"},
	} {
		_, err := decky.Configure([]decky.Service{{Name: "http"}}, c.name, c.config)
		f, ok := fault.As(err)
		require.True(t, ok)
		require.Equal(t, []any{c.kind, c.code}, []any{f.Kind, f.Code}, c.name)
	}
}

func TestSaveAndApply(t *testing.T) {
	t.Parallel()
	have := ssh(service.Config{"user": "bob"})
	saved, err := decky.SaveConfig(have, "ssh", service.Config{"user": "eve"})
	require.NoError(t, err)
	require.Nil(t, have[1].SavedConfig, "the input is not changed")
	require.True(t, saved[1].RestartNeeded())
	require.Equal(t, 2, saved[1].Revision, "saving touches no decoy")
	require.Equal(t, service.Config{"user": "bob"}, saved[1].Config)

	back, err := decky.SaveConfig(saved, "ssh", service.Config{"user": "bob"})
	require.NoError(t, err)
	require.False(t, back[1].RestartNeeded(), "what is applied already needs no restart")

	applied, err := decky.ApplyConfig(saved, "ssh", saved[1].Latest(), 9)
	require.NoError(t, err)
	require.Equal(t, decky.Service{Name: "ssh", Config: service.Config{"user": "eve"}, Revision: 9}, applied[1])
	require.Equal(t, []int{1, 9, 3}, []int{applied[0].Revision, applied[1].Revision, applied[2].Revision})

	_, err = decky.ApplyConfig(have, "telnet", nil, 9)
	require.Equal(t, fault.Conflict, fault.KindOf(err))
}

func TestSame_AcrossJSON(t *testing.T) {
	t.Parallel()
	typed := service.Config{"n": int64(200), "l": []string{"a", "b"}, "b": true, "s": "x"}
	raw, err := json.Marshal(typed)
	require.NoError(t, err)
	var loose service.Config
	require.NoError(t, json.Unmarshal(raw, &loose))
	require.True(t, decky.Same(typed, loose))
	require.True(t, decky.Same(nil, service.Config{}))
	require.False(t, decky.Same(typed, service.Config{}))
}

func TestExpired_OnlyTheWishThatWasMade(t *testing.T) {
	t.Parallel()
	at, id := time.Unix(1000, 0), uuid.New()
	later := at.Add(time.Hour)
	have := ssh(nil)
	have[1].ExpiresAt, have[1].ExpiryID = &at, id
	rest, err := decky.Expired(have, "ssh", id, at)
	require.NoError(t, err)
	require.Equal(t, []string{"http", "redis"}, decky.Names(rest))

	for _, change := range []func(*decky.Service){
		func(s *decky.Service) { s.ExpiresAt = &later },
		func(s *decky.Service) { s.ExpiresAt = nil },
		func(s *decky.Service) { s.ExpiryID = uuid.New() },
		func(s *decky.Service) { s.Name = "telnet" },
	} {
		changed := slices.Clone(have)
		change(&changed[1])
		_, err := decky.Expired(changed, "ssh", id, at)
		f, ok := fault.As(err)
		require.True(t, ok)
		require.Equal(t, "superseded", f.Code)
	}
}

func TestCheckExpiry(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		in time.Duration
		ok bool
	}{{-time.Second, false}, {0, false}, {time.Microsecond, true}, {decky.MaxExpiry, true}, {decky.MaxExpiry + 1, false}} {
		at := now.Add(c.in)
		require.Equal(t, c.ok, decky.CheckExpiry(&at, now) == nil, c.in)
	}
	require.NoError(t, decky.CheckExpiry(nil, now))
}

// Rolling back gives the names and configurations of the earlier revision, and leaves alone what is the same in both.
func TestRollback_Properties(t *testing.T) {
	t.Parallel()
	now := time.Unix(5000, 0)
	list := func(t *rapid.T, label string, newest int) []decky.Service {
		names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"ssh", "http", "redis"}), 0, 3, func(s string) string { return s }).Draw(t, label)
		services := make([]decky.Service, len(names))
		for i, n := range names {
			services[i] = decky.Service{
				Name: n, Config: service.Config{"k": rapid.IntRange(0, 1).Draw(t, "config")}, Revision: rapid.IntRange(1, newest).Draw(t, "revision"),
			}
			if rapid.Bool().Draw(t, "temporary") {
				at := now.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "end")) * time.Hour)
				services[i].ExpiresAt, services[i].ExpiryID = &at, uuid.New()
			}
		}
		return services
	}
	rapid.Check(t, func(t *rapid.T) {
		current, earlier := list(t, "current", 9), list(t, "earlier", 5)
		next, err := decky.Rollback(current, earlier, 10, now)
		require.NoError(t, err)
		var alive []string
		for _, s := range earlier {
			if s.ExpiresAt == nil || s.ExpiresAt.After(now) {
				alive = append(alive, s.Name)
			}
		}
		require.Len(t, next, len(alive))
		for i, s := range next {
			require.Equal(t, alive[i], s.Name)
			require.True(t, decky.Same(earlier[decky.Find(earlier, s.Name)].Config, s.Config))
			j := decky.Find(current, s.Name)
			if j >= 0 && decky.Same(current[j].Config, s.Config) {
				require.Equal(t, current[j].Revision, s.Revision)
			} else {
				require.Equal(t, 10, s.Revision)
			}
		}
	})
}
