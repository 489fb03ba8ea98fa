// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

// What a client was told is taken reaches the backend, whatever ends the
// collector in between. The exporter of backend/azure-contrib.yaml is left out:
// it reports success before it sends, and loses what it holds.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	for _, backend := range []string{"jaeger", "jaeger-legacy", "otlp", "openobserve", "azure"} {
		for name, c := range map[string]struct {
			down bool // the backend is, until the collector is back
			end  func(*testing.T, *collector.Collector)
		}{
			"SIGKILL in an outage": {true, kill},
			"SIGTERM in an outage": {true, terminate},
			"SIGKILL under load":   {false, kill},
		} {
			t.Run(backend+" "+name, func(t *testing.T) {
				t.Parallel()
				b := newBackends(t)
				start, arrived := b.durable(t, backend)
				if !c.down {
					start()
				}
				config := mode("sidecar").config(t, backend, b.envOf(backend))
				trace := telemetry.NewTraceID()

				first := collector.Start(t, config)
				flood := startFlood(t, first, trace)
				harness.Await(t, "acknowledged requests", func() error {
					if n := flood.acknowledged.Load(); n < 30 {
						return fmt.Errorf("%d", n)
					}
					return nil
				})
				c.end(t, first)
				acknowledged := flood.wait()

				collector.Start(t, config)
				if c.down {
					require.Empty(t, arrived(trace), "the backend should have been down")
					start()
				}
				harness.Await(t, "acknowledged spans at the backend", func() error {
					got := arrived(trace)
					for i := range acknowledged * floodRequest {
						if got[telemetry.NumberedID(i).String()] == 0 {
							return fmt.Errorf("%d of %d spans are there, span %d is not", len(got), acknowledged*floodRequest, i)
						}
					}
					return nil
				})
				// What had no answer when the collector ended may be there or not.
				assert.LessOrEqual(t, len(arrived(trace)), (acknowledged+1)*floodRequest)
			})
		}
	}
}

func kill(_ *testing.T, c *collector.Collector) { c.Kill() }

func terminate(t *testing.T, c *collector.Collector) {
	t.Helper()
	c.Stop(t)
}

// durable returns how to start a backend and what tells which spans of a trace
// have reached it, and how often.
func (b *backends) durable(t *testing.T, backend string) (start func(), arrived func(pcommon.TraceID) map[string]int) {
	t.Helper()
	switch backend {
	case "jaeger", "jaeger-legacy":
		// Jaeger takes what it has no room for, and drops it; its queue has 2,000
		// spans by default, and after an outage come more at once.
		b.jaeger.Flags = []string{"--collector.queue-size=100000"}
		return func() { b.jaeger.Start(t) }, func(trace pcommon.TraceID) map[string]int {
			ids := map[string]int{}
			got, _ := b.jaeger.Trace(trace.String()) // none when there is an error
			for _, span := range got.Spans {
				ids[span.SpanID]++
			}
			return ids
		}
	case "otlp":
		return func() { b.otlp.Start(t) }, func(pcommon.TraceID) map[string]int { return b.otlp.SpanIDs() }
	case "openobserve":
		return func() { b.openobserve.Start(t) }, func(pcommon.TraceID) map[string]int { return b.openobserve.SpanIDs() }
	case "azure":
		return func() { b.ingestion.Start(t) }, func(pcommon.TraceID) map[string]int { return b.ingestion.IDs() }
	}
	t.Fatalf("no backend %s", backend)
	return nil, nil
}

const floodRequest = 50 // spans

// flood sends numbered spans, one request after the other, until one fails.
type flood struct {
	acknowledged atomic.Int64 // requests, which are the first ones
	done         chan struct{}
}

func startFlood(t *testing.T, c *collector.Collector, trace pcommon.TraceID) *flood {
	t.Helper()
	f := &flood{done: make(chan struct{})}
	client := telemetry.Dial(t, telemetry.Sender{Protocol: telemetry.GRPC}, c)
	go func() {
		defer close(f.done)
		for i := 0; ; i++ {
			if client.Traces(t.Context(), telemetry.Numbered("flood", trace, i*floodRequest, floodRequest)) != nil {
				return
			}
			f.acknowledged.Add(1)
		}
	}()
	return f
}

func (f *flood) wait() int {
	<-f.done
	return int(f.acknowledged.Load())
}

// A span that is larger than a batch should be, between two of the usual size:
// all of them arrive.
func TestLargeSpanAmongOthers(t *testing.T) {
	for _, backend := range []string{"jaeger", "jaeger-legacy", "otlp", "openobserve", "azure"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			b := newBackends(t)
			start, arrived := b.durable(t, backend)
			start()
			c := collector.Start(t, mode("sidecar").config(t, backend, b.envOf(backend)))
			trace := telemetry.NewTraceID()
			td := telemetry.Numbered("shop", trace, 0, 3)
			large := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(1)
			large.Attributes().PutStr("prompt", strings.Repeat("x", 3_200_000))
			client := telemetry.Dial(t, telemetry.Sender{Protocol: telemetry.GRPC}, c)
			require.NoError(t, client.Traces(t.Context(), td))
			harness.Await(t, "spans", func() error {
				if got := arrived(trace); len(got) != 3 {
					return fmt.Errorf("%d of 3 are there", len(got))
				}
				return nil
			})
			c.Stop(t)
		})
	}
}
