// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processorhelper"

	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/metadata"
)

var capabilities = consumer.Capabilities{MutatesData: true}

const (
	defaultDirectory    = "/podinfo"
	defaultCPUUnit      = CPUUnitAuto
	defaultAuthType     = AuthTypeServiceAccount
	defaultMaxStaleness = 10 * time.Minute
)

// NewFactory returns the factory of the k8senrich processor.
func NewFactory() processor.Factory {
	f := newFactory()
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
		PodAssociation: configoptional.Default(PodAssociationConfig{
			AuthType:     defaultAuthType,
			MaxStaleness: defaultMaxStaleness,
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

// factory remembers what processors share.
type factory struct {
	mu      sync.Mutex
	shared  map[*Config]*shared  // by the pipelines of one configuration
	watches map[api]*sharedWatch // by all that ask the API server the same
}

// api is what a watch of the API server is made from.
type api struct {
	authType       AuthType
	nodeFromEnvVar string
}

func newFactory() *factory {
	return &factory{shared: map[*Config]*shared{}, watches: map[api]*sharedWatch{}}
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
		if s, err = f.newShared(set, cfg); err != nil {
			return nil, err
		}
		f.shared[cfg] = s
	}
	return &enrichProcessor{shared: s, telemetry: t}, nil
}

func (f *factory) newShared(set processor.Settings, cfg *Config) (*shared, error) {
	s := &shared{
		cfg:     cfg,
		logger:  set.Logger,
		aliases: newAliaser(cfg.Aliases),
		users:   map[*enrichProcessor]struct{}{},
		forget:  func() { f.locked(func() { delete(f.shared, cfg) }) },
	}
	if c := cfg.PodAssociation.Get(); c != nil {
		w, err := f.watch(set, "pod_association", api{c.AuthType, c.NodeFromEnvVar})
		if err != nil {
			return nil, err
		}
		w.watcher.LimitStaleness(c.MaxStaleness)
		s.watches = append(s.watches, w)
		s.association = &association{watcher: w.watcher}
	}
	if c := cfg.ContainerResources.Get(); c != nil {
		w, err := f.watch(set, "container_resources", api{c.AuthType, c.NodeFromEnvVar})
		if err != nil {
			return nil, err
		}
		s.watches = append(s.watches, w)
		s.limits = newLimits(w.watcher.Pods, c.Attributes)
	}
	return s, nil
}

// watch returns the watch of an API server, which has the ID of the processor
// that asks for it first.
func (f *factory) watch(set processor.Settings, key string, from api) (*sharedWatch, error) {
	if w, ok := f.watches[from]; ok {
		return w, nil
	}
	t, err := newTelemetry(set.TelemetrySettings, set.ID)
	if err != nil {
		return nil, err
	}
	w := newSharedWatch(key, from, set.Logger, t, func() { f.locked(func() { delete(f.watches, from) }) })
	f.watches[from] = w
	return w, nil
}

func (f *factory) locked(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}
