// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/jaeger"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

// A trace is found again through Jaeger's API with everything that Jaeger can
// hold of it. The mapping is that of the OpenTelemetry specification,
// "OpenTelemetry to Jaeger Transformation".
func TestJaeger(t *testing.T) {
	server := jaeger.Start(t, jaeger.V1)
	c := collector.Start(t, mode("sidecar").config(t, "jaeger", map[string]string{"JAEGER_ENDPOINT": server.OTLPGRPC}))
	shop := telemetry.NewShop()
	send(t, c, shop)
	trace := server.AwaitTrace(t, shop.TraceID.String(), 6)

	for _, rs := range shop.Traces.ResourceSpans().All() {
		scope := rs.ScopeSpans().At(0).Scope()
		for _, sent := range rs.ScopeSpans().At(0).Spans().All() {
			t.Run(sent.Name(), func(t *testing.T) {
				got := trace.Span(t, sent.SpanID().String())
				assert.Equal(t, shop.TraceID.String(), got.TraceID)
				assert.Equal(t, sent.Name(), got.OperationName)
				assert.Equal(t, micros(sent.StartTimestamp()), got.StartTime)
				assert.Equal(t, sent.EndTimestamp().AsTime().Sub(sent.StartTimestamp().AsTime()).Microseconds(), got.Duration)
				assert.Equal(t, references(sent), got.References)
				assert.Empty(t, got.Warnings)

				want := append(tags(sent.Attributes()), text("otel.scope.name", scope.Name()), text("otel.scope.version", scope.Version()))
				want = append(want, spanTags(t, shop, sent)...)
				assert.Equal(t, sorted(want), sorted(slices.DeleteFunc(got.Tags, func(tag jaeger.Tag) bool {
					return tag.Key == "internal.span.format" // Jaeger's own
				})))

				assert.Len(t, got.Logs, sent.Events().Len())
				for i, event := range sent.Events().All() {
					assert.Equal(t, micros(event.Timestamp()), got.Logs[i].Timestamp)
					fields := append(tags(event.Attributes()), text("event", event.Name()))
					assert.Equal(t, sorted(fields), sorted(got.Logs[i].Fields))
				}

				process := trace.Processes[got.ProcessID]
				attributes := pcommon.NewMap()
				rs.Resource().Attributes().CopyTo(attributes)
				service, _ := attributes.Get("service.name")
				assert.Equal(t, service.Str(), process.ServiceName)
				attributes.PutStr("ai.cloud.role", "shop."+service.Str())
				attributes.PutStr("ai.cloud.roleInstance", shop.Instance)
				attributes.Remove("service.name")
				assert.Equal(t, sorted(tags(attributes)), sorted(process.Tags))
			})
		}
	}

	services, err := server.Services()
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"frontend", "cart"}, services)

	// Jaeger takes no metrics and no logs; the app that sent them got no error,
	// and nothing is kept for Jaeger that it would never take.
	c.AwaitMetric(t, 6, "otelcol_exporter_sent_spans", "exporter=otlp_grpc/jaeger")
	assert.Zero(t, c.Metric(t, "otelcol_exporter_send_failed_spans"))
	c.Stop(t)
}

// spanTags are the tags that stand for fields of a span.
func spanTags(t *testing.T, s *telemetry.Shop, span ptrace.Span) jaeger.Tags {
	t.Helper()
	switch span.SpanID() {
	case s.Page:
		return jaeger.Tags{text("span.kind", "server"), text("otel.status_code", "OK"), text("w3c.tracestate", "vendor=abc,other=1")}
	case s.Price:
		return jaeger.Tags{text("span.kind", "internal")}
	case s.Order:
		return jaeger.Tags{
			text("span.kind", "client"), text("otel.status_code", "ERROR"), text("otel.status_description", "card refused"),
			{Key: "error", Type: "bool", Value: true},
		}
	case s.Announce:
		return jaeger.Tags{text("span.kind", "producer")}
	case s.Accept:
		return jaeger.Tags{text("span.kind", "server"), text("otel.status_code", "ERROR"), {Key: "error", Type: "bool", Value: true}}
	case s.Process:
		return jaeger.Tags{text("span.kind", "consumer")}
	}
	t.Fatalf("span %s is not of this visit", span.SpanID())
	return nil
}

// references are the parent, then the links.
func references(span ptrace.Span) []jaeger.Reference {
	references := []jaeger.Reference{}
	if !span.ParentSpanID().IsEmpty() {
		references = append(references, jaeger.Reference{
			RefType: "CHILD_OF", TraceID: span.TraceID().String(), SpanID: span.ParentSpanID().String(),
		})
	}
	for _, link := range span.Links().All() {
		references = append(references, jaeger.Reference{
			RefType: "FOLLOWS_FROM", TraceID: link.TraceID().String(), SpanID: link.SpanID().String(),
		})
	}
	return references
}

func tags(attributes pcommon.Map) jaeger.Tags {
	tags := jaeger.Tags{}
	for key, value := range attributes.AsRaw() {
		tag := jaeger.Tag{Key: key, Value: value}
		switch v := value.(type) {
		case string:
			tag.Type = "string"
		case bool:
			tag.Type = "bool"
		case int64:
			tag.Type, tag.Value = "int64", json.Number(strconv.FormatInt(v, 10))
		case float64:
			tag.Type, tag.Value = "float64", json.Number(fmt.Sprint(v))
		case []byte:
			tag.Type, tag.Value = "binary", base64.StdEncoding.EncodeToString(v)
		default: // lists and maps are JSON in a string
			tag.Type, tag.Value = "string", compact(v)
		}
		tags = append(tags, tag)
	}
	return tags
}

func text(key, value string) jaeger.Tag { return jaeger.Tag{Key: key, Type: "string", Value: value} }

func sorted(tags jaeger.Tags) jaeger.Tags {
	return slices.SortedFunc(slices.Values(tags), func(a, b jaeger.Tag) int { return cmp.Compare(a.Key, b.Key) })
}

func micros(ts pcommon.Timestamp) int64 { return ts.AsTime().Truncate(time.Microsecond).UnixMicro() }
