// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/otelcol-custom/otelcol-custom/processor/cloudroleprocessor/internal/metadata"
)

// pipe is a processor of one signal with a sink behind it. send passes resources, each
// with two items, through and returns what arrived in the sink.
type pipe struct {
	component.Component
	capabilities consumer.Capabilities
	send         func(ctx context.Context, readOnly bool, fill ...func(pcommon.Resource)) ([]pcommon.Resource, error)
}

// signals drives every test that holds for each signal.
var signals = []struct {
	name   string
	create func(f processor.Factory, set processor.Settings, cfg component.Config) (pipe, error)
}{
	{"traces", createTracesPipe},
	{"metrics", createMetricsPipe},
	{"logs", createLogsPipe},
}

func createTracesPipe(f processor.Factory, set processor.Settings, cfg component.Config) (pipe, error) {
	sink := new(consumertest.TracesSink)
	p, err := f.CreateTraces(context.Background(), set, cfg, sink)
	if err != nil {
		return pipe{}, err
	}
	return pipe{p, p.Capabilities(), func(ctx context.Context, readOnly bool, fill ...func(pcommon.Resource)) ([]pcommon.Resource, error) {
		td := ptrace.NewTraces()
		for _, f := range fill {
			rs := td.ResourceSpans().AppendEmpty()
			f(rs.Resource())
			for range 2 {
				rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty().Attributes().PutStr("service.name", "a span's own")
			}
		}
		if readOnly {
			td.MarkReadOnly()
		}
		sink.Reset()
		if err := p.ConsumeTraces(ctx, td); err != nil {
			return nil, err
		}
		var got []pcommon.Resource
		for _, td := range sink.AllTraces() {
			for _, rs := range td.ResourceSpans().All() {
				if rs.ScopeSpans().Len() == 2 {
					got = append(got, rs.Resource())
				}
			}
		}
		return got, nil
	}}, nil
}

func createMetricsPipe(f processor.Factory, set processor.Settings, cfg component.Config) (pipe, error) {
	sink := new(consumertest.MetricsSink)
	p, err := f.CreateMetrics(context.Background(), set, cfg, sink)
	if err != nil {
		return pipe{}, err
	}
	return pipe{p, p.Capabilities(), func(ctx context.Context, readOnly bool, fill ...func(pcommon.Resource)) ([]pcommon.Resource, error) {
		md := pmetric.NewMetrics()
		for _, f := range fill {
			rm := md.ResourceMetrics().AppendEmpty()
			f(rm.Resource())
			for range 2 {
				rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty().SetEmptyGauge().DataPoints().AppendEmpty().SetIntValue(1)
			}
		}
		if readOnly {
			md.MarkReadOnly()
		}
		sink.Reset()
		if err := p.ConsumeMetrics(ctx, md); err != nil {
			return nil, err
		}
		var got []pcommon.Resource
		for _, md := range sink.AllMetrics() {
			for _, rm := range md.ResourceMetrics().All() {
				if rm.ScopeMetrics().Len() == 2 {
					got = append(got, rm.Resource())
				}
			}
		}
		return got, nil
	}}, nil
}

func createLogsPipe(f processor.Factory, set processor.Settings, cfg component.Config) (pipe, error) {
	sink := new(consumertest.LogsSink)
	p, err := f.CreateLogs(context.Background(), set, cfg, sink)
	if err != nil {
		return pipe{}, err
	}
	return pipe{p, p.Capabilities(), func(ctx context.Context, readOnly bool, fill ...func(pcommon.Resource)) ([]pcommon.Resource, error) {
		ld := plog.NewLogs()
		for _, f := range fill {
			rl := ld.ResourceLogs().AppendEmpty()
			f(rl.Resource())
			for range 2 {
				rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr("line")
			}
		}
		if readOnly {
			ld.MarkReadOnly()
		}
		sink.Reset()
		if err := p.ConsumeLogs(ctx, ld); err != nil {
			return nil, err
		}
		var got []pcommon.Resource
		for _, ld := range sink.AllLogs() {
			for _, rl := range ld.ResourceLogs().All() {
				if rl.ScopeLogs().Len() == 2 {
					got = append(got, rl.Resource())
				}
			}
		}
		return got, nil
	}}, nil
}

func nopSettings() processor.Settings { return processortest.NewNopSettings(metadata.Type) }

// withAttributes fills a resource from Go values.
func withAttributes(tb testing.TB, attrs map[string]any) func(pcommon.Resource) {
	return func(r pcommon.Resource) { require.NoError(tb, r.Attributes().FromRaw(attrs)) }
}

// TestWriteNeedsOwnership: data shared with other pipelines may not be written to.
// The capability tells the collector so, and without it a write would panic.
func TestWriteNeedsOwnership(t *testing.T) {
	for _, sig := range signals {
		t.Run(sig.name, func(t *testing.T) {
			p, err := sig.create(NewFactory(), nopSettings(), createDefaultConfig())
			require.NoError(t, err)
			assert.True(t, p.capabilities.MutatesData)
			named := withAttributes(t, map[string]any{"service.name": "shop"})
			assert.Panics(t, func() { _, _ = p.send(t.Context(), true, named) })

			kept := map[string]any{"service.name": "shop", "ai.cloud.role": "own", "ai.cloud.roleInstance": "own-1"}
			got, err := p.send(t.Context(), true, withAttributes(t, kept))
			require.NoError(t, err, "nothing to write")
			require.Len(t, got, 1)
			assert.Equal(t, kept, got[0].Attributes().AsRaw())
		})
	}
}

// TestEmptyBatch: a batch without resources is passed on, it may carry meaning for others.
func TestEmptyBatch(t *testing.T) {
	for _, sig := range signals {
		t.Run(sig.name, func(t *testing.T) {
			p, err := sig.create(NewFactory(), nopSettings(), createDefaultConfig())
			require.NoError(t, err)
			got, err := p.send(t.Context(), false)
			require.NoError(t, err)
			assert.Empty(t, got)
			got, err = p.send(t.Context(), false, func(pcommon.Resource) {})
			require.NoError(t, err)
			require.Len(t, got, 1)
			assert.Empty(t, got[0].Attributes().AsRaw())
		})
	}
}

// TestErrorOfNextConsumer: what the exporters behind say reaches the receiver.
func TestErrorOfNextConsumer(t *testing.T) {
	next := consumertest.NewErr(assert.AnError)
	p, err := NewFactory().CreateTraces(t.Context(), nopSettings(), createDefaultConfig(), next)
	require.NoError(t, err)
	require.ErrorIs(t, p.ConsumeTraces(t.Context(), ptrace.NewTraces()), assert.AnError)
}

func TestShutdown(t *testing.T) {
	processortest.VerifyShutdown(t, NewFactory(), createDefaultConfig())
	for _, sig := range signals {
		p, err := sig.create(NewFactory(), nopSettings(), createDefaultConfig())
		require.NoError(t, err)
		require.NoError(t, p.Shutdown(t.Context()), "unstarted")
		require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))
		require.NoError(t, p.Shutdown(t.Context()))
		require.NoError(t, p.Shutdown(t.Context()), "a second time")
	}
}

// TestAllocationsGrowWithResourcesOnly: spans are never looked at.
func TestAllocationsGrowWithResourcesOnly(t *testing.T) {
	p, err := NewFactory().CreateTraces(t.Context(), nopSettings(),
		configFromYAML(t, `{override: true, role: ["{service.namespace}.{service.name}"]}`), consumertest.NewNop())
	require.NoError(t, err)
	allocs := func(spans int) int {
		td := ptrace.NewTraces()
		rs := td.ResourceSpans().AppendEmpty()
		attrs := rs.Resource().Attributes()
		attrs.PutStr("service.namespace", "shop")
		attrs.PutStr("service.name", "cart")
		attrs.PutStr("k8s.pod.name", "cart-1")
		ss := rs.ScopeSpans().AppendEmpty()
		for range spans {
			ss.Spans().AppendEmpty().Attributes().PutStr("k8s.pod.name", "other")
		}
		return int(testing.AllocsPerRun(100, func() {
			attrs.Remove(attrRole)
			if err := p.ConsumeTraces(context.Background(), td); err != nil {
				t.Fatal(err)
			}
		}))
	}
	one, many := allocs(1), allocs(1000)
	require.Equal(t, one, many, "allocations grow with spans")
}

// TestAllocationsPerResource: the strings written, what pdata needs to hold them, and
// nothing else.
func TestAllocationsPerResource(t *testing.T) {
	cfg := configFromYAML(t, `
mappings: {cart: shop-cart}
rules: [{match: {service.name: "legacy-*"}, role: "legacy-{k8s.deployment.name}"}]
`)
	d, err := newDecider(cfg)
	require.NoError(t, err)
	for _, tt := range []struct {
		name, serviceName string
		want              int
	}{
		// Two values stored: role and instance.
		{"mapping", "cart", 2},
		// The same, and the role put together.
		{"rule", "legacy-cart", 3},
		// The same: no rule matches, {service.namespace}.{service.name}.
		{"template", "other", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			attrs := pcommon.NewMap()
			attrs.EnsureCapacity(8)
			attrs.PutStr("service.name", tt.serviceName)
			attrs.PutStr("service.namespace", "eu")
			attrs.PutStr("k8s.deployment.name", "cart")
			attrs.PutStr("k8s.pod.name", "cart-1")
			var b batch
			assert.Equal(t, tt.want, int(testing.AllocsPerRun(100, func() {
				attrs.Remove(attrRole)
				attrs.Remove(attrRoleInstance)
				d.decide(attrs, &b)
			})))
		})
	}
}
