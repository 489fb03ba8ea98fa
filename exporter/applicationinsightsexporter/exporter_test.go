// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

// counter reads one of our counters as a map from its attributes, as text, to the sum.
func (f *fixture) counter(name string) map[string]int64 {
	f.t.Helper()
	got := map[string]int64{}
	m, err := f.tel.GetMetric("otelcol_exporter_applicationinsights_" + name)
	if err != nil {
		return got // nothing was counted
	}
	sum, ok := m.Data.(metricdata.Sum[int64])
	require.True(f.t, ok)
	for _, p := range sum.DataPoints {
		var parts []string
		for _, kv := range p.Attributes.ToSlice() {
			parts = append(parts, string(kv.Key)+"="+kv.Value.String())
		}
		got[strings.Join(parts, " ")] = p.Value
	}
	return got
}

// Every kind of answer is one kind of error, which is what exporterhelper goes by.
func TestAnswers(t *testing.T) {
	type kind string
	const (
		none      kind = "none"      // delivered
		again     kind = "again"     // retry all of it
		rest      kind = "rest"      // retry the part that the error carries
		permanent kind = "permanent" // drop
	)
	refuse := func(codes ...int) func(int, *ingestion.Envelope) ingestion.ItemError {
		return func(i int, _ *ingestion.Envelope) ingestion.ItemError {
			return ingestion.ItemError{StatusCode: codes[i], Message: fmt.Sprintf("item %d", i)}
		}
	}
	status := func(code int) ingestion.Answer { return ingestion.Answer{Status: code} }
	wait := func(code int, value string) ingestion.Answer {
		return ingestion.Answer{Status: code, Header: http.Header{"Retry-After": {value}}}
	}
	date := func(code int) ingestion.Answer { // 90 s by the clock of the server
		return ingestion.Answer{Status: code, Header: http.Header{"Date": {"Wed, 04 Mar 2026 05:00:00 GMT"}, "Retry-After": {"Wed, 04 Mar 2026 05:01:30 GMT"}}}
	}
	for _, tt := range []struct {
		name       string
		answers    []ingestion.Answer
		settings   map[string]any
		spans      int // 3 unless given
		want       kind
		accepted   int
		again      int
		refused    map[string]int64
		duplicates int64
		requests   map[string]int64
		throttle   string
		scripted   bool // the answer is made up, and the stand-in has stored nothing
	}{
		{name: "ok", want: none, accepted: 3, requests: map[string]int64{"result=accepted": 1}},
		{
			name: "part put off", answers: []ingestion.Answer{{Refuse: refuse(0, 503, 0)}},
			want: rest, accepted: 2, again: 1, requests: map[string]int64{"result=partial": 1},
		},
		{
			name: "part refused", answers: []ingestion.Answer{{Refuse: refuse(0, 400, 0)}},
			want: none, accepted: 2, refused: map[string]int64{"reason=ingestion status=400": 1}, requests: map[string]int64{"result=partial": 1},
		},
		{
			name: "part put off, part refused", answers: []ingestion.Answer{{Refuse: refuse(404, 429, 0)}},
			want: rest, accepted: 1, again: 1, refused: map[string]int64{"reason=ingestion status=404": 1}, requests: map[string]int64{"result=partial": 1},
		},
		{
			name: "all refused", answers: []ingestion.Answer{{Refuse: refuse(400, 400, 402)}},
			want: permanent, refused: map[string]int64{"reason=ingestion status=400": 2, "reason=ingestion status=402": 1}, requests: map[string]int64{"result=refused": 1},
		},
		{
			name: "each refused or put off", answers: []ingestion.Answer{{Refuse: refuse(400, 408, 500)}},
			want: rest, again: 2, refused: map[string]int64{"reason=ingestion status=400": 1}, requests: map[string]int64{"result=partial": 1},
		},
		{name: "404", answers: []ingestion.Answer{status(404)}, want: permanent, refused: map[string]int64{"reason=ingestion status=404": 3}, requests: map[string]int64{"result=refused": 1}},
		{name: "405", answers: []ingestion.Answer{status(405)}, want: permanent, refused: map[string]int64{"reason=ingestion status=405": 3}, requests: map[string]int64{"result=refused": 1}},
		{name: "401", answers: []ingestion.Answer{status(401)}, want: again, again: 3, requests: map[string]int64{"result=again": 1}},
		{name: "403", answers: []ingestion.Answer{status(403)}, want: again, again: 3, requests: map[string]int64{"result=again": 1}},
		{name: "408", answers: []ingestion.Answer{status(408)}, want: again, again: 3, requests: map[string]int64{"result=again": 1}},
		{name: "500", answers: []ingestion.Answer{status(500)}, want: again, again: 3, requests: map[string]int64{"result=again": 1}},
		{name: "502", answers: []ingestion.Answer{status(502)}, want: again, again: 3, requests: map[string]int64{"result=again": 1}},
		{name: "503", answers: []ingestion.Answer{status(503)}, want: again, again: 3, requests: map[string]int64{"result=again": 1}},
		{name: "504", answers: []ingestion.Answer{status(504)}, want: again, again: 3, requests: map[string]int64{"result=again": 1}},
		{name: "503 with a wait", answers: []ingestion.Answer{wait(503, "7")}, want: again, again: 3, throttle: "Throttle (7s)", requests: map[string]int64{"result=again": 1}},
		{name: "429", answers: []ingestion.Answer{status(429)}, want: again, again: 3, requests: map[string]int64{"result=throttled": 1}},
		{name: "429 with a wait", answers: []ingestion.Answer{wait(429, "7")}, want: again, again: 3, throttle: "Throttle (7s)", requests: map[string]int64{"result=throttled": 1}},
		{name: "429 with a date", answers: []ingestion.Answer{date(429)}, want: again, again: 3, throttle: "Throttle (1m30s)", requests: map[string]int64{"result=throttled": 1}},
		{name: "402 with a date", answers: []ingestion.Answer{date(402)}, want: again, again: 3, throttle: "Throttle (1m30s)", requests: map[string]int64{"result=throttled": 1}},
		{name: "439 with a date", answers: []ingestion.Answer{date(439)}, want: again, again: 3, throttle: "Throttle (1m30s)", requests: map[string]int64{"result=throttled": 1}},
		{name: "439 to wait for", settings: map[string]any{"daily_cap": "wait"}, answers: []ingestion.Answer{status(439)}, want: again, again: 3, requests: map[string]int64{"result=throttled": 1}},
		{name: "501", answers: []ingestion.Answer{status(501)}, want: again, again: 3, requests: map[string]int64{"result=again": 1}},
		{name: "418", answers: []ingestion.Answer{status(418)}, want: permanent, refused: map[string]int64{"reason=ingestion status=418": 3}, requests: map[string]int64{"result=refused": 1}},
		{
			name: "accepted, with a wait", answers: []ingestion.Answer{{Status: 200, Header: http.Header{"Retry-After": {"7"}}, Body: `{"itemsReceived":3,"itemsAccepted":3,"errors":[]}`}},
			want: none, accepted: 3, requests: map[string]int64{"result=accepted": 1}, scripted: true,
		},
		{
			name: "part refused for its token, its role, its cap", answers: []ingestion.Answer{{Refuse: refuse(401, 403, 439)}},
			want: rest, again: 2, refused: map[string]int64{"reason=ingestion status=439": 1}, requests: map[string]int64{"result=partial": 1},
		},
		{name: "402", answers: []ingestion.Answer{status(402)}, want: permanent, refused: map[string]int64{"reason=ingestion status=402": 3}, requests: map[string]int64{"result=refused": 1}},
		{name: "402 with a wait", answers: []ingestion.Answer{wait(402, "7")}, want: again, again: 3, throttle: "Throttle (7s)", requests: map[string]int64{"result=throttled": 1}},
		{name: "402 to wait for", settings: map[string]any{"daily_cap": "wait"}, answers: []ingestion.Answer{status(402)}, want: again, again: 3, requests: map[string]int64{"result=throttled": 1}},
		{name: "439", answers: []ingestion.Answer{status(439)}, want: permanent, refused: map[string]int64{"reason=ingestion status=439": 3}, requests: map[string]int64{"result=refused": 1}},
		{name: "439 with a wait", answers: []ingestion.Answer{wait(439, "7")}, want: again, again: 3, throttle: "Throttle (7s)", requests: map[string]int64{"result=throttled": 1}},
		{
			name: "part put off with a wait",
			answers: []ingestion.Answer{{
				Status: 206, Header: http.Header{"Retry-After": {"7"}},
				Body: `{"itemsReceived":3,"itemsAccepted":2,"errors":[{"index":1,"statusCode":429,"message":"slow"}]}`,
			}},
			want: rest, accepted: 2, again: 1, throttle: "Throttle (7s)", requests: map[string]int64{"result=partial": 1}, scripted: true,
		},
		{name: "redirect to nowhere", answers: []ingestion.Answer{status(307)}, want: again, again: 3, requests: map[string]int64{"result=failed": 1}},
		{name: "another redirect", answers: []ingestion.Answer{status(302)}, want: again, again: 3, requests: map[string]int64{"result=again": 1}},
		{name: "HTML in place of ingestion", answers: []ingestion.Answer{{Status: 200, Body: "<html>"}}, want: again, again: 3, duplicates: 3, requests: map[string]int64{"result=unreadable": 1}},
		{name: "empty 206", answers: []ingestion.Answer{{Status: 206}}, want: again, again: 3, duplicates: 3, requests: map[string]int64{"result=unreadable": 1}},
		{name: "an item that was never sent", answers: []ingestion.Answer{{Status: 206, Body: `{"itemsReceived":3,"itemsAccepted":2,"errors":[{"index":3,"statusCode":400,"message":"x"}]}`}}, want: again, again: 3, duplicates: 3, requests: map[string]int64{"result=unreadable": 1}},
		{name: "counts that do not add up", answers: []ingestion.Answer{{Status: 200, Body: `{"itemsReceived":3,"itemsAccepted":2,"errors":[]}`}}, want: again, again: 3, duplicates: 3, requests: map[string]int64{"result=unreadable": 1}},
		{name: "broken answer", answers: []ingestion.Answer{{Fault: ingestion.CutAnswer}}, want: again, again: 3, duplicates: 3, requests: map[string]int64{"result=unreadable": 1}},
		{name: "reset after the request", answers: []ingestion.Answer{{Fault: ingestion.LoseAnswer}}, want: again, again: 3, duplicates: 3, requests: map[string]int64{"result=failed": 1}},
		{name: "silence", answers: []ingestion.Answer{{Fault: ingestion.Hang}}, settings: map[string]any{"timeout": "1s"}, want: again, again: 3, duplicates: 3, requests: map[string]int64{"result=failed": 1}},
		{
			name: "too large", answers: []ingestion.Answer{status(413)},
			want: none, accepted: 3, requests: map[string]int64{"result=too_large": 1, "result=accepted": 2},
		},
		{
			name: "too large, even alone", spans: 1, answers: []ingestion.Answer{status(413)},
			want: permanent, refused: map[string]int64{"reason=ingestion status=413": 1}, requests: map[string]int64{"result=too_large": 1},
		},
		{
			name: "400 without a word on the items", answers: []ingestion.Answer{status(400)},
			want: none, accepted: 3, requests: map[string]int64{"result=refused": 1, "result=accepted": 2},
		},
		{
			name: "sampled out by ingestion",
			answers: []ingestion.Answer{{Refuse: func(i int, _ *ingestion.Envelope) ingestion.ItemError {
				return ingestion.ItemError{StatusCode: 206 * (i % 2), Message: "Telemetry sampled out."}
			}}},
			want: none, accepted: 2, refused: map[string]int64{"reason=sampled_out status=206": 1}, requests: map[string]int64{"result=accepted": 1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, tt.settings)
			f.backend.Next(tt.answers...)
			if tt.spans == 0 {
				tt.spans = 3
			}
			err := f.traces().ConsumeTraces(context.Background(), someTraces(tt.spans))
			var subset consumererror.Traces
			switch tt.want {
			case none:
				require.NoError(t, err)
			case again:
				require.Error(t, err)
				assert.False(t, consumererror.IsPermanent(err))
				assert.NotErrorAs(t, err, &subset, "all of it goes again, so there is no subset")
			case rest:
				require.Error(t, err)
				assert.False(t, consumererror.IsPermanent(err))
				require.ErrorAs(t, err, &subset)
				assert.Equal(t, tt.again, subset.Data().SpanCount())
			case permanent:
				require.Error(t, err)
				assert.True(t, consumererror.IsPermanent(err), "%v", err)
			}
			if tt.throttle != "" {
				assert.Contains(t, err.Error(), tt.throttle)
			} else if err != nil {
				assert.NotContains(t, err.Error(), "Throttle")
			}
			items := f.counter("items")
			refused := int64(0)
			for _, n := range tt.refused {
				refused += n
			}
			assert.Equal(t, int64(tt.accepted), items["outcome=accepted"])
			assert.Equal(t, int64(tt.again), items["outcome=again"])
			assert.Equal(t, refused, items["outcome=refused"])
			assert.Equal(t, int64(tt.spans), items["outcome=accepted"]+items["outcome=again"]+items["outcome=refused"])
			if tt.refused == nil {
				tt.refused = map[string]int64{}
			}
			assert.Equal(t, tt.refused, f.counter("refused_items"))
			assert.Equal(t, tt.duplicates, f.counter("possible_duplicates")[""])
			assert.Equal(t, tt.requests, f.counter("requests"))
			if tt.duplicates == 0 && !tt.scripted {
				assert.Len(t, f.backend.IDs(), tt.accepted)
			}
		})
	}
}

// A reset before the request is read: whether it had gone out whole depends on the kernel, so duplicates are not
// asserted here.
func TestConnectionReset(t *testing.T) {
	f := newFixture(t, nil)
	f.backend.Next(ingestion.Answer{Fault: ingestion.Reset})
	x := f.traces()
	err := x.ConsumeTraces(context.Background(), someTraces(3))
	require.Error(t, err)
	assert.False(t, consumererror.IsPermanent(err))
	require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(3)))
	assert.Len(t, f.backend.IDs(), 3)
}

func TestNobodyListens(t *testing.T) {
	f := newFixture(t, nil)
	f.backend.Stop()
	err := f.traces().ConsumeTraces(context.Background(), someTraces(3))
	require.Error(t, err)
	assert.False(t, consumererror.IsPermanent(err))
	assert.Empty(t, f.counter("possible_duplicates"), "what was never sent cannot be stored")
	assert.NotContains(t, err.Error(), "/v2.1/track", "the URL is part of the connection string")
}

// retrying are settings that bring everything through sooner or later.
func retrying(more map[string]any) map[string]any {
	s := map[string]any{"retry_on_failure": map[string]any{"enabled": true, "initial_interval": "1ms", "max_interval": "5ms"}}
	for k, v := range more {
		s[k] = v
	}
	return s
}

// Of a span and its events each is sent again by itself: nothing twice, nothing lost.
func TestOnlyWhatIsLeftGoesAgain(t *testing.T) {
	td := someTraces(4)
	spans := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	for i := range spans.Len() {
		for j := range 3 {
			ev := spans.At(i).Events().AppendEmpty()
			ev.SetName("exception")
			ev.SetTimestamp(testStart)
			ev.Attributes().PutStr("exception.type", "E")
			ev.Attributes().PutStr("exception.message", fmt.Sprintf("%d/%d", i, j))
		}
		spans.At(i).Events().AppendEmpty().SetName("not an exception")
	}
	before := ptrace.NewTraces()
	td.CopyTo(before)

	for _, tt := range []struct {
		name  string
		first func(index int) bool // put off in the first attempt
	}{
		{"events", func(i int) bool { return i%4 != 0 }},
		{"spans", func(i int) bool { return i%4 == 0 }},
		{"some of each", func(i int) bool { return i%3 == 0 }},
		{"the last", func(i int) bool { return i == 15 }},
		{"the first", func(i int) bool { return i == 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, retrying(nil))
			f.backend.Next(ingestion.Answer{Refuse: func(i int, _ *ingestion.Envelope) ingestion.ItemError {
				if tt.first(i) {
					return ingestion.ItemError{StatusCode: 503, Message: "later"}
				}
				return ingestion.ItemError{}
			}})
			// The second attempt is put off in part as well.
			f.backend.Next(ingestion.Answer{Refuse: func(i int, _ *ingestion.Envelope) ingestion.ItemError {
				return ingestion.ItemError{StatusCode: 500 * (i % 2), Message: "later"}
			}})
			require.NoError(t, f.traces().ConsumeTraces(context.Background(), td))
			require.Empty(t, f.backend.Rejected())

			got := map[string]int{}
			for _, e := range f.backend.Accepted() {
				assert.NotContains(t, e.Properties(), attrInfos[attrMarker].name)
				if id := e.Text("id"); id != "" {
					got["span "+id]++
				} else {
					details := e.Data.BaseData["exceptions"].([]any)[0].(map[string]any)
					got[fmt.Sprint("event ", details["message"])]++
					assert.NotEmpty(t, e.Tags["ai.operation.parentId"])
				}
			}
			want := map[string]int{}
			for i := range 4 {
				want["span "+spanIDOf(uint64(i)).String()] = 1
				for j := range 3 {
					want[fmt.Sprintf("event %d/%d", i, j)] = 1
				}
			}
			assert.Equal(t, want, got)
			assert.Equal(t, before, td, "the telemetry of others is not touched")
		})
	}
}

// An application cannot make its span look as if it had been sent.
func TestMarkerOfOthers(t *testing.T) {
	f := newFixture(t, nil)
	td := someTraces(2)
	spans := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	spans.At(0).Attributes().PutBool(attrInfos[attrMarker].name, true)
	spans.At(1).Attributes().PutStr(attrInfos[attrMarker].name, "")
	require.NoError(t, f.traces().ConsumeTraces(context.Background(), td))
	assert.Len(t, f.backend.IDs(), 2)
}

func TestLogsAndMetricsGoAgainInPart(t *testing.T) {
	putOff := func(i int, _ *ingestion.Envelope) ingestion.ItemError {
		return ingestion.ItemError{StatusCode: 503 * (i % 2), Message: "later"}
	}
	t.Run("logs", func(t *testing.T) {
		f := newFixture(t, retrying(nil))
		f.backend.Next(ingestion.Answer{Refuse: putOff}, ingestion.Answer{Refuse: putOff})
		ld := plog.NewLogs()
		var want []string
		for i := range 3 {
			rl := ld.ResourceLogs().AppendEmpty()
			rl.Resource().Attributes().PutStr("service.name", fmt.Sprint("s", i))
			for j := range 3 {
				r := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
				r.SetTimestamp(testStart)
				r.Body().SetStr(strconv.Itoa(j))
				want = append(want, fmt.Sprintf("s%d %d", i, j))
			}
		}
		require.NoError(t, f.logRecords().ConsumeLogs(context.Background(), ld))
		var got []string
		for _, e := range f.backend.Accepted() {
			got = append(got, e.Tags["ai.cloud.role"]+" "+e.Text("message"))
		}
		assert.ElementsMatch(t, want, got)
	})
	t.Run("metrics", func(t *testing.T) {
		f := newFixture(t, retrying(nil))
		f.backend.Next(ingestion.Answer{Refuse: putOff}, ingestion.Answer{Refuse: putOff})
		md, want := everyKindOfMetric()
		require.NoError(t, f.metrics().ConsumeMetrics(context.Background(), md))
		var got []string
		for _, e := range f.backend.Accepted() {
			p := e.Data.BaseData["metrics"].([]any)[0].(map[string]any)
			got = append(got, fmt.Sprint(p["name"], " ", p["value"]))
		}
		assert.ElementsMatch(t, want, got)
	})
}

// everyKindOfMetric has two points of each kind, and what of them arrives.
func everyKindOfMetric() (md pmetric.Metrics, want []string) {
	md = pmetric.NewMetrics()
	n := 0.0
	next := func(name string) float64 {
		n++
		want = append(want, fmt.Sprint(name, " ", n))
		return n
	}
	metric := func(name string) pmetric.Metric {
		m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
		m.SetName(name)
		return m
	}
	gauge, sum, histogram, exponential, summary := metric("gauge").SetEmptyGauge(), metric("sum").SetEmptySum(),
		metric("histogram").SetEmptyHistogram(), metric("exponential").SetEmptyExponentialHistogram(), metric("summary").SetEmptySummary()
	metric("empty")
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	histogram.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	exponential.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	for range 2 {
		gauge.DataPoints().AppendEmpty().SetDoubleValue(next("gauge"))
		sum.DataPoints().AppendEmpty().SetIntValue(int64(next("sum")))
		h := histogram.DataPoints().AppendEmpty()
		h.SetSum(next("histogram"))
		h.SetCount(1)
		e := exponential.DataPoints().AppendEmpty()
		e.SetSum(next("exponential"))
		e.SetCount(1)
		s := summary.DataPoints().AppendEmpty()
		s.SetSum(next("summary"))
		s.SetCount(1)
	}
	return md, want
}

// A wait that ingestion asks for is kept by every push, not only by the one that was told.
func TestWaitHoldsForAll(t *testing.T) {
	f := newFixture(t, nil)
	f.backend.Next(ingestion.Answer{Status: 429, Header: http.Header{"Retry-After": {"3600"}}})
	x := f.traces()
	require.Error(t, x.ConsumeTraces(context.Background(), someTraces(1)))
	err := x.ConsumeTraces(context.Background(), someTraces(1))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "Throttle (59m59")
	assert.Equal(t, 1, f.backend.Requests(), "the second push must not be sent")
}

// One bad item in a request that is refused without a word takes nothing with it.
func TestOneBadItem(t *testing.T) {
	f := newFixture(t, nil)
	bad := spanIDOf(77).String()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		if bytes.Contains(body, []byte(`"id":"`+bad)) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		f.backend.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	f.configure(map[string]any{"endpoint": proxy.URL, "compression": "none"})
	require.NoError(t, f.traces().ConsumeTraces(context.Background(), someTraces(200)))
	ids := f.backend.IDs()
	assert.Len(t, ids, 199)
	assert.NotContains(t, ids, bad)
	for id, n := range ids {
		assert.Equal(t, 1, n, id)
	}
	assert.Equal(t, map[string]int64{"reason=ingestion status=400": 1}, f.counter("refused_items"))
}

// When every item is bad, the search for the bad one ends.
func TestEveryItemBad(t *testing.T) {
	f := newFixture(t, nil)
	f.backend.Always(&ingestion.Answer{Status: 400})
	err := f.traces().ConsumeTraces(context.Background(), someTraces(1000))
	assert.True(t, consumererror.IsPermanent(err))
	assert.Equal(t, map[string]int64{"reason=ingestion status=400": 1000}, f.counter("refused_items"))
	assert.LessOrEqual(t, f.backend.Requests(), maxSplits+1)
}

// Requests stay below the limits whatever the batch, before compression and after it, and a 413 lowers them.
func TestRequestLimits(t *testing.T) {
	for _, compression := range []string{"gzip", "none"} {
		t.Run(compression, func(t *testing.T) {
			f := newFixture(t, nil)
			var mu sync.Mutex
			var sizes, lines []int
			limit := 100_000
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				mu.Lock()
				sizes = append(sizes, len(body))
				plain := unzip(t, r.Header.Get("Content-Encoding"), body)
				lines = append(lines, bytes.Count(plain, []byte("\n")))
				tooLarge := len(plain) > limit
				mu.Unlock()
				if tooLarge {
					w.WriteHeader(http.StatusRequestEntityTooLarge)
					return
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				f.backend.ServeHTTP(w, r)
			}))
			defer proxy.Close()
			f.configure(map[string]any{"endpoint": proxy.URL, "compression": compression, "max_request_bytes": 100_000, "max_request_items": 150})
			x := f.traces()
			td := someTraces(1000)
			for i, s := range td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
				s.Attributes().PutStr("text", strings.Repeat("x", i%1500))
			}
			require.NoError(t, x.ConsumeTraces(context.Background(), td))
			assert.Len(t, f.backend.IDs(), 1000)
			mu.Lock()
			assert.NotContains(t, f.counter("requests"), "result=too_large", "no request may be over max_request_bytes")
			for i := range sizes {
				assert.LessOrEqual(t, sizes[i], 100_000)
				assert.LessOrEqual(t, lines[i], 150)
			}
			limit, lines = 70_000, nil
			mu.Unlock()

			require.NoError(t, x.ConsumeTraces(context.Background(), td))
			first := f.counter("requests")["result=too_large"]
			assert.Positive(t, first)
			require.NoError(t, x.ConsumeTraces(context.Background(), td))
			assert.Equal(t, first, f.counter("requests")["result=too_large"], "what was learned is kept")
			for id, n := range f.backend.IDs() {
				assert.Equal(t, 3, n, id)
			}
		})
	}
}

// A body that compression does not make smaller goes as it is, so that max_request_bytes holds after it too.
func TestBodyThatDoesNotCompress(t *testing.T) {
	s := &sender{gzip: &gzipPool{level: 1, pool: newFreeList[gzipWriter]()}, bodies: newFreeList[[]byte]()}
	noise := make([]byte, 70_000)
	_, _ = rand.Read(noise) // never fails
	payload, encoding, err := s.encode(noise)
	require.NoError(t, err)
	assert.Empty(t, encoding)
	assert.Equal(t, noise, *payload)

	plain := bytes.Repeat([]byte("a"), 70_000)
	payload, encoding, err = s.encode(plain)
	require.NoError(t, err)
	assert.Less(t, len(*payload), len(plain))
	assert.Equal(t, plain, unzip(t, encoding, *payload))
}

// An item over 64 KB is cut where it may be cut, and else refused; the others arrive.
func TestItemTooLarge(t *testing.T) {
	f := newFixture(t, nil)
	td := someTraces(4)
	spans := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	for i := range 20 {
		spans.At(1).Attributes().PutStr(fmt.Sprint("long", i), strings.Repeat("é", 8000))
	}
	for i := range 3000 { // nothing but keys
		spans.At(2).Attributes().PutInt(fmt.Sprintf("a rather long key that is there once %d", i), 1)
	}
	// Characters that take six bytes each in JSON.
	spans.At(3).Attributes().PutStr("db.system.name", "x")
	spans.At(3).Attributes().PutStr("db.query.text", strings.Repeat("\x01", 20_000))
	spans.At(3).Attributes().PutStr("more", strings.Repeat("\x01", 20_000))
	require.NoError(t, f.traces().ConsumeTraces(context.Background(), td))
	require.Empty(t, f.backend.Rejected())
	assert.Equal(t, map[string]int64{"reason=too_large status=0": 1}, f.counter("refused_items"))
	got := f.backend.Accepted()
	require.Len(t, got, 3)
	assert.Equal(t, strings.Repeat("é", 1024), got[1].Properties()["long7"])
	// 20 texts of 8,000 do not fit, nor do 4,096 or 2,048 of each; 1,024 do. 4,096 control characters in each of
	// three texts come to 73,728 bytes, 2,048 fit.
	assert.Len(t, got[2].Text("data"), 2048)
	assert.Equal(t, map[string]int64{"field=field": 1, "field=property": 22}, f.counter("cut_texts"))
	assert.Equal(t, 1, f.logs.FilterMessageSnippet("over 64 KB").Len())
}

// Ingestion's own words are in the log, once an interval, without the key.
func TestRefusalsAreLoggedOnce(t *testing.T) {
	f := newFixture(t, nil)
	f.backend.Always(&ingestion.Answer{Refuse: func(i int, _ *ingestion.Envelope) ingestion.ItemError {
		return ingestion.ItemError{StatusCode: 400 * (i % 2), Message: "109: no good for " + ingestion.InstrumentationKey}
	}})
	x := f.traces()
	for range 5 {
		require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(10)))
	}
	entries := f.logs.FilterMessageSnippet("refused").All()
	require.Len(t, entries, 1)
	assert.Equal(t, "109: no good for (hidden)", entries[0].ContextMap()["message"])
	assert.EqualValues(t, 400, entries[0].ContextMap()["status"])
	assert.Equal(t, map[string]int64{"reason=ingestion status=400": 25}, f.counter("refused_items"))

	// An interval later it is said again, with how often it was not.
	x.(*tracesExporter).x.log.now = func() time.Time { return time.Now().Add(logInterval) }
	require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(10)))
	entries = f.logs.FilterMessageSnippet("refused").All()
	require.Len(t, entries, 2)
	assert.EqualValues(t, 24, entries[1].ContextMap()["suppressed_since_last"])
}

func TestMetricsWithoutAValue(t *testing.T) {
	f := newFixture(t, nil)
	md := pmetric.NewMetrics()
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	points := m.AppendEmpty().SetEmptyGauge().DataPoints()
	for _, v := range []float64{1, nan(), inf(), -inf()} {
		points.AppendEmpty().SetDoubleValue(v)
	}
	flagged := points.AppendEmpty()
	flagged.SetDoubleValue(5)
	flagged.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	points.AppendEmpty() // no value at all
	histogram := m.AppendEmpty().SetEmptyHistogram()
	histogram.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	histogram.DataPoints().AppendEmpty().SetCount(3) // and no sum
	require.NoError(t, f.metrics().ConsumeMetrics(context.Background(), md))
	f.only()
	assert.Equal(t, map[string]int64{"reason=no_value status=0": 6}, f.counter("refused_items"))
	assert.Equal(t, map[string]int64{"outcome=accepted": 1, "outcome=refused": 6}, f.counter("items"))
}

func TestCumulativeMetricsAreToldOnce(t *testing.T) {
	f := newFixture(t, nil)
	x := f.metrics()
	for range 2 {
		md := pmetric.NewMetrics()
		m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
		up := m.AppendEmpty()
		up.SetName("requests")
		up.SetEmptySum().SetIsMonotonic(true)
		up.Sum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		up.Sum().DataPoints().AppendEmpty().SetIntValue(1)
		level := m.AppendEmpty().SetEmptySum()
		level.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		level.DataPoints().AppendEmpty().SetIntValue(1)
		histogram := m.AppendEmpty().SetEmptyHistogram()
		histogram.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		histogram.DataPoints().AppendEmpty().SetSum(1)
		exponential := m.AppendEmpty().SetEmptyExponentialHistogram()
		exponential.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		exponential.DataPoints().AppendEmpty().SetSum(1)
		summary := m.AppendEmpty()
		summary.SetName("latency")
		summary.SetEmptySummary().DataPoints().AppendEmpty().SetSum(1)
		require.NoError(t, x.ConsumeMetrics(context.Background(), md))
	}
	entries := f.logs.FilterMessageSnippet("cumulative").All()
	require.Len(t, entries, 2, "one for all that the processor converts, one for the summary that it does not")
	assert.Equal(t, "requests", entries[0].ContextMap()["metric"])
	assert.Contains(t, entries[0].Message, "Put the cumulative_to_delta processor in front")
	assert.Equal(t, "latency", entries[1].ContextMap()["metric"])
	assert.Contains(t, entries[1].Message, "record a histogram")
	assert.Equal(t, map[string]int64{"": 8}, f.counter("cumulative_points"), "a level is not among them")
}

// statusHost records what the exporter says of its health.
type statusHost struct {
	component.Host
	mu     sync.Mutex
	events []componentstatus.Status
}

func (h *statusHost) Report(e *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e.Status())
}

func TestHealthIsReportedOnce(t *testing.T) {
	f := newFixture(t, nil)
	h := &statusHost{Host: f.host}
	f.host = h
	x := f.traces()
	for range 2 {
		require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(1)))
	}
	f.backend.Next(ingestion.Answer{Status: 503}, ingestion.Answer{Fault: ingestion.LoseAnswer})
	for range 2 {
		require.Error(t, x.ConsumeTraces(context.Background(), someTraces(1)))
	}
	for range 2 {
		require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(1)))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	assert.Equal(t, []componentstatus.Status{componentstatus.StatusRecoverableError, componentstatus.StatusOK}, h.events)
}

// An empty push does nothing.
func TestNothingToSend(t *testing.T) {
	f := newFixture(t, nil)
	require.NoError(t, f.traces().ConsumeTraces(context.Background(), ptrace.NewTraces()))
	assert.Zero(t, f.backend.Requests())
}

// What was sent over the wire: path, headers, and none of the headers that would change what ingestion stores.
func TestRequestHeaders(t *testing.T) {
	f := newFixture(t, nil)
	var got *http.Request
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(r.Context())
		f.backend.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	f.configure(map[string]any{"connection_string": "InstrumentationKey=" + ingestion.InstrumentationKey + ";IngestionEndpoint=" + proxy.URL})
	require.NoError(t, f.traces().ConsumeTraces(context.Background(), someTraces(50)))
	require.NotNil(t, got)
	assert.Equal(t, "/v2.1/track", got.URL.Path)
	assert.Equal(t, "application/x-json-stream", got.Header.Get("Content-Type"))
	assert.Equal(t, "gzip", got.Header.Get("Content-Encoding"))
	assert.NotContains(t, got.Header, "User-Agent")
	assert.NotContains(t, got.Header, "Authorization")
	assert.Positive(t, got.ContentLength)
}

// A span that is wrong in every way it can be is still a valid envelope.
func TestOddSpans(t *testing.T) {
	f := newFixture(t, map[string]any{"span_events": "all"})
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "\xff\x00")
	spans := rs.ScopeSpans().AppendEmpty().Spans()
	for _, kind := range []ptrace.SpanKind{ptrace.SpanKindServer, ptrace.SpanKindClient, 99, -1} {
		s := spans.AppendEmpty() // zero ids, no times, no name
		s.SetKind(kind)
		s.Attributes().PutDouble("d", nan())
		s.Attributes().PutStr("", "no key")
		s.Attributes().PutStr("bad \xff key", "\xed\xa0\x80")
		deep := s.Attributes().PutEmptySlice("deep")
		for range 200 {
			deep = deep.AppendEmpty().SetEmptySlice()
		}
		s.Events().AppendEmpty()
		s.Links().AppendEmpty()
	}
	backwards := spans.AppendEmpty()
	backwards.SetStartTimestamp(testStart + pcommon.Timestamp(time.Second))
	backwards.SetEndTimestamp(testStart)
	require.NoError(t, f.traces().ConsumeTraces(context.Background(), td))
	assert.Empty(t, f.backend.Rejected())
	got := f.backend.Accepted()
	assert.Len(t, got, 9)
	for _, e := range got {
		assert.NotContains(t, e.Tags, "ai.operation.id", "a zero id is no id")
		assert.NotContains(t, e.Tags, "ai.operation.parentId")
	}
}
