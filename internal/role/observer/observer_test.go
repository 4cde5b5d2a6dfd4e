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
		reason string
	}{
		"all well":                {with(ssh), []runtime.Status{good}, ""},
		"nothing wanted or there": {with(), nil, ""},
		"missing":                 {with(ssh), nil, "ssh does not run"},
		"dead":                    {with(ssh), []runtime.Status{change(func(s *runtime.Status) { s.Running = false })}, "ssh does not run"},
		"not ready":               {with(ssh), []runtime.Status{change(func(s *runtime.Status) { s.Ready = false })}, "ssh is not ready"},
		"old revision":            {with(ssh), []runtime.Status{change(func(s *runtime.Status) { s.Revision = 2 })}, "ssh runs revision 2 instead of 3"},
		"twice":                   {with(ssh), []runtime.Status{good, good}, "ssh runs twice"},
		"extra":                   {with(), []runtime.Status{good}, "ssh runs although it should not"},
		"degraded":                {in(decky.Degraded, with(ssh)), []runtime.Status{good}, "it is degraded with nothing under way"},
		"left reconciling":        {in(decky.Reconciling, with(ssh)), []runtime.Status{good}, "it is reconciling with nothing under way"},
		"never finished":          {in(decky.TearingDown, removed), nil, "it should be gone"},
		"should be gone":          {in(decky.Degraded, removed), []runtime.Status{good}, "it should be gone"},
	} {
		repairs := observer.Drift([]decky.Decky{c.decky}, c.have)
		if c.reason == "" {
			require.Empty(t, repairs, name)
			continue
		}
		require.Equal(t, []observer.Repair{{DeckyID: id, Scope: decky.FleetScope, Name: "web-01", Reason: c.reason}}, repairs, name)
	}
	lost := change(func(s *runtime.Status) { s.DeckyID = stranger })
	require.Equal(t, []observer.Repair{{DeckyID: stranger, Scope: decky.FleetScope, Reason: "decoys of a decky that does not exist"}},
		observer.Drift([]decky.Decky{with(ssh)}, []runtime.Status{good, lost, lost}), "a stranger is named once")
}
