// SPDX-License-Identifier: Apache-2.0

package jaegerreceiver

import (
	"context"

	upstream "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/jaegerreceiver"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"

	"github.com/otelcol-custom/otelcol-custom/receiver/jaegerreceiver/internal/metadata"
)

// NewFactory returns the factory of the jaeger receiver.
func NewFactory() receiver.Factory {
	return receiver.NewFactory(
		metadata.Type,
		createDefaultConfig,
		receiver.WithTraces(createTraces, metadata.TracesStability),
	)
}

// createDefaultConfig gives upstream's defaults: each protocol is off until its key
// is there, and then listens on localhost.
func createDefaultConfig() component.Config {
	return &Config{Upstream: *upstream.NewFactory().CreateDefaultConfig().(*upstream.Config)}
}

func createTraces(ctx context.Context, set receiver.Settings, cfg component.Config, next consumer.Traces) (receiver.Traces, error) {
	return newReceiver(ctx, cfg.(*Config), set, next)
}
