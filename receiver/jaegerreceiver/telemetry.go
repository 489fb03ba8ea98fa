// SPDX-License-Identifier: Apache-2.0

package jaegerreceiver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-custom/otelcol-custom/receiver/jaegerreceiver/internal/metadata"
)

// reason is why a datagram was dropped.
type reason uint8

const (
	malformed reason = iota
	queueFull
	tooLarge
	unsupported
	reasons
)

var reasonNames = [reasons]string{
	malformed: "malformed", queueFull: "queue_full", tooLarge: "too_large", unsupported: "unsupported",
}

// logInterval is how often a reason is logged: whoever sends datagrams must not be
// able to fill the log.
const logInterval = time.Minute

// telemetry counts and logs the dropped datagrams of one transport. Safe for
// concurrent use.
type telemetry struct {
	builder *metadata.TelemetryBuilder
	options [reasons][]metric.AddOption
	logger  *zap.Logger

	mu     sync.Mutex
	logged [reasons]time.Time // when a reason was logged last; guarded by mu
}

func newTelemetry(builder *metadata.TelemetryBuilder, set component.TelemetrySettings, transport string) *telemetry {
	t := &telemetry{builder: builder, logger: set.Logger.With(zap.String("transport", transport))}
	for r, name := range reasonNames {
		attrs := attribute.NewSet(attribute.String("reason", name), attribute.String("transport", transport))
		t.options[r] = []metric.AddOption{metric.WithAttributeSet(attrs)}
	}
	return t
}

// drop counts a datagram and logs the reason once an interval.
func (t *telemetry) drop(ctx context.Context, r reason, fields ...zap.Field) {
	t.builder.ReceiverJaegerDroppedDatagrams.Add(ctx, 1, t.options[r]...)
	now := time.Now()
	t.mu.Lock()
	quiet := now.Sub(t.logged[r]) < logInterval
	if !quiet {
		t.logged[r] = now
	}
	t.mu.Unlock()
	if !quiet {
		t.logger.Warn("A datagram was dropped; further ones are counted in otelcol_receiver_jaeger_dropped_datagrams",
			append(fields, zap.String("reason", reasonNames[r]))...)
	}
}

func newBuilder(set component.TelemetrySettings) (*metadata.TelemetryBuilder, error) {
	builder, err := metadata.NewTelemetryBuilder(set)
	if err != nil {
		return nil, fmt.Errorf("create metrics: %w", err)
	}
	return builder, nil
}
