package ingester

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/decnet/decnet/db"
)

// Metrics tells how ingest of one host fares. A nil one counts nothing.
type Metrics struct {
	lines   *prometheus.CounterVec
	behind  prometheus.Gauge
	batches prometheus.Histogram
}

// NewMetrics registers the metrics of an ingester.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		lines: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "decnet_ingest_lines_total", Help: "Lines of decoys read, by what became of them; missing ones were never read.",
		}, []string{"outcome"}),
		behind: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "decnet_ingest_lag_bytes", Help: "Output of decoys that was not read yet.",
		}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "decnet_ingest_batch_seconds", Help: "Time it took to store a batch.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}),
	}
	for _, o := range []db.Outcome{
		db.OutcomeStored, db.OutcomeDroppedApp, db.OutcomeDroppedRate, db.OutcomeSelfCheck, db.OutcomeRepeated, db.OutcomeMalformed,
		db.OutcomeTooLong, db.OutcomeMissing,
	} {
		m.lines.WithLabelValues(string(o))
	}
	r.MustRegister(m.lines, m.behind, m.batches)
	return m
}

func (m *Metrics) lag(bytes int64) {
	if m != nil {
		m.behind.Set(float64(bytes))
	}
}

// stored counts a batch whose storing ended with err.
func (m *Metrics) stored(took time.Duration, b *batch, err error) {
	if m == nil || err != nil {
		return
	}
	m.batches.Observe(took.Seconds())
	for i := range b.entries {
		b.entries[i].counts(func(o db.Outcome, n int64) { m.lines.WithLabelValues(string(o)).Add(float64(n)) })
	}
}
