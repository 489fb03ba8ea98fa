// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/k8sattributesprocessor"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"
	corev1 "k8s.io/api/core/v1"
)

const benchResources = 100

// benchBatch is a batch of resources as a gateway gets them: what an SDK sets
// and the UID of a pod, in each round of other pods until all had their turn.
// More is what comes on top.
func benchBatch(round, pods int, more m) ptrace.Traces {
	td := ptrace.NewTraces()
	for i := range benchResources {
		i += round * benchResources
		rs := td.ResourceSpans().AppendEmpty()
		attrs := rs.Resource().Attributes()
		for _, a := range [][2]string{
			{"service.name", "checkout"},
			{"service.namespace", "shop"},
			{"service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09"},
			{"telemetry.sdk.name", "opentelemetry"},
			{"telemetry.sdk.language", "java"},
			{"telemetry.sdk.version", "1.49.0"},
			{"process.pid", "1"},
			{"process.runtime.name", "OpenJDK Runtime Environment"},
			{"process.runtime.version", "21.0.4+7-LTS"},
			{"host.name", "checkout-7d9c8f6b5-x2x4q"},
			{"os.type", "linux"},
		} {
			attrs.PutStr(a[0], a[1])
		}
		if pods > 0 {
			attrs.PutStr("k8s.pod.uid", benchUID(i%pods))
			attrs.PutStr("k8s.container.name", "app")
		}
		for k, v := range more {
			attrs.PutStr(k, v.(string))
		}
		rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName("GET /")
	}
	return td
}

func benchUID(i int) string { return fmt.Sprintf("8d9a2f6e-2f0b-4d0c-9f3e-%012d", i) }

func benchPods(n int) []*corev1.Pod {
	pods := make([]*corev1.Pod, n)
	for i := range pods {
		pods[i] = pod(benchUID(i), fmt.Sprintf("checkout-%d", i),
			container("app", "500m", "256Mi"), requests("250m", "128Mi"),
			container("proxy", "100m", "64Mi"), requests("50m", "32Mi"))
		pods[i].Status.PodIP = fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		pods[i].Status.Phase = corev1.PodRunning
	}
	return pods
}

// benchRun measures what a processor spends on a resource, in time of the CPU,
// which other work on the machine blurs less than time by the clock. A batch is
// made for each round, since an enriched one would not be enriched again; that
// is not measured. The benchmark's timer is not stopped for it, because that
// stops the world and leaves the allocator cold.
func benchRun(b *testing.B, p processor.Traces, batch func(round int) ptrace.Traces) {
	b.Helper()
	runtime.LockOSThread() // whose time is taken
	defer runtime.UnlockOSThread()
	consume := func(td ptrace.Traces) {
		if err := p.ConsumeTraces(context.Background(), td); err != nil {
			b.Fatal(err)
		}
	}
	var cpu time.Duration
	for round := range b.N {
		td := batch(round)
		before := threadTime()
		consume(td)
		cpu += threadTime() - before
	}
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N)/benchResources, "cpu-ns/resource")

	var before, after runtime.MemStats
	td := batch(0)
	runtime.ReadMemStats(&before)
	consume(td)
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/benchResources, "allocs/resource")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/benchResources, "B/resource")
	b.ReportMetric(0, "ns/op") // most of it goes into making batches
}

func benchProcessor(b *testing.B, f processor.Factory, config m) processor.Traces {
	b.Helper()
	cfg := f.CreateDefaultConfig()
	require.NoError(b, confmap.NewFromStringMap(config).Unmarshal(cfg))
	p, err := f.CreateTraces(context.Background(), processortest.NewNopSettings(f.Type()), cfg, consumertest.NewNop())
	require.NoError(b, err)
	require.NoError(b, p.Start(context.Background(), componenttest.NewNopHost()))
	b.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	return p
}

// benchAwait waits until the processor knows the pod.
func benchAwait(b *testing.B, p component.Component, pods int, attribute string) {
	b.Helper()
	require.Eventually(b, func() bool {
		for round := range max(1, pods/benchResources) {
			td := benchBatch(round, pods, nil)
			_ = p.(processor.Traces).ConsumeTraces(context.Background(), td)
			for _, rs := range td.ResourceSpans().All() {
				if _, ok := rs.Resource().Attributes().Get(attribute); !ok {
					return false
				}
			}
		}
		return true
	}, patience, patience/100)
}

func BenchmarkContainerResources(b *testing.B) {
	for _, pods := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprintf("pods=%d", pods), func(b *testing.B) {
			newFakeAPI(b, benchPods(pods)...)
			p := benchProcessor(b, NewFactory(), fromKubeConfig)
			benchAwait(b, p, pods, "k8s.container.cpu.limit")
			benchRun(b, p, func(round int) ptrace.Traces { return benchBatch(round, pods, nil) })
		})
	}
}

// BenchmarkK8sAttributes is upstream's processor on the same resources, with
// what it does unless told otherwise.
func BenchmarkK8sAttributes(b *testing.B) {
	newFakeAPI(b, benchPods(1000)...)
	p := benchProcessor(b, k8sattributesprocessor.NewFactory(), m{
		"auth_type":       "kubeConfig",
		"pod_association": []any{m{"sources": []any{m{"from": "resource_attribute", "name": "k8s.pod.uid"}}}},
		"extract":         m{"metadata": []any{"k8s.namespace.name", "k8s.pod.name", "k8s.pod.uid", "k8s.pod.start_time", "k8s.node.name"}},
	})
	benchAwait(b, p, 1000, "k8s.pod.name")
	benchRun(b, p, func(round int) ptrace.Traces { return benchBatch(round, 1000, nil) })
}

func BenchmarkAliases(b *testing.B) {
	p := benchProcessor(b, NewFactory(), m{"aliases": "kube"})
	more := m{"k8s.pod.name": "checkout-1", "k8s.node.name": "node-1", "k8s.namespace.name": "shop", "service.version": "1.2.3"}
	for i := range 7 {
		more[fmt.Sprint("k8s.pod.label.app.kubernetes.io/key", i)] = "value"
	}
	benchRun(b, p, func(round int) ptrace.Traces { return benchBatch(round, 1000, more) })
}

func BenchmarkDownwardAPI(b *testing.B) {
	dir := b.TempDir()
	labels := new(strings.Builder)
	for i := range 7 {
		fmt.Fprintf(labels, "app.kubernetes.io/key%d=%q\n", i, "value")
	}
	require.NoError(b, os.WriteFile(filepath.Join(dir, "labels"), []byte(labels.String()), 0o600))
	require.NoError(b, os.WriteFile(filepath.Join(dir, "annotations"), nil, 0o600))
	for attribute, variable := range defaultEnv() {
		b.Setenv(variable, map[bool]string{true: "500", false: "name"}[strings.HasSuffix(attribute, "limit")])
	}
	p := benchProcessor(b, NewFactory(), m{"downward_api": m{"directory": dir}})
	benchRun(b, p, func(round int) ptrace.Traces { return benchBatch(round, 0, nil) })
}
