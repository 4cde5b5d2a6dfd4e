// Package bench measures decnet as its users meet it. Figures that a busy or slow machine changes are recorded next to
// their targets; only ratios of two measurements of one run are gates. `make bench` runs it.
package bench_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/decnet/decnet/internal/embedded"
)

func TestMain(m *testing.M) {
	embedded.RunShim(os.Args[1:])
	code := m.Run()
	figures.print()
	os.Exit(code)
}

// figures collects what the benchmarks of this run measured.
var figures table

type table struct {
	mu   sync.Mutex
	rows []row
}

type row struct{ name, value, target string }

// report gives a figure to the benchmark's own output and to the table. target is empty for one that only explains others.
func report(b *testing.B, name, unit string, value float64, target string) {
	b.Helper()
	b.ReportMetric(value, unit)
	figures.mu.Lock()
	defer figures.mu.Unlock()
	figures.rows = append(figures.rows, row{name, fmt.Sprintf("%.4g %s", value, unit), cmp.Or(target, "-")})
}

func (t *table) print() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rows) == 0 {
		return
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "\nfigure\tvalue\ttarget")
	for _, r := range t.rows {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", r.name, r.value, r.target)
	}
	_ = w.Flush()
}

// samples are durations of one thing measured several times.
type samples []time.Duration

// median returns the middle one in milliseconds, 0 when there is none.
func (s samples) median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return milliseconds(sorted[len(sorted)/2])
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
