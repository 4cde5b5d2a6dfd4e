package recovery_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/role/recovery"
)

func TestNextEpoch(t *testing.T) {
	t.Parallel()
	type mark = recovery.Mark
	for name, c := range map[string]struct {
		epoch      int
		highest    int64
		remembered []mark
		next       int
		restored   bool
	}{
		"nothing remembered":               {1, 10, []mark{{}}, 2, false},
		"the same":                         {1, 10, []mark{{1, 10}, {1, 10}}, 2, false},
		"memory lags":                      {1, 10, []mark{{1, 7}}, 2, false},
		"memory is ahead":                  {1, 10, []mark{{1, 11}}, 2, true},
		"Temporal alone is ahead":          {1, 10, []mark{{1, 10}, {1, 12}}, 2, true},
		"already restored once":            {2, 10, []mark{{1, 500}}, 3, false},
		"restored again from an old dump":  {1, 10, []mark{{2, 12}}, 3, true},
		"an empty database":                {1, 0, []mark{{4, 90}, {3, 95}}, 5, true},
		"a later epoch with a smaller max": {1, 50, []mark{{2, 3}}, 3, true},
	} {
		next, restored := recovery.NextEpoch(c.epoch, c.highest, c.remembered...)
		require.Equal(t, c.restored, restored, name)
		if restored {
			require.Equal(t, c.next, next, name)
		}
	}
}
