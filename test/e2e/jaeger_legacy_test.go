// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/authority"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/jaeger"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

// By Jaeger's own protocol a trace is found in Jaeger with everything that it has
// when it came by OTLP. What TestJaeger says of that is so said of this as well.
func TestJaegerLegacy(t *testing.T) {
	t.Parallel()
	for _, version := range []struct {
		name   string
		server harness.Server
		// What else this Jaeger does when it translates OTLP itself.
		otlp dialect
	}{
		{"v1.42", jaeger.V142, dialect{
			format: "proto",
			names: map[string]string{ // the specification's old names
				"otel.library.name":    "otel.scope.name",
				"otel.library.version": "otel.scope.version",
			},
			bytesAreText: true,
		}},
		{"v1.62", jaeger.V1, dialect{format: "otlp"}},
	} {
		for _, secure := range []bool{false, true} {
			name := version.name + " plain"
			if secure {
				name = version.name + " TLS"
			}
			t.Run(name, func(t *testing.T) {
				server := jaeger.New(t, version.server)
				env := map[string]string{"JAEGER_ENDPOINT": server.GRPC}
				if secure {
					ca := authority.New(t)
					cert, key := ca.Issue(t, "127.0.0.1")
					server.Flags = []string{"--collector.grpc.tls.enabled", "--collector.grpc.tls.cert=" + cert, "--collector.grpc.tls.key=" + key}
					env["JAEGER_ENDPOINT"] = "https://" + server.GRPC
					env["SSL_CERT_FILE"] = ca.File // the system's root certificates
				}
				server.Start(t)
				legacy := collector.Start(t, mode("sidecar").config(t, "jaeger-legacy", env))
				otlp := collector.Start(t, mode("sidecar").config(t, "jaeger", map[string]string{"JAEGER_ENDPOINT": server.OTLPGRPC}))

				shop := richShop(t)
				send(t, legacy, shop)
				spans := shop.Traces.SpanCount()
				server.AwaitTrace(t, shop.TraceID.String(), spans)
				twin := telemetry.NewTraceID()
				other := *shop
				other.Traces = underTrace(shop.Traces, shop.TraceID, twin)
				send(t, otlp, &other)
				server.AwaitTrace(t, twin.String(), spans)

				got, err := server.RawTrace(shop.TraceID.String())
				require.NoError(t, err)
				want, err := server.RawTrace(twin.String())
				require.NoError(t, err)
				assert.Equal(t,
					version.otlp.canonical(t, want, strings.NewReplacer(twin.String(), shop.TraceID.String())),
					dialect{format: "proto"}.canonical(t, got, strings.NewReplacer()))

				legacy.AwaitMetric(t, float64(spans), "otelcol_exporter_sent_spans", "exporter=jaeger")
				assert.Zero(t, legacy.Metric(t, "otelcol_exporter_send_failed_spans"))
				legacy.Stop(t)
				otlp.Stop(t)
			})
		}
	}
}

// Spans that are small in OTLP can be large in Jaeger's protocol, which repeats the
// name of the scope in each. They arrive though the batch as a whole is more than a
// Jaeger takes.
func TestJaegerLegacyLargeBatch(t *testing.T) {
	const spans = 4000
	server := jaeger.New(t, jaeger.V142)
	server.Flags = []string{"--collector.queue-size=10000"} // what is over its queue Jaeger drops
	server.Start(t)
	c := collector.Start(t, mode("sidecar").config(t, "jaeger-legacy", map[string]string{"JAEGER_ENDPOINT": server.GRPC}))
	shop := telemetry.NewShop()
	trace := telemetry.NewTraceID()
	shop.Traces = telemetry.Numbered("large", trace, 0, spans)
	shop.Traces.ResourceSpans().At(0).ScopeSpans().At(0).Scope().SetName(strings.Repeat("scope", 200))
	raw, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(shop.Traces)
	require.NoError(t, err)
	require.Less(t, len(raw), 3_000_000, "one batch of the queue")
	send(t, c, shop)
	c.AwaitMetric(t, spans, "otelcol_exporter_sent_spans", "exporter=jaeger")
	server.AwaitTrace(t, trace.String(), spans)
	assert.Zero(t, c.Metric(t, "otelcol_exporter_jaeger_refused_spans"))
	c.Stop(t)
}

// A certificate that is not trusted keeps spans in the queue, and the log says why.
// With one that is trusted they arrive.
func TestJaegerLegacyWrongCertificate(t *testing.T) {
	trusted, stranger := authority.New(t), authority.New(t)
	server := jaeger.New(t, jaeger.V142)
	tls := func(by *authority.Authority) []string {
		cert, key := by.Issue(t, "127.0.0.1")
		return []string{"--collector.grpc.tls.enabled", "--collector.grpc.tls.cert=" + cert, "--collector.grpc.tls.key=" + key}
	}
	server.Flags = tls(stranger)
	server.Start(t)
	config := mode("sidecar").config(t, "jaeger-legacy", map[string]string{
		"JAEGER_ENDPOINT": "https://" + server.GRPC, "SSL_CERT_FILE": trusted.File,
	})
	config.Overlay = "exporters::jaeger::retry_on_failure: {initial_interval: 200ms, max_interval: 200ms}"
	c := collector.Start(t, config)
	shop := telemetry.NewShop()
	send(t, c, shop)
	c.Stderr.Await(t, "certificate signed by unknown authority")
	c.Stderr.Await(t, "Exporting failed. Will retry the request after interval.")
	assert.NotContains(t, c.Stderr.String(), "Dropping data")

	server.Kill()
	server.Flags = tls(trusted)
	server.Start(t)
	server.AwaitTrace(t, shop.TraceID.String(), shop.Traces.SpanCount())
	c.Stop(t)
}

// richShop is a visit with some things more that Jaeger has its own ways with.
func richShop(t *testing.T) *telemetry.Shop {
	t.Helper()
	shop := telemetry.NewShop()
	frontend := shop.Traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	frontend.At(0).Attributes().PutInt("http.status_code", 200) // beside the new name of it
	childOf := frontend.At(1).Links().AppendEmpty()
	childOf.SetTraceID(shop.TraceID)
	childOf.SetSpanID(shop.Announce)
	childOf.Attributes().PutStr("opentracing.ref_type", "child_of")
	named := frontend.At(1).Events().AppendEmpty()
	named.SetName("name")
	named.SetTimestamp(frontend.At(1).StartTimestamp())
	named.Attributes().PutStr("event", "another name")

	bare := func(id byte) (ptrace.ResourceSpans, ptrace.Span) {
		rs := shop.Traces.ResourceSpans().AppendEmpty()
		span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		span.SetTraceID(shop.TraceID)
		span.SetSpanID(pcommon.SpanID{0: 0xff, 7: id})
		span.SetStartTimestamp(frontend.At(0).StartTimestamp())
		span.SetEndTimestamp(frontend.At(0).StartTimestamp())
		return rs, span
	}
	bare(1) // of no resource, no scope, no kind, no name, no duration
	rs, span := bare(2)
	rs.Resource().Attributes().PutStr("host.name", "no service") // named by nobody
	span.SetName("long")
	span.Attributes().PutStr("long", strings.Repeat("é", 100_000))
	require.Equal(t, 8, shop.Traces.SpanCount())
	return shop
}

// underTrace returns the same spans in another trace.
func underTrace(td ptrace.Traces, from, to pcommon.TraceID) ptrace.Traces {
	moved := ptrace.NewTraces()
	td.CopyTo(moved)
	for _, rs := range moved.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				span.SetTraceID(to)
				for _, link := range span.Links().All() {
					if link.TraceID() == from {
						link.SetTraceID(to)
					}
				}
			}
		}
	}
	return moved
}

// dialect is how a version of Jaeger writes what it was sent in a certain way.
type dialect struct {
	format       string            // the value of Jaeger's own tag internal.span.format
	names        map[string]string // its names of tags, and what they are elsewhere
	bytesAreText bool              // it has Base64 in a string in place of a binary tag
}

// canonical writes a trace of Jaeger's API as text that is equal for equal traces,
// whatever dialect they are in: each span has its process in place of the process's
// id, which Jaeger gives at will, and lists of tags are in order of their keys. What
// makes the dialect has to be there.
func (d dialect) canonical(t *testing.T, trace map[string]any, ids *strings.Replacer) string {
	t.Helper()
	processes := trace["processes"].(map[string]any)
	spans := trace["spans"].([]any)
	for _, entry := range spans {
		span := entry.(map[string]any)
		id := span["processID"].(string)
		delete(span, "processID")
		require.NotNil(t, processes[id])
		span["process"] = processes[id]
	}
	delete(trace, "processes")

	formats, texts, names := 0, 0, map[string]string{}
	tag := func(tag map[string]any, key string) {
		if name, found := d.names[key]; found {
			tag["key"], names[key] = name, name
		}
		if key == "internal.span.format" {
			assert.Equal(t, d.format, tag["value"])
			tag["value"] = "any"
			formats++
		}
		if d.bytesAreText && strings.HasSuffix(key, ".bytes") && tag["type"] == "string" {
			tag["type"] = "binary"
			texts++
		}
	}
	var walk func(value any)
	walk = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			if key, isTag := v["key"].(string); isTag {
				tag(v, key)
			}
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
			slices.SortStableFunc(v, func(a, b any) int { return cmp.Compare(sortKey(a), sortKey(b)) })
		}
	}
	walk(trace)
	assert.Len(t, spans, formats)
	assert.Len(t, names, len(d.names), "names of the dialect that are there: %v", names)
	assert.Equal(t, d.bytesAreText, texts > 0)
	raw, err := json.MarshalIndent(trace, "", " ")
	require.NoError(t, err)
	return ids.Replace(string(raw))
}

// sortKey orders tags and spans; references and logs keep their order.
func sortKey(entry any) string {
	m, _ := entry.(map[string]any)
	key, _ := m["key"].(string)
	if key != "" {
		raw, _ := json.Marshal(m["value"])
		return key + "=" + string(raw)
	}
	id, isSpan := m["spanID"].(string)
	if _, isReference := m["refType"]; isSpan && !isReference {
		return id
	}
	return ""
}
