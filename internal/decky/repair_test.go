package decky_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/decky"
)

func TestAfterFailedRepair_PausesGrowAndThenItIsOver(t *testing.T) {
	t.Parallel()
	var last time.Duration
	for n := 1; n < decky.QuarantineAfter; n++ {
		state, pause := decky.AfterFailedRepair(n)
		require.Equal(t, decky.Degraded, state)
		require.Greater(t, pause, last)
		require.LessOrEqual(t, pause, time.Minute)
		last = pause
	}
	state, _ := decky.AfterFailedRepair(decky.QuarantineAfter)
	require.Equal(t, decky.Quarantined, state)
}
