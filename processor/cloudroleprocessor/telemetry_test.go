// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-custom/otelcol-custom/processor/cloudroleprocessor/internal/metadata"
	"github.com/otelcol-custom/otelcol-custom/processor/cloudroleprocessor/internal/metadatatest"
)

// TestResourcesMetric: every outcome, and no attribute but the outcome and the processor.
func TestResourcesMetric(t *testing.T) {
	for _, sig := range signals {
		t.Run(sig.name, func(t *testing.T) {
			tel := componenttest.NewTelemetry()
			defer func() { require.NoError(t, tel.Shutdown(t.Context())) }()
			set := metadatatest.NewSettings(tel)
			set.ID = component.NewIDWithName(metadata.Type, "eu")
			p, err := sig.create(NewFactory(), set, configFromYAML(t, `
mappings: {app.py: shop}
rules: [{match: {service.name: "legacy-*"}, role: legacy}]
`))
			require.NoError(t, err)
			named := func(name string) func(pcommon.Resource) {
				return withAttributes(t, attrs{"service.name": name})
			}
			for range 2 {
				_, err = p.send(t.Context(), false,
					named("app.py"),
					named("legacy-a"), named("legacy-b"),
					named("a"), named("b"), named("c"),
					named("unknown_service"), named("unknown_service"), named("unknown_service"), withAttributes(t, nil),
					withAttributes(t, attrs{"ai.cloud.role": "own"}),
				)
				require.NoError(t, err)
			}
			var want []metricdata.DataPoint[int64]
			for outcome, n := range map[string]int64{"mapping": 2, "rule": 4, "template": 6, "unresolved": 8, "kept": 2} {
				want = append(want, metricdata.DataPoint[int64]{
					Attributes: attribute.NewSet(attribute.String("outcome", outcome), attribute.String("processor", "cloudrole/eu")),
					Value:      n,
				})
			}
			metadatatest.AssertEqualProcessorCloudroleResources(t, tel, want, metricdatatest.IgnoreTimestamp())
		})
	}
}

const advice = "add the name to mappings, or have one of the missing attributes set before this processor"

// observed is a pipe of traces whose log can be looked at.
func observed(t *testing.T, cfg *Config) (pipe, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.DebugLevel)
	set := nopSettings()
	set.Logger = zap.New(core)
	p, err := createTracesPipe(NewFactory(), set, cfg)
	require.NoError(t, err)
	return p, logs
}

// TestUnresolvedIsLoggedOnce: with what was missing and what to do about it.
func TestUnresolvedIsLoggedOnce(t *testing.T) {
	p, logs := observed(t, configFromYAML(t, `role: ["{service.namespace}.{service.name}", "{service.name}", "{k8s.deployment.name}"]`))
	for range 3 {
		_, err := p.send(t.Context(), false,
			withAttributes(t, attrs{"service.name": "unknown_service:java", "service.namespace": "eu"}),
			withAttributes(t, attrs{"service.name": "unknown_service:java"}),
			withAttributes(t, nil),
			withAttributes(t, attrs{"service.name": "shop"}),
		)
		require.NoError(t, err)
	}
	require.Equal(t, 2, logs.Len())
	named, nameless := logs.All()[0], logs.All()[1]
	assert.Equal(t, zapcore.WarnLevel, named.Level)
	assert.Equal(t, "No cloud role for a service: its name is used as it came", named.Message)
	assert.Equal(t, attrs{
		"service.name": "unknown_service:java",
		"missing":      []any{"service.name", "k8s.deployment.name"},
		"advice":       advice,
	}, named.ContextMap())
	assert.Equal(t, zapcore.WarnLevel, nameless.Level)
	assert.Equal(t, "No cloud role for resources without service.name: none is set", nameless.Message)
	assert.Equal(t, attrs{
		"service.name": "",
		"missing":      []any{"service.namespace", "service.name", "k8s.deployment.name"},
		"advice":       advice,
	}, nameless.ContextMap())
}

// TestUnresolvedIsBounded: a client that makes names up fills neither memory nor log.
func TestUnresolvedIsBounded(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	set := nopSettings()
	set.Logger = zap.New(core)
	p, err := newRoleProcessor(configFromYAML(t, ""), set)
	require.NoError(t, err)

	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			var b batch
			for i := range 1000 {
				m := pcommon.NewMap()
				m.PutStr("service.name", fmt.Sprintf("unknown_service:%d-%d-%s", worker, i, strings.Repeat("x", 1000)))
				p.process(m, &b)
			}
		})
	}
	wg.Wait()
	entries := logs.All()
	require.Len(t, entries, maxLoggedNames+1)
	assert.Len(t, p.telemetry.logged, maxLoggedNames)
	last := logs.FilterMessage("No more services without a cloud role will be logged; the metric goes on counting them").All()
	require.Len(t, last, 1)
	assert.Equal(t, attrs{"logged": int64(maxLoggedNames)}, last[0].ContextMap())
	for _, e := range logs.FilterFieldKey("service.name").All() {
		assert.Len(t, e.ContextMap()["service.name"], maxLoggedNameLen)
	}
}
