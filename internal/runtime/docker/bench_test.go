package docker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/runtimetest"
)

// The three below belong together: what adding, replacing and observing cost, and what the compose library alone takes
// to replace the same container.
func BenchmarkConverge_AddService(b *testing.B) {
	rt, d := benchDecky(b)
	without := d
	without.Services = nil
	for b.Loop() {
		_, err := rt.Converge(b.Context(), d, runtimetest.Hooks())
		require.NoError(b, err)
		b.StopTimer()
		_, err = rt.Converge(b.Context(), without, runtimetest.Hooks())
		require.NoError(b, err)
		b.StartTimer()
	}
}

func BenchmarkConverge_ReplaceService(b *testing.B) {
	rt, d := benchDecky(b)
	_, err := rt.Converge(b.Context(), d, runtimetest.Hooks())
	require.NoError(b, err)
	for b.Loop() {
		d.Services[0].Revision++
		_, err := rt.Converge(b.Context(), d, runtimetest.Hooks())
		require.NoError(b, err)
	}
}

func BenchmarkConverge_NothingToDo(b *testing.B) {
	rt, d := benchDecky(b)
	for b.Loop() {
		_, err := rt.Converge(b.Context(), d, runtimetest.Hooks())
		require.NoError(b, err)
	}
}

func BenchmarkCompose_ReplaceService(b *testing.B) {
	rt, d := benchDecky(b)
	_, err := rt.Converge(b.Context(), d, runtimetest.Hooks())
	require.NoError(b, err)
	for b.Loop() {
		require.NoError(b, rt.Recreate(b.Context(), d, "ssh"))
	}
}

func BenchmarkObserve(b *testing.B) {
	rt, d := benchDecky(b)
	_, err := rt.Converge(b.Context(), d, runtimetest.Hooks())
	require.NoError(b, err)
	for b.Loop() {
		_, err := rt.Observe(b.Context())
		require.NoError(b, err)
	}
}

func benchDecky(b *testing.B) (*bundle, runtime.Decky) {
	b.Helper()
	rt := setup(b)
	d := rt.newDecky("bench")
	_, err := rt.Converge(b.Context(), d, runtimetest.Hooks())
	require.NoError(b, err)
	d.Services = []runtime.Service{service("ssh", 22, "ok")}
	return rt, d
}
