// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"context"
	"hash/maphash"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"go.opentelemetry.io/collector/processor"

	"github.com/otelcol-custom/otelcol-custom/processor/cloudroleprocessor/internal/metadata"
)

// What a client sends must grow neither memory nor the log.
const (
	maxLoggedNames   = 100 // services that are logged, per processor and pipeline
	maxLoggedNameLen = 256 // bytes of a name in the log, the length Application Insights keeps
)

var outcomeNames = [outcomes]string{
	outcomeMapping:    "mapping",
	outcomeRule:       "rule",
	outcomeTemplate:   "template",
	outcomeUnresolved: "unresolved",
	outcomeKept:       "kept",
}

type telemetry struct {
	builder *metadata.TelemetryBuilder
	options [outcomes][]metric.AddOption
	logger  *zap.Logger

	seed   maphash.Seed
	mu     sync.Mutex
	logged map[uint64]struct{} // hashes of the names logged; guarded by mu
}

func newTelemetry(set processor.Settings) (*telemetry, error) {
	builder, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	t := &telemetry{
		builder: builder,
		logger:  set.Logger,
		seed:    maphash.MakeSeed(),
		logged:  make(map[uint64]struct{}, maxLoggedNames),
	}
	for i, name := range outcomeNames {
		attrs := attribute.NewSet(attribute.String("outcome", name), attribute.String("processor", set.ID.String()))
		t.options[i] = []metric.AddOption{metric.WithAttributeSet(attrs)}
	}
	return t, nil
}

// count adds a batch's tally.
func (t *telemetry) count(ctx context.Context, tally *[outcomes]int64) {
	for i, n := range tally {
		if n > 0 {
			t.builder.ProcessorCloudroleResources.Add(ctx, n, t.options[i]...)
		}
	}
}

// firstTime says whether an unresolved service is to be logged, and whether it is the
// last one that will be.
func (t *telemetry) firstTime(serviceName string) (first, last bool) {
	hash := maphash.String(t.seed, serviceName)
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.logged[hash]; known || len(t.logged) == maxLoggedNames {
		return false, false
	}
	t.logged[hash] = struct{}{}
	return true, len(t.logged) == maxLoggedNames
}

func (t *telemetry) logUnresolved(serviceName string, missing []string) {
	fields := []zap.Field{
		zap.String(attrServiceName, serviceName[:min(len(serviceName), maxLoggedNameLen)]),
		zap.Strings("missing", missing),
		zap.String("advice", "add the name to mappings, or have one of the missing attributes set before this processor"),
	}
	if serviceName == "" {
		t.logger.Warn("No cloud role for resources without service.name: none is set", fields...)
		return
	}
	t.logger.Warn("No cloud role for a service: its name is used as it came", fields...)
}

func (t *telemetry) logLast() {
	t.logger.Warn("No more services without a cloud role will be logged; the metric goes on counting them",
		zap.Int("logged", maxLoggedNames))
}
