// Package runtimetest is the conformance suite of runtime.Runtime. Every implementation passes it; what only one of
// them promises (folders, pids, engine objects) is tested beside that implementation.
package runtimetest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
)

// Bundle is an empty installation of the runtime under test. What still runs when the test ends is the bundle's to end.
type Bundle struct {
	// Runtime is prepared and watched by nobody else.
	Runtime runtime.Runtime
	// Reopen closes Runtime as a control plane that ends would, and returns a new one over the same installation.
	Reopen func(t *testing.T) runtime.Runtime
	// Decky returns a decky without services at an address nobody uses. Names differ between the calls of one test.
	Decky func(t *testing.T, name string) runtime.Decky
	// Topology returns a decky without services on two networks of a topology of its own, which nobody has made.
	Topology func(t *testing.T, name string) (runtime.Decky, []runtime.Network)
	// Healthy returns the n-th of at least three services (n from 0, each with at least one tcp port) that come up.
	Healthy func(n int) runtime.Service
	// Broken returns a service that never comes up; it may have the name of no Healthy one.
	Broken func() runtime.Service
	// Identity tells one start of a decoy from the next: it changes when the decoy is recreated.
	Identity func(t *testing.T, d runtime.Decky, service string) string
	// Kill ends a decoy behind the runtime's back and waits until it is gone.
	Kill func(t *testing.T, d runtime.Decky, service string)
	// KillBase does that to what holds the address of a decky. Nil for a runtime without bases.
	KillBase func(t *testing.T, d runtime.Decky)
}

// Run runs the suite; newBundle is called once for each of its tests, which run in parallel.
func Run(t *testing.T, newBundle func(t *testing.T) *Bundle) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *Bundle){
		"ConvergeBringsUpAndReturnsEndpoints": bringsUp,
		"ConvergeTwiceTouchesNothing":         idempotent,
		"SiblingsAreNotTouched":               siblings,
		"NewRevisionReplaces":                 replaces,
		"NoServicesLeavesNothingListening":    empties,
		"RemovedLeavesNothing":                removes,
		"BrokenIsOperationFailed":             broken,
		"HooksAreCalled":                      hooks,
		"SelfCheckErrorStopsTheCheck":         selfCheckError,
		"CancelledConvergeCanBeRepeated":      cancelled,
		"ReopenAdopts":                        adopts,
		"ExitIsDeliveredAndRepaired":          exits,
		"BaseWithoutServicesIsObserved":       bases,
		"DifferentDeckiesConvergeAtOnce":      atOnce,
		"TopologyComesUpAndGoes":              topologyComesAndGoes,
		"TopologyJoinsWithoutRecreation":      topologyJoins,
		"TopologyReopenAdopts":                topologyAdopts,
		"TopologiesAreApart":                  topologiesApart,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newBundle(t))
		})
	}
}

// Hooks returns hooks that accept everything.
func Hooks() runtime.Hooks {
	return runtime.Hooks{
		Progress:  func(string) {},
		SelfCheck: func(context.Context, runtime.Probe) error { return nil },
	}
}

func converge(t *testing.T, rt runtime.Runtime, d runtime.Decky) []runtime.Endpoint {
	t.Helper()
	eps, err := rt.Converge(t.Context(), d, Hooks())
	require.NoError(t, err)
	return eps
}

// of returns the statuses of one decky.
func of(t *testing.T, rt runtime.Runtime, d runtime.Decky) []runtime.Status {
	t.Helper()
	seen, err := rt.Observe(t.Context())
	require.NoError(t, err)
	return slices.DeleteFunc(seen.Decoys, func(s runtime.Status) bool { return s.DeckyID != d.ID })
}

func requireServing(t *testing.T, rt runtime.Runtime, d runtime.Decky) {
	t.Helper()
	list := of(t, rt, d)
	require.Len(t, list, len(d.Services))
	for _, s := range d.Services {
		i := slices.IndexFunc(list, func(st runtime.Status) bool { return st.Service == s.Name })
		require.GreaterOrEqual(t, i, 0, "service %s is not observed", s.Name)
		require.True(t, list[i].Running && list[i].Ready, "service %s: %s", s.Name, list[i].Detail)
		require.Equal(t, s.Revision, list[i].Revision)
		require.Equal(t, d.Key, list[i].DeckyKey)
		require.Len(t, list[i].Endpoints, len(s.Ports))
	}
}

func requireAnswers(t *testing.T, at netip.AddrPort) {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", at.String())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

func requireSilent(t *testing.T, at netip.AddrPort) {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", at.String())
	if err == nil {
		_ = conn.Close()
	}
	require.Error(t, err)
}

func (b *Bundle) decky(t *testing.T, services int) runtime.Decky {
	t.Helper()
	d := b.Decky(t, "conform")
	for n := range services {
		d.Services = append(d.Services, b.Healthy(n))
	}
	return d
}

func bringsUp(t *testing.T, b *Bundle) {
	d := b.decky(t, 3)
	slices.Reverse(d.Services)
	eps := converge(t, b.Runtime, d)
	require.True(t, slices.IsSortedFunc(eps, func(a, b runtime.Endpoint) int { return cmpString(a.Service, b.Service) }))
	want := 0
	for _, s := range d.Services {
		want += len(s.Ports)
	}
	require.Len(t, eps, want)
	for _, e := range eps {
		if e.Protocol == "tcp" {
			requireAnswers(t, e.Listen)
		}
	}
	requireServing(t, b.Runtime, d)
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func idempotent(t *testing.T, b *Bundle) {
	d := b.decky(t, 2)
	first := converge(t, b.Runtime, d)
	before := b.identities(t, d)
	h := Hooks()
	h.SelfCheck = func(context.Context, runtime.Probe) error {
		return errors.New("an untouched decoy is not connected to")
	}
	second, err := b.Runtime.Converge(t.Context(), d, h)
	require.NoError(t, err)
	require.Equal(t, first, second)
	require.Equal(t, before, b.identities(t, d))
}

func (b *Bundle) identities(t *testing.T, d runtime.Decky) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for _, s := range d.Services {
		ids[s.Name] = b.Identity(t, d, s.Name)
	}
	return ids
}

func siblings(t *testing.T, b *Bundle) {
	d := b.decky(t, 1)
	converge(t, b.Runtime, d)
	before := b.Identity(t, d, d.Services[0].Name)
	d.Services = append(d.Services, b.Healthy(1))
	converge(t, b.Runtime, d)
	require.Equal(t, before, b.Identity(t, d, d.Services[0].Name))
	d.Services = d.Services[:1]
	converge(t, b.Runtime, d)
	require.Equal(t, before, b.Identity(t, d, d.Services[0].Name))
	requireServing(t, b.Runtime, d)
}

func replaces(t *testing.T, b *Bundle) {
	d := b.decky(t, 2)
	converge(t, b.Runtime, d)
	before := b.identities(t, d)
	d.Services[1].Revision++
	converge(t, b.Runtime, d)
	after := b.identities(t, d)
	require.Equal(t, before[d.Services[0].Name], after[d.Services[0].Name])
	require.NotEqual(t, before[d.Services[1].Name], after[d.Services[1].Name])
	requireServing(t, b.Runtime, d)
}

func empties(t *testing.T, b *Bundle) {
	d := b.decky(t, 1)
	eps := converge(t, b.Runtime, d)
	d.Services = nil
	require.Empty(t, converge(t, b.Runtime, d))
	requireSilent(t, eps[0].Listen)
	require.Empty(t, of(t, b.Runtime, d))
}

func removes(t *testing.T, b *Bundle) {
	d := b.decky(t, 2)
	eps := converge(t, b.Runtime, d)
	d.Removed = true
	for range 2 {
		require.Empty(t, converge(t, b.Runtime, d))
		require.Empty(t, of(t, b.Runtime, d))
	}
	requireSilent(t, eps[0].Listen)
}

func broken(t *testing.T, b *Bundle) {
	d := b.decky(t, 1)
	converge(t, b.Runtime, d)
	before := b.identities(t, d)
	good := d
	d.Services = append(slices.Clone(d.Services), b.Broken())
	for range 2 {
		_, err := b.Runtime.Converge(t.Context(), d, Hooks())
		require.Equal(t, fault.OperationFailed, fault.KindOf(err), "%v", err)
	}
	require.Equal(t, before, b.identities(t, good))
	converge(t, b.Runtime, good)
	requireServing(t, b.Runtime, good)
}

func hooks(t *testing.T, b *Bundle) {
	d := b.decky(t, 2)
	var mu sync.Mutex
	steps := map[string]bool{}
	var probes []runtime.Probe
	eps, err := b.Runtime.Converge(t.Context(), d, runtime.Hooks{
		Progress: func(step string) {
			mu.Lock()
			defer mu.Unlock()
			steps[step] = true
		},
		SelfCheck: func(_ context.Context, p runtime.Probe) error {
			mu.Lock()
			defer mu.Unlock()
			probes = append(probes, p)
			return nil
		},
	})
	require.NoError(t, err)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, map[string]bool{"converge": true, "verify": true}, steps)
	for _, e := range eps {
		if e.Protocol == "tcp" {
			requireProbed(t, probes, d, e)
		}
	}
}

func requireProbed(t *testing.T, probes []runtime.Probe, d runtime.Decky, e runtime.Endpoint) {
	t.Helper()
	i := slices.IndexFunc(probes, func(p runtime.Probe) bool { return p.Service == e.Service && p.Remote == e.Listen })
	require.GreaterOrEqual(t, i, 0, "no probe of %v", e)
	require.Equal(t, d.ID, probes[i].DeckyID)
	require.Equal(t, "tcp", probes[i].Protocol)
	require.True(t, probes[i].Local.IsValid())
	require.NotZero(t, probes[i].Local.Port())
}

func selfCheckError(t *testing.T, b *Bundle) {
	d := b.decky(t, 1)
	h := Hooks()
	away := errors.New("store is away")
	h.SelfCheck = func(context.Context, runtime.Probe) error { return away }
	_, err := b.Runtime.Converge(t.Context(), d, h)
	require.ErrorIs(t, err, away)
	converge(t, b.Runtime, d)
	requireServing(t, b.Runtime, d)
}

func cancelled(t *testing.T, b *Bundle) {
	d := b.decky(t, 2)
	d.Services = append(d.Services, b.Broken())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err := b.Runtime.Converge(ctx, d, Hooks())
	require.Error(t, err)
	d.Services = d.Services[:2]
	converge(t, b.Runtime, d)
	requireServing(t, b.Runtime, d)
}

func adopts(t *testing.T, b *Bundle) {
	d := b.decky(t, 2)
	first := converge(t, b.Runtime, d)
	before := b.identities(t, d)
	rt := b.Reopen(t)
	requireServing(t, rt, d)
	require.Equal(t, first, converge(t, rt, d))
	require.Equal(t, before, b.identities(t, d))
}

func exits(t *testing.T, b *Bundle) {
	d := b.decky(t, 2)
	converge(t, b.Runtime, d)
	select {
	case <-b.Runtime.Exits():
		t.Fatal("an exit is reported though nothing ended")
	default:
	}
	b.Kill(t, d, d.Services[0].Name)
	requireExit(t, b.Runtime)
	list := of(t, b.Runtime, d)
	require.True(t, slices.ContainsFunc(list, func(s runtime.Status) bool { return !s.Running && s.Service == d.Services[0].Name }))
	converge(t, b.Runtime, d)
	requireServing(t, b.Runtime, d)
}

func requireExit(t *testing.T, rt runtime.Runtime) {
	t.Helper()
	select {
	case <-rt.Exits():
	case <-time.After(10 * time.Second):
		t.Fatal("no exit is reported")
	}
}

// basesOf returns what holds the address of one decky.
func basesOf(t *testing.T, rt runtime.Runtime, d runtime.Decky) []runtime.Base {
	t.Helper()
	seen, err := rt.Observe(t.Context())
	require.NoError(t, err)
	return slices.DeleteFunc(seen.Bases, func(b runtime.Base) bool { return b.DeckyID != d.ID })
}

// bases looks at a decky with an address and nothing else: nobody but its base tells that it is there.
func bases(t *testing.T, b *Bundle) {
	d := b.decky(t, 0)
	converge(t, b.Runtime, d)
	if b.KillBase == nil {
		seen, err := b.Runtime.Observe(t.Context())
		require.NoError(t, err)
		require.True(t, seen.Baseless)
		require.Empty(t, seen.Bases)
		return
	}
	running := []runtime.Base{{DeckyID: d.ID, DeckyKey: d.Key, Running: true}}
	require.Equal(t, running, basesOf(t, b.Runtime, d))
	b.KillBase(t, d)
	requireExit(t, b.Runtime)
	require.Equal(t, []runtime.Base{{DeckyID: d.ID, DeckyKey: d.Key}}, basesOf(t, b.Runtime, d))
	converge(t, b.Runtime, d)
	require.Equal(t, running, basesOf(t, b.Runtime, d))
	d.Removed = true
	converge(t, b.Runtime, d)
	require.Empty(t, basesOf(t, b.Runtime, d))
}

// atOnce would take at least as long as the slowest decky times their number if a runtime serialised them; what is
// tested is that all of them come up.
func atOnce(t *testing.T, b *Bundle) {
	const deckies = 20
	errs := make(chan error, deckies)
	for range deckies {
		d := b.Decky(t, "many")
		d.Services = []runtime.Service{b.Healthy(0)}
		go func() {
			_, err := b.Runtime.Converge(t.Context(), d, Hooks())
			errs <- err
		}()
	}
	for range deckies {
		require.NoError(t, <-errs)
	}
	seen, err := b.Runtime.Observe(t.Context())
	require.NoError(t, err)
	require.Len(t, seen.Decoys, deckies)
}
