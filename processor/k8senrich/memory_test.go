// SPDX-License-Identifier: Apache-2.0

//go:build e2e && linux

package k8senrich

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/kubetest"
)

const (
	memoryPods = 10_000
	// mostMemory is what k8senrich may take for them.
	mostMemory = 15.0 // MB
	// settle is how long the collector is left alone before it is measured: Go
	// gives memory that it no longer needs back bit by bit.
	settle = 2 * time.Minute
)

// BenchmarkMemory measures how much more memory the built binary has resident
// for the pods of a real API server, and how much it had at most. It is a
// benchmark because it takes minutes; it fails when k8senrich takes too much.
//
//	go test -tags e2e -run '^$' -bench Memory -benchtime 1x -timeout 60m .
func BenchmarkMemory(b *testing.B) {
	c := kubetest.Start(b)
	c.Namespace(b, namespace)
	c.Namespace(b, "shop")
	c.Apply(b, filepath.Join(harness.Root(b), "deploy", "kustomize", "gateway", "rbac.yaml"))
	token, _ := c.Token(b, namespace, account)
	kubeconfig := c.Kubeconfig(b, c.Address, token)
	manyPods(b, c)

	const (
		enrich = `
  k8senrich: {pod_association: {auth_type: kubeConfig}, container_resources: {auth_type: kubeConfig}}`
		attributes = `
  k8s_attributes:
    auth_type: kubeConfig
    extract:
      metadata: [k8s.namespace.name, k8s.pod.name, k8s.pod.uid, k8s.pod.ip, k8s.node.name, k8s.deployment.name, k8s.container.name]
      labels: [{from: pod, key_regex: "(.*)", tag_name: "k8s.pod.label.$$$$1"}]
    pod_association: [{sources: [{from: resource_attribute, name: k8s.pod.uid}]}]`
	)
	resident := map[string]float64{}
	for _, run := range []struct{ name, blocks, list string }{
		{"neither", "", ""},
		{"k8senrich", enrich, "k8senrich"},
		{"k8s_attributes", attributes, "k8s_attributes"},
		{"both", attributes + enrich, "k8s_attributes, k8senrich"},
	} {
		b.Run(run.name, func(b *testing.B) {
			for b.Loop() {
				col := collector.Start(b, collector.Config{
					Env: map[string]string{"KUBECONFIG": kubeconfig, "HOME": b.TempDir()},
					Overlay: fmt.Sprintf(`
receivers: {otlp: {protocols: {grpc: {endpoint: "localhost:4317"}}}}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 2000}%s
exporters: {nop: }
extensions: {health_check: {endpoint: "localhost:13133"}}
service:
  extensions: [health_check]
  pipelines:
    traces: {receivers: [otlp], processors: [memory_limiter, %s], exporters: [nop]}
`, run.blocks, run.list),
				})
				if strings.Contains(run.list, "k8senrich") {
					col.AwaitMetric(b, memoryPods, "otelcol_processor_k8senrich_pods")
				}
				time.Sleep(settle) // nothing tells that Go is done giving memory back
				now, most := memory(b, col.PID())
				resident[run.name] = now
				b.ReportMetric(now, "MB-resident")
				b.ReportMetric(now-resident["neither"], "MB-more")
				b.ReportMetric(most, "MB-most")
				col.Stop(b)
			}
		})
	}
	require.LessOrEqual(b, resident["k8senrich"]-resident["neither"], mostMemory)
	require.LessOrEqual(b, resident["both"]-resident["k8s_attributes"], mostMemory)
}

// manyPods makes pods of two containers, 20 variables each, and seven labels.
func manyPods(b *testing.B, c *kubetest.Cluster) {
	b.Helper()
	start := time.Now()
	var variables []corev1.EnvVar
	for i := range 20 {
		variables = append(variables, corev1.EnvVar{Name: fmt.Sprintf("SETTING_NUMBER_%d", i), Value: "a value of some length, as they are"})
	}
	of := func(name, cpu, memory string) corev1.Container {
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
		return corev1.Container{Name: name, Env: variables, Resources: corev1.ResourceRequirements{Limits: list}}
	}
	next := make(chan int)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range next {
				app := fmt.Sprintf("app-%d", i/20) // 20 pods of each of 500 apps
				labels := map[string]string{"pod-template-hash": "7d9c8f6b5"}
				for _, key := range []string{"name", "instance", "version", "component", "part-of", "managed-by"} {
					labels["app.kubernetes.io/"+key] = app
				}
				c.Pod(b, &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("%s-7d9c8f6b5-%05d", app, i), Labels: labels},
					Spec: corev1.PodSpec{
						NodeName:   fmt.Sprintf("node-%d", i%200),
						Containers: []corev1.Container{of("app", fmt.Sprintf("%dm", 100+i/20), "256Mi"), of("proxy", "100m", "64Mi")},
					},
				}, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), nil)
			}
		})
	}
	for i := range memoryPods {
		next <- i
	}
	close(next)
	wg.Wait()
	b.Logf("%d pods made in %s", memoryPods, time.Since(start).Round(time.Second))
}

// memory returns how much a process has resident, and had at most.
func memory(b *testing.B, pid int) (now, most float64) {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(b, err)
	field := func(name string) float64 {
		found := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(raw)
		require.NotNil(b, found, name)
		kB, err := strconv.ParseFloat(string(found[1]), 64)
		require.NoError(b, err)
		return kB * 1024 / 1e6
	}
	return field("VmRSS"), field("VmHWM")
}
