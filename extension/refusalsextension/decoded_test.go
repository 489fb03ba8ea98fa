// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/encoding/protowire"
)

// within returns content as field n of a message, and that as field n-1 of the one
// around it, as the path says from the outermost field to the innermost.
func within(content []byte, path ...protowire.Number) []byte {
	for i := len(path) - 1; i >= 0; i-- {
		content = protowire.AppendBytes(protowire.AppendTag(nil, path[i], protowire.BytesType), content)
	}
	return content
}

// many returns n empty messages as a field.
func many(n int, field protowire.Number) []byte {
	return bytes.Repeat(within(nil, field), n)
}

func decodeTraces(data []byte) (any, error) {
	r := ptraceotlp.NewExportRequest()
	return r, r.UnmarshalProto(data)
}

func decodeMetrics(data []byte) (any, error) {
	r := pmetricotlp.NewExportRequest()
	return r, r.UnmarshalProto(data)
}

func decodeLogs(data []byte) (any, error) {
	r := plogotlp.NewExportRequest()
	return r, r.UnmarshalProto(data)
}

// kept returns how many bytes of memory what decode returns takes.
func kept(t *testing.T, decode func([]byte) (any, error), data []byte) int {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	decoded, err := decode(data)
	require.NoError(t, err)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(decoded)
	return int(after.HeapAlloc) - int(before.HeapAlloc)
}

// What is decoded never takes more than was said, whatever it is made of.
func TestDecodedSize(t *testing.T) {
	const n = 200_000
	traced := func(field protowire.Number) []byte { return within(many(n, field), 1, 2, 2) } // in a span
	points := func(kind, field protowire.Number) []byte { return within(many(n, field), 1, 2, 2, kind, 1) }
	for name, tt := range map[string]struct {
		message *message
		decode  func([]byte) (any, error)
		data    []byte
	}{
		"resources":                {traces, decodeTraces, many(n, 1)},
		"attributes of a resource": {traces, decodeTraces, within(many(n, 1), 1, 1)},
		"entities":                 {traces, decodeTraces, within(many(n, 3), 1, 1)},
		"keys of an entity":        {traces, decodeTraces, within(many(n, 3), 1, 1, 3)},
		"scopes":                   {traces, decodeTraces, within(many(n, 2), 1)},
		"renamed scopes":           {traces, decodeTraces, within(many(n, 1000), 1)},
		"attributes of a scope":    {traces, decodeTraces, within(many(n, 3), 1, 2, 1)},
		"spans":                    {traces, decodeTraces, within(many(n, 2), 1, 2)},
		"spans of a renamed scope": {traces, decodeTraces, within(many(n, 2), 1, 1000)},
		"attributes":               {traces, decodeTraces, traced(9)},
		"events":                   {traces, decodeTraces, traced(11)},
		"attributes of an event":   {traces, decodeTraces, within(many(n, 3), 1, 2, 2, 11)},
		"links":                    {traces, decodeTraces, traced(13)},
		"attributes of a link":     {traces, decodeTraces, within(many(n, 4), 1, 2, 2, 13)},
		"short texts":              {traces, decodeTraces, within(bytes.Repeat(within([]byte("x"), 9, 2, 1), n), 1, 2, 2)},
		"lists":                    {traces, decodeTraces, within(bytes.Repeat(within(nil, 9, 2, 5), n), 1, 2, 2)},
		"maps":                     {traces, decodeTraces, within(bytes.Repeat(within(nil, 9, 2, 6), n), 1, 2, 2)},
		"a list":                   {traces, decodeTraces, within(many(n, 1), 1, 2, 2, 9, 2, 5)},
		"lists in a list":          {traces, decodeTraces, within(bytes.Repeat(within(nil, 1, 5), n), 1, 2, 2, 9, 2, 5)},
		"a map":                    {traces, decodeTraces, within(many(n, 1), 1, 2, 2, 9, 2, 6)},
		"metrics":                  {metrics, decodeMetrics, within(many(n, 2), 1, 2)},
		"attributes of a metric":   {metrics, decodeMetrics, within(many(n, 12), 1, 2, 2)},
		"gauges":                   {metrics, decodeMetrics, within(bytes.Repeat(within(nil, 2, 5), n), 1, 2)},
		"gauge points":             {metrics, decodeMetrics, within(many(n, 1), 1, 2, 2, 5)},
		"sum points":               {metrics, decodeMetrics, within(many(n, 1), 1, 2, 2, 7)},
		"histogram points":         {metrics, decodeMetrics, within(many(n, 1), 1, 2, 2, 9)},
		"exponential points":       {metrics, decodeMetrics, within(many(n, 1), 1, 2, 2, 10)},
		"summary points":           {metrics, decodeMetrics, within(many(n, 1), 1, 2, 2, 11)},
		"attributes of a point":    {metrics, decodeMetrics, points(7, 7)},
		"exemplars":                {metrics, decodeMetrics, points(7, 5)},
		"histogram's exemplars":    {metrics, decodeMetrics, points(9, 8)},
		"histogram's attributes":   {metrics, decodeMetrics, points(9, 9)},
		"exponential's exemplars":  {metrics, decodeMetrics, points(10, 11)},
		"exponential's attributes": {metrics, decodeMetrics, points(10, 1)},
		"exponential's buckets":    {metrics, decodeMetrics, within(make([]byte, n), 1, 2, 2, 10, 1, 8, 2)},
		"buckets not packed":       {metrics, decodeMetrics, within(bytes.Repeat([]byte{2 << 3, 1}, n), 1, 2, 2, 10, 1, 8)},
		"negative buckets":         {metrics, decodeMetrics, within(make([]byte, n), 1, 2, 2, 10, 1, 9, 2)},
		"quantiles":                {metrics, decodeMetrics, points(11, 6)},
		"summary's attributes":     {metrics, decodeMetrics, points(11, 7)},
		"exemplar's attributes":    {metrics, decodeMetrics, within(many(n, 7), 1, 2, 2, 7, 1, 5)},
		"log records":              {logs, decodeLogs, within(many(n, 2), 1, 2)},
		"attributes of a record":   {logs, decodeLogs, within(many(n, 6), 1, 2, 2)},
		"a list as body":           {logs, decodeLogs, within(many(n, 1), 1, 2, 2, 5, 5)},
	} {
		t.Run(name, func(t *testing.T) {
			said, err := tt.message.decodedSize(tt.data)
			require.NoError(t, err)
			takes := kept(t, tt.decode, tt.data)
			t.Logf("%d bytes, said to take %d, take %d", len(tt.data), said, takes)
			require.Greater(t, takes, n, "the decoder knows the field")
			assert.GreaterOrEqual(t, said, takes)
			assert.Less(t, said, 6*takes+len(tt.data))
		})
	}
}

// spans is a request as an SDK makes it.
func spans(n int) ptraceotlp.ExportRequest {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "checkout")
	all := rs.ScopeSpans().AppendEmpty().Spans()
	for range n {
		span := all.AppendEmpty()
		span.SetName("POST /orders/{id}")
		span.SetTraceID(pcommon.TraceID{1})
		span.SetSpanID(pcommon.SpanID{1})
		for _, key := range strings.Fields("http.request.method url.path url.scheme server.address network.protocol.version user_agent.original") {
			span.Attributes().PutStr(key, "some value of twenty")
		}
		span.Attributes().PutInt("http.response.status_code", 200)
	}
	return ptraceotlp.NewExportRequestFromTraces(td)
}

// What an SDK sends is sized well enough to be let through: 4 MiB of it are not said to
// be 64.
func TestDecodedSizeOfSpans(t *testing.T) {
	request := spans(5_000)
	data, err := request.MarshalProto()
	require.NoError(t, err)
	said, err := traces.decodedSize(data)
	require.NoError(t, err)
	takes := kept(t, decodeTraces, data)
	t.Logf("%d bytes, said to take %d, take %d", len(data), said, takes)
	assert.GreaterOrEqual(t, said, takes)
	assert.Less(t, said, 10*len(data))

	inJSON, err := request.MarshalJSON()
	require.NoError(t, err)
	said, err = decodedSizeOfJSON(inJSON)
	require.NoError(t, err)
	t.Logf("%d bytes of JSON, said to take %d", len(inJSON), said)
	assert.GreaterOrEqual(t, said, takes)
	assert.Less(t, said, 16*len(inJSON))
}

// nested returns a span with a value that lies in n lists.
func nested(n int, path ...protowire.Number) []byte {
	data := within([]byte("x"), 1)
	for range n {
		data = within(data, path...)
	}
	return within(data, 1, 2, 2, 9, 2)
}

func TestNesting(t *testing.T) {
	for name, path := range map[string][]protowire.Number{"list": {5, 1}, "map": {6, 1, 2}} {
		_, err := traces.decodedSize(nested(maxNesting-1, path...))
		require.NoError(t, err, name)
		_, err = traces.decodedSize(nested(maxNesting, path...))
		require.ErrorIs(t, err, errNesting, name)
	}
	listed := func(n int) []byte {
		r := spans(1)
		value := r.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().PutEmptySlice("x").AppendEmpty()
		for range n - 2 { // the attribute's own, and its first element
			value = value.SetEmptyMap().PutEmpty("x")
		}
		data, err := r.MarshalJSON()
		require.NoError(t, err)
		return data
	}
	_, err := decodedSizeOfJSON(listed(maxNesting))
	require.NoError(t, err)
	_, err = decodedSizeOfJSON(listed(3 * maxNesting))
	require.ErrorIs(t, err, errNesting)
	_, err = decodedSizeOfJSON([]byte(`{"text": "` + strings.Repeat(`[{\"`, 1000) + `"}`))
	require.NoError(t, err, "in a text")
}

// pdata's decoder takes what is not JSON. What it takes is counted or refused.
func TestNotJSON(t *testing.T) {
	const begin, end = `{"resourceSpans":[{"scopeSpans":[{"spans":[`, `]}]}]}`
	for name, element := range map[string]string{"brace alone": `},`, "null": `null,`} {
		data := []byte(begin + strings.Repeat(element, 10_000) + `{}` + end)
		request := ptraceotlp.NewExportRequest()
		require.NoError(t, request.UnmarshalJSON(data), name)
		require.Greater(t, request.Traces().SpanCount(), 5_000, "%s: the decoder takes it for a span", name)
		said, err := decodedSizeOfJSON(data)
		if err == nil {
			assert.Greater(t, said, 250*request.Traces().SpanCount(), name)
		} else {
			require.ErrorIs(t, err, errJSON, name)
		}
	}
	for name, data := range map[string]string{
		"commas for braces": `{"a":,"b":,"c":1}`,
		"no begin":          `]`,
		"wrong end":         `{"a":[}]`,
		"comma at the end":  `{"a":[1,]}`,
		"comma first":       `[,1]`,
		"outside":           `{},{}`,
	} {
		_, err := decodedSizeOfJSON([]byte(data))
		require.ErrorIs(t, err, errJSON, name)
	}
	_, err := decodedSizeOfJSON([]byte(` { "a" : [ 1 , { } , "]}," , null ] , "b" : { } } `))
	assert.NoError(t, err)
}

// A number may be written longer than it need be, a field's number be more than 32 bits,
// a group be around it: what the decoder takes is counted.
func TestNothingHides(t *testing.T) {
	const n = 1000
	attributes := within(many(n, 9), 1, 2, 2)
	plain, err := traces.decodedSize(attributes)
	require.NoError(t, err)
	for name, data := range map[string][]byte{
		"long tag":          append([]byte{0x8a, 0x80, 0x80, 0x00}, attributes[1:]...),
		"overflowing tag":   append([]byte{0x8a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7e}, attributes[1:]...),
		"large field":       append(protowire.AppendVarint(nil, 1<<35|1<<3|2), attributes[1:]...),
		"after a group":     append([]byte{15<<3 | 3, 15<<3 | 4}, attributes...),
		"after other types": append([]byte{15 << 3, 0xff, 0x01, 14<<3 | 1, 1, 2, 3, 4, 5, 6, 7, 8, 13<<3 | 5, 1, 2, 3, 4}, attributes...),
	} {
		request, err := decodeTraces(data)
		require.NoError(t, err, name)
		require.Equal(t, 1, request.(ptraceotlp.ExportRequest).Traces().SpanCount(), name)
		said, err := traces.decodedSize(data)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, said, plain, name)
	}
}

// FuzzDecodedSize looks for requests that take more than is said, and for malformed ones
// that this reads and the decoder does not.
func FuzzDecodedSize(f *testing.F) {
	data, err := spans(2).MarshalProto()
	require.NoError(f, err)
	f.Add(data)
	f.Add(nested(3, 5, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range []*message{traces, metrics, logs} {
			_, _ = m.decodedSize(data)
		}
		_, _ = decodedSizeOfJSON(data)
		request, err := decodeTraces(data)
		if err != nil {
			return
		}
		said, err := traces.decodedSize(data)
		if err != nil {
			return
		}
		least, attributes := 0, 0
		td := request.(ptraceotlp.ExportRequest).Traces()
		for _, rs := range td.ResourceSpans().All() {
			attributes += rs.Resource().Attributes().Len()
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					attributes += span.Attributes().Len()
				}
			}
		}
		least = td.SpanCount()*200 + attributes*32
		if said < least {
			t.Errorf("%d bytes said to take %d; %d spans and %d attributes take %d", len(data), said, td.SpanCount(), attributes, least)
		}
	})
}

func BenchmarkDecodedSize(b *testing.B) {
	const n = 500
	data, err := spans(n).MarshalProto()
	require.NoError(b, err)
	b.Run("size", func(b *testing.B) {
		for b.Loop() {
			_, _ = traces.decodedSize(data)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/span")
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			_, _ = decodeTraces(data)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/span")
	})
}
