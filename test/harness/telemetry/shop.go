// SPDX-License-Identifier: Apache-2.0

// Package telemetry makes traces, metrics and logs that use all that OTLP has,
// and sends them as an SDK would, over real connections.
package telemetry

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Shop is one visit to a shop of two services, shop.frontend and shop.cart, in
// all three signals: a trace with a span of every kind, a metric of every
// type, a log record of several severities. Each Shop has ids of its own.
type Shop struct {
	Traces  ptrace.Traces
	Metrics pmetric.Metrics
	Logs    plog.Logs

	// Instance is the service.instance.id of every resource.
	Instance string
	TraceID  pcommon.TraceID
	// The spans. Page is the root; Price and Announce are its children, Order is
	// a child of Price, Accept of Order; Process has no parent but a link to
	// Announce.
	Page, Price, Order, Announce pcommon.SpanID // in shop.frontend
	Accept, Process              pcommon.SpanID // in shop.cart
	// Elsewhere is a span of another trace that Price links to.
	ElsewhereTrace pcommon.TraceID
	Elsewhere      pcommon.SpanID
	// Start is when Page starts.
	Start time.Time
}

// NewShop makes a visit that has just ended.
func NewShop() *Shop {
	s := &Shop{
		Traces: ptrace.NewTraces(), Metrics: pmetric.NewMetrics(), Logs: plog.NewLogs(),
		Instance: hex.EncodeToString(random(8)),
		TraceID:  NewTraceID(), ElsewhereTrace: NewTraceID(),
		Page: newSpanID(), Price: newSpanID(), Order: newSpanID(), Announce: newSpanID(),
		Accept: newSpanID(), Process: newSpanID(), Elsewhere: newSpanID(),
		Start: time.Now().Add(-time.Second).UTC(),
	}
	s.frontendSpans(s.Traces.ResourceSpans().AppendEmpty())
	s.cartSpans(s.Traces.ResourceSpans().AppendEmpty())
	s.metrics(s.Metrics.ResourceMetrics().AppendEmpty())
	s.logs(s.Logs.ResourceLogs().AppendEmpty())
	return s
}

// every holds an attribute of every type.
func every(prefix string) map[string]any {
	return map[string]any{
		prefix + ".string":  "a \"quoted\" naïve 値",
		prefix + ".empty":   "",
		prefix + ".bool":    true,
		prefix + ".int":     int64(-42),
		prefix + ".double":  0.25,
		prefix + ".strings": []any{"red", "green"},
		prefix + ".ints":    []any{int64(1), int64(2), int64(3)},
		prefix + ".map":     map[string]any{"inner": map[string]any{"deep": int64(7)}},
		prefix + ".bytes":   []byte{0x00, 0xff, 0x10},
	}
}

func set(to pcommon.Map, sets ...map[string]any) {
	for _, attributes := range sets {
		for key, value := range attributes {
			if err := to.PutEmpty(key).FromRaw(value); err != nil {
				panic(err) // a type that pdata has not: a mistake in this file
			}
		}
	}
}

func (s *Shop) resource(r pcommon.Resource, service string) {
	set(r.Attributes(), every("resource"), map[string]any{
		"service.name":        service,
		"service.namespace":   "shop",
		"service.version":     "1.4.2",
		"service.instance.id": s.Instance,
	})
}

func scope(s pcommon.InstrumentationScope, name string) {
	s.SetName(name)
	s.SetVersion("0.9.1")
	set(s.Attributes(), map[string]any{"scope.string": "one", "scope.int": int64(1)})
}

func (s *Shop) at(ms int) pcommon.Timestamp {
	return pcommon.NewTimestampFromTime(s.Start.Add(time.Duration(ms) * time.Millisecond))
}

func (s *Shop) span(to ptrace.SpanSlice, name string, kind ptrace.SpanKind, id, parent pcommon.SpanID, from, until int) ptrace.Span {
	span := to.AppendEmpty()
	span.SetName(name)
	span.SetKind(kind)
	span.SetTraceID(s.TraceID)
	span.SetSpanID(id)
	span.SetParentSpanID(parent)
	span.SetStartTimestamp(s.at(from))
	span.SetEndTimestamp(s.at(until))
	return span
}

func (s *Shop) frontendSpans(rs ptrace.ResourceSpans) {
	rs.SetSchemaUrl("https://opentelemetry.io/schemas/1.37.0")
	s.resource(rs.Resource(), "frontend")
	ss := rs.ScopeSpans().AppendEmpty()
	scope(ss.Scope(), "shop.web")
	spans := ss.Spans()

	page := s.span(spans, "GET /checkout/{id}", ptrace.SpanKindServer, s.Page, pcommon.SpanID{}, 0, 250)
	page.TraceState().FromRaw("vendor=abc,other=1")
	page.Status().SetCode(ptrace.StatusCodeOk)
	page.SetDroppedAttributesCount(1)
	set(page.Attributes(), every("span"), map[string]any{
		"http.request.method":       "GET",
		"http.response.status_code": int64(200),
		"http.route":                "/checkout/{id}",
		"url.scheme":                "https",
		"url.path":                  "/checkout/17",
		"url.query":                 "gift=1",
		"server.address":            "shop.example.com",
		"client.address":            "203.0.113.7",
	})
	loaded := page.Events().AppendEmpty()
	loaded.SetName("basket loaded")
	loaded.SetTimestamp(s.at(10))
	loaded.SetDroppedAttributesCount(2)
	set(loaded.Attributes(), every("event"))

	price := s.span(spans, "price basket", ptrace.SpanKindInternal, s.Price, s.Page, 20, 200)
	link := price.Links().AppendEmpty()
	link.SetTraceID(s.ElsewhereTrace)
	link.SetSpanID(s.Elsewhere)
	link.TraceState().FromRaw("vendor=def")
	set(link.Attributes(), every("link"))

	order := s.span(spans, "POST", ptrace.SpanKindClient, s.Order, s.Price, 30, 180)
	order.Status().SetCode(ptrace.StatusCodeError)
	order.Status().SetMessage("card refused")
	set(order.Attributes(), map[string]any{
		"http.request.method":       "POST",
		"http.response.status_code": int64(502),
		"url.full":                  "http://cart:8080/orders",
		"server.address":            "cart",
		"server.port":               int64(8080),
	})
	exception := order.Events().AppendEmpty()
	exception.SetName("exception")
	exception.SetTimestamp(s.at(170))
	set(exception.Attributes(), map[string]any{
		"exception.type":       "shop.CardError",
		"exception.message":    "card refused",
		"exception.stacktrace": "Traceback:\n  File \"pay.py\", line 3, in pay",
	})

	announce := s.span(spans, "orders publish", ptrace.SpanKindProducer, s.Announce, s.Page, 210, 245)
	set(announce.Attributes(), map[string]any{
		"messaging.system":           "kafka",
		"messaging.destination.name": "orders",
	})
}

func (s *Shop) cartSpans(rs ptrace.ResourceSpans) {
	s.resource(rs.Resource(), "cart")
	ss := rs.ScopeSpans().AppendEmpty()
	scope(ss.Scope(), "shop.cart")
	spans := ss.Spans()

	accept := s.span(spans, "POST /orders", ptrace.SpanKindServer, s.Accept, s.Order, 40, 170)
	accept.Status().SetCode(ptrace.StatusCodeError)
	set(accept.Attributes(), map[string]any{
		"http.request.method":       "POST",
		"http.response.status_code": int64(502),
		"http.route":                "/orders",
		"url.scheme":                "http",
		"url.path":                  "/orders",
		"server.address":            "cart",
		"server.port":               int64(8080),
	})

	process := s.span(spans, "orders process", ptrace.SpanKindConsumer, s.Process, pcommon.SpanID{}, 230, 240)
	link := process.Links().AppendEmpty()
	link.SetTraceID(s.TraceID)
	link.SetSpanID(s.Announce)
	set(process.Attributes(), map[string]any{
		"messaging.system":           "kafka",
		"messaging.destination.name": "orders",
	})
}

func (s *Shop) metrics(rm pmetric.ResourceMetrics) {
	s.resource(rm.Resource(), "frontend")
	sm := rm.ScopeMetrics().AppendEmpty()
	scope(sm.Scope(), "shop.meter")
	metric := func(name, unit string) pmetric.Metric {
		m := sm.Metrics().AppendEmpty()
		m.SetName(name)
		m.SetDescription("about " + name)
		m.SetUnit(unit)
		return m
	}

	temperature := metric("shop.temperature", "Cel").SetEmptyGauge().DataPoints().AppendEmpty()
	s.point(temperature)
	temperature.SetDoubleValue(21.5)
	set(temperature.Attributes(), every("point"))

	visits := metric("shop.visits", "{visit}").SetEmptySum()
	visits.SetIsMonotonic(true)
	visits.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	for i, room := range []string{"hall", "till"} {
		point := visits.DataPoints().AppendEmpty()
		s.point(point)
		point.SetIntValue(int64(17 + i))
		point.Attributes().PutStr("room", room)
		s.exemplar(point.Exemplars().AppendEmpty()).SetIntValue(1)
	}

	open := metric("shop.baskets", "{basket}").SetEmptySum()
	open.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	point := open.DataPoints().AppendEmpty()
	s.point(point)
	point.SetIntValue(-3)
	point.Attributes().PutStr("room", "hall")

	duration := metric("shop.duration", "s").SetEmptyHistogram()
	duration.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	buckets := duration.DataPoints().AppendEmpty()
	s.point(buckets)
	buckets.SetCount(6)
	buckets.SetSum(4.5)
	buckets.SetMin(0.125)
	buckets.SetMax(2)
	buckets.ExplicitBounds().FromRaw([]float64{0.5, 1})
	buckets.BucketCounts().FromRaw([]uint64{3, 2, 1})
	buckets.Attributes().PutStr("room", "till")
	s.exemplar(buckets.Exemplars().AppendEmpty()).SetDoubleValue(0.125)

	size := metric("shop.size", "By").SetEmptyExponentialHistogram()
	size.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	exponential := size.DataPoints().AppendEmpty()
	s.point(exponential)
	exponential.SetScale(0)
	exponential.SetCount(7)
	exponential.SetSum(12)
	exponential.SetZeroCount(1)
	exponential.Positive().SetOffset(1)
	exponential.Positive().BucketCounts().FromRaw([]uint64{4, 1})
	exponential.Negative().BucketCounts().FromRaw([]uint64{1})
	exponential.Attributes().PutStr("room", "till")

	wait := metric("shop.wait", "s").SetEmptySummary().DataPoints().AppendEmpty()
	s.point(wait)
	wait.SetCount(10)
	wait.SetSum(25)
	median := wait.QuantileValues().AppendEmpty()
	median.SetQuantile(0.5)
	median.SetValue(2.25)
	wait.Attributes().PutStr("room", "till")
}

func (s *Shop) point(p interface {
	SetStartTimestamp(pcommon.Timestamp)
	SetTimestamp(pcommon.Timestamp)
},
) {
	p.SetStartTimestamp(s.at(-60_000))
	p.SetTimestamp(s.at(0))
}

func (s *Shop) exemplar(e pmetric.Exemplar) pmetric.Exemplar {
	e.SetTraceID(s.TraceID)
	e.SetSpanID(s.Page)
	e.SetTimestamp(s.at(5))
	e.FilteredAttributes().PutStr("exemplar.order", "o-17")
	return e
}

func (s *Shop) logs(rl plog.ResourceLogs) {
	s.resource(rl.Resource(), "frontend")
	sl := rl.ScopeLogs().AppendEmpty()
	scope(sl.Scope(), "shop.log")
	record := func(severity plog.SeverityNumber, ms int) plog.LogRecord {
		r := sl.LogRecords().AppendEmpty()
		r.SetSeverityNumber(severity)
		r.SetSeverityText(severity.String())
		r.SetTimestamp(s.at(ms))
		r.SetObservedTimestamp(s.at(ms + 1))
		return r
	}

	text := record(plog.SeverityNumberInfo, 12)
	text.Body().SetStr("basket loaded\nwith 3 things")
	text.SetTraceID(s.TraceID)
	text.SetSpanID(s.Page)
	text.SetFlags(plog.DefaultLogRecordFlags.WithIsSampled(true))
	set(text.Attributes(), every("log"))

	structured := record(plog.SeverityNumberError, 171)
	set(structured.Body().SetEmptyMap(), map[string]any{"order": int64(17), "why": "card refused"})
	structured.SetTraceID(s.TraceID)
	structured.SetSpanID(s.Order)
	structured.SetEventName("order.refused")
	set(structured.Attributes(), map[string]any{
		"exception.type":    "shop.CardError",
		"exception.message": "card refused",
	})

	alone := record(plog.SeverityNumberDebug, 1) // belongs to no trace
	alone.Body().SetStr("heartbeat")
}

// NewTraceID returns a random id.
func NewTraceID() pcommon.TraceID { return pcommon.TraceID(random(16)) }

func newSpanID() pcommon.SpanID { return pcommon.SpanID(random(8)) }

// random returns bytes that do not begin with a zero: some systems leave
// leading zeros of an id out.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	b[0] |= 0x80
	return b
}

// Numbered makes spans first to first+n-1 of a service in one trace, each with
// 13 attributes and 6 on the resource. The id of span i is [NumberedID](i).
func Numbered(service string, trace pcommon.TraceID, first, n int) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	set(rs.Resource().Attributes(), map[string]any{
		"service.name":           service,
		"service.version":        "1.4.2",
		"service.instance.id":    service + "-0",
		"deployment.environment": "test",
		"host.name":              "node-1",
		"telemetry.sdk.language": "go",
	})
	spans := rs.ScopeSpans().AppendEmpty().Spans()
	spans.EnsureCapacity(n)
	now := time.Now()
	for i := first; i < first+n; i++ {
		span := spans.AppendEmpty()
		span.SetName("GET /items/{id}")
		span.SetKind(ptrace.SpanKindServer)
		span.SetTraceID(trace)
		span.SetSpanID(NumberedID(i))
		span.SetStartTimestamp(pcommon.NewTimestampFromTime(now.Add(-5 * time.Millisecond)))
		span.SetEndTimestamp(pcommon.NewTimestampFromTime(now))
		a := span.Attributes()
		a.EnsureCapacity(13)
		a.PutStr("http.request.method", "GET")
		a.PutInt("http.response.status_code", 200)
		a.PutStr("http.route", "/items/{id}")
		a.PutStr("url.scheme", "https")
		a.PutStr("url.path", "/items/17")
		a.PutStr("url.query", "page=2")
		a.PutStr("server.address", "shop.example.com")
		a.PutInt("server.port", 443)
		a.PutStr("client.address", "203.0.113.7")
		a.PutStr("user_agent.original", "Mozilla/5.0")
		a.PutStr("network.protocol.version", "1.1")
		a.PutInt("shop.items", 3)
		a.PutBool("shop.member", true)
	}
	return td
}

// NumberedID is the id of a [Numbered] span.
func NumberedID(i int) pcommon.SpanID {
	var id pcommon.SpanID
	binary.BigEndian.PutUint64(id[:], 1<<63|uint64(i))
	return id
}
