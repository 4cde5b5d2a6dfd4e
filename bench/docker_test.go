package bench_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/runtime/docker"
	"github.com/decnet/decnet/internal/runtime/docker/enginetest"
)

// BenchmarkAddServiceDocker adds a service as a container through the API, and then the same container to the same decky
// with the Compose library alone, which verifies nothing, keeps no record and could not undo it.
func BenchmarkAddServiceDocker(b *testing.B) {
	enginetest.Require(b)
	s := &system{Up: harness.StartUp(b, "--runtime", "docker", "--docker-subnet", harness.DockerSubnet(b)), b: b}
	harness.OpenContainers(b, docker.DefaultHost, &s.Client, s.Kill)
	name := fmt.Sprintf("bench-%d", os.Getpid())
	require.NoError(b, s.create(name, []string{}))
	var whole adds
	var alone samples
	for b.Loop() {
		for range addRounds {
			require.NoError(b, s.WaitQuiescent(harness.Within(b, limit)))
			whole.add(s.timed(http.MethodPost, "/deckies/"+name+"/services", map[string]any{"name": "ssh"}))
			s.timed(http.MethodDelete, "/deckies/"+name+"/services/ssh", nil)
		}
		s.timed(http.MethodPost, "/deckies/"+name+"/services", map[string]any{"name": "ssh"})
		require.NoError(b, s.Stop()) // nobody heals what is done now
		library := enginetest.OpenCompose(b, filepath.Join(s.Dir, "decoys", "compose", "fleet.yml"))
		container := compose.ContainerName(name, "ssh")
		for range addRounds {
			require.NoError(b, library.Remove(b.Context(), container))
			alone = append(alone, since(func() { require.NoError(b, library.Add(b.Context(), container)) }))
		}
		s.Start()
		_, err := s.do(http.MethodDelete, "/deckies/"+name+"/services/ssh", nil)
		require.NoError(b, err)
	}
	b.ReportMetric(0, "ns/op")
	total := whole.total.median()
	report(b, "add_service (docker): whole, median", "total-ms/op", total, "")
	report(b, "  runtime steps", "runtime-ms/op", whole.runtime.median(), "")
	report(b, "  the Compose library alone", "compose-ms/op", alone.median(), "")
	report(b, "  overhead over it", "overhead-ms/op", total-alone.median(), "")
	report(b, "  ratio", "ratio-x", total/alone.median(), "")
}
