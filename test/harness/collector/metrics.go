// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// Metric returns the sum of the collector's own metric over all its series
// that have the labels ("exporter=debug"); 0 when there are none.
func (c *Collector) Metric(tb testing.TB, name string, labels ...string) float64 {
	tb.Helper()
	families, err := c.scrape()
	if err != nil {
		tb.Fatalf("the collector's own metrics: %v", err)
	}
	return sum(families[name], labels)
}

// AwaitMetric waits until [Collector.Metric] is at least want.
func (c *Collector) AwaitMetric(tb testing.TB, want float64, name string, labels ...string) {
	tb.Helper()
	harness.Await(tb, "own metric", func() error {
		families, err := c.scrape()
		if err != nil {
			return err
		}
		if got := sum(families[name], labels); got < want {
			return fmt.Errorf("%s%v is %v, not yet %v", name, labels, got, want)
		}
		return nil
	})
}

func (c *Collector) scrape() (map[string]*dto.MetricFamily, error) {
	body, err := harness.Get("http://" + c.MetricsAddress + "/metrics")
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(body))
}

func sum(family *dto.MetricFamily, labels []string) float64 {
	total := 0.0
	for _, m := range family.GetMetric() {
		if hasAll(m, labels) {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
		}
	}
	return total
}

func hasAll(m *dto.Metric, labels []string) bool {
	for _, label := range labels {
		name, value, _ := strings.Cut(label, "=")
		found := false
		for _, pair := range m.GetLabel() {
			found = found || pair.GetName() == name && pair.GetValue() == value
		}
		if !found {
			return false
		}
	}
	return true
}
