// SPDX-License-Identifier: Apache-2.0

package jaegerexporter

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jaegertracing/jaeger-idl/model/v1"
	"github.com/jaegertracing/jaeger-idl/proto-gen/api_v2"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	exportermetadata "github.com/otelcol-custom/otelcol-custom/exporter/jaegerexporter/internal/metadata"
)

// call is what the collector saw of a call.
type call struct {
	batch    model.Batch
	at       time.Time
	metadata metadata.MD
}

// collector is a Jaeger collector on a real connection that answers as it is told.
type collector struct {
	address string
	// answer is asked for each call, one at a time, with the number of the call
	// from 0 on; nil takes everything.
	answer func(ctx context.Context, n int, spans []string) error

	mu    sync.Mutex
	calls []call
	taken []string // span ids
}

// listen starts a collector.
func listen(tb testing.TB, answer func(ctx context.Context, n int, spans []string) error, options ...grpc.ServerOption) *collector {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	c := &collector{address: listener.Addr().String(), answer: answer}
	c.serve(tb, listener, options...)
	return c
}

func (c *collector) serve(tb testing.TB, listener net.Listener, options ...grpc.ServerOption) {
	server := grpc.NewServer(options...)
	api_v2.RegisterCollectorServiceServer(server, c)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // ends with Stop
	}()
	tb.Cleanup(func() {
		server.Stop()
		<-done
	})
}

// PostSpans implements api_v2.CollectorServiceServer.
func (c *collector) PostSpans(ctx context.Context, r *api_v2.PostSpansRequest) (*api_v2.PostSpansResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	ids := spanIDs(r.Batch.Spans)
	c.mu.Lock()
	n := len(c.calls)
	c.calls = append(c.calls, call{batch: r.Batch, at: time.Now(), metadata: md})
	c.mu.Unlock()
	if c.answer != nil {
		if err := c.answer(ctx, n, ids); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken = append(c.taken, ids...)
	return &api_v2.PostSpansResponse{}, nil
}

func (c *collector) seen() []call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// stored returns the ids of the spans that were taken.
func (c *collector) stored() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.taken)
}

func spanIDs(spans []*model.Span) []string {
	var ids []string
	for _, span := range spans {
		ids = append(ids, span.SpanID.String())
	}
	return ids
}

// host has extensions and keeps the status events.
type host struct {
	extensions map[component.ID]component.Component

	mu     sync.Mutex
	events []componentstatus.Status
}

func (h *host) GetExtensions() map[component.ID]component.Component { return h.extensions }

// Report implements componentstatus.Reporter.
func (h *host) Report(event *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event.Status())
}

func (h *host) statuses() []componentstatus.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// quick is a configuration without a queue and with short waits.
func quick(c *collector) map[string]any {
	return map[string]any{
		"endpoint":         c.address,
		"tls":              map[string]any{"insecure": true},
		"sending_queue":    map[string]any{"enabled": false},
		"retry_on_failure": map[string]any{"initial_interval": "1ms", "max_interval": "1ms"},
	}
}

// with returns the configuration with another value.
func with(conf map[string]any, key string, value any) map[string]any {
	conf[key] = value
	return conf
}

func load(tb testing.TB, conf map[string]any) *Config {
	tb.Helper()
	cfg := NewFactory().CreateDefaultConfig()
	require.NoError(tb, confmap.NewFromStringMap(conf).Unmarshal(cfg))
	require.NoError(tb, confmap.Validate(cfg))
	return cfg.(*Config)
}

// run starts an exporter until the test ends.
func run(tb testing.TB, conf map[string]any) exporter.Traces {
	tb.Helper()
	return runWith(tb, exportertest.NewNopSettings(exportermetadata.Type), componenttest.NewNopHost(), conf)
}

func runWith(tb testing.TB, set exporter.Settings, h component.Host, conf map[string]any) exporter.Traces {
	tb.Helper()
	e, err := NewFactory().CreateTraces(context.Background(), set, load(tb, conf))
	require.NoError(tb, err)
	require.NoError(tb, e.Start(context.Background(), h))
	tb.Cleanup(func() { require.NoError(tb, e.Shutdown(context.Background())) })
	return e
}

// numbered makes a resource for each number, with that many spans, whose ids count
// from 1 on. The spans of a resource are in scopes of two.
func numbered(counts ...int) ptrace.Traces {
	td := ptrace.NewTraces()
	id := uint64(0)
	for i, n := range counts {
		rs := td.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutInt("resource", int64(i))
		var spans ptrace.SpanSlice
		for j := range n {
			if j%2 == 0 {
				spans = rs.ScopeSpans().AppendEmpty().Spans()
			}
			id++
			span := spans.AppendEmpty()
			span.SetTraceID(pcommon.TraceID{15: 1})
			var raw pcommon.SpanID
			binary.BigEndian.PutUint64(raw[:], id)
			span.SetSpanID(raw)
		}
	}
	return td
}

// ids are the ids of numbered spans from first to last.
func ids(first, last int) []string {
	var list []string
	for i := first; i <= last; i++ {
		list = append(list, model.SpanID(i).String())
	}
	return list
}

func postSpansRequest(batch model.Batch) *api_v2.PostSpansRequest {
	return &api_v2.PostSpansRequest{Batch: batch}
}
