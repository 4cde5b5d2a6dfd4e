package runtimetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/runtime"
)

// topology returns a decky with services on networks that are made.
func (b *Bundle) topology(t *testing.T, services int) (runtime.Decky, []runtime.Network) {
	t.Helper()
	d, networks := b.Topology(t, "maze")
	for n := range services {
		d.Services = append(d.Services, b.Healthy(n))
	}
	requireNetworks(t, b.Runtime, d, networks)
	return d, networks
}

// requireNetworks asks twice: the second time there is nothing to do.
func requireNetworks(t *testing.T, rt runtime.Runtime, d runtime.Decky, networks []runtime.Network) {
	t.Helper()
	for range 2 {
		require.NoError(t, rt.Networks(t.Context(), d.Scope, networks))
	}
}

func topologyComesAndGoes(t *testing.T, b *Bundle) {
	d, networks := b.topology(t, 3)
	d.ForwardsL3 = true
	eps := converge(t, b.Runtime, d)
	for _, e := range eps {
		require.Equal(t, d.IP, e.Listen.Addr())
		if e.Protocol == "tcp" {
			requireAnswers(t, e.Listen)
		}
	}
	requireServing(t, b.Runtime, d)
	require.Equal(t, eps, converge(t, b.Runtime, d))
	requireNetworks(t, b.Runtime, d, networks)
	d.Removed = true
	require.Empty(t, converge(t, b.Runtime, d))
	requireSilent(t, eps[0].Listen)
	requireNetworks(t, b.Runtime, d, nil)
	require.Empty(t, of(t, b.Runtime, d))
}

// topologyJoins takes a decky off a network and puts it back: whatever it is attached to, it stays as it is.
func topologyJoins(t *testing.T, b *Bundle) {
	d, networks := b.topology(t, 2)
	eps := converge(t, b.Runtime, d)
	before := b.identities(t, d)
	all := d.Networks
	for _, on := range [][]runtime.Attachment{all[:1], all} {
		d.Networks = on
		requireNetworks(t, b.Runtime, d, networks[:len(on)])
		require.Equal(t, eps, converge(t, b.Runtime, d))
		requireNetworks(t, b.Runtime, d, networks[:len(on)])
		require.Equal(t, before, b.identities(t, d))
		requireServing(t, b.Runtime, d)
	}
}

func topologyAdopts(t *testing.T, b *Bundle) {
	d, networks := b.topology(t, 2)
	first := converge(t, b.Runtime, d)
	before := b.identities(t, d)
	rt := b.Reopen(t)
	requireServing(t, rt, d)
	requireNetworks(t, rt, d, networks)
	require.Equal(t, first, converge(t, rt, d))
	require.Equal(t, before, b.identities(t, d))
}

// topologiesApart removes one of two topologies and the fleet keeps what it has.
func topologiesApart(t *testing.T, b *Bundle) {
	fleet := b.decky(t, 1)
	converge(t, b.Runtime, fleet)
	stays, networks := b.topology(t, 1)
	converge(t, b.Runtime, stays)
	goes, _ := b.topology(t, 1)
	converge(t, b.Runtime, goes)
	goes.Removed = true
	converge(t, b.Runtime, goes)
	requireNetworks(t, b.Runtime, goes, nil)
	requireNetworks(t, b.Runtime, stays, networks)
	for _, d := range []runtime.Decky{fleet, stays} {
		requireServing(t, b.Runtime, d)
		requireAnswers(t, converge(t, b.Runtime, d)[0].Listen)
	}
}
