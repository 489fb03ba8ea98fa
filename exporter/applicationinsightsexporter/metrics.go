// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-custom/otelcol-custom/exporter/applicationinsightsexporter/internal/appendjson"
)

// point is a data point of any kind as Application Insights stores it: how many values there were, their sum and
// their bounds.
type point struct {
	ts         pcommon.Timestamp
	attrs      pcommon.Map
	sum        float64
	count      uint64
	min, max   float64
	hasMin     bool
	hasMax     bool
	noValue    bool // flagged as a gap by the sender, or a distribution without a sum
	cumulative bool // ingestion would count it again with every point of its series
}

// points calls yield for each data point of m, in order.
func points(m pmetric.Metric, yield func(point)) {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		numberPoints(m.Gauge().DataPoints(), false, yield)
	case pmetric.MetricTypeSum:
		// A sum that goes up and down is a level and may be sent as it is.
		s := m.Sum()
		numberPoints(s.DataPoints(), s.IsMonotonic() && s.AggregationTemporality() == pmetric.AggregationTemporalityCumulative, yield)
	case pmetric.MetricTypeHistogram:
		cumulative := m.Histogram().AggregationTemporality() == pmetric.AggregationTemporalityCumulative
		for _, p := range m.Histogram().DataPoints().All() {
			yield(point{
				ts: p.Timestamp(), attrs: p.Attributes(), sum: p.Sum(), count: p.Count(),
				min: p.Min(), hasMin: p.HasMin(), max: p.Max(), hasMax: p.HasMax(),
				noValue:    p.Flags().NoRecordedValue() || (!p.HasSum() && p.Count() > 0),
				cumulative: cumulative,
			})
		}
	case pmetric.MetricTypeExponentialHistogram:
		cumulative := m.ExponentialHistogram().AggregationTemporality() == pmetric.AggregationTemporalityCumulative
		for _, p := range m.ExponentialHistogram().DataPoints().All() {
			yield(point{
				ts: p.Timestamp(), attrs: p.Attributes(), sum: p.Sum(), count: p.Count(),
				min: p.Min(), hasMin: p.HasMin(), max: p.Max(), hasMax: p.HasMax(),
				noValue:    p.Flags().NoRecordedValue() || (!p.HasSum() && p.Count() > 0),
				cumulative: cumulative,
			})
		}
	case pmetric.MetricTypeSummary:
		for _, p := range m.Summary().DataPoints().All() {
			// A summary counts from the start of its process, always.
			yield(point{
				ts: p.Timestamp(), attrs: p.Attributes(), sum: p.Sum(), count: p.Count(),
				noValue: p.Flags().NoRecordedValue(), cumulative: true,
			})
		}
	}
}

func numberPoints(s pmetric.NumberDataPointSlice, cumulative bool, yield func(point)) {
	for _, p := range s.All() {
		value := p.DoubleValue()
		if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
			value = float64(p.IntValue())
		}
		yield(point{
			ts: p.Timestamp(), attrs: p.Attributes(), sum: value, count: 1,
			noValue:    p.Flags().NoRecordedValue() || p.ValueType() == pmetric.NumberDataPointValueTypeEmpty,
			cumulative: cumulative,
		})
	}
}

// finite tells whether JSON can hold the value. The bounds may be left out instead.
func (p *point) finite() bool { return !math.IsNaN(p.sum) && !math.IsInf(p.sum, 0) }

// metric writes the envelope of one data point.
func (e *encoder) metric(name string, p *point) {
	ts := p.ts
	if ts == 0 {
		ts = pcommon.NewTimestampFromTime(e.now())
	}
	e.begin("Metric", ts, 100)
	e.deviceTags(&e.own)
	e.data("MetricData")
	metricName := textOf(name)
	if metricName.empty() {
		metricName.str(unnamed)
	}
	e.raw(`,"metrics":[{"name":`)
	var cut bool
	e.buf, cut = metricName.append(e.buf, limitName)
	e.cutField(cut)
	e.raw(`,"kind":"Aggregation","value":`)
	e.buf, _ = appendjson.Float(e.buf, p.sum)
	if p.count <= math.MaxInt32 {
		e.raw(`,"count":`)
		e.buf = strconv.AppendUint(e.buf, p.count, 10)
	}
	e.bound(`,"min":`, p.min, p.hasMin)
	e.bound(`,"max":`, p.max, p.hasMax)
	e.raw("}]")
	e.openProperties()
	e.properties(p.attrs)
	e.closeProperties()
	e.end()
}

func (e *encoder) bound(key string, value float64, has bool) {
	if !has {
		return
	}
	at := len(e.buf)
	e.raw(key)
	var ok bool
	if e.buf, ok = appendjson.Float(e.buf, value); !ok {
		e.buf = e.buf[:at]
	}
}

// parseMeasurements reads a JSON object of numbers into m; values of other types are passed over.
func parseMeasurements(text string, m pcommon.Map) bool {
	var values map[string]any
	if json.Unmarshal([]byte(text), &values) != nil {
		return false
	}
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if n, ok := values[k].(float64); ok {
			m.PutDouble(k, n)
		}
	}
	return true
}
