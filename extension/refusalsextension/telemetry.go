// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-custom/otelcol-custom/extension/refusalsextension/internal/metadata"
)

// refusals is the extension: what the two servers' parts report to.
type refusals struct {
	component.StartFunc
	component.ShutdownFunc

	logger  *zap.Logger
	builder *metadata.TelemetryBuilder

	limits   limits
	places   *places
	arriving arriving
	encoded  sync.Map // of requests that the codec has seen and the stats handler has not: their bytes

	uploadLimit time.Duration
}

var (
	_ extension.Extension            = (*refusals)(nil)
	_ extensionmiddleware.HTTPServer = (*refusals)(nil)
	_ extensionmiddleware.GRPCServer = (*refusals)(nil)
)

func newRefusals(set extension.Settings, config *Config) (*refusals, error) {
	builder, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &refusals{
		ShutdownFunc: func(context.Context) error { builder.Shutdown(); return nil },
		logger:       set.Logger,
		builder:      builder,
		limits:       limits{decoded: config.MaxDecodedMiB << 20, inFlight: config.MaxInFlightMiB << 20},
		places:       newPlaces(),
		uploadLimit:  uploadLimit,
	}, nil
}

// longestTarget bounds what a log line holds of a path that a client made up.
const longestTarget = 200

// refusal is a request that was refused.
type refusal struct {
	transport, status, target, client string
	reason                            error // nil when it was the receiver that refused it
}

// refused logs and counts one request. Lines are few even in a flood: the collector
// samples its log.
func (r *refusals) refused(ctx context.Context, of refusal) {
	r.builder.ExtensionRefusalsRequests.Add(ctx, 1, metric.WithAttributes(
		attribute.String("status", of.status), attribute.String("transport", of.transport)))
	fields := []zap.Field{
		zap.String("transport", of.transport),
		zap.String("status", of.status),
		zap.String("target", of.target[:min(len(of.target), longestTarget)]),
		zap.String("client", of.client),
	}
	if of.reason != nil {
		fields = append(fields, zap.String("reason", of.reason.Error()))
	}
	r.logger.Warn("Request refused", fields...)
}
