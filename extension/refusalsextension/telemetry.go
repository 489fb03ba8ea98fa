// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-custom/otelcol-custom/extension/refusalsextension/internal/connections"
	"github.com/otelcol-custom/otelcol-custom/extension/refusalsextension/internal/metadata"
)

// refusals is the extension: what the two servers' parts report to.
type refusals struct {
	logger  *zap.Logger
	builder *metadata.TelemetryBuilder

	limits   limits
	places   *places
	arriving arriving
	encoded  sync.Map // of requests that the codec has seen and the stats handler has not: their bytes

	uploadLimit time.Duration

	maxConnections int
	stop           func() // of what limits connections; nil when nothing does
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
		logger:         set.Logger,
		builder:        builder,
		limits:         limits{decoded: config.MaxDecodedMiB << 20, inFlight: config.MaxInFlightMiB << 20},
		places:         newPlaces(),
		uploadLimit:    uploadLimit,
		maxConnections: config.MaxConnections,
	}, nil
}

// Start implements component.Component. Requests are limited also where connections
// cannot be.
func (r *refusals) Start(ctx context.Context, _ component.Host) error {
	allowed, stop, err := connections.Limit(r.maxConnections, r.ended)
	switch {
	case err == nil:
		r.stop = stop
		if allowed < r.maxConnections {
			r.logger.Info("Connections are limited to half of the descriptors that the process may have",
				zap.Int("max_connections", r.maxConnections), zap.Int("allowed", allowed))
		}
		r.builder.ExtensionRefusalsConnections.Add(ctx, 0) // a rate begins with what was before
	case errors.Is(err, errors.ErrUnsupported):
		r.logger.Info("Connections are not limited on this system")
	case errors.Is(err, connections.ErrLimited):
		r.logger.Info("Connections are limited by another instance of this extension")
	default:
		r.logger.Warn("Connections are not limited", zap.Error(err))
	}
	return nil
}

// Shutdown implements component.Component.
func (r *refusals) Shutdown(context.Context) error {
	if r.stop != nil {
		r.stop()
	}
	r.builder.Shutdown()
	return nil
}

// ended logs and counts connections of one address.
func (r *refusals) ended(e connections.Ended) {
	r.builder.ExtensionRefusalsConnections.Add(context.Background(), int64(e.Ended))
	r.logger.Warn("Connections ended", zap.Stringer("client", e.Address),
		zap.Int("had", e.Had), zap.Int("ended", e.Ended), zap.Int("max_connections", e.Limit))
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
