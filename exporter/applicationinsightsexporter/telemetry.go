// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/otelcol-custom/otelcol-custom/exporter/applicationinsightsexporter/internal/metadata"
)

// requestOutcome is what came of a request.
type requestOutcome uint8

const (
	outcomeAccepted requestOutcome = iota
	outcomePartial
	outcomeRefused
	outcomeAgain
	outcomeThrottled
	outcomeTooLarge
	outcomeUnreadable
	outcomeFailed
	outcomeNoCredential
	outcomeCount
)

// outcomeNames are in the order of the constants.
var outcomeNames = [outcomeCount]string{
	"accepted", "partial", "refused", "again", "throttled", "too_large", "unreadable", "failed", "no_credential",
}

// refusalReason is why an item was dropped.
type refusalReason string

const (
	reasonIngestion  refusalReason = "ingestion"
	reasonSampledOut refusalReason = "sampled_out"
	reasonTooLarge   refusalReason = "too_large"
	reasonNoValue    refusalReason = "no_value"
)

// telemetry is the generated builder with its attribute sets made once.
type telemetry struct {
	*metadata.TelemetryBuilder
	requests                    [outcomeCount][]metric.AddOption
	accepted, again, refused    []metric.AddOption
	encoded, sent               []metric.AddOption
	cutField, cutProps, cutKeys []metric.AddOption
}

func newTelemetry(set component.TelemetrySettings) (*telemetry, error) {
	b, err := metadata.NewTelemetryBuilder(set)
	if err != nil {
		return nil, fmt.Errorf("create metrics: %w", err)
	}
	with := func(key, value string) []metric.AddOption {
		return []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attribute.String(key, value)))}
	}
	t := &telemetry{
		TelemetryBuilder: b,
		accepted:         with("outcome", "accepted"),
		again:            with("outcome", "again"),
		refused:          with("outcome", "refused"),
		encoded:          with("stage", "encoded"),
		sent:             with("stage", "sent"),
		cutField:         with("field", "field"),
		cutProps:         with("field", "property"),
		cutKeys:          with("field", "key"),
	}
	for o := range outcomeCount {
		t.requests[o] = with("result", outcomeNames[o])
	}
	return t, nil
}

func (t *telemetry) request(ctx context.Context, o requestOutcome, encoded int, tr traffic) {
	t.ExporterApplicationinsightsRequests.Add(ctx, 1, t.requests[o]...)
	t.ExporterApplicationinsightsRequestBytes.Add(ctx, int64(encoded), t.encoded...)
	t.ExporterApplicationinsightsRequestBytes.Add(ctx, int64(tr.sent), t.sent...)
	if tr.redirects > 0 {
		t.ExporterApplicationinsightsRedirects.Add(ctx, int64(tr.redirects))
	}
}

func (t *telemetry) items(ctx context.Context, accepted, again, refused int) {
	for _, c := range []struct {
		n    int
		opts []metric.AddOption
	}{{accepted, t.accepted}, {again, t.again}, {refused, t.refused}} {
		if c.n > 0 {
			t.ExporterApplicationinsightsItems.Add(ctx, int64(c.n), c.opts...)
		}
	}
}

func (t *telemetry) drop(ctx context.Context, why dropped, n int) {
	t.ExporterApplicationinsightsRefusedItems.Add(ctx, int64(n), metric.WithAttributes(
		attribute.String("reason", string(why.reason)), attribute.Int("status", why.status)))
}

func (t *telemetry) cut(ctx context.Context, c cutCounts) {
	for _, n := range []struct {
		n    int64
		opts []metric.AddOption
	}{{c.fields, t.cutField}, {c.properties, t.cutProps}, {c.keys, t.cutKeys}} {
		if n.n > 0 {
			t.ExporterApplicationinsightsCutTexts.Add(ctx, n.n, n.opts...)
		}
	}
}

// logInterval is how often the log says the same thing again.
const logInterval = time.Minute

// steadyLog says each thing once an interval, and how often it kept quiet in between. Safe for concurrent use.
type steadyLog struct {
	logger *zap.Logger
	now    func() time.Time

	mu   sync.Mutex
	said map[string]*saying
}

type saying struct {
	last   time.Time
	silent int
}

// say logs under a key; keys are few, and none is made from telemetry.
func (l *steadyLog) say(level zapcore.Level, key, message string, fields ...zap.Field) {
	l.mu.Lock()
	s, now := l.said[key], l.now()
	if s == nil {
		s = &saying{}
		if l.said == nil {
			l.said = map[string]*saying{}
		}
		l.said[key] = s
	} else if now.Sub(s.last) < logInterval {
		s.silent++
		l.mu.Unlock()
		return
	}
	silent := s.silent
	s.last, s.silent = now, 0
	l.mu.Unlock()
	if silent > 0 {
		fields = append(fields, zap.Int("suppressed_since_last", silent))
	}
	l.logger.Log(level, message, fields...)
}
