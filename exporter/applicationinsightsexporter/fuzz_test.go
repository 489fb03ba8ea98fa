// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// generator makes telemetry from bytes, so that a fuzzer that changes bytes changes telemetry and not only how
// it would be framed. It prefers the keys that the mapping knows.
type generator struct{ data []byte }

func (g *generator) byte() byte {
	if len(g.data) == 0 {
		return 0
	}
	b := g.data[0]
	g.data = g.data[1:]
	return b
}

func (g *generator) text() string {
	n := min(int(g.byte()), len(g.data))
	s := string(g.data[:n])
	g.data = g.data[n:]
	if n > 0 && s[0] == '*' { // long texts without long inputs
		s = strings.Repeat(s, 1+int(g.byte())*8)
	}
	return s
}

func (g *generator) uint64() (n uint64) {
	for range 1 + g.byte()%8 {
		n = n<<8 | uint64(g.byte())
	}
	return n
}

func (g *generator) key() string {
	if b := g.byte(); b < byte(attrCount) && b > 0 {
		return attrInfos[b].name
	}
	return g.text()
}

func (g *generator) value(v pcommon.Value, depth int) {
	switch kind := g.byte() % 9; {
	case kind < 3 || depth > 3:
		v.SetStr(g.text())
	case kind == 3:
		v.SetInt(int64(g.uint64()))
	case kind == 4:
		v.SetDouble(math.Float64frombits(g.uint64() << (g.byte() % 57)))
	case kind == 5:
		v.SetBool(g.byte()%2 == 0)
	case kind == 6:
		v.SetEmptyBytes().FromRaw([]byte(g.text()))
	case kind == 7:
		list := v.SetEmptySlice()
		for range g.byte() % 4 {
			g.value(list.AppendEmpty(), depth+1)
		}
	default:
		g.attributes(v.SetEmptyMap(), 4, depth+1)
	}
}

func (g *generator) attributes(m pcommon.Map, most byte, depth int) {
	for range g.byte() % most {
		g.value(m.PutEmpty(g.key()), depth)
	}
}

func (g *generator) id() (id [16]byte) {
	for i := range g.byte() % 17 {
		id[i] = g.byte()
	}
	return id
}

func (g *generator) traces() ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	g.attributes(rs.Resource().Attributes(), 20, 0)
	spans := rs.ScopeSpans().AppendEmpty().Spans()
	for range 1 + g.byte()%3 {
		s := spans.AppendEmpty()
		id := g.id()
		s.SetTraceID(id)
		s.SetSpanID([8]byte(id[8:]))
		s.SetKind(ptrace.SpanKind(g.byte() % 7))
		s.SetName(g.text())
		s.SetStartTimestamp(pcommon.Timestamp(g.uint64()))
		s.SetEndTimestamp(pcommon.Timestamp(g.uint64()))
		s.TraceState().FromRaw(g.text())
		s.Status().SetCode(ptrace.StatusCode(g.byte() % 4))
		s.Status().SetMessage(g.text())
		g.attributes(s.Attributes(), 30, 0)
		for range g.byte() % 3 {
			l := s.Links().AppendEmpty()
			l.SetTraceID(g.id())
			g.attributes(l.Attributes(), 3, 0)
		}
		for range g.byte() % 3 {
			ev := s.Events().AppendEmpty()
			if ev.SetName("exception"); g.byte()%2 == 0 {
				ev.SetName(g.text())
			}
			g.attributes(ev.Attributes(), 6, 0)
		}
	}
	return td
}

// seeds are inputs of all lengths whose bytes look like nothing, and a few that spell something.
func seeds(f *testing.F) {
	f.Helper()
	for n := range 24 {
		b := make([]byte, n*n)
		x := uint32(n)
		for i := range b {
			x = x*1664525 + 1013904223
			b[i] = byte(x >> 24)
		}
		f.Add(b)
	}
	f.Add([]byte("\x01\x05*\xff\"\\\n\xff"))
}

// FuzzTraces: every item is one line of JSON that encoding/json reads, no object of it has a key twice, its
// properties are those of a reference that is written to be read, and as many items come out as went in, less
// those that are too large.
func FuzzTraces(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		checkTraces(t, (&generator{data}).traces())
	})
}

func TestTracesBesideReference(t *testing.T) {
	for _, td := range []ptrace.Traces{benchmarkTraces(8), oddTraces(), largeTraces()} {
		checkTraces(t, td)
	}
}

// A sender may give one key twice; the first counts, in an object of JSON as everywhere else.
func TestKeysThatComeTwice(t *testing.T) {
	const attributes = `[{"key":"a","value":{"stringValue":"first"}},{"key":"b","value":{"intValue":"1"}},{"key":"a","value":{"stringValue":"second"}},` +
		`{"key":"http.route","value":{"stringValue":"/first"}},{"key":"http.route","value":{"stringValue":"/second"}},{"key":"http.method","value":{"stringValue":"GET"}}]`
	td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces([]byte(
		`{"resourceSpans":[{"resource":{"attributes":` + attributes + `},"scopeSpans":[{"spans":[{"kind":2,"attributes":` + attributes + `}]}]}]}`))
	require.NoError(t, err)
	checkTraces(t, td)
	f := newFixture(t, nil)
	td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).SetStartTimestamp(testStart)
	require.NoError(t, f.traces().ConsumeTraces(context.Background(), td))
	got := f.only()
	require.Equal(t, "GET /first", got.Text("name"))
	require.Equal(t, map[string]string{"a": "first", "b": "1", "http.route": "/first", "http.method": "GET"}, got.Properties())
}

func checkTraces(t *testing.T, td ptrace.Traces) {
	t.Helper()
	for _, consumed := range []bool{true, false} {
		x := newTestExporter(t, map[string]any{"span_events": "all", "properties": map[string]any{"consumed": consumed}})
		e := x.newEncoder()
		for _, rs := range td.ResourceSpans().All() {
			e.setResource(rs.Resource())
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					e.own.clear()
					e.own.collect(s.Attributes())
					checkItem(t, e, func() { e.span(s) }, rs.Resource(), s.Attributes(), consumed)
					for _, ev := range s.Events().All() {
						checkItem(t, e, func() { e.spanEvent(s, ev) }, rs.Resource(), ev.Attributes(), consumed)
					}
				}
			}
		}
		require.Empty(t, e.buf)
	}
}

func FuzzLogs(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		g := &generator{data}
		resource := pcommon.NewResource()
		g.attributes(resource.Attributes(), 10, 0)
		x := newTestExporter(t, nil)
		e := x.newEncoder()
		e.setResource(resource)
		for range 1 + g.byte()%3 {
			r := plog.NewLogRecord()
			r.SetTimestamp(pcommon.Timestamp(g.uint64()))
			r.SetSeverityNumber(plog.SeverityNumber(g.byte() % 30))
			r.SetEventName(g.text())
			g.value(r.Body(), 0)
			g.attributes(r.Attributes(), 20, 0)
			if g.byte()%4 == 0 {
				for name := range readyMade {
					if name[0]%4 == g.byte()%4 {
						r.Attributes().PutStr("_MS.baseType", name)
					}
				}
			}
			e.own.clear()
			e.own.collect(r.Attributes())
			checkLine(t, e, func() { e.log(r) })
		}
	})
}

func FuzzMetrics(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		g := &generator{data}
		md := pmetric.NewMetrics()
		rm := md.ResourceMetrics().AppendEmpty()
		g.attributes(rm.Resource().Attributes(), 10, 0)
		m := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
		m.SetName(g.text())
		double := func() float64 { return math.Float64frombits(g.uint64() << (g.byte() % 57)) }
		if g.byte()%2 == 0 {
			p := m.SetEmptyGauge().DataPoints().AppendEmpty()
			p.SetDoubleValue(double())
			g.attributes(p.Attributes(), 10, 0)
		} else {
			p := m.SetEmptyHistogram().DataPoints().AppendEmpty()
			p.SetSum(double())
			p.SetMin(double())
			p.SetMax(double())
			p.SetCount(g.uint64())
			g.attributes(p.Attributes(), 10, 0)
		}
		x := newTestExporter(t, nil)
		e := x.newEncoder()
		e.setResource(rm.Resource())
		points(m, func(p point) {
			if p.finite() {
				checkItem(t, e, func() { e.metric(m.Name(), &p) }, rm.Resource(), p.attrs, true)
			}
		})
	})
}

// checkLine encodes one item and returns it as encoding/json reads it, nil when it was too large.
func checkLine(t *testing.T, e *encoder, write func()) map[string]any {
	t.Helper()
	e.buf = e.buf[:0]
	if !e.item(write) {
		require.Empty(t, e.buf)
		return nil
	}
	require.LessOrEqual(t, len(e.buf), maxItemBytes)
	require.Equal(t, 1, bytes.Count(e.buf, []byte("\n")))
	require.Equal(t, byte('\n'), e.buf[len(e.buf)-1])
	var out map[string]any
	require.NoError(t, json.Unmarshal(e.buf, &out), "%s", e.buf)
	requireKeysOnce(t, e.buf)
	e.buf = e.buf[:0]
	return out
}

// checkItem is checkLine for an item whose properties come from attrs and resource.
func checkItem(t *testing.T, e *encoder, write func(), resource pcommon.Resource, attrs pcommon.Map, consumed bool) {
	t.Helper()
	before := e.cut
	out := checkLine(t, e, write)
	if out == nil {
		return
	}
	base := out["data"].(map[string]any)["baseData"].(map[string]any)
	got, _ := base["properties"].(map[string]any)
	for k, v := range got {
		require.IsType(t, "", v)
		require.LessOrEqual(t, len(utf16.Encode([]rune(k))), limitPropertyKey)
		if _, genAI := genAIKeys[k]; !genAI {
			require.LessOrEqual(t, len(utf16.Encode([]rune(v.(string)))), limitPropertyValue)
		}
	}
	if e.cut != before || hasLong(resource.Attributes()) {
		return // the reference does not cut
	}
	_, exception := base["exceptions"]
	want := map[string]any{}
	reference(t, want, attrs, func(k string, disp disposition) bool {
		if exception && strings.HasPrefix(k, "exception.") && disp == mapped {
			return false
		}
		return disp == keep || (disp == mapped && consumed)
	})
	delete(got, linksKey)
	if want["otel.status_description"] == nil {
		delete(got, "otel.status_description")
	}
	reference(t, want, resource.Attributes(), func(k string, _ disposition) bool {
		return k != "ai.cloud.role" && k != "ai.cloud.roleInstance" && k != attrInfos[attrMarker].name
	})
	delete(want, "otel.status_description")
	delete(got, "otel.status_description")
	require.Len(t, got, len(want))
	for k, v := range want {
		if s, ok := v.(string); ok {
			require.Equal(t, s, got[k], "%q", k)
			continue
		}
		var nested any
		require.NoError(t, json.Unmarshal([]byte(got[k].(string)), &nested), "%q", k)
		require.Equal(t, v, nested, "%q", k)
	}
}

// hasLong tells whether a resource has something that may have been cut: that is counted with the resource.
func hasLong(m pcommon.Map) bool {
	for k, v := range m.All() {
		if len(k) > limitPropertyKey || len(v.AsString()) > limitPropertyValue/4 {
			return true
		}
	}
	return false
}

// reference says what properties attributes become, in the plainest way there is: text, and what the JSON of a
// list or a map means.
func reference(t *testing.T, out map[string]any, m pcommon.Map, wanted func(string, disposition) bool) {
	t.Helper()
	for k, v := range m.All() {
		disp := keep
		known := false
		for _, info := range attrInfos[1:] {
			if info.name == k {
				disp, known = info.disp, true
			}
		}
		if k == "" || !wanted(k, disp) || (!known && strings.HasPrefix(k, "_MS.")) {
			continue
		}
		k = viaJSON(t, k)
		if _, there := out[k]; there {
			continue
		}
		switch v.Type() {
		case pcommon.ValueTypeEmpty:
		case pcommon.ValueTypeStr:
			if v.Str() != "" {
				out[k] = viaJSON(t, v.Str())
			}
		case pcommon.ValueTypeBytes:
			out[k] = base64.StdEncoding.EncodeToString(v.Bytes().AsRaw())
		case pcommon.ValueTypeDouble:
			out[k] = referenceDouble(v.Double())
		case pcommon.ValueTypeSlice, pcommon.ValueTypeMap:
			out[k] = referenceNested(t, v, 0)
		default:
			out[k] = fmt.Sprint(v.AsRaw())
		}
	}
}

func referenceDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strings.ReplaceAll(strconv.FormatFloat(f, 'g', -1, 64), "Inf", "Infinity"), "+")
	}
	b, _ := json.Marshal(f)
	return string(b)
}

func referenceNested(t *testing.T, v pcommon.Value, depth int) any {
	t.Helper()
	if depth > maxNesting {
		return nil
	}
	switch v.Type() {
	case pcommon.ValueTypeSlice:
		out := []any{}
		for _, item := range v.Slice().All() {
			out = append(out, referenceNested(t, item, depth+1))
		}
		return out
	case pcommon.ValueTypeMap:
		out := map[string]any{}
		for k, item := range v.Map().All() {
			out[viaJSON(t, k)] = referenceNested(t, item, depth+1)
		}
		return out
	case pcommon.ValueTypeEmpty:
		return nil
	case pcommon.ValueTypeStr:
		return viaJSON(t, v.Str())
	case pcommon.ValueTypeBool:
		return v.Bool()
	case pcommon.ValueTypeInt:
		return float64(v.Int())
	case pcommon.ValueTypeBytes:
		return base64.StdEncoding.EncodeToString(v.Bytes().AsRaw())
	default:
		if f := v.Double(); math.IsNaN(f) || math.IsInf(f, 0) {
			return referenceDouble(f)
		}
		return v.Double()
	}
}

// viaJSON is what encoding/json makes of a string that may not be UTF-8.
func viaJSON(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	require.NoError(t, err)
	var out string
	require.NoError(t, json.Unmarshal(b, &out))
	return out
}

// requireKeysOnce fails when an object of a document has a key twice, which encoding/json passes over.
func requireKeysOnce(t *testing.T, doc []byte) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	type level struct {
		keys  map[string]bool // nil in a list
		value bool            // a value is next
	}
	var stack []level
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		top := len(stack) - 1
		if key, ok := token.(string); ok && top >= 0 && stack[top].keys != nil && !stack[top].value {
			require.False(t, stack[top].keys[key], "%q is there twice in %s", key, doc)
			stack[top].keys[key] = true
			stack[top].value = true
			continue
		}
		if top >= 0 {
			stack[top].value = false
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, level{keys: map[string]bool{}})
		case json.Delim('['):
			stack = append(stack, level{})
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:top]
		}
	}
}

func oddTraces() ptrace.Traces {
	td := someTraces(2)
	rs := td.ResourceSpans().At(0)
	rs.Resource().Attributes().PutStr("dup", "resource")
	rs.Resource().Attributes().PutStr("_MS.MetricId", "x")
	s := rs.ScopeSpans().At(0).Spans().At(0)
	a := s.Attributes()
	a.PutStr("dup", "span")
	a.PutDouble("nan", nan())
	a.PutStr("\xff", "\xfe")
	a.PutStr("\xfe", "the same key in JSON")
	a.PutEmptyBytes("bytes").FromRaw([]byte{0, 1, 255})
	m := a.PutEmptyMap("map")
	m.PutDouble("inf", inf())
	m.PutEmptySlice("list").AppendEmpty().SetInt(1 << 60)
	a.PutStr("microsoft.custom_measurements", `{"a":1,"b":"x"}`)
	s.TraceState().FromRaw("ot=th:8")
	s.Status().SetMessage("m\x00")
	ev := s.Events().AppendEmpty()
	ev.SetName("exception")
	ev.Attributes().PutStr("exception.stacktrace", "\"\\\n")
	s.Links().AppendEmpty()
	return td
}

func largeTraces() ptrace.Traces {
	td := someTraces(1)
	s := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
	s.SetName(strings.Repeat("😀", 600))
	s.Attributes().PutStr(strings.Repeat("k", 151), strings.Repeat("é", 9000))
	s.Attributes().PutStr(strings.Repeat("k", 152), strings.Repeat("\x01", 9000))
	for i := range 120 {
		s.Links().AppendEmpty().SetSpanID(spanIDOf(uint64(i)))
	}
	return td
}
