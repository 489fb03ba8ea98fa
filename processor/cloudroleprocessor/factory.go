// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processorhelper"

	"github.com/otelcol-custom/otelcol-custom/processor/cloudroleprocessor/internal/metadata"
)

const (
	defaultOutput   = OutputTags
	defaultOverride = false
)

// capabilities: resource attributes are written in place.
var capabilities = consumer.Capabilities{MutatesData: true}

// NewFactory returns the factory of the cloudrole processor.
func NewFactory() processor.Factory {
	return processor.NewFactory(
		metadata.Type,
		createDefaultConfig,
		processor.WithTraces(createTraces, metadata.TracesStability),
		processor.WithMetrics(createMetrics, metadata.MetricsStability),
		processor.WithLogs(createLogs, metadata.LogsStability),
	)
}

func createDefaultConfig() component.Config {
	return &Config{
		Role: []Template{
			"{service.namespace}.{service.name}",
			"{service.name}",
			"{k8s.deployment.name}",
			"{k8s.replicaset.name}",
			"{k8s.statefulset.name}",
			"{k8s.job.name}",
			"{k8s.cronjob.name}",
			"{k8s.daemonset.name}",
		},
		Instance:           []Template{"{service.instance.id}", "{k8s.pod.name}", "{host.name}"},
		IgnoreServiceNames: []Glob{"unknown_service*"},
		Output:             defaultOutput,
		Override:           defaultOverride,
	}
}

func createTraces(
	ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Traces,
) (processor.Traces, error) {
	p, err := newRoleProcessor(cfg.(*Config), set)
	if err != nil {
		return nil, err
	}
	return processorhelper.NewTraces(ctx, set, cfg, next, p.processTraces, processorhelper.WithCapabilities(capabilities))
}

func createMetrics(
	ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Metrics,
) (processor.Metrics, error) {
	p, err := newRoleProcessor(cfg.(*Config), set)
	if err != nil {
		return nil, err
	}
	return processorhelper.NewMetrics(ctx, set, cfg, next, p.processMetrics, processorhelper.WithCapabilities(capabilities))
}

func createLogs(
	ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Logs,
) (processor.Logs, error) {
	p, err := newRoleProcessor(cfg.(*Config), set)
	if err != nil {
		return nil, err
	}
	return processorhelper.NewLogs(ctx, set, cfg, next, p.processLogs, processorhelper.WithCapabilities(capabilities))
}
