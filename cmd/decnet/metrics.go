package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/decnet/decnet/db"
)

var (
	openOperations = prometheus.NewDesc("decnet_operations_open", "Operations that have not ended.", nil, nil)
	reconciling    = prometheus.NewDesc("decnet_deckies_reconciling", "Deckies that are being repaired.", nil, nil)
	outboxBacklog  = prometheus.NewDesc("decnet_outbox_backlog", "Committed events that are not published yet.", nil, nil)
)

// storeMetrics reads gauges from the database when they are collected.
type storeMetrics struct{ store *db.Store }

func (m storeMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- openOperations
	ch <- reconciling
	ch <- outboxBacklog
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
}
