// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"context"
	"fmt"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/transformprocessor"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"
)

const benchmarkResources = 1000

// benchmarkTraces are resources as k8s_attributes leaves them, one span each. They
// come from protobuf, as they do in a collector, since that decides how much room an
// attribute list has for one more.
func benchmarkTraces(tb testing.TB, name func(i int) string) ptrace.Traces {
	td := ptrace.NewTraces()
	for i := range benchmarkResources {
		rs := td.ResourceSpans().AppendEmpty()
		rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName("GET /")
		attrs := rs.Resource().Attributes()
		attrs.PutStr("telemetry.sdk.language", "java")
		attrs.PutStr("telemetry.sdk.name", "opentelemetry")
		attrs.PutStr("telemetry.sdk.version", "1.60.0")
		attrs.PutStr("service.name", name(i))
		attrs.PutStr("service.namespace", "shop")
		attrs.PutStr("service.version", "4.2.0")
		attrs.PutStr("service.instance.id", fmt.Sprintf("1b4e28ba-2fa1-11d2-883f-%012d", i))
		attrs.PutStr("deployment.environment.name", "staging")
		attrs.PutStr("host.name", fmt.Sprintf("node-%d", i%17))
		attrs.PutStr("os.type", "linux")
		attrs.PutInt("process.pid", int64(i))
		attrs.PutStr("k8s.namespace.name", "staging")
		attrs.PutStr("k8s.node.name", fmt.Sprintf("node-%d", i%17))
		attrs.PutStr("k8s.deployment.name", fmt.Sprintf("deployment-%d", i%50))
		attrs.PutStr("k8s.replicaset.name", fmt.Sprintf("deployment-%d-7c9", i%50))
		attrs.PutStr("k8s.pod.name", fmt.Sprintf("deployment-%d-7c9-%d", i%50, i))
		attrs.PutStr("k8s.pod.uid", fmt.Sprintf("9e107d9d-372b-4c7b-8e4b-%012d", i))
		attrs.PutStr("k8s.pod.ip", "10.1.2.3")
		attrs.PutStr("k8s.container.name", "app")
		attrs.PutStr("container.id", "4f5a6b7c8d9e")
	}
	data, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
	require.NoError(tb, err)
	td, err = (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(data)
	require.NoError(tb, err)
	return td
}

// removeTags puts the input back as it was before a pass.
func removeTags(td ptrace.Traces) {
	for _, rs := range td.ResourceSpans().All() {
		rs.Resource().Attributes().Remove(attrRoleInstance)
		rs.Resource().Attributes().Remove(attrRole)
	}
}

func benchmarkProcessor(tb testing.TB, factory processor.Factory, conf map[string]any) processor.Traces {
	cfg := factory.CreateDefaultConfig()
	require.NoError(tb, confmap.NewFromStringMap(conf).Unmarshal(cfg))
	require.NoError(tb, confmap.Validate(cfg))
	p, err := factory.CreateTraces(context.Background(), processortest.NewNopSettings(factory.Type()), cfg, consumertest.NewNop())
	require.NoError(tb, err)
	require.NoError(tb, p.Start(context.Background(), componenttest.NewNopHost()))
	tb.Cleanup(func() { require.NoError(tb, p.Shutdown(context.Background())) })
	return p
}

// runBenchmark times ConsumeTraces alone.
func runBenchmark(b *testing.B, p processor.Traces, td ptrace.Traces) {
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if err := p.ConsumeTraces(ctx, td); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		removeTags(td)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchmarkResources, "ns/resource")
}

// rulesConfig are 20 rules of which one matches: two attributes asked for, the role
// put together from text and an attribute. With fallbacks the default lists for role
// and instance stand behind them.
func rulesConfig(fallbacks bool) map[string]any {
	var rules []any
	for i := range 20 {
		rules = append(rules, map[string]any{
			"match": map[string]any{"service.name": fmt.Sprintf("team%02d-*", i), "k8s.namespace.name": "staging"},
			"role":  fmt.Sprintf("team%02d-{k8s.deployment.name}", i),
		})
	}
	conf := map[string]any{"rules": rules}
	if !fallbacks {
		conf["role"] = []any{}
		conf["instance"] = []any{}
		conf["ignore_service_names"] = []any{}
	}
	return conf
}

// transformConfig is rulesConfig for the transform processor. HasPrefix is what OTTL
// has that is cheaper than a pattern; the nil check comes first, so that a statement
// behind the one that matched costs one look at one attribute.
func transformConfig(fallbacks bool) map[string]any {
	const attr = `resource.attributes["%s"]`
	a := func(name string) string { return fmt.Sprintf(attr, name) }
	var statements []any
	add := func(format string, args ...any) { statements = append(statements, fmt.Sprintf(format, args...)) }
	for i := range 20 {
		add(`set(%s, Concat(["team%02d", %s], "-")) where %s == nil and HasPrefix(%s, "team%02d-") and %s == "staging"`,
			a(attrRole), i, a("k8s.deployment.name"), a(attrRole), a("service.name"), i, a("k8s.namespace.name"))
	}
	if fallbacks {
		known := fmt.Sprintf(`%s != nil and not HasPrefix(%s, "unknown_service")`, a("service.name"), a("service.name"))
		add(`set(%s, Concat([%s, %s], ".")) where %s == nil and %s != nil and %s`,
			a(attrRole), a("service.namespace"), a("service.name"), a(attrRole), a("service.namespace"), known)
		add(`set(%s, %s) where %s == nil and %s`, a(attrRole), a("service.name"), a(attrRole), known)
		for _, kind := range []string{"deployment", "replicaset", "statefulset", "job", "cronjob", "daemonset"} {
			add(`set(%s, %s) where %s == nil`, a(attrRole), a("k8s."+kind+".name"), a(attrRole))
		}
		for _, name := range []string{"service.instance.id", "k8s.pod.name", "host.name"} {
			add(`set(%s, %s) where %s == nil`, a(attrRoleInstance), a(name), a(attrRoleInstance))
		}
	}
	return map[string]any{"trace_statements": statements}
}

func teamName(i int) string { return fmt.Sprintf("team%02d-cart", i%20) }

// BenchmarkRules sets 20 rules beside the same job done by the transform processor.
func BenchmarkRules(b *testing.B) {
	for _, fallbacks := range []bool{false, true} {
		job := "rules"
		if fallbacks {
			job = "rules+defaults"
		}
		b.Run(job+"/cloudrole", func(b *testing.B) {
			runBenchmark(b, benchmarkProcessor(b, NewFactory(), rulesConfig(fallbacks)), benchmarkTraces(b, teamName))
		})
		b.Run(job+"/transform", func(b *testing.B) {
			runBenchmark(b, benchmarkProcessor(b, transformprocessor.NewFactory(), transformConfig(fallbacks)), benchmarkTraces(b, teamName))
		})
	}
}

// TestBenchmarkJobsAgree: the two sides of BenchmarkRules give the same attributes.
func TestBenchmarkJobsAgree(t *testing.T) {
	for _, fallbacks := range []bool{false, true} {
		ours, theirs := benchmarkTraces(t, teamName), benchmarkTraces(t, teamName)
		require.NoError(t, benchmarkProcessor(t, NewFactory(), rulesConfig(fallbacks)).ConsumeTraces(t.Context(), ours))
		require.NoError(t, benchmarkProcessor(t, transformprocessor.NewFactory(), transformConfig(fallbacks)).ConsumeTraces(t.Context(), theirs))
		for i, rs := range ours.ResourceSpans().All() {
			got := rs.Resource().Attributes().AsRaw()
			require.Equal(t, theirs.ResourceSpans().At(i).Resource().Attributes().AsRaw(), got)
			require.Equal(t, fmt.Sprintf("team%02d-deployment-%d", i%20, i%50), got[attrRole])
			require.Equal(t, fallbacks, got[attrRoleInstance] != nil)
		}
	}
}

// BenchmarkMappings looks the same ten names up in tables of growing size, and then
// in the larger ones as many names as there are resources.
func BenchmarkMappings(b *testing.B) {
	for _, bench := range []struct{ mappings, names int }{{10, 10}, {1000, 10}, {10_000, 10}, {1000, 1000}, {10_000, 1000}} {
		b.Run(fmt.Sprintf("mappings=%d/names=%d", bench.mappings, bench.names), func(b *testing.B) {
			mappings := make(map[string]any, bench.mappings)
			for i := range bench.mappings {
				mappings[fmt.Sprintf("service-%05d", i)] = fmt.Sprintf("role-%d", i)
			}
			p := benchmarkProcessor(b, NewFactory(), map[string]any{"mappings": mappings})
			step := bench.mappings / bench.names
			runBenchmark(b, p, benchmarkTraces(b, func(i int) string {
				return fmt.Sprintf("service-%05d", i%bench.names*step)
			}))
		})
	}
}

// BenchmarkKept is the price of having nothing to do.
func BenchmarkKept(b *testing.B) {
	td := benchmarkTraces(b, teamName)
	for _, rs := range td.ResourceSpans().All() {
		rs.Resource().Attributes().PutStr("ai.cloud.role", "own")
		rs.Resource().Attributes().PutStr("ai.cloud.roleInstance", "own-1")
	}
	p := benchmarkProcessor(b, NewFactory(), nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.ConsumeTraces(context.Background(), td); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchmarkResources, "ns/resource")
}
