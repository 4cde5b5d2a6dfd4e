package process_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
	"github.com/decnet/decnet/internal/runtime/process"
)

// Any sequence of converges, cancelled ones, killed decoys and restarts of the control plane ends in what the last
// complete Converge asked for.
func TestConverge_EndsInTheDesiredSetAfterAnyHistory(t *testing.T) {
	t.Parallel()
	for range 4 {
		seed := rand.Uint64()
		t.Run("", func(t *testing.T) {
			t.Parallel()
			t.Logf("seed %d", seed)
			b, rnd := setup(t), rand.New(rand.NewPCG(seed, 0))
			d := newDecky("random")
			for range 12 {
				d.Services = randomServices(rnd)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(80))*time.Millisecond)
				_, _ = b.Converge(ctx, d, hooks())
				cancel()
				if pids := decoyPIDs(t, b.opts.DataDir); len(pids) > 0 && rnd.IntN(4) == 0 {
					killPID(t, pids[rnd.IntN(len(pids))])
				}
				if rnd.IntN(4) == 0 {
					b.reopen(t)
				}
			}
			d.Services = randomServices(rnd)
			_, err := b.Converge(t.Context(), d, hooks())
			require.NoError(t, err)
			b.requireExactly(t, d)
		})
	}
}

func randomServices(rnd *rand.Rand) []runtime.Service {
	var list []runtime.Service
	for i, name := range []string{"ssh", "http", "docker_api", "smtp"} {
		if rnd.IntN(3) > 0 {
			s := service(name, uint16(3000+i), "ok")
			s.Revision = 1 + rnd.Int64N(2)
			list = append(list, s)
		}
	}
	return list
}

func (b *bundle) requireExactly(t *testing.T, d runtime.Decky) {
	t.Helper()
	seen, err := b.Observe(t.Context())
	require.NoError(t, err)
	want, got := map[string]int64{}, map[string]int64{}
	for _, s := range d.Services {
		want[s.Name] = s.Revision
	}
	for _, s := range seen.Decoys {
		require.True(t, s.Running && s.Ready, "%s: %s", s.Service, s.Detail)
		got[s.Service] = s.Revision
	}
	require.Equal(t, want, got)
	require.Len(t, decoyPIDs(t, b.opts.DataDir), len(d.Services))
}

func TestAlternatives_ShiftedPortStaysAPort(t *testing.T) {
	t.Parallel()
	ip := netip.MustParseAddr("127.66.0.2")
	for port := 1; port <= 65535; port++ {
		alts := process.Alternatives(ip, uint16(port), process.DefaultPortOffset)
		second := netip.MustParseAddrPort(alts[1])
		require.GreaterOrEqual(t, second.Port(), uint16(1024))
		require.NotEqual(t, alts[0], alts[1])
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add(`<134>1 2026-01-02T03:04:05Z web-01 ssh - ready [relay@55555 boot="x" listen="tcp/22=127.66.0.2:22"]`)
	f.Add(`<134>1 t web-01 ssh - config_error [relay@55555 msg="a \"b\" \\ \]"]`)
	f.Add(`<134>1 t web-01 ssh - ready [relay@55555 boot="`)
	f.Fuzz(func(t *testing.T, line string) {
		id, fields, ok := boot.ParseLine(line)
		if !ok {
			require.Empty(t, id)
			require.Nil(t, fields)
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	rt, err := process.New(process.Options{DataDir: b.TempDir(), ArtifactsRoot: b.TempDir(), DecoyBinary: fakeDecoy})
	require.NoError(b, err)
	var all []runtime.Decky
	for range 50 {
		d := newDecky("bench")
		for i, name := range []string{"ssh", "http", "ftp", "smtp"} {
			d.Services = append(d.Services, service(name, uint16(3000+i), "ok"))
		}
		_, err := rt.Converge(b.Context(), d, hooks())
		require.NoError(b, err)
		all = append(all, d)
	}
	for b.Loop() {
		_, err := rt.Observe(b.Context())
		require.NoError(b, err)
	}
	for _, d := range all {
		d.Removed = true
		_, err := rt.Converge(b.Context(), d, hooks())
		require.NoError(b, err)
	}
	require.NoError(b, rt.Close())
}
