package docker_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/docker/enginetest"
	"github.com/decnet/decnet/internal/runtime/runtimetest"
)

// These belong together: what adding, replacing and observing cost, and what the compose library alone takes to replace the
// same container. What adding costs through the whole control plane is measured in bench/.
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
	alone := enginetest.OpenCompose(b, filepath.Join(rt.opts.DataDir, "compose", "fleet.yml"))
	for b.Loop() {
		require.NoError(b, alone.Recreate(b.Context(), compose.ContainerName(d.Key, "ssh")))
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
