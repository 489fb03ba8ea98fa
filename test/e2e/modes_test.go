// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

// sees tells of each backend file which backends have all spans of a visit
// when it is the one named.
var sees = map[string][]func(*collector.Collector, *backends, *telemetry.Shop) error{
	"console":       {consoleSees},
	"jaeger":        {jaegerSees},
	"jaeger-legacy": {jaegerSees},
	"azure":         {ingestionSees},
	"azure-contrib": {ingestionSees},
	"openobserve":   {openobserveSees},
	"otlp":          {otlpSees},
	"all":           {consoleSees, jaegerSees, ingestionSees, openobserveSees},
}

func consoleSees(c *collector.Collector, _ *backends, s *telemetry.Shop) error {
	return atConsole(c, s)
}

func jaegerSees(_ *collector.Collector, b *backends, s *telemetry.Shop) error { return atJaeger(b, s) }

func ingestionSees(_ *collector.Collector, b *backends, s *telemetry.Shop) error {
	return atIngestion(b, s)
}

func openobserveSees(_ *collector.Collector, b *backends, s *telemetry.Shop) error {
	return atOTLP(b.openobserve, s)
}

func otlpSees(_ *collector.Collector, b *backends, s *telemetry.Shop) error {
	return atOTLP(b.otlp, s)
}

// Every mode carries spans to every backend, and from one to the next nothing
// changes but the name of a file. Agent and gateway have no API server here.
func TestModesAndBackends(t *testing.T) {
	t.Parallel()
	b := startBackends(t)
	t.Cleanup(func() { assert.Empty(t, b.ingestion.Rejected()) })
	for _, m := range modes {
		for _, backend := range backendFiles(t) {
			t.Run(string(m)+" "+backend, func(t *testing.T) {
				t.Parallel()
				if len(sees[backend]) == 0 {
					t.Fatalf("nothing looks for what backend/%s.yaml sends; add it to sees", backend)
				}
				c := collector.Start(t, m.config(t, backend, b.envOf(backend)))
				s := telemetry.NewShop()
				send(t, c, s)
				for _, see := range sees[backend] {
					harness.Await(t, "spans", func() error { return see(c, b, s) })
				}
				c.Stop(t)
			})
		}
	}
}

// With all backends named at once, one that is dead keeps nothing from the
// others, and the app that sends notices nothing.
func TestAllWithOneDead(t *testing.T) {
	t.Parallel()
	for dead, see := range map[string][]func(*collector.Collector, *backends, *telemetry.Shop) error{
		"jaeger":      {consoleSees, ingestionSees, openobserveSees},
		"ingestion":   {consoleSees, jaegerSees, openobserveSees},
		"openobserve": {consoleSees, jaegerSees, ingestionSees},
	} {
		t.Run(dead, func(t *testing.T) {
			b := newBackends(t)
			for name, start := range map[string]func(){
				"jaeger":      func() { b.jaeger.Start(t) },
				"ingestion":   func() { b.ingestion.Start(t) },
				"openobserve": func() { b.openobserve.Start(t) },
			} {
				if name != dead {
					start()
				}
			}
			c := collector.Start(t, mode("sidecar").config(t, "all", b.env()))
			// More than one, so that a later one meets the dead one's backlog.
			for range 3 {
				s := telemetry.NewShop()
				send(t, c, s)
				for _, see := range see {
					harness.Await(t, "spans", func() error { return see(c, b, s) })
				}
				if dead != "openobserve" { // the one that takes metrics and logs whole
					harness.Await(t, "metrics and logs", func() error { return metricsAndLogs(b, s) })
				}
			}
			c.Stop(t)
		})
	}
}

func metricsAndLogs(b *backends, s *telemetry.Shop) error {
	points, records := 0, 0
	for _, md := range b.openobserve.Metrics.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			if id, _ := rm.Resource().Attributes().Get("service.instance.id"); id.Str() == s.Instance {
				points++
			}
		}
	}
	for _, ld := range b.openobserve.Logs.AllLogs() {
		for _, rl := range ld.ResourceLogs().All() {
			if id, _ := rl.Resource().Attributes().Get("service.instance.id"); id.Str() == s.Instance {
				records++
			}
		}
	}
	if points != 1 || records != 1 {
		return fmt.Errorf("the metrics have come %d times and the logs %d times", points, records)
	}
	return nil
}
