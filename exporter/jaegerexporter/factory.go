// SPDX-License-Identifier: Apache-2.0

package jaegerexporter

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"

	"github.com/otelcol-custom/otelcol-custom/exporter/jaegerexporter/internal/metadata"
)

// The removed exporter's defaults, which differ from those that configgrpc has today.
const (
	defaultWriteBufferSize = 512 * 1024
	// defaultBalancerName is gRPC's own choice, pick_first.
	defaultBalancerName = ""
)

// NewFactory returns the factory of the jaeger exporter.
func NewFactory() exporter.Factory {
	return exporter.NewFactory(
		metadata.Type,
		createDefaultConfig,
		exporter.WithTraces(createTraces, metadata.TracesStability),
	)
}

func createDefaultConfig() component.Config {
	client := configgrpc.NewDefaultClientConfig()
	client.WriteBufferSize = defaultWriteBufferSize
	client.BalancerName = defaultBalancerName
	// A gRPC server closes connections that are pinged more often than every five
	// minutes unless it is told otherwise, and Jaeger's is not.
	client.Keepalive = configoptional.None[configgrpc.KeepaliveClientConfig]()
	return &Config{
		TimeoutConfig: exporterhelper.NewDefaultTimeoutConfig(),
		QueueConfig:   configoptional.Some(exporterhelper.NewDefaultQueueConfig()),
		RetryConfig:   configretry.NewDefaultBackOffConfig(),
		ClientConfig:  client,
	}
}

func createTraces(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Traces, error) {
	e, err := newJaeger(cfg.(*Config), set)
	if err != nil {
		return nil, err
	}
	next, err := exporterhelper.NewTraces(ctx, set, cfg, e.pushTraces,
		exporterhelper.WithStart(e.start),
		exporterhelper.WithShutdown(e.shutdown),
		exporterhelper.WithCapabilities(consumer.Capabilities{MutatesData: false}),
		// The timeout is each call's, not the push's, which would fail for ever
		// where a push has more calls than fit into it.
		exporterhelper.WithTimeout(exporterhelper.TimeoutConfig{Timeout: 0}),
		exporterhelper.WithQueue(e.cfg.QueueConfig),
		exporterhelper.WithRetry(e.cfg.RetryConfig),
	)
	if err != nil {
		return nil, err
	}
	return &tracesExporter{Traces: next, jaeger: e}, nil
}
