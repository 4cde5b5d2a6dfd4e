package api

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readyLimit bounds asking the parts how they are.
const readyLimit = 5 * time.Second

// serveHealth adds the routes of probes and scrapers, which have no credentials and learn nothing that needs them.
func (s *server) serveHealth(engine *gin.Engine) {
	engine.GET("/healthz", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
	engine.GET("/readyz", s.ready)
	engine.GET("/metrics", gin.WrapH(promhttp.HandlerFor(s.deps.Metrics, promhttp.HandlerOpts{})))
}

func (s *server) ready(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), readyLimit)
	defer cancel()
	status, overall, checks := http.StatusOK, "ready", map[string]string{}
	if s.deps.Ready != nil {
		for name, err := range s.deps.Ready(ctx) {
			checks[name] = "ok"
			if err != nil {
				status, overall, checks[name] = http.StatusServiceUnavailable, "not_ready", "failing"
				s.deps.Log.WarnContext(ctx, "not ready", "part", name, "err", err)
			}
		}
	}
	c.JSON(status, gin.H{"status": overall, "checks": checks})
}
