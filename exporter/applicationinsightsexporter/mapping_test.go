// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
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
	"go.yaml.in/yaml/v3"

	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

// A mapping file in testdata/mapping is a list of cases, each with telemetry and the whole envelope that it
// becomes. What stands under new and old is the same in the newer and the older semantic conventions: both must
// give the envelope, and the same one.
//
// Settings are those of the exporter on top of properties::consumed: false, without which the two conventions
// differ in the names of their properties. A text such as "$start_ms-1500" is a number: the start of the span in
// milliseconds (start_s: seconds) less 1500.
type mappingCase struct {
	Name       string
	Settings   map[string]any
	Resource   map[string]any
	Scope      scopeCase
	Attributes map[string]any
	New, Old   map[string]any

	// spans
	Kind       string
	Span       string
	Status     string
	Message    string
	Parent     bool
	TraceState string `yaml:"tracestate"`
	Links      []map[string]any
	Event      *eventCase // the wanted envelope is that of the event

	// log records
	Body      any
	EventName string `yaml:"event_name"`
	Severity  int32
	NoTrace   bool `yaml:"no_trace"`

	// metrics, in OTLP's JSON
	Metric map[string]any

	Want wantedEnvelope
}

type scopeCase struct {
	Name, Version string
	Attributes    map[string]any
}

type eventCase struct {
	Name       string
	Attributes map[string]any
}

// wantedEnvelope is compared whole, but for what every envelope has: version, time, key, ids, duration and the
// version of the exporter.
type wantedEnvelope struct {
	Name         string
	Type         string
	SampleRate   *float64 `yaml:"sample_rate"`
	Tags         map[string]string
	Fields       map[string]any
	Properties   map[string]string
	Measurements map[string]float64
}

func readMapping(t *testing.T, file string) []mappingCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "mapping", file))
	require.NoError(t, err)
	var cases []mappingCase
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	require.NoError(t, d.Decode(&cases))
	require.NotEmpty(t, cases)
	return cases
}

// conventions returns the attributes of a case in each of its conventions.
func (c *mappingCase) conventions() map[string]map[string]any {
	if c.New == nil && c.Old == nil {
		return map[string]map[string]any{"both": c.Attributes}
	}
	out := map[string]map[string]any{}
	for name, own := range map[string]map[string]any{"new": c.New, "old": c.Old} {
		if own == nil {
			continue
		}
		attrs := maps.Clone(own)
		maps.Copy(attrs, c.Attributes)
		out[name] = attrs
	}
	return out
}

func (c *mappingCase) settings() map[string]any {
	s := map[string]any{"properties": map[string]any{"consumed": false}}
	maps.Copy(s, c.Settings)
	return s
}

func fill(t *testing.T, m pcommon.Map, attrs map[string]any) {
	t.Helper()
	values := maps.Clone(attrs)
	for k, v := range values {
		if s, ok := v.(string); ok && strings.HasPrefix(s, "$start_") {
			values[k] = relative(t, s)
		}
	}
	require.NoError(t, m.FromRaw(values))
}

// relative reads $start_ms-1500.
func relative(t *testing.T, s string) float64 {
	t.Helper()
	unit, less, ok := strings.Cut(strings.TrimPrefix(s, "$start_"), "-")
	require.True(t, ok)
	n, err := strconv.ParseFloat(less, 64)
	require.NoError(t, err)
	return float64(testStart)/map[string]float64{"ms": 1e6, "s": 1e9}[unit] - n
}

func (c *mappingCase) traces(t *testing.T, attrs map[string]any) ptrace.Traces {
	t.Helper()
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	fill(t, rs.Resource().Attributes(), c.Resource)
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName(c.Scope.Name)
	ss.Scope().SetVersion(c.Scope.Version)
	fill(t, ss.Scope().Attributes(), c.Scope.Attributes)
	s := ss.Spans().AppendEmpty()
	newSpan(s, 7)
	s.SetName(c.Span)
	kind, ok := map[string]ptrace.SpanKind{
		"server": ptrace.SpanKindServer, "client": ptrace.SpanKindClient, "producer": ptrace.SpanKindProducer,
		"consumer": ptrace.SpanKindConsumer, "internal": ptrace.SpanKindInternal, "unspecified": ptrace.SpanKindUnspecified,
	}[c.Kind]
	require.True(t, ok, "kind %q", c.Kind)
	s.SetKind(kind)
	status, ok := map[string]ptrace.StatusCode{"": ptrace.StatusCodeUnset, "ok": ptrace.StatusCodeOk, "error": ptrace.StatusCodeError}[c.Status]
	require.True(t, ok, "status %q", c.Status)
	s.Status().SetCode(status)
	s.Status().SetMessage(c.Message)
	if c.Parent {
		s.SetParentSpanID(spanIDOf(6))
	}
	s.TraceState().FromRaw(c.TraceState)
	fill(t, s.Attributes(), attrs)
	for i, l := range c.Links {
		link := s.Links().AppendEmpty()
		link.SetTraceID(traceIDOf(uint64(100 + i)))
		link.SetSpanID(spanIDOf(uint64(100 + i)))
		fill(t, link.Attributes(), l)
	}
	if c.Event != nil {
		ev := s.Events().AppendEmpty()
		ev.SetName(c.Event.Name)
		ev.SetTimestamp(testStart + 1)
		fill(t, ev.Attributes(), c.Event.Attributes)
	}
	return td
}

func TestSpanMapping(t *testing.T) {
	for _, file := range []string{"requests.yaml", "dependencies.yaml", "tags.yaml", "properties.yaml", "resource.yaml", "events.yaml"} {
		for _, c := range readMapping(t, file) {
			t.Run(file+"/"+c.Name, func(t *testing.T) {
				c.check(t, func(f *fixture, attrs map[string]any) {
					require.NoError(t, f.traces().ConsumeTraces(context.Background(), c.traces(t, attrs)))
				})
			})
		}
	}
}

func TestLogMapping(t *testing.T) {
	for _, c := range readMapping(t, "logs.yaml") {
		t.Run(c.Name, func(t *testing.T) {
			c.check(t, func(f *fixture, attrs map[string]any) {
				ld := plog.NewLogs()
				rl := ld.ResourceLogs().AppendEmpty()
				fill(t, rl.Resource().Attributes(), c.Resource)
				r := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
				r.SetTimestamp(testStart)
				if !c.NoTrace {
					r.SetTraceID(traceIDOf(7))
					r.SetSpanID(spanIDOf(7))
				}
				r.SetSeverityNumber(plog.SeverityNumber(c.Severity))
				r.SetEventName(c.EventName)
				require.NoError(t, r.Body().FromRaw(c.Body))
				fill(t, r.Attributes(), attrs)
				require.NoError(t, f.logRecords().ConsumeLogs(context.Background(), ld))
			})
		})
	}
}

func TestMetricMapping(t *testing.T) {
	for _, c := range readMapping(t, "metrics.yaml") {
		t.Run(c.Name, func(t *testing.T) {
			c.check(t, func(f *fixture, _ map[string]any) {
				raw, err := json.Marshal(map[string]any{"resourceMetrics": []any{map[string]any{
					"scopeMetrics": []any{map[string]any{"metrics": []any{c.Metric}}},
				}}})
				require.NoError(t, err)
				md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(raw)
				require.NoError(t, err)
				fill(t, md.ResourceMetrics().At(0).Resource().Attributes(), c.Resource)
				require.NoError(t, f.metrics().ConsumeMetrics(context.Background(), md))
			})
		})
	}
}

// check sends the case in each of its conventions and compares what arrives.
func (c *mappingCase) check(t *testing.T, send func(*fixture, map[string]any)) {
	t.Helper()
	var first *ingestion.Envelope
	for convention, attrs := range c.conventions() {
		f := newFixture(t, c.settings())
		send(f, attrs)
		require.Empty(t, f.backend.Rejected(), convention)
		got := f.backend.Accepted()
		if c.Event == nil {
			require.Len(t, got, 1, convention)
		} else {
			require.Len(t, got, 2, convention)
			assert.Equal(t, got[0].Tags["ai.operation.id"], got[1].Tags["ai.operation.id"])
			assert.Equal(t, got[0].Text("id"), got[1].Tags["ai.operation.parentId"], "an event is a child of its span")
			got = got[1:]
		}
		c.compare(t, convention, got[0])
		if first == nil {
			first = got[0]
		} else {
			assert.Equal(t, first.Tags, got[0].Tags, "the conventions differ")
			assert.Equal(t, first.Data, got[0].Data, "the conventions differ")
		}
	}
}

func (c *mappingCase) compare(t *testing.T, convention string, e *ingestion.Envelope) {
	t.Helper()
	want := c.Want
	assert.Equal(t, "Microsoft.ApplicationInsights."+want.Name, e.Name, convention)
	assert.Equal(t, want.Type, e.Data.BaseType, convention)
	assert.Equal(t, want.SampleRate, e.SampleRate, convention)
	assert.Equal(t, "1", e.Ver.String())
	assert.Equal(t, ingestion.InstrumentationKey, e.IKey)

	tags := maps.Clone(e.Tags)
	assert.Equal(t, "otelcol-custom:1.2.3", tags["ai.internal.sdkVersion"])
	delete(tags, "ai.internal.sdkVersion")
	if want.Type != "MetricData" && !c.NoTrace {
		id := traceIDOf(7)
		assert.Equal(t, id.String(), tags["ai.operation.id"])
		delete(tags, "ai.operation.id")
	}
	if c.Kind != "" && !c.Parent && c.Event == nil {
		assert.NotContains(t, tags, "ai.operation.parentId")
	}
	if want.Tags["ai.operation.parentId"] == "" && !c.NoTrace {
		delete(tags, "ai.operation.parentId")
	}
	assert.Equal(t, orEmpty(want.Tags), tags, convention)

	fields := maps.Clone(e.Data.BaseData)
	assert.Equal(t, json.Number("2"), fields["ver"])
	for _, k := range []string{"ver", "properties", "measurements"} {
		delete(fields, k)
	}
	if want.Type == "RequestData" || want.Type == "RemoteDependencyData" {
		id := spanIDOf(7)
		assert.Equal(t, id.String(), fields["id"])
		assert.Equal(t, "00:00:01.5000000", fields["duration"])
		delete(fields, "id")
		delete(fields, "duration")
	}
	wantFields, err := json.Marshal(want.Fields)
	require.NoError(t, err)
	gotFields, err := json.Marshal(fields)
	require.NoError(t, err)
	assert.JSONEq(t, string(wantFields), string(gotFields), convention)

	properties := orEmpty(want.Properties)
	for k, v := range properties {
		if strings.HasPrefix(v, "$start_") {
			properties[k] = strconv.FormatFloat(relative(t, v), 'f', -1, 64)
		}
	}
	assert.Equal(t, properties, e.Properties(), convention)
	measurements := map[string]float64{}
	if m, ok := e.Data.BaseData["measurements"].(map[string]any); ok {
		for k, v := range m {
			n, err := v.(json.Number).Float64()
			require.NoError(t, err)
			measurements[k] = n
		}
	}
	if want.Measurements == nil {
		want.Measurements = map[string]float64{}
	}
	require.Len(t, measurements, len(want.Measurements), "%v", measurements)
	for k, n := range want.Measurements {
		// A time in milliseconds since 1970 leaves a double less than a thousandth of precision.
		assert.InDelta(t, n, measurements[k], 0.01, "%s: %s", convention, k)
	}
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// The instants in an envelope are checked here; the tables leave them out.
func TestTimes(t *testing.T) {
	at := func(s string) pcommon.Timestamp {
		ts, err := time.Parse(time.RFC3339Nano, s)
		require.NoError(t, err)
		return pcommon.NewTimestampFromTime(ts)
	}
	for _, tt := range []struct {
		name       string
		start, end pcommon.Timestamp
		time, took string
	}{
		{"100 ns", at("2026-02-03T04:05:06.123456789Z"), at("2026-02-03T04:05:06.123456889Z"), "2026-02-03T04:05:06.1234567Z", "00:00:00.0000001"},
		{"less than 100 ns", at("2026-02-03T04:05:06Z"), at("2026-02-03T04:05:06.000000099Z"), "2026-02-03T04:05:06.0000000Z", "00:00:00.0000000"},
		{"hours", at("2026-12-31T23:59:59.9Z"), at("2027-01-01T22:58:58.95Z"), "2026-12-31T23:59:59.9000000Z", "22:58:59.0500000"},
		{"days", at("2026-01-01T00:00:00Z"), at("2026-01-13T01:02:03Z"), "2026-01-01T00:00:00.0000000Z", "12.01:02:03.0000000"},
		{"1,000 days and more", at("2020-01-01T00:00:00Z"), at("2024-01-01T00:00:00Z"), "2020-01-01T00:00:00.0000000Z", "999.23:59:59.9999999"},
		{"ends before it starts", at("2026-01-01T00:00:01Z"), at("2026-01-01T00:00:00Z"), "2026-01-01T00:00:01.0000000Z", "00:00:00.0000000"},
		{"no start", 0, at("2026-01-01T00:00:01Z"), "2026-01-01T00:00:01.0000000Z", "00:00:00.0000000"},
		{"no end", at("2026-01-01T00:00:01Z"), 0, "2026-01-01T00:00:01.0000000Z", "00:00:00.0000000"},
		{"neither", 0, 0, "2026-05-06T07:08:09.0000000Z", "00:00:00.0000000"},
		{"the last instant there is", 1<<64 - 1, 1<<64 - 1, "2554-07-21T23:34:33.7095516Z", "00:00:00.0000000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newTestExporter(t, nil)
			x.mapping.now = func() time.Time { return time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC) }
			td := someTraces(1)
			s := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
			s.SetStartTimestamp(tt.start)
			s.SetEndTimestamp(tt.end)
			e := x.newEncoder()
			encodeTraces(e, td)
			var got ingestion.Envelope
			require.NoError(t, json.Unmarshal(e.buf, &got))
			assert.Equal(t, tt.time, got.Time)
			assert.Equal(t, tt.took, got.Text("duration"))
		})
	}
}
