package ingest_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/decnet/decnet/internal/ingest"
)

func at(seconds int) time.Time { return time.Unix(1_770_000_000+int64(seconds), 0).UTC() }

func numbered(boot string, n uint64, seconds int) *ingest.Record {
	return &ingest.Record{Boot: boot, Line: n, Time: at(seconds)}
}

func TestSequence_TellsWhatIsMissingRepeatedAndRestarted(t *testing.T) {
	t.Parallel()
	type step struct {
		r       *ingest.Record
		kind    ingest.GapKind
		from    uint64
		to      uint64
		missing uint64
	}
	for name, steps := range map[string][]step{
		"in order":     {{r: numbered("a", 1, 1)}, {r: numbered("a", 2, 1)}, {r: numbered("a", 3, 2)}},
		"no number":    {{r: numbered("a", 1, 1)}, {r: numbered("a", 0, 1)}, {r: numbered("a", 2, 2)}},
		"missing":      {{r: numbered("a", 1, 1)}, {numbered("a", 5, 2), ingest.GapMissing, 2, 4, 3}, {r: numbered("a", 6, 2)}},
		"begins late":  {{numbered("a", 3, 1), ingest.GapMissing, 1, 2, 2}},
		"repeated":     {{r: numbered("a", 1, 1)}, {r: numbered("a", 2, 2)}, {numbered("a", 1, 1), ingest.GapRepeated, 1, 1, 0}, {numbered("a", 2, 2), ingest.GapRepeated, 2, 2, 0}, {r: numbered("a", 3, 2)}},
		"restarted":    {{r: numbered("a", 1, 1)}, {r: numbered("a", 2, 2)}, {numbered("a", 1, 3), ingest.GapRestarted, 0, 0, 0}, {r: numbered("a", 2, 3)}},
		"restart late": {{r: numbered("a", 1, 1)}, {r: numbered("a", 2, 2)}, {r: numbered("a", 3, 2)}, {numbered("a", 3, 3), ingest.GapRestarted, 1, 2, 2}},
		"new boot":     {{r: numbered("a", 1, 1)}, {r: numbered("b", 1, 2)}, {numbered("b", 3, 2), ingest.GapMissing, 2, 2, 1}},
		"two boots":    {{r: numbered("a", 1, 1)}, {r: numbered("b", 1, 2)}, {r: numbered("a", 2, 2)}, {r: numbered("b", 2, 2)}},
		"clock back":   {{r: numbered("a", 1, 5)}, {r: numbered("a", 2, 1)}},
	} {
		var s ingest.Sequence
		for i, st := range steps {
			g := s.Next(st.r)
			require.Equal(t, st.kind, g.Kind, "%s %d", name, i)
			require.Equal(t, st.missing, g.Missing(), "%s %d", name, i)
			require.Equal(t, []uint64{st.from, st.to}, []uint64{g.From, g.To}, "%s %d", name, i)
		}
	}
}

func TestSequence_SurvivesStorageAndIsBounded(t *testing.T) {
	t.Parallel()
	var s ingest.Sequence
	for i := range 100 {
		s.Next(numbered(fmt.Sprint("boot", i), 1, i))
	}
	require.LessOrEqual(t, len(s.Boots), 4)
	raw, err := json.Marshal(s)
	require.NoError(t, err)
	var again ingest.Sequence
	require.NoError(t, json.Unmarshal(raw, &again))
	require.Empty(t, again.Next(numbered("boot99", 2, 101)).Kind)
}

// Every line of a boot is either read or reported missing, once, in whatever way lines are lost and files read again.
func TestSequence_AccountsForEveryLine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		last := rapid.IntRange(1, 60).Draw(t, "lines")
		var s ingest.Sequence
		account := map[uint64]int{}
		highest := uint64(0)
		for n := uint64(1); n <= uint64(last); n++ {
			if rapid.Bool().Draw(t, "lost") {
				continue
			}
			g := s.Next(numbered("a", n, int(n)))
			account[n]++
			for i := g.From; g.Missing() > 0 && i <= g.To; i++ {
				account[i]++
			}
			highest = n
			if back := rapid.Uint64Range(0, n).Draw(t, "again"); back > 0 {
				require.Equal(t, ingest.GapRepeated, s.Next(numbered("a", back, int(back))).Kind)
			}
		}
		for n := uint64(1); n <= highest; n++ {
			require.Equal(t, 1, account[n])
		}
	})
}
