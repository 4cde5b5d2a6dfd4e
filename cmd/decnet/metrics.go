package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/decnet/decnet/db"
)

var (
	openOperations   = prometheus.NewDesc("decnet_operations_open", "Operations that have not ended.", nil, nil)
	reconciling      = prometheus.NewDesc("decnet_deckies_reconciling", "Deckies that are being repaired.", nil, nil)
	retentionRows    = prometheus.NewDesc("decnet_retention_rows", "Rows or files of a class, as last measured.", []string{"class"}, nil)
	retentionBytes   = prometheus.NewDesc("decnet_retention_bytes", "Room that a class takes, as last measured.", []string{"class"}, nil)
	retentionOldest  = prometheus.NewDesc("decnet_retention_oldest_timestamp_seconds", "When the oldest of a class came in.", []string{"class"}, nil)
	retentionRemoved = prometheus.NewDesc("decnet_retention_removed_total", "Rows or files of a class that were ever removed.", []string{"class"}, nil)

	outboxBacklog = prometheus.NewDesc("decnet_outbox_backlog", "Committed events that are not published yet.", nil, nil)
)

// storeMetrics reads gauges from the database when they are collected.
type storeMetrics struct{ store *db.Store }

func (m storeMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- openOperations
	ch <- reconciling
	ch <- outboxBacklog
	for _, d := range []*prometheus.Desc{retentionRows, retentionBytes, retentionOldest, retentionRemoved} {
		ch <- d
	}
}

func (m storeMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	q, err := m.store.Quiescence(ctx)
	if err != nil {
		return // the scrape shows that the values are missing
	}
	ch <- prometheus.MustNewConstMetric(openOperations, prometheus.GaugeValue, float64(q.OpenOperations))
	ch <- prometheus.MustNewConstMetric(reconciling, prometheus.GaugeValue, float64(q.Reconciling))
	if backlog, err := m.store.CountUnpublished(ctx); err == nil {
		ch <- prometheus.MustNewConstMetric(outboxBacklog, prometheus.GaugeValue, float64(backlog))
	}
	m.retention(ctx, ch)
}

// retention tells what there is of the classes that were measured.
func (m storeMetrics) retention(ctx context.Context, ch chan<- prometheus.Metric) {
	classes, err := m.store.Retention(ctx)
	if err != nil {
		return
	}
	for _, c := range classes {
		class := string(c.Class)
		ch <- prometheus.MustNewConstMetric(retentionRemoved, prometheus.CounterValue, float64(c.Removed), class)
		if c.MeasuredAt == nil {
			continue
		}
		ch <- prometheus.MustNewConstMetric(retentionRows, prometheus.GaugeValue, float64(c.Usage.Rows), class)
		ch <- prometheus.MustNewConstMetric(retentionBytes, prometheus.GaugeValue, float64(c.Usage.Bytes), class)
		if !c.Usage.Oldest.IsZero() {
			ch <- prometheus.MustNewConstMetric(retentionOldest, prometheus.GaugeValue, float64(c.Usage.Oldest.Unix()), class)
		}
	}
}
