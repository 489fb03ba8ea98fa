// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"context"
	"slices"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processorhelper"

	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/metadata"
)

var capabilities = consumer.Capabilities{MutatesData: true}

const (
	defaultDirectory = "/podinfo"
	defaultCPUUnit   = CPUUnitAuto
	defaultAuthType  = AuthTypeServiceAccount
)

// NewFactory returns the factory of the k8senrich processor.
func NewFactory() processor.Factory {
	f := &factory{shared: map[*Config]*shared{}}
	return processor.NewFactory(metadata.Type, createDefaultConfig,
		processor.WithTraces(f.createTraces, metadata.TracesStability),
		processor.WithMetrics(f.createMetrics, metadata.MetricsStability),
		processor.WithLogs(f.createLogs, metadata.LogsStability))
}

func createDefaultConfig() component.Config {
	return &Config{
		DownwardAPI: configoptional.Default(DownwardAPIConfig{
			Directory: defaultDirectory,
			Env:       defaultEnv(),
			CPUUnit:   defaultCPUUnit,
		}),
		ContainerResources: configoptional.Default(ContainerResourcesConfig{
			AuthType:   defaultAuthType,
			Attributes: slices.Clone(resourceAttributes),
		}),
	}
}

// defaultEnv returns a map of its own, since users' entries are added to it.
func defaultEnv() map[string]string {
	return map[string]string{
		"k8s.pod.name":               "POD_NAME",
		"k8s.pod.uid":                "POD_UID",
		"k8s.pod.ip":                 "POD_IP",
		"k8s.namespace.name":         "POD_NAMESPACE",
		"k8s.node.name":              "NODE_NAME",
		"service.version":            "APP_VERSION",
		"k8s.container.cpu.limit":    "CPU_LIMIT",
		"k8s.container.memory.limit": "MEMORY_LIMIT",
	}
}

// factory remembers what the pipelines of one configuration share.
type factory struct {
	mu     sync.Mutex
	shared map[*Config]*shared
}

func (f *factory) createTraces(ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Traces) (processor.Traces, error) {
	p, err := f.newProcessor(set, cfg.(*Config))
	if err != nil {
		return nil, err
	}
	return processorhelper.NewTraces(ctx, set, cfg, next, p.processTraces,
		processorhelper.WithCapabilities(capabilities), processorhelper.WithStart(p.start), processorhelper.WithShutdown(p.shutdown))
}

func (f *factory) createMetrics(ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Metrics) (processor.Metrics, error) {
	p, err := f.newProcessor(set, cfg.(*Config))
	if err != nil {
		return nil, err
	}
	return processorhelper.NewMetrics(ctx, set, cfg, next, p.processMetrics,
		processorhelper.WithCapabilities(capabilities), processorhelper.WithStart(p.start), processorhelper.WithShutdown(p.shutdown))
}

func (f *factory) createLogs(ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Logs) (processor.Logs, error) {
	p, err := f.newProcessor(set, cfg.(*Config))
	if err != nil {
		return nil, err
	}
	return processorhelper.NewLogs(ctx, set, cfg, next, p.processLogs,
		processorhelper.WithCapabilities(capabilities), processorhelper.WithStart(p.start), processorhelper.WithShutdown(p.shutdown))
}

func (f *factory) newProcessor(set processor.Settings, cfg *Config) (*enrichProcessor, error) {
	t, err := newTelemetry(set.TelemetrySettings, set.ID)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.shared[cfg]
	if !ok {
		ofWatch, err := newTelemetry(set.TelemetrySettings, set.ID)
		if err != nil {
			return nil, err
		}
		s = newShared(cfg, set.Logger, ofWatch, func() { f.forget(cfg) })
		f.shared[cfg] = s
	}
	return &enrichProcessor{shared: s, telemetry: t}, nil
}

func (f *factory) forget(cfg *Config) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.shared, cfg)
}
