package docker_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/runtimetest"
)

// Whatever moment a Converge is cut short at, the next one succeeds: the engine may still be making what was asked for.
func TestConverge_CutShortAtAnyMomentCanBeRepeated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.newDecky("web")
	d.Services = []runtime.Service{service("ssh", 22, "ok"), service("http", 80, "ok")}
	for after := 5 * time.Millisecond; after < 700*time.Millisecond; after *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		_, _ = b.Converge(ctx, d, runtimetest.Hooks())
		cancel()
		eps := b.converge(t, d)
		require.Len(t, eps, 2)
		for _, e := range eps {
			requireAnswers(t, e.Listen)
		}
		gone := d
		gone.Removed = true
		b.converge(t, gone)
	}
}
