// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configcompression"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"

	"github.com/otelcol-custom/otelcol-custom/exporter/applicationinsightsexporter/internal/metadata"
)

const (
	// defaultTimeout is generous: an answer that is given up on is data stored twice, and answers have been
	// seen to take more than 100 s.
	defaultTimeout         = 2 * time.Minute
	defaultMaxRequestBytes = 1 << 20
	defaultMaxRequestItems = 1024
	defaultSpanEvents      = SpanEventsExceptions
	defaultServer4xx       = OutcomeFailure
	defaultDailyCap        = CapActionDrop
)

// NewFactory returns the factory of the applicationinsights exporter.
func NewFactory() exporter.Factory {
	return exporter.NewFactory(
		metadata.Type,
		createDefaultConfig,
		exporter.WithTraces(createTraces, metadata.TracesStability),
		exporter.WithMetrics(createMetrics, metadata.MetricsStability),
		exporter.WithLogs(createLogs, metadata.LogsStability),
	)
}

func createDefaultConfig() component.Config {
	client := confighttp.NewDefaultClientConfig()
	client.Timeout = defaultTimeout
	client.Compression = configcompression.TypeGzip
	retry := configretry.NewDefaultBackOffConfig()
	retry.MaxElapsedTime = 0 // never give up: ingestion says itself what is too old
	return &Config{
		ClientConfig:    client,
		SpanEvents:      defaultSpanEvents,
		Properties:      PropertiesConfig{Resource: true, Consumed: true},
		Server4xx:       defaultServer4xx,
		DailyCap:        defaultDailyCap,
		MaxRequestBytes: defaultMaxRequestBytes,
		MaxRequestItems: defaultMaxRequestItems,
		QueueConfig:     configoptional.Some(exporterhelper.NewDefaultQueueConfig()),
		RetryConfig:     retry,
	}
}

func createTraces(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Traces, error) {
	x, err := newAppInsights(cfg.(*Config), set)
	if err != nil {
		return nil, err
	}
	next, err := exporterhelper.NewTraces(ctx, set, cfg, x.pushTraces, x.options()...)
	if err != nil {
		return nil, err
	}
	return &tracesExporter{Traces: next, stopper: stopper{x: x, next: next}}, nil
}

func createMetrics(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Metrics, error) {
	x, err := newAppInsights(cfg.(*Config), set)
	if err != nil {
		return nil, err
	}
	next, err := exporterhelper.NewMetrics(ctx, set, cfg, x.pushMetrics, x.options()...)
	if err != nil {
		return nil, err
	}
	return &metricsExporter{Metrics: next, stopper: stopper{x: x, next: next}}, nil
}

func createLogs(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Logs, error) {
	x, err := newAppInsights(cfg.(*Config), set)
	if err != nil {
		return nil, err
	}
	next, err := exporterhelper.NewLogs(ctx, set, cfg, x.pushLogs, x.options()...)
	if err != nil {
		return nil, err
	}
	return &logsExporter{Logs: next, stopper: stopper{x: x, next: next}}, nil
}

func (x *appInsights) options() []exporterhelper.Option {
	return []exporterhelper.Option{
		exporterhelper.WithStart(x.start),
		exporterhelper.WithShutdown(x.shutdown),
		exporterhelper.WithCapabilities(consumer.Capabilities{MutatesData: false}),
		// The HTTP client has the timeout, one for each request; a push may be several.
		exporterhelper.WithTimeout(exporterhelper.TimeoutConfig{Timeout: 0}),
		exporterhelper.WithRetry(x.cfg.RetryConfig),
		exporterhelper.WithQueue(x.cfg.QueueConfig),
	}
}

type (
	tracesExporter struct {
		exporter.Traces
		stopper
	}
	metricsExporter struct {
		exporter.Metrics
		stopper
	}
	logsExporter struct {
		exporter.Logs
		stopper
	}
)

// Shutdown, in each of them, is the stopper's.
func (e *tracesExporter) Shutdown(ctx context.Context) error  { return e.shutdown(ctx) }
func (e *metricsExporter) Shutdown(ctx context.Context) error { return e.shutdown(ctx) }
func (e *logsExporter) Shutdown(ctx context.Context) error    { return e.shutdown(ctx) }

// stopper stands around exporterhelper's Shutdown, which waits for pushes under way however long they take, and
// which must not run twice.
type stopper struct {
	x    *appInsights
	next component.Component
	once sync.Once
	err  error
}

func (s *stopper) shutdown(ctx context.Context) error {
	s.once.Do(func() {
		defer s.x.stopping(ctx)()
		s.err = s.next.Shutdown(ctx)
	})
	return s.err
}
