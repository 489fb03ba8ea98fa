// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// ref names one item of a push: the how manieth span, log record or data point it comes from, counted over the
// whole push, and of a span which event. Refs are handed out, and kept, in order.
type ref struct {
	record int
	event  int // whole for the record itself
}

const whole = -1

// A span gives an item for itself and one for each of its events, and ingestion may take some of them and put
// off the others. The span that is handed back for another attempt has only those events that are still to be
// sent; if its own item was accepted it carries an attribute that says so, with a value that is made up at start
// and that nobody outside knows. Such a span lives in memory only: a persistent queue keeps what it was given
// until all of it is done.

// isMarked tells whether the own item of a span was accepted in an earlier attempt.
func (m *mapping) isMarked(f *found) bool {
	return f.has(attrMarker) && f.vals[attrMarker].Type() == pcommon.ValueTypeStr && f.vals[attrMarker].Str() == m.marker
}

// pickTraces copies what refs name.
func pickTraces(td ptrace.Traces, refs []ref, marker string) ptrace.Traces {
	out := ptrace.NewTraces()
	record := -1
	for _, rs := range td.ResourceSpans().All() {
		var outRS ptrace.ResourceSpans
		hasRS := false
		for _, ss := range rs.ScopeSpans().All() {
			var outSS ptrace.ScopeSpans
			hasSS := false
			for _, s := range ss.Spans().All() {
				record++
				if len(refs) == 0 {
					return out
				}
				if refs[0].record != record {
					continue
				}
				if !hasRS {
					hasRS = true
					outRS = out.ResourceSpans().AppendEmpty()
					rs.Resource().CopyTo(outRS.Resource())
					outRS.SetSchemaUrl(rs.SchemaUrl())
				}
				if !hasSS {
					hasSS = true
					outSS = outRS.ScopeSpans().AppendEmpty()
					ss.Scope().CopyTo(outSS.Scope())
					outSS.SetSchemaUrl(ss.SchemaUrl())
				}
				n := 1
				for n < len(refs) && refs[n].record == record {
					n++
				}
				pickSpan(s, outSS.Spans().AppendEmpty(), refs[:n], marker)
				refs = refs[n:]
			}
		}
	}
	return out
}

func pickSpan(s, out ptrace.Span, refs []ref, marker string) {
	s.CopyTo(out)
	if refs[0].event == whole {
		refs = refs[1:]
	} else {
		out.Attributes().PutStr(attrInfos[attrMarker].name, marker)
	}
	event := -1
	out.Events().RemoveIf(func(ptrace.SpanEvent) bool {
		event++
		if len(refs) > 0 && refs[0].event == event {
			refs = refs[1:]
			return false
		}
		return true
	})
}

// pickLogs copies what refs name.
func pickLogs(ld plog.Logs, refs []ref) plog.Logs {
	out := plog.NewLogs()
	record := -1
	for _, rl := range ld.ResourceLogs().All() {
		var outRL plog.ResourceLogs
		hasRL := false
		for _, sl := range rl.ScopeLogs().All() {
			var outSL plog.ScopeLogs
			hasSL := false
			for _, r := range sl.LogRecords().All() {
				record++
				if len(refs) == 0 {
					return out
				}
				if refs[0].record != record {
					continue
				}
				refs = refs[1:]
				if !hasRL {
					hasRL = true
					outRL = out.ResourceLogs().AppendEmpty()
					rl.Resource().CopyTo(outRL.Resource())
					outRL.SetSchemaUrl(rl.SchemaUrl())
				}
				if !hasSL {
					hasSL = true
					outSL = outRL.ScopeLogs().AppendEmpty()
					sl.Scope().CopyTo(outSL.Scope())
					outSL.SetSchemaUrl(sl.SchemaUrl())
				}
				r.CopyTo(outSL.LogRecords().AppendEmpty())
			}
		}
	}
	return out
}

// pickMetrics copies what refs name. Metrics of which nothing is left are left out.
func pickMetrics(md pmetric.Metrics, refs []ref) pmetric.Metrics {
	out := pmetric.NewMetrics()
	md.CopyTo(out)
	record := -1
	// done is called once for every data point, in order.
	done := func() bool {
		record++
		if len(refs) > 0 && refs[0].record == record {
			refs = refs[1:]
			return false
		}
		return true
	}
	out.ResourceMetrics().RemoveIf(func(rm pmetric.ResourceMetrics) bool {
		rm.ScopeMetrics().RemoveIf(func(sm pmetric.ScopeMetrics) bool {
			sm.Metrics().RemoveIf(func(m pmetric.Metric) bool {
				switch m.Type() {
				case pmetric.MetricTypeGauge:
					m.Gauge().DataPoints().RemoveIf(func(pmetric.NumberDataPoint) bool { return done() })
					return m.Gauge().DataPoints().Len() == 0
				case pmetric.MetricTypeSum:
					m.Sum().DataPoints().RemoveIf(func(pmetric.NumberDataPoint) bool { return done() })
					return m.Sum().DataPoints().Len() == 0
				case pmetric.MetricTypeHistogram:
					m.Histogram().DataPoints().RemoveIf(func(pmetric.HistogramDataPoint) bool { return done() })
					return m.Histogram().DataPoints().Len() == 0
				case pmetric.MetricTypeExponentialHistogram:
					m.ExponentialHistogram().DataPoints().RemoveIf(func(pmetric.ExponentialHistogramDataPoint) bool { return done() })
					return m.ExponentialHistogram().DataPoints().Len() == 0
				case pmetric.MetricTypeSummary:
					m.Summary().DataPoints().RemoveIf(func(pmetric.SummaryDataPoint) bool { return done() })
					return m.Summary().DataPoints().Len() == 0
				default:
					return true
				}
			})
			return sm.Metrics().Len() == 0
		})
		return rm.ScopeMetrics().Len() == 0
	})
	return out
}
