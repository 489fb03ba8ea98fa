// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"context"
	"encoding/binary"
	"io"
	"maps"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/azuremonitorexporter"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otelcol-custom/otelcol-custom/exporter/applicationinsightsexporter"
)

const benchmarkSpans = 1024 // the batch of upstream's exporter, so that both send one request a push

// benchmarkTraces makes spans of 13 attributes each below one resource of 6.
func benchmarkTraces(n int) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	for k, v := range map[string]string{
		"service.name": "checkout", "service.namespace": "shop", "service.version": "1.4.2",
		"service.instance.id": "checkout-7d9f8c6b5-x2x4z", "k8s.namespace.name": "prod", "k8s.pod.name": "checkout-7d9f8c6b5-x2x4z",
	} {
		rs.Resource().Attributes().PutStr(k, v)
	}
	spans := rs.ScopeSpans().AppendEmpty().Spans()
	now := time.Now()
	for i := range n {
		s := spans.AppendEmpty()
		s.SetTraceID(traceIDOf(uint64(i / 4)))
		s.SetSpanID(spanIDOf(uint64(i)))
		s.SetParentSpanID(spanIDOf(uint64(i / 4 * 4)))
		s.SetStartTimestamp(pcommon.NewTimestampFromTime(now))
		s.SetEndTimestamp(pcommon.NewTimestampFromTime(now.Add(time.Duration(i) * time.Microsecond)))
		a := s.Attributes()
		if i%4 == 0 {
			s.SetKind(ptrace.SpanKindServer)
			s.SetName("GET /cart/{id}")
			a.PutStr("http.request.method", "GET")
			a.PutInt("http.response.status_code", 200)
			a.PutStr("http.route", "/cart/{id}")
			a.PutStr("url.scheme", "https")
			a.PutStr("url.path", "/cart/"+strconv.Itoa(i))
			a.PutStr("server.address", "shop.example.com")
			a.PutInt("server.port", 443)
			a.PutStr("client.address", "203.0.113.7")
			a.PutStr("network.peer.address", "10.0.3.4")
			a.PutStr("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36")
			a.PutStr("network.protocol.version", "1.1")
		} else {
			s.SetKind(ptrace.SpanKindClient)
			s.SetName("SELECT carts")
			a.PutStr("db.system.name", "postgresql")
			a.PutStr("db.namespace", "carts")
			a.PutStr("db.query.text", "SELECT id, sku, quantity, price FROM carts WHERE cart_id = $1 AND tenant = $2")
			a.PutStr("db.operation.name", "SELECT")
			a.PutStr("db.collection.name", "carts")
			a.PutStr("server.address", "postgres.prod.svc")
			a.PutInt("server.port", 5432)
			a.PutStr("network.peer.address", "10.0.5.6")
			a.PutInt("network.peer.port", 5432)
			a.PutStr("thread.name", "worker-3")
			a.PutInt("thread.id", 17)
		}
		a.PutStr("app.tenant", "tenant-"+strconv.Itoa(i%16))
		a.PutInt("app.cart.size", int64(i%9))
	}
	return td
}

func traceIDOf(n uint64) (id pcommon.TraceID) {
	binary.BigEndian.PutUint64(id[:], 0xA1B2C3D4E5F60718*(n+1))
	binary.BigEndian.PutUint64(id[8:], n+1)
	return id
}

func spanIDOf(n uint64) (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], 0x9E3779B97F4A7C15*(n+1))
	return id
}

// discard is a middleware extension in place of the network: it reads every request, takes it, and says so.
type discard struct {
	component.StartFunc
	component.ShutdownFunc
	requests chan int // bytes of each body
}

var _ extensionmiddleware.HTTPClient = (*discard)(nil)

func (d *discard) GetHTTPRoundTripper(context.Context) (extensionmiddleware.WrapHTTPRoundTripperFunc, error) {
	return func(context.Context, http.RoundTripper) (http.RoundTripper, error) { return d, nil }, nil
}

func (d *discard) RoundTrip(r *http.Request) (*http.Response, error) {
	n, _ := io.Copy(io.Discard, r.Body)
	_ = r.Body.Close()
	d.requests <- int(n)
	const body = `{"itemsReceived":1024,"itemsAccepted":1024,"errors":[]}`
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: r,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

type discardHost struct {
	extensions map[component.ID]component.Component
}

func (h discardHost) GetExtensions() map[component.ID]component.Component { return h.extensions }

// startDiscarding creates and starts a traces exporter whose requests end in discard.
func startDiscarding(tb testing.TB, f exporter.Factory, settings map[string]any) (exporter.Traces, *discard) {
	d := &discard{requests: make(chan int, 64)}
	id := component.MustNewID("discard")
	cfg := f.CreateDefaultConfig()
	settings["middlewares"] = []any{map[string]any{"id": "discard"}}
	settings["sending_queue"] = map[string]any{"enabled": false}
	require.NoError(tb, confmap.NewFromStringMap(settings).Unmarshal(cfg))
	x, err := f.CreateTraces(context.Background(), exportertest.NewNopSettings(f.Type()), cfg)
	require.NoError(tb, err)
	require.NoError(tb, x.Start(context.Background(), discardHost{map[component.ID]component.Component{id: d}}))
	tb.Cleanup(func() { require.NoError(tb, x.Shutdown(context.Background())) })
	return x, d
}

const benchmarkConnection = "InstrumentationKey=11111111-2222-4333-8444-555555555555;IngestionEndpoint=https://ingestion.invalid/"

// compared are the two exporters, each with one request a push, as upstream makes it.
var compared = []struct {
	name     string
	factory  exporter.Factory
	settings map[string]any
}{
	{"applicationinsights", applicationinsightsexporter.NewFactory(), map[string]any{"connection_string": benchmarkConnection, "max_request_bytes": 8 << 20}},
	{"azuremonitor", azuremonitorexporter.NewFactory(), map[string]any{"connection_string": benchmarkConnection}},
}

// pusher starts an exporter and returns what makes one push and waits for its request.
func pusher(tb testing.TB, factory exporter.Factory, settings map[string]any) func() (requestBytes int) {
	x, d := startDiscarding(tb, factory, maps.Clone(settings))
	td := benchmarkTraces(benchmarkSpans)
	return func() int {
		require.NoError(tb, x.ConsumeTraces(context.Background(), td))
		return <-d.requests
	}
}

// What this exporter is for, beside losing nothing: at most a quarter of upstream's CPU time and a tenth of its
// allocations. It has taken a tenth and a thousandth; the benchmark below tells more exactly.
func TestCostBesideUpstream(t *testing.T) {
	pushes := 25
	if raceDetector {
		pushes = 3
	}
	var cpu [2]time.Duration
	var allocations [2]uint64
	for i, c := range compared {
		push := pusher(t, c.factory, c.settings)
		for range 3 { // connections, pools, heap
			push()
		}
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := cpuTime()
		for range pushes {
			push()
		}
		cpu[i] = cpuTime() - begin
		runtime.ReadMemStats(&after)
		allocations[i] = (after.Mallocs - before.Mallocs) / uint64(pushes)
	}
	t.Logf("CPU time of %d pushes: %v beside %v; allocations of one: %d beside %d", pushes, cpu[0], cpu[1], allocations[0], allocations[1])
	if !raceDetector { // which takes most of the time, of both alike
		assert.Less(t, cpu[0], cpu[1]/4)
	}
	assert.Less(t, allocations[0], allocations[1]/10)
}

// BenchmarkBesideUpstream is the whole way of a push, from pdata to the compressed request, for this exporter and
// for upstream's. Upstream sends behind the caller's back, so time is the CPU time of the process, measured when
// the request has been made.
func BenchmarkBesideUpstream(b *testing.B) {
	for _, c := range compared {
		b.Run(c.name, func(b *testing.B) {
			push := pusher(b, c.factory, c.settings)
			size := push()
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime()
			for b.Loop() {
				push()
			}
			spans := float64(b.N) * benchmarkSpans
			b.ReportMetric(float64(cpuTime()-cpu)/spans, "cpu-ns/span")
			b.ReportMetric(float64(size)/benchmarkSpans, "sent-B/span")
		})
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
