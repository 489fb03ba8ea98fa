// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"context"

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
}

var (
	_ extension.Extension            = (*refusals)(nil)
	_ extensionmiddleware.HTTPServer = (*refusals)(nil)
	_ extensionmiddleware.GRPCServer = (*refusals)(nil)
)

func newRefusals(set extension.Settings) (*refusals, error) {
	builder, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &refusals{
		ShutdownFunc: func(context.Context) error { builder.Shutdown(); return nil },
		logger:       set.Logger,
		builder:      builder,
	}, nil
}

// longestTarget bounds what a log line holds of a path that a client made up.
const longestTarget = 200

// refused logs and counts one request. Lines are few even in a flood: the collector
// samples its log.
func (r *refusals) refused(ctx context.Context, transport, status, target, client string) {
	r.builder.ExtensionRefusalsRequests.Add(ctx, 1, metric.WithAttributes(
		attribute.String("status", status), attribute.String("transport", transport)))
	r.logger.Warn("Request refused",
		zap.String("transport", transport),
		zap.String("status", status),
		zap.String("target", target[:min(len(target), longestTarget)]),
		zap.String("client", client))
}
