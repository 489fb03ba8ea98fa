// SPDX-License-Identifier: Apache-2.0

package jaegerexporter

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-custom/otelcol-custom/exporter/jaegerexporter/internal/metadata"
)

// logInterval is how often a refusal with the same code is logged.
const logInterval = time.Minute

// telemetry counts and logs refusals. Safe for concurrent use.
type telemetry struct {
	builder *metadata.TelemetryBuilder
	codes   map[string][]metric.AddOption
	logger  *zap.Logger

	mu     sync.Mutex
	logged map[string]time.Time // when a code was logged last; guarded by mu
}

func newTelemetry(set component.TelemetrySettings) (*telemetry, error) {
	builder, err := metadata.NewTelemetryBuilder(set)
	if err != nil {
		return nil, fmt.Errorf("create metrics: %w", err)
	}
	t := &telemetry{
		builder: builder,
		codes:   make(map[string][]metric.AddOption, len(refusals)+1),
		logger:  set.Logger,
		logged:  map[string]time.Time{},
	}
	add := func(name string) {
		attrs := attribute.NewSet(attribute.String("code", name))
		t.codes[name] = []metric.AddOption{metric.WithAttributeSet(attrs)}
	}
	for _, name := range refusals {
		add(name)
	}
	add(nameTooLarge)
	return t, nil
}

// refuse counts spans that are dropped, and logs the reason once an interval.
func (t *telemetry) refuse(ctx context.Context, code string, spans int, err error) {
	t.builder.ExporterJaegerRefusedSpans.Add(ctx, int64(spans), t.codes[code]...)
	now := time.Now()
	t.mu.Lock()
	quiet := now.Sub(t.logged[code]) < logInterval
	if !quiet {
		t.logged[code] = now
	}
	t.mu.Unlock()
	if !quiet {
		t.logger.Error("Jaeger refuses spans for good; they are dropped, and further ones are counted in otelcol_exporter_jaeger_refused_spans",
			zap.Int("spans", spans), zap.Error(err))
	}
}
