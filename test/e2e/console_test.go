// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

// Each way of sending each signal ends on the console, with everything that
// went in, and the cloud role beside it.
func TestConsole(t *testing.T) {
	c := collector.Start(t, collector.Config{Files: []string{"console.yaml"}})
	for _, sender := range telemetry.Senders() {
		client := telemetry.Dial(t, sender, c)
		shop := telemetry.NewShop()
		for _, signal := range []struct {
			name, head string
			send       func(context.Context) error
			items      []item
		}{
			{
				"traces", "ResourceSpans",
				func(ctx context.Context) error { return client.Traces(ctx, shop.Traces) },
				spanItems(shop.Traces),
			},
			{
				"metrics", "ResourceMetrics",
				func(ctx context.Context) error { return client.Metrics(ctx, shop.Metrics) },
				metricItems(shop.Metrics),
			},
			{
				"logs", "ResourceLog",
				func(ctx context.Context) error { return client.Logs(ctx, shop.Logs) },
				logItems(shop.Logs),
			},
		} {
			t.Run(sender.String()+"/"+signal.name, func(t *testing.T) {
				require.NotEmpty(t, signal.items)
				require.NoError(t, signal.send(t.Context()))
				for _, item := range signal.items {
					checkPrinted(t, c, signal.head, shop.Instance, item)
				}
			})
		}
	}

	// The texts of all types, by hand.
	for _, line := range []string{
		`     -> span.string: Str(a "quoted" naïve 値)`,
		`     -> span.empty: Str()`,
		`     -> span.bool: Bool(true)`,
		`     -> span.int: Int(-42)`,
		`     -> span.double: Double(0.25)`,
		`     -> span.strings: Slice(["red","green"])`,
		`     -> span.ints: Slice([1,2,3])`,
		`     -> span.map: Map({"inner":{"deep":7}})`,
		`     -> span.bytes: Bytes(AP8Q)`,
		`     -> ai.cloud.role: Str(shop.frontend)`,
		`     -> ai.cloud.role: Str(shop.cart)`,
	} {
		assert.Contains(t, c.Stdout.String(), "\n"+line+"\n")
	}
	c.Stop(t)
}

// item is a span, a metric or a log record: how its part of the output begins
// and the lines that must be in it and in what was printed before of its
// resource.
type item struct {
	separator       string // between items
	first           string // a line that only this item has
	resource, lines []string
}

// checkPrinted waits until the item stands on the console and compares.
func checkPrinted(t *testing.T, c *collector.Collector, head, instance string, want item) {
	t.Helper()
	harness.Await(t, want.first+" on the console", func() error {
		for _, block := range printedBlocks(c.Stdout.String(), head, instance) {
			resource, rest, _ := strings.Cut(block, "\n"+want.separator)
			for _, part := range strings.Split(rest, "\n"+want.separator) {
				if !strings.Contains(part+"\n", "\n"+want.first+"\n") || !strings.Contains(resource+"\n", "\n"+want.resource[0]+"\n") {
					continue
				}
				for _, line := range want.resource {
					if !strings.Contains(resource+"\n", "\n"+line+"\n") {
						return harness.GiveUp(fmt.Errorf("no %q in\n%s", line, resource))
					}
				}
				for _, line := range want.lines {
					if !strings.Contains(part+"\n", "\n"+line+"\n") {
						return harness.GiveUp(fmt.Errorf("no %q in\n%s", line, part))
					}
				}
				return nil
			}
		}
		return errors.New("not printed yet")
	})
}

var blockEnd = regexp.MustCompile(`(?m)^(Resource(Spans|Metrics|Log) #\d+$|(Traces|Metrics|Logs)\t\{)`)

// printedBlocks returns what stands below each "ResourceSpans #0" or the like
// in the output, for the resources of one visit.
func printedBlocks(out, head, instance string) []string {
	var blocks []string
	ends := blockEnd.FindAllStringIndex(out, -1)
	for i, at := range ends {
		end := len(out)
		if i+1 < len(ends) {
			end = ends[i+1][0]
		}
		block := strings.TrimRight(out[at[0]:end], "\n")
		if strings.HasPrefix(block, head+" #") && strings.Contains(block, "service.instance.id: Str("+instance+")") {
			blocks = append(blocks, block)
		}
	}
	return blocks
}

// field returns the value of "    Name           : value".
func field(text, name string) string {
	_, rest, _ := strings.Cut(text, fmt.Sprintf("\n    %-15s: ", name))
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

func spanItems(td ptrace.Traces) []item {
	var items []item
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				field := func(name, value string) string { return fmt.Sprintf("    %-15s: %s", name, value) }
				lines := []string{
					field("Trace ID", span.TraceID().String()),
					field("Parent ID", span.ParentSpanID().String()),
					field("Name", span.Name()),
					field("Kind", span.Kind().String()),
					field("Start time", span.StartTimestamp().AsTime().String()),
					field("End time", span.EndTimestamp().AsTime().String()),
					field("Status code", span.Status().Code().String()),
					field("Status message", span.Status().Message()),
					field("DroppedAttributesCount", strconv.Itoa(int(span.DroppedAttributesCount()))),
				}
				if state := span.TraceState().AsRaw(); state != "" {
					lines = append(lines, field("TraceState", state))
				}
				lines = append(lines, attributes("     ", span.Attributes())...)
				for _, event := range span.Events().All() {
					lines = append(lines,
						"     -> Name: "+event.Name(),
						"     -> Timestamp: "+event.Timestamp().AsTime().String(),
						"     -> DroppedAttributesCount: "+strconv.Itoa(int(event.DroppedAttributesCount())))
					lines = append(lines, attributes("          ", event.Attributes())...)
				}
				for _, link := range span.Links().All() {
					lines = append(lines,
						"     -> Trace ID: "+link.TraceID().String(),
						"     -> ID: "+link.SpanID().String(),
						"     -> TraceState: "+link.TraceState().AsRaw())
					lines = append(lines, attributes("          ", link.Attributes())...)
				}
				items = append(items, item{
					separator: "Span #", first: field("ID", span.SpanID().String()),
					resource: resource(rs.SchemaUrl(), rs.Resource(), ss.Scope()), lines: lines,
				})
			}
		}
	}
	return items
}

func metricItems(md pmetric.Metrics) []item {
	var items []item
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				items = append(items, item{
					separator: "Metric #", first: "     -> Name: " + m.Name(),
					resource: resource(rm.SchemaUrl(), rm.Resource(), sm.Scope()),
					lines: append([]string{
						"     -> Description: " + m.Description(),
						"     -> Unit: " + m.Unit(),
						"     -> DataType: " + m.Type().String(),
					}, metricLines(m)...),
				})
			}
		}
	}
	return items
}

func metricLines(m pmetric.Metric) []string {
	var lines []string
	add := func(line string, args ...any) { lines = append(lines, fmt.Sprintf(line, args...)) }
	point := func(p interface {
		Attributes() pcommon.Map
		StartTimestamp() pcommon.Timestamp
		Timestamp() pcommon.Timestamp
	},
	) {
		lines = append(lines, attributes("     ", p.Attributes())...)
		add("StartTimestamp: %s", p.StartTimestamp().AsTime())
		add("Timestamp: %s", p.Timestamp().AsTime())
	}
	exemplars := func(list pmetric.ExemplarSlice) {
		for _, e := range list.All() {
			add("     -> Trace ID: %s", e.TraceID())
			add("     -> Span ID: %s", e.SpanID())
			add("     -> Timestamp: %s", e.Timestamp().AsTime())
			if e.ValueType() == pmetric.ExemplarValueTypeInt {
				add("     -> Value: %d", e.IntValue())
			} else {
				add("     -> Value: %f", e.DoubleValue())
			}
			lines = append(lines, attributes("          ", e.FilteredAttributes())...)
		}
	}
	numbers := func(points pmetric.NumberDataPointSlice) {
		for _, p := range points.All() {
			point(p)
			if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
				add("Value: %d", p.IntValue())
			} else {
				add("Value: %f", p.DoubleValue())
			}
			exemplars(p.Exemplars())
		}
	}
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		numbers(m.Gauge().DataPoints())
	case pmetric.MetricTypeSum:
		add("     -> IsMonotonic: %t", m.Sum().IsMonotonic())
		add("     -> AggregationTemporality: %s", m.Sum().AggregationTemporality())
		numbers(m.Sum().DataPoints())
	case pmetric.MetricTypeHistogram:
		p := m.Histogram().DataPoints().At(0)
		point(p)
		exemplars(p.Exemplars())
		// 0.5 and 1 bound three buckets.
		lines = append(lines, "Count: 6", "Sum: 4.500000", "Min: 0.125000", "Max: 2.000000",
			"ExplicitBounds #0: 0.500000", "ExplicitBounds #1: 1.000000",
			"Buckets #0, Count: 3", "Buckets #1, Count: 2", "Buckets #2, Count: 1")
	case pmetric.MetricTypeExponentialHistogram:
		point(m.ExponentialHistogram().DataPoints().At(0))
		// Scale 0: bucket i holds (2^i, 2^(i+1)].
		lines = append(lines, "Count: 7", "Sum: 12.000000", "Bucket [-2.000000, -1.000000), Count: 1",
			"Bucket [0, 0], Count: 1", "Bucket (2.000000, 4.000000], Count: 4", "Bucket (4.000000, 8.000000], Count: 1")
	case pmetric.MetricTypeSummary:
		point(m.Summary().DataPoints().At(0))
		lines = append(lines, "Count: 10", "Sum: 25.000000", "QuantileValue #0: Quantile 0.500000, Value 2.250000")
	}
	return lines
}

func logItems(ld plog.Logs) []item {
	var items []item
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				lines := append([]string{
					"ObservedTimestamp: " + r.ObservedTimestamp().AsTime().String(),
					"SeverityText: " + r.SeverityText(),
					fmt.Sprintf("SeverityNumber: %s(%d)", r.SeverityNumber(), int(r.SeverityNumber())),
					"Body: " + printed(r.Body().AsRaw()),
					"Trace ID: " + r.TraceID().String(),
					"Span ID: " + r.SpanID().String(),
					"Flags: " + strconv.Itoa(int(r.Flags())),
				}, attributes("     ", r.Attributes())...)
				if r.EventName() != "" {
					lines = append(lines, "EventName: "+r.EventName())
				}
				items = append(items, item{
					separator: "LogRecord #", first: "Timestamp: " + r.Timestamp().AsTime().String(),
					resource: resource(rl.SchemaUrl(), rl.Resource(), sl.Scope()), lines: lines,
				})
			}
		}
	}
	return items
}

func resource(schema string, r pcommon.Resource, s pcommon.InstrumentationScope) []string {
	name, _ := r.Attributes().Get("service.name")
	lines := []string{
		"     -> ai.cloud.role: Str(shop." + name.Str() + ")",
		"Resource SchemaURL: " + schema,
		"InstrumentationScope " + s.Name() + " " + s.Version(),
	}
	lines = append(lines, attributes("     ", r.Attributes())...)
	return append(lines, attributes("     ", s.Attributes())...)
}

func attributes(indent string, attributes pcommon.Map) []string {
	var lines []string
	for key, value := range attributes.AsRaw() {
		lines = append(lines, indent+"-> "+key+": "+printed(value))
	}
	return lines
}

// printed is how the debug exporter writes a value: its type, then the text
// that the OTLP specification gives a value that is not a string.
func printed(value any) string {
	switch v := value.(type) {
	case string:
		return "Str(" + v + ")"
	case bool:
		return "Bool(" + strconv.FormatBool(v) + ")"
	case int64:
		return "Int(" + strconv.FormatInt(v, 10) + ")"
	case float64:
		return "Double(" + strconv.FormatFloat(v, 'f', -1, 64) + ")"
	case []byte:
		return "Bytes(" + base64.StdEncoding.EncodeToString(v) + ")"
	case []any:
		return "Slice(" + compact(v) + ")"
	case map[string]any:
		return "Map(" + compact(v) + ")"
	}
	return fmt.Sprintf("no text for %T", value)
}

func compact(value any) string {
	raw, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
