package observer_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/role/observer"
	"github.com/decnet/decnet/internal/runtime"
)

func TestDrift(t *testing.T) {
	t.Parallel()
	id, stranger := uuid.New(), uuid.New()
	with := func(services ...decky.Service) decky.Decky {
		return decky.Decky{ID: id, Scope: decky.FleetScope, Name: "web-01", State: decky.Running, Services: services}
	}
	in := func(state decky.State, d decky.Decky) decky.Decky { d.State = state; return d }
	removed := with()
	removed.Removed = true
	ssh := decky.Service{Name: "ssh", Revision: 3}
	good := runtime.Status{DeckyID: id, Service: "ssh", Revision: 3, Running: true, Ready: true}
	change := func(fn func(*runtime.Status)) runtime.Status { s := good; fn(&s); return s }
	for name, c := range map[string]struct {
		decky  decky.Decky
		have   []runtime.Status
		base   bool
		reason string
	}{
		"all well":                {with(ssh), []runtime.Status{good}, true, ""},
		"nothing wanted or there": {with(), nil, true, ""},
		"missing":                 {with(ssh), nil, true, "ssh does not run"},
		"dead":                    {with(ssh), []runtime.Status{change(func(s *runtime.Status) { s.Running = false })}, true, "ssh does not run"},
		"not ready":               {with(ssh), []runtime.Status{change(func(s *runtime.Status) { s.Ready = false })}, true, "ssh is not ready"},
		"old revision":            {with(ssh), []runtime.Status{change(func(s *runtime.Status) { s.Revision = 2 })}, true, "ssh runs revision 2 instead of 3"},
		"twice":                   {with(ssh), []runtime.Status{good, good}, true, "ssh runs twice"},
		"extra":                   {with(), []runtime.Status{good}, true, "ssh runs although it should not"},
		"degraded":                {in(decky.Degraded, with(ssh)), []runtime.Status{good}, true, "it is degraded with nothing under way"},
		"left reconciling":        {in(decky.Reconciling, with(ssh)), []runtime.Status{good}, true, "it is reconciling with nothing under way"},
		"never finished":          {in(decky.TearingDown, removed), nil, false, "it should be gone"},
		"base is left":            {in(decky.TornDown, removed), nil, true, "it should be gone"},
		"gone":                    {in(decky.TornDown, removed), nil, false, ""},
		"no base":                 {with(), nil, false, "its base does not run"},
		"services without a base": {with(ssh), []runtime.Status{change(func(s *runtime.Status) { s.Ready = false })}, false, "its base does not run"},
		"should be gone":          {in(decky.Degraded, removed), []runtime.Status{good}, true, "it should be gone"},
	} {
		seen := runtime.Observation{Decoys: c.have}
		if c.base {
			seen.Bases = []runtime.Base{{DeckyID: id, Running: true}}
		}
		repairs := observer.Drift([]decky.Decky{c.decky}, seen)
		if c.reason == "" {
			require.Empty(t, repairs, name)
			continue
		}
		require.Equal(t, []observer.Repair{{DeckyID: id, Scope: decky.FleetScope, Name: "web-01", Reason: c.reason}}, repairs, name)
	}
	require.Empty(t, observer.Drift([]decky.Decky{with(ssh)}, runtime.Observation{Decoys: []runtime.Status{good}, Baseless: true}))
	dead := runtime.Observation{Bases: []runtime.Base{{DeckyID: id}}}
	require.Equal(t, "its base does not run", observer.Drift([]decky.Decky{with()}, dead)[0].Reason)

	lost := change(func(s *runtime.Status) { s.DeckyID = stranger })
	unknown := []observer.Repair{{DeckyID: stranger, Scope: decky.FleetScope, Reason: "decoys of a decky that does not exist"}}
	base := runtime.Base{DeckyID: id, Running: true}
	require.Equal(t, unknown, observer.Drift([]decky.Decky{with(ssh)},
		runtime.Observation{Decoys: []runtime.Status{good, lost, lost}, Bases: []runtime.Base{base}}), "a stranger is named once")
	require.Equal(t, unknown, observer.Drift([]decky.Decky{with()},
		runtime.Observation{Bases: []runtime.Base{base, {DeckyID: stranger}}}), "a base alone is a stranger too")
}
