// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"strconv"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

const benchmarkSpans = 1024

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

// BenchmarkEncode is the mapping alone, without compression.
func BenchmarkEncode(b *testing.B) {
	x := newTestExporter(b, nil)
	td := benchmarkTraces(benchmarkSpans)
	e := x.newEncoder()
	b.ReportAllocs()
	for b.Loop() {
		e.buf = e.buf[:0]
		encodeTraces(e, td)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchmarkSpans, "ns/span")
	b.ReportMetric(float64(len(e.buf))/benchmarkSpans, "B/span")
}
