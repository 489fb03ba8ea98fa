// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

// telemetryWith makes one item with a text in it and sends it.
type telemetryWith func(t *testing.T, f *fixture, text string)

func spanWith(kind ptrace.SpanKind, put func(rs ptrace.ResourceSpans, s ptrace.Span, text string)) telemetryWith {
	return func(t *testing.T, f *fixture, text string) {
		t.Helper()
		td := someTraces(1)
		rs := td.ResourceSpans().At(0)
		s := rs.ScopeSpans().At(0).Spans().At(0)
		s.SetKind(kind)
		put(rs, s, text)
		require.NoError(t, f.traces().ConsumeTraces(context.Background(), td))
	}
}

func spanAttribute(kind ptrace.SpanKind, key string) telemetryWith {
	return spanWith(kind, func(_ ptrace.ResourceSpans, s ptrace.Span, text string) { s.Attributes().PutStr(key, text) })
}

func resourceAttribute(key string) telemetryWith {
	return spanWith(ptrace.SpanKindInternal, func(rs ptrace.ResourceSpans, _ ptrace.Span, text string) {
		rs.Resource().Attributes().PutStr(key, text)
	})
}

func logWith(put func(r plog.LogRecord, text string)) telemetryWith {
	return func(t *testing.T, f *fixture, text string) {
		t.Helper()
		ld := plog.NewLogs()
		r := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
		r.SetTimestamp(testStart)
		put(r, text)
		require.NoError(t, f.logRecords().ConsumeLogs(context.Background(), ld))
	}
}

func availabilityWith(key string) telemetryWith {
	return logWith(func(r plog.LogRecord, text string) {
		for _, k := range []string{"id", "name", "duration"} {
			r.Attributes().PutStr("microsoft.availability."+k, "00:00:01")
		}
		r.Attributes().PutBool("microsoft.availability.success", true)
		r.Attributes().PutStr("microsoft.availability."+key, text)
	})
}

func field(name string) func(*ingestion.Envelope) string {
	return func(e *ingestion.Envelope) string { return e.Text(name) }
}

func tag(name string) func(*ingestion.Envelope) string {
	return func(e *ingestion.Envelope) string { return e.Tags[name] }
}

func exceptionField(name string) func(*ingestion.Envelope) string {
	return func(e *ingestion.Envelope) string {
		return e.Data.BaseData["exceptions"].([]any)[0].(map[string]any)[name].(string)
	}
}

// Every text has the limit that is published for its field. One that just fits stays whole, one that does not is
// cut between two characters and counted.
func TestLimitsOfTexts(t *testing.T) {
	const server, client = ptrace.SpanKindServer, ptrace.SpanKindClient
	event := func(key string) telemetryWith {
		return spanWith(client, func(_ ptrace.ResourceSpans, s ptrace.Span, text string) {
			ev := s.Events().AppendEmpty()
			ev.SetName("exception")
			ev.Attributes().PutStr(key, text)
		})
	}
	for _, tt := range []struct {
		name  string
		limit int
		send  telemetryWith
		got   func(*ingestion.Envelope) string
	}{
		{"request name", 1024, spanAttribute(server, "microsoft.request.name"), field("name")},
		{"request URL", 2048, spanAttribute(server, "microsoft.request.url"), field("url")},
		{"request source", 1024, spanAttribute(server, "microsoft.request.source"), field("source")},
		{"response code", 1024, spanAttribute(server, "microsoft.request.resultCode"), field("responseCode")},
		{"dependency name", 1024, spanAttribute(client, "microsoft.dependency.name"), field("name")},
		{"dependency type", 1024, spanAttribute(client, "microsoft.dependency.type"), field("type")},
		{"dependency data", 8192, spanAttribute(client, "microsoft.dependency.data"), field("data")},
		{"dependency target", 1024, spanAttribute(client, "microsoft.dependency.target"), field("target")},
		{"result code", 1024, spanAttribute(client, "microsoft.dependency.resultCode"), field("resultCode")},
		{"exception type", 1024, event("exception.type"), exceptionField("typeName")},
		{"exception message", 32768, event("exception.message"), exceptionField("message")},
		{"exception stack", 32768, event("exception.stacktrace"), exceptionField("stack")},
		{"message", 32768, logWith(func(r plog.LogRecord, text string) { r.Body().SetStr(text) }), field("message")},
		{"custom event", 512, logWith(func(r plog.LogRecord, text string) { r.Attributes().PutStr("microsoft.custom_event.name", text) }), field("name")},
		{"availability id", 512, availabilityWith("id"), field("id")},
		{"availability name", 1024, availabilityWith("name"), field("name")},
		{"availability location", 1024, availabilityWith("runLocation"), field("runLocation")},
		{"availability message", 8192, availabilityWith("message"), field("message")},
		{"metric name", 1024, func(t *testing.T, f *fixture, text string) {
			t.Helper()
			md := pmetric.NewMetrics()
			m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
			m.SetName(text)
			m.SetEmptyGauge().DataPoints().AppendEmpty().SetIntValue(1)
			require.NoError(t, f.metrics().ConsumeMetrics(context.Background(), md))
		}, func(e *ingestion.Envelope) string {
			return e.Data.BaseData["metrics"].([]any)[0].(map[string]any)["name"].(string)
		}},
		{"operation name", 1024, spanAttribute(client, "microsoft.operation_name"), tag("ai.operation.name")},
		{"authenticated user", 1024, spanAttribute(client, "enduser.id"), tag("ai.user.authUserId")},
		{"user", 128, spanAttribute(client, "enduser.pseudo.id"), tag("ai.user.id")},
		{"account", 1024, spanAttribute(client, "ai.user.accountId"), tag("ai.user.accountId")},
		{"user agent", 2048, spanAttribute(client, "user_agent.original"), tag("ai.user.userAgent")},
		{"session", 64, spanAttribute(client, "session.id"), tag("ai.session.id")},
		{"client address", 46, spanAttribute(client, "microsoft.client.ip"), tag("ai.location.ip")},
		{"role", 256, resourceAttribute("ai.cloud.role"), tag("ai.cloud.role")},
		{"role instance", 256, resourceAttribute("ai.cloud.roleInstance"), tag("ai.cloud.roleInstance")},
		{"version", 1024, resourceAttribute("service.version"), tag("ai.application.ver")},
		{"device", 1024, resourceAttribute("device.id"), tag("ai.device.id")},
		{"device model", 256, resourceAttribute("device.model.name"), tag("ai.device.model")},
		{"device manufacturer", 256, resourceAttribute("device.manufacturer"), tag("ai.device.oemName")},
		{"device type", 64, spanAttribute(client, "ai.device.type"), tag("ai.device.type")},
		{"operating system", 256, resourceAttribute("os.name"), tag("ai.device.osVersion")},
		{"property", 8192, spanAttribute(client, "mine"), func(e *ingestion.Envelope) string { return e.Properties()["mine"] }},
		{"property of the resource", 8192, resourceAttribute("mine"), func(e *ingestion.Envelope) string { return e.Properties()["mine"] }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, c := range []struct {
				text, want string
				cut        bool
			}{
				{strings.Repeat("a", tt.limit-2) + "éé", strings.Repeat("a", tt.limit-2) + "éé", false},
				{strings.Repeat("a", tt.limit-2) + "😀", strings.Repeat("a", tt.limit-2) + "😀", false},
				{strings.Repeat("a", tt.limit+1), strings.Repeat("a", tt.limit), true},
				// The last character counts twice and has room once.
				{strings.Repeat("a", tt.limit-1) + "😀", strings.Repeat("a", tt.limit-1), true},
			} {
				f := newFixture(t, map[string]any{"properties": map[string]any{"consumed": false}})
				tt.send(t, f, c.text)
				require.Empty(t, f.backend.Rejected())
				accepted := f.backend.Accepted()
				assert.Equal(t, c.want, tt.got(accepted[len(accepted)-1]))
				assert.Equal(t, c.cut, len(f.counter("cut_texts")) > 0)
			}
		})
	}
}

// Two keys with one beginning stay two.
func TestLimitOfKeys(t *testing.T) {
	f := newFixture(t, nil)
	td := someTraces(1)
	attrs := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes()
	fits := strings.Repeat("k", 150)
	attrs.PutStr(fits, "fits")
	attrs.PutStr(fits+"1", "one")
	attrs.PutStr(fits+"2", "two")
	measurements := attrs.PutEmptyMap("microsoft.custom_measurements")
	measurements.PutInt(fits, 1)
	measurements.PutInt(fits+"1", 2)
	require.NoError(t, f.traces().ConsumeTraces(context.Background(), td))
	got := f.only()
	values := map[string]bool{}
	for k, v := range got.Properties() {
		if strings.HasPrefix(k, "kkk") {
			values[v] = true
			assert.Len(t, k, 150)
			assert.Equal(t, v != "fits", strings.Contains(k, "~"))
		}
	}
	assert.Equal(t, map[string]bool{"fits": true, "one": true, "two": true}, values)
	assert.Len(t, got.Data.BaseData["measurements"], 2)
	assert.Equal(t, map[string]int64{"field=key": 3}, f.counter("cut_texts"))
}

// What language models are asked and answer may be longer than other properties, as long as the item is not.
func TestLimitOfPrompts(t *testing.T) {
	f := newFixture(t, nil)
	td := someTraces(1)
	attrs := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes()
	attrs.PutStr("gen_ai.input.messages", strings.Repeat("a", 40_000))
	attrs.PutStr("gen_ai.other", strings.Repeat("a", 9_000))
	require.NoError(t, f.traces().ConsumeTraces(context.Background(), td))
	got := f.only().Properties()
	assert.Len(t, got["gen_ai.input.messages"], 40_000)
	assert.Len(t, got["gen_ai.other"], 8192)
}

// Links are left out whole, so that the list is JSON however long it was.
func TestLimitOfLinks(t *testing.T) {
	for _, n := range []int{100, 120} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			f := newFixture(t, nil)
			td := someTraces(1)
			s := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
			for i := range n {
				l := s.Links().AppendEmpty()
				l.SetTraceID(traceIDOf(uint64(i)))
				l.SetSpanID(spanIDOf(uint64(i)))
			}
			require.NoError(t, f.traces().ConsumeTraces(context.Background(), td))
			var links []map[string]string
			require.NoError(t, json.Unmarshal([]byte(f.only().Properties()["_MS.links"]), &links))
			require.Len(t, links, 100)
			assert.Equal(t, map[string]string{"operation_Id": traceIDOf(99).String(), "id": spanIDOf(99).String()}, links[99])
			assert.Equal(t, n > 100, len(f.counter("cut_texts")) > 0)
		})
	}
}

// The instants of what is not a span; TestTimes has those.
func TestTimesOfEventsRecordsAndPoints(t *testing.T) {
	const later = pcommon.Timestamp(2 * time.Second)
	format := func(ts pcommon.Timestamp) string { return ts.AsTime().UTC().Format("2006-01-02T15:04:05.0000000Z") }
	now := time.Now().Truncate(time.Second)

	event := func(at pcommon.Timestamp) string {
		f := newFixture(t, nil)
		td := someTraces(1)
		ev := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Events().AppendEmpty()
		ev.SetName("exception")
		ev.SetTimestamp(at)
		require.NoError(t, f.traces().ConsumeTraces(context.Background(), td))
		require.Len(t, f.backend.Accepted(), 2)
		return f.backend.Accepted()[1].Time
	}
	assert.Equal(t, format(testStart+later), event(testStart+later))
	assert.Equal(t, format(testStart), event(0), "else when its span began")

	record := func(at, observed pcommon.Timestamp) string {
		f := newFixture(t, nil)
		ld := plog.NewLogs()
		r := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
		r.SetTimestamp(at)
		r.SetObservedTimestamp(observed)
		x := f.logRecords()
		x.(*logsExporter).x.mapping.now = func() time.Time { return now }
		require.NoError(t, x.ConsumeLogs(context.Background(), ld))
		return f.only().Time
	}
	assert.Equal(t, format(testStart), record(testStart, testStart+later))
	assert.Equal(t, format(testStart+later), record(0, testStart+later), "else when it was observed")
	assert.Equal(t, format(pcommon.NewTimestampFromTime(now)), record(0, 0), "else now")

	point := func(at pcommon.Timestamp) string {
		f := newFixture(t, nil)
		md := pmetric.NewMetrics()
		p := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty().SetEmptyGauge().DataPoints().AppendEmpty()
		p.SetIntValue(1)
		p.SetTimestamp(at)
		x := f.metrics()
		x.(*metricsExporter).x.mapping.now = func() time.Time { return now }
		require.NoError(t, x.ConsumeMetrics(context.Background(), md))
		return f.only().Time
	}
	assert.Equal(t, format(testStart+later), point(testStart+later))
	assert.Equal(t, format(pcommon.NewTimestampFromTime(now)), point(0), "else now")
}
