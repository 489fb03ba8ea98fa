// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/metadata"
	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/metadatatest"
)

type m = map[string]any

// patience is the most that an event is waited for; none takes that long.
const patience = 60 * time.Second

// rig is the processor for all signals in one configuration, made by the
// factory, with what it gives, logs and reports.
type rig struct {
	t       testing.TB
	factory processor.Factory
	set     processor.Settings
	tel     *componenttest.Telemetry
	logs    *observer.ObservedLogs
	host    *statusHost

	traces     processor.Traces
	metrics    processor.Metrics
	logsP      processor.Logs
	gotTraces  *consumertest.TracesSink
	gotMetrics *consumertest.MetricsSink
	gotLogs    *consumertest.LogsSink
}

type statusHost struct {
	component.Host
	mu     sync.Mutex
	events []componentstatus.Status
}

func (h *statusHost) Report(e *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e.Status())
}

func (h *statusHost) seen() []componentstatus.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// newRig makes the processors and does not start them.
func newRig(t testing.TB, config m) *rig { return newRigBy(t, NewFactory(), config) }

func newRigBy(t testing.TB, factory processor.Factory, config m) *rig {
	r := &rig{
		t:       t,
		factory: factory,
		tel:     componenttest.NewTelemetry(),
		host:    &statusHost{Host: componenttest.NewNopHost()},

		gotTraces: new(consumertest.TracesSink), gotMetrics: new(consumertest.MetricsSink), gotLogs: new(consumertest.LogsSink),
	}
	t.Cleanup(func() { assert.NoError(t, r.tel.Shutdown(context.Background())) })
	core, logs := observer.New(zapcore.DebugLevel)
	r.logs = logs
	r.set = processortest.NewNopSettings(metadata.Type)
	r.set.TelemetrySettings = r.tel.NewTelemetrySettings()
	r.set.Logger = zap.New(core)

	cfg := r.factory.CreateDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(config).Unmarshal(cfg))
	require.NoError(t, confmap.Validate(cfg))
	ctx := context.Background()
	var err error
	r.traces, err = r.factory.CreateTraces(ctx, r.set, cfg, r.gotTraces)
	require.NoError(t, err)
	r.metrics, err = r.factory.CreateMetrics(ctx, r.set, cfg, r.gotMetrics)
	require.NoError(t, err)
	r.logsP, err = r.factory.CreateLogs(ctx, r.set, cfg, r.gotLogs)
	require.NoError(t, err)
	return r
}

func (r *rig) components() []component.Component {
	return []component.Component{r.traces, r.metrics, r.logsP}
}

// started is newRig and start, until the test ends.
func started(t testing.TB, config m) *rig { return startedBy(t, NewFactory(), config) }

func startedBy(t testing.TB, factory processor.Factory, config m) *rig {
	r := newRigBy(t, factory, config)
	for _, c := range r.components() {
		require.NoError(t, c.Start(context.Background(), r.host))
	}
	t.Cleanup(func() {
		for _, c := range r.components() {
			assert.NoError(t, c.Shutdown(context.Background()))
		}
	})
	return r
}

// through sends a resource through the traces pipeline.
func (r *rig) through(attributes m) m {
	r.t.Helper()
	return r.throughFrom(nil, attributes)
}

// throughFrom sends a resource that came from this address.
func (r *rig) throughFrom(addr net.Addr, attributes m) m {
	r.t.Helper()
	ctx := client.NewContext(context.Background(), client.Info{Addr: addr})
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	require.NoError(r.t, rs.Resource().Attributes().FromRaw(attributes))
	rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName("span")
	r.gotTraces.Reset()
	require.NoError(r.t, r.traces.ConsumeTraces(ctx, td))
	require.Len(r.t, r.gotTraces.AllTraces(), 1)
	got := r.gotTraces.AllTraces()[0]
	require.Equal(r.t, 1, got.SpanCount())
	return got.ResourceSpans().At(0).Resource().Attributes().AsRaw()
}

// awaitPods waits until that many pods are known.
func (r *rig) awaitPods(n int) {
	r.t.Helper()
	r.await(fmt.Sprintf("%d pods", n), func() bool { return r.pods() == int64(n) })
}

func (r *rig) await(what string, ok func() bool) {
	r.t.Helper()
	if !assert.Eventually(r.t, ok, patience, 5*time.Millisecond, what) {
		for _, e := range r.logs.All() {
			r.t.Log(e.Message, e.ContextMap())
		}
		r.t.FailNow()
	}
}

func (r *rig) pods() int64 {
	got, err := r.tel.GetMetric("otelcol_processor_k8senrich_pods")
	if err != nil {
		return -1
	}
	return got.Data.(metricdata.Gauge[int64]).DataPoints[0].Value
}

// messages returns what was logged at warning or above.
func (r *rig) warnings() []string {
	var list []string
	for _, e := range r.logs.All() {
		if e.Level >= zapcore.WarnLevel {
			list = append(list, e.Message)
		}
	}
	return list
}

func with(base, more m) m {
	all := maps.Clone(base)
	maps.Copy(all, more)
	return all
}

type podOption func(*corev1.Pod)

func container(name, cpuLimit, memoryLimit string) podOption {
	return func(p *corev1.Pod) {
		c := corev1.Container{Name: name}
		c.Resources.Limits = corev1.ResourceList{}
		if cpuLimit != "" {
			c.Resources.Limits[corev1.ResourceCPU] = resource.MustParse(cpuLimit)
		}
		if memoryLimit != "" {
			c.Resources.Limits[corev1.ResourceMemory] = resource.MustParse(memoryLimit)
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
}

func requests(cpu, memory string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[len(p.Spec.Containers)-1].Resources.Requests = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
		}
	}
}

func onNode(name string) podOption { return func(p *corev1.Pod) { p.Spec.NodeName = name } }

func podLimits(cpu, memory string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
		}}
	}
}

func pod(uid, name string, options ...podOption) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), Namespace: "shop", Name: name}}
	for _, o := range options {
		o(p)
	}
	return p
}

var fromKubeConfig = m{"container_resources": m{"auth_type": "kubeConfig"}}

func TestContainerResources(t *testing.T) {
	newFakeAPI(t,
		pod("1", "one", container("web", "1.5", "256Mi"), requests("500m", "1G")),
		pod("2", "two", container("web", "500m", "128Mi"), requests("100m", "64Mi"), container("log", "250m", "")),
		pod("3", "free", container("web", "", "")),
		pod("4", "bound", container("web", "500m", ""), podLimits("2", "1Gi")),
	)
	r := started(t, fromKubeConfig)
	r.awaitPods(4)
	const mi, gi = int64(1 << 20), int64(1 << 30)
	for name, tc := range map[string]struct{ in, added m }{
		"by UID": {
			m{"k8s.pod.uid": "1"},
			m{
				"k8s.container.cpu.limit": 1.5, "k8s.container.memory.limit": 256 * mi,
				"k8s.container.cpu.request": 0.5, "k8s.container.memory.request": int64(1_000_000_000),
			},
		},
		"by namespace and name": {
			m{"k8s.namespace.name": "shop", "k8s.pod.name": "one"},
			m{
				"k8s.container.cpu.limit": 1.5, "k8s.container.memory.limit": 256 * mi,
				"k8s.container.cpu.request": 0.5, "k8s.container.memory.request": int64(1_000_000_000),
			},
		},
		"by UID even if the name is another pod's": {
			m{"k8s.pod.uid": "3", "k8s.namespace.name": "shop", "k8s.pod.name": "one"}, m{},
		},
		"an unknown UID is not replaced by the name": {
			m{"k8s.pod.uid": "9", "k8s.namespace.name": "shop", "k8s.pod.name": "one"}, m{},
		},
		"the name alone is not enough":      {m{"k8s.pod.name": "one"}, m{}},
		"the namespace alone is not enough": {m{"k8s.namespace.name": "shop"}, m{}},
		"no pod":                            {m{"service.name": "web"}, m{}},
		"the container by its name": {
			m{"k8s.pod.uid": "2", "k8s.container.name": "web"},
			m{
				"k8s.container.cpu.limit": 0.5, "k8s.container.memory.limit": 128 * mi,
				"k8s.container.cpu.request": 0.1, "k8s.container.memory.request": 64 * mi,
			},
		},
		"a container without a memory limit": {
			m{"k8s.pod.uid": "2", "k8s.container.name": "log"}, m{"k8s.container.cpu.limit": 0.25},
		},
		"the pod's sums where the container is not known": {
			m{"k8s.pod.uid": "2"},
			m{"k8s.pod.cpu.limit": 0.75, "k8s.pod.cpu.request": 0.1, "k8s.pod.memory.request": 64 * mi},
		},
		"the pod's sums where the container is another": {
			m{"k8s.pod.uid": "3", "k8s.container.name": "db"}, m{},
		},
		"a pod with no limit": {m{"k8s.pod.uid": "3"}, m{}},
		"the limit of the pod binds a container that has none": {
			m{"k8s.pod.uid": "4"}, m{"k8s.container.cpu.limit": 0.5, "k8s.pod.memory.limit": gi},
		},
		"what is there stays": {
			m{"k8s.pod.uid": "1", "k8s.container.cpu.limit": "mine", "k8s.container.memory.request": false},
			m{"k8s.container.memory.limit": 256 * mi, "k8s.container.cpu.request": 0.5},
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, with(tc.in, tc.added), r.through(tc.in))
		})
	}
	assert.Empty(t, r.warnings())
	assert.Empty(t, r.host.seen())
}

func TestOnlyTheAttributesAskedFor(t *testing.T) {
	newFakeAPI(t, pod("1", "one", container("web", "1", "1G"), requests("1", "1G")), pod("2", "two", container("a", "1", "1G"), container("b", "1", "1G")))
	r := started(t, m{"container_resources": m{"auth_type": "kubeConfig", "attributes": []any{"k8s.container.memory.limit"}}})
	r.awaitPods(2)
	assert.Equal(t, m{"k8s.pod.uid": "1", "k8s.container.memory.limit": int64(1_000_000_000)}, r.through(m{"k8s.pod.uid": "1"}))
	assert.Equal(t, m{"k8s.pod.uid": "2", "k8s.pod.memory.limit": int64(2_000_000_000)}, r.through(m{"k8s.pod.uid": "2"}))
}

func TestDownwardAPI(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "labels"), []byte("app=\"shop\"\nnote=\"a=\\\"b\\\"\""), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "annotations"), []byte(`owner="Jürg"`), 0o600))
	t.Setenv("POD_NAME", "shop-1")
	t.Setenv("POD_UID", "1-2-3")
	t.Setenv("CPU_LIMIT", "2")
	t.Setenv("MEMORY_LIMIT", "268435456")
	for _, name := range []string{"POD_IP", "POD_NAMESPACE", "NODE_NAME", "APP_VERSION"} {
		t.Setenv(name, "")
	}
	r := started(t, m{"downward_api": m{"directory": dir}})
	all := m{
		"k8s.pod.name": "shop-1", "k8s.pod.uid": "1-2-3",
		"k8s.container.cpu.limit": 2.0, "k8s.container.memory.limit": int64(268_435_456),
		"k8s.pod.label.app": "shop", "k8s.pod.label.note": `a="b"`, "k8s.pod.annotation.owner": "Jürg",
	}
	assert.Equal(t, with(all, m{"service.name": "web"}), r.through(m{"service.name": "web"}))
	assert.Equal(t, all, r.through(m{}))

	own := m{"k8s.pod.name": "mine", "k8s.pod.label.app": int64(1), "k8s.container.cpu.limit": ""}
	assert.Equal(t, with(all, own), r.through(own), "what the app has set stays")

	of := m{"k8s.pod.uid": "4-5-6"}
	assert.Equal(t, of, r.through(of), "another pod is left alone")
	assert.Equal(t, []string{"downward_api: variables are not set; their attributes are not either"}, r.warnings())

	require.NoError(t, os.WriteFile(filepath.Join(dir, "labels"), []byte(`app="store"`), 0o600))
	r.await("the changed label", func() bool { return r.through(m{})["k8s.pod.label.app"] == "store" })
	assert.NotContains(t, r.through(m{}), "k8s.pod.label.note")
}

// resourceFieldRef and the API server give the same.
func TestSourcesAgree(t *testing.T) {
	for _, tc := range []struct {
		cpuEnv, memoryEnv, cpuAPI, memoryAPI string
		unit                                 string
	}{
		{"500", "268435456", "500m", "256Mi", "auto"},
		{"1500", "1000000000", "1.5", "1G", "auto"},
		{"2", "1073741824", "2", "1Gi", "auto"},
		{"50", "1000", "50m", "1k", "millicores"},
		{"128", "1000", "128", "1k", "cores"},
	} {
		newFakeAPI(t, pod("1", "one", container("web", tc.cpuAPI, tc.memoryAPI)))
		api := started(t, fromKubeConfig)
		api.awaitPods(1)
		t.Setenv("CPU_LIMIT", tc.cpuEnv)
		t.Setenv("MEMORY_LIMIT", tc.memoryEnv)
		t.Setenv("POD_UID", "1")
		env := started(t, m{"downward_api": m{"directory": "", "cpu_unit": tc.unit}})
		want := api.through(m{"k8s.pod.uid": "1"})
		assert.Len(t, want, 3)
		assert.Equal(t, want, env.through(m{"k8s.pod.uid": "1"}))
	}
}

func TestSourcesTogether(t *testing.T) {
	newFakeAPI(t, pod("1", "one", container("web", "1.5", "256Mi"), requests("500m", "1G")))
	t.Setenv("POD_NAME", "one")
	t.Setenv("POD_UID", "1")
	t.Setenv("CPU_LIMIT", "2") // rounded up, as resourceFieldRef does
	r := started(t, m{
		"downward_api":        m{"directory": ""},
		"container_resources": m{"auth_type": "kubeConfig"},
		"aliases":             "kube",
	})
	r.awaitPods(1)
	assert.Equal(t, m{
		"k8s.pod.name": "one", "kube_pod_name": "one", "k8s.pod.uid": "1",
		"k8s.container.cpu.limit": 2.0, "kube_cpu_limit": 2.0,
		"k8s.container.memory.limit": int64(256 << 20), "kube_memory_limit": int64(256 << 20),
		"k8s.container.cpu.request": 0.5, "k8s.container.memory.request": int64(1_000_000_000),
	}, r.through(m{}))
}

func TestAliases(t *testing.T) {
	r := started(t, m{"aliases": "kube"})
	in := m{
		"k8s.pod.name": "one", "k8s.node.name": "node-1", "k8s.namespace.name": "shop",
		"k8s.container.cpu.limit": 0.5, "k8s.container.memory.limit": int64(1000),
		"service.version": "1.2.3", "k8s.pod.label.app.kubernetes.io/name": "web", "k8s.pod.labels.tier": "front",
		"k8s.pod.label.": "no key", "k8s.pod.uid": "1",
	}
	assert.Equal(t, with(in, m{
		"kube_pod_name": "one", "kube_node_name": "node-1", "kube_namespace": "shop",
		"kube_cpu_limit": 0.5, "kube_memory_limit": int64(1000),
		"app_version": "1.2.3", "labels.app.kubernetes.io/name": "web", "labels.tier": "front",
	}), r.through(in))

	own := m{"k8s.pod.name": "one", "kube_pod_name": "mine", "k8s.pod.label.app": "web", "labels.app": false}
	assert.Equal(t, own, r.through(own), "what the app has set stays")
	assert.Equal(t, m{}, r.through(m{}))

	many := m{}
	for i := range 3 * maxJoined {
		many["k8s.pod.label."+strconv.Itoa(i)] = strconv.Itoa(i)
	}
	assert.Len(t, r.through(many), 6*maxJoined, "more keys than are remembered")
}

// Clients may send any key, and not all are kept for ever.
func TestJoinerIsBounded(t *testing.T) {
	j := newJoiner("labels.")
	for i := range 2 * maxJoined {
		key := strconv.Itoa(i)
		require.Equal(t, "labels."+key, j.join(key))
		require.Equal(t, "labels."+key, j.join(key))
	}
	assert.Len(t, *j.known.Load(), maxJoined)
}

func TestAliasesOfAnyTypeAndByMap(t *testing.T) {
	r := started(t, m{"aliases": m{"a": "b", "b": "c", "list": "other", "tag.*": "t.*", "same": "name", "last": "name"}})
	assert.Equal(t, m{
		"a": "1", "b": "1", "list": []any{"x", int64(2)}, "other": []any{"x", int64(2)},
		"tag.": "none", "tag.x": true, "t.x": true,
	}, r.through(m{"a": "1", "list": []any{"x", int64(2)}, "tag.": "none", "tag.x": true}),
		"an alias of an alias is not made")
	got := r.through(m{"same": "1", "last": "2"})
	assert.Contains(t, []any{"1", "2"}, got["name"], "one of the two, and no error")
}

// The three signals go the same way.
func TestAllSignals(t *testing.T) {
	newFakeAPI(t, pod("1", "one", container("web", "1.5", "256Mi")))
	t.Setenv("NODE_NAME", "node-1")
	r := started(t, m{"downward_api": m{"directory": ""}, "container_resources": m{"auth_type": "kubeConfig"}, "aliases": "kube"})
	r.awaitPods(1)
	in := m{"k8s.pod.uid": "1"}
	want := r.through(in)
	assert.Len(t, want, 7)

	md := pmetric.NewMetrics()
	require.NoError(t, md.ResourceMetrics().AppendEmpty().Resource().Attributes().FromRaw(in))
	require.NoError(t, r.metrics.ConsumeMetrics(t.Context(), md))
	assert.Equal(t, want, r.gotMetrics.AllMetrics()[0].ResourceMetrics().At(0).Resource().Attributes().AsRaw())

	ld := plog.NewLogs()
	require.NoError(t, ld.ResourceLogs().AppendEmpty().Resource().Attributes().FromRaw(in))
	require.NoError(t, r.logsP.ConsumeLogs(t.Context(), ld))
	assert.Equal(t, want, r.gotLogs.AllLogs()[0].ResourceLogs().At(0).Resource().Attributes().AsRaw())

	assert.True(t, r.traces.Capabilities().MutatesData)
	assert.True(t, r.metrics.Capabilities().MutatesData)
	assert.True(t, r.logsP.Capabilities().MutatesData)
}

func TestOneWatchPerConfiguration(t *testing.T) {
	api := newFakeAPI(t, pod("1", "one"))
	r := started(t, fromKubeConfig)
	r.awaitPods(1)
	assert.Equal(t, []string{"stream"}, api.seen(), "three pipelines, one watch")

	// The watch lasts as long as one pipeline does.
	require.NoError(t, r.traces.Shutdown(t.Context()))
	require.NoError(t, r.metrics.Shutdown(t.Context()))
	api.put(pod("2", "two"))
	r.awaitPods(2)
	require.NoError(t, r.logsP.Shutdown(t.Context()))
	assert.Equal(t, []string{"stream"}, api.seen())
}

func TestNodeFilter(t *testing.T) {
	api := newFakeAPI(t,
		pod("1", "here", onNode("node-1"), container("web", "1", "")),
		pod("2", "there", onNode("node-2"), container("web", "1", "")),
	)
	t.Setenv("MY_NODE", "node-1")
	r := started(t, m{"container_resources": m{"auth_type": "kubeConfig", "node_from_env_var": "MY_NODE"}})
	r.awaitPods(1)
	api.put(pod("3", "there too", onNode("node-2"), container("web", "1", "")))
	api.put(pod("4", "here too", onNode("node-1"), container("web", "1", "")))
	r.awaitPods(2)
	assert.Contains(t, r.through(m{"k8s.pod.uid": "4"}), "k8s.container.cpu.limit")
	assert.NotContains(t, r.through(m{"k8s.pod.uid": "3"}), "k8s.container.cpu.limit")
}

func TestNodeFilterWithoutNode(t *testing.T) {
	newFakeAPI(t)
	t.Setenv("MY_NODE", "")
	r := newRig(t, m{"container_resources": m{"auth_type": "kubeConfig", "node_from_env_var": "MY_NODE"}})
	require.EqualError(t, r.traces.Start(t.Context(), r.host),
		"container_resources: node_from_env_var: variable MY_NODE is not set; give it the node's name, in a pod from fieldRef spec.nodeName")
	require.NoError(t, r.traces.Shutdown(t.Context()))
}

func TestNoCluster(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	r := started(t, m{"container_resources": m{"auth_type": "none", "node_from_env_var": "NO_NODE"}})
	in := m{"k8s.pod.uid": "1", "service.name": "web"}
	for range 3 {
		assert.Equal(t, in, r.through(in))
	}
	assert.Equal(t, []string{"container_resources: no cluster here; telemetry passes without what is known of pods"}, r.warnings())
	assert.Empty(t, r.host.seen())
}

// A collector that is to sign in and cannot says so and ends: k8s_attributes, which
// starts after this processor, does not come back from its start then.
func TestNoCredentials(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	for _, auth := range []string{"serviceAccount", "kubeConfig"} {
		t.Run(auth, func(t *testing.T) {
			r := newRig(t, m{"container_resources": m{"auth_type": auth}})
			require.ErrorContains(t, r.traces.Start(t.Context(), r.host), `container_resources: auth_type: no cluster for "`+auth+`" here: `)
			require.NoError(t, r.traces.Shutdown(t.Context()))
		})
	}
}

func TestPodsComeAndGo(t *testing.T) {
	api := newFakeAPI(t, pod("1", "web", container("web", "1", "")))
	r := started(t, fromKubeConfig)
	r.awaitPods(1)
	api.remove("1")
	api.put(pod("2", "web", container("web", "2", "")))
	r.awaitPods(2)
	limit := func(in m) any { return r.through(in)["k8s.container.cpu.limit"] }
	assert.Equal(t, any(1.0), limit(m{"k8s.pod.uid": "1"}), "late telemetry of the old pod")
	assert.Equal(t, any(2.0), limit(m{"k8s.pod.uid": "2"}))
	assert.Equal(t, any(2.0), limit(m{"k8s.namespace.name": "shop", "k8s.pod.name": "web"}))
	api.put(pod("2", "web", container("web", "3", "")))
	r.await("the resize", func() bool { return limit(m{"k8s.pod.uid": "2"}) == 3.0 })
}

func TestOutage(t *testing.T) {
	api := newFakeAPI(t, pod("1", "one", container("web", "1", "")), pod("2", "two", container("web", "2", "")))
	r := started(t, fromKubeConfig)
	r.awaitPods(2)
	api.down()
	r.await("the loss", func() bool { return len(r.host.seen()) > 0 })
	limit := func(uid string) any { return r.through(m{"k8s.pod.uid": uid})["k8s.container.cpu.limit"] }
	assert.Equal(t, any(1.0), limit("1"), "the last known state serves")

	api.remove("2")
	api.put(pod("3", "three", container("web", "3", "")))
	api.up()
	r.await("the pod made during the outage", func() bool { return limit("3") == 3.0 })
	assert.Equal(t, any(1.0), limit("1"))
	assert.Equal(t, any(2.0), limit("2"), "deleted, and served for a while")

	recoverable, ok := componentstatus.StatusRecoverableError, componentstatus.StatusOK
	// Each of the three pipelines reports both, once.
	assert.Equal(t, []componentstatus.Status{recoverable, recoverable, recoverable, ok, ok, ok}, r.host.seen())
	assert.Equal(t, []string{"container_resources: pods cannot be watched; what is known of them serves on"}, r.warnings())
}

func TestStartBeforeTheServer(t *testing.T) {
	api := newFakeAPI(t, pod("1", "one", container("web", "1", "")))
	api.down()
	r := started(t, fromKubeConfig)
	in := m{"k8s.pod.uid": "1"}
	assert.Equal(t, in, r.through(in))
	r.await("the loss", func() bool { return len(r.host.seen()) == 3 })
	api.up()
	r.awaitPods(1)
	assert.Equal(t, m{"k8s.pod.uid": "1", "k8s.container.cpu.limit": 1.0}, r.through(in))
	assert.Len(t, r.warnings(), 1)
}

func TestServerForgetsTheVersion(t *testing.T) {
	for name, forget := range map[string]func(*fakeAPI){
		"says so in the stream": func(api *fakeAPI) {
			api.tell(event{"ERROR", metav1.Status{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
				Status:   metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "too old resource version",
			}})
		},
		"answers so": func(api *fakeAPI) {
			api.set(func(f *fakeAPI) { f.expired = true })
			api.cut()
		},
	} {
		t.Run(name, func(t *testing.T) {
			api := newFakeAPI(t, pod("1", "one", container("web", "1", "")))
			r := started(t, fromKubeConfig)
			r.awaitPods(1)
			forget(api)
			r.await("a list anew", func() bool { return slices.Contains(api.seen()[1:], "stream") })
			api.put(pod("2", "two", container("web", "2", "")))
			r.awaitPods(2)
			assert.Empty(t, r.host.seen(), "nothing is lost")
			assert.Empty(t, r.warnings())
		})
	}
}

func TestServerWithoutStreamedLists(t *testing.T) {
	api := newFakeAPI(t, pod("1", "one", container("web", "1", "")))
	api.set(func(f *fakeAPI) { f.old = true })
	r := started(t, fromKubeConfig)
	r.awaitPods(1)
	api.put(pod("2", "two", container("web", "2", "")))
	r.awaitPods(2)
	assert.Equal(t, []string{"stream", "list", "watch"}, api.seen())
	assert.Empty(t, r.host.seen())
	assert.Empty(t, r.warnings())
}

func TestRefused(t *testing.T) {
	api := newFakeAPI(t, pod("1", "one", container("web", "1", "")))
	api.set(func(f *fakeAPI) { f.refuse = http.StatusForbidden })
	r := started(t, fromKubeConfig)
	r.await("the loss", func() bool { return len(r.host.seen()) == 3 })
	assert.Equal(t, []string{"container_resources: pods cannot be watched; what is known of them serves on; list and watch on pods must be granted"}, r.warnings())
	api.set(func(f *fakeAPI) { f.refuse = 0 })
	r.awaitPods(1)
}

// A server that is back and goes on refusing is another trouble than one that
// is away, and is named too.
func TestRefusedAfterAnOutage(t *testing.T) {
	api := newFakeAPI(t)
	api.down()
	r := started(t, fromKubeConfig)
	r.await("the loss", func() bool { return len(r.warnings()) == 1 })
	api.set(func(f *fakeAPI) { f.refuse = http.StatusForbidden })
	api.up()
	r.await("the refusal", func() bool { return len(r.warnings()) == 2 })
	assert.Contains(t, r.warnings()[1], "list and watch on pods must be granted")
	assert.Len(t, r.host.seen(), 3, "and is no new loss")
}

func TestTelemetry(t *testing.T) {
	api := newFakeAPI(t, pod("1", "one", container("web", "1", "")), pod("2", "two", container("a", "1", ""), container("b", "1", "")))
	t.Setenv("POD_UID", "1")
	r := started(t, m{"downward_api": m{"directory": ""}, "container_resources": m{"auth_type": "kubeConfig"}})
	r.awaitPods(2)
	for _, in := range []m{
		{"k8s.pod.uid": "1"},                // container_resources
		{},                                  // both: downward_api gives the UID
		{"k8s.pod.uid": "2"},                // other_pod, container_ambiguous, container_resources by the sums
		{"k8s.pod.uid": "3"},                // other_pod, pod_unknown
		{"k8s.pod.uid": "2", "x": "y"},      // as before
		{"k8s.pod.uid": "1", "z": int64(3)}, // container_resources
	} {
		r.through(in)
	}
	id := attribute.String("processor", "k8senrich")
	count := func(key, value string, n int64) metricdata.DataPoint[int64] {
		return metricdata.DataPoint[int64]{Attributes: attribute.NewSet(id, attribute.String(key, value)), Value: n}
	}
	metadatatest.AssertEqualProcessorK8senrichResources(t, r.tel, []metricdata.DataPoint[int64]{
		count("source", "downward_api", 1), count("source", "container_resources", 5),
	}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualProcessorK8senrichMisses(t, r.tel, []metricdata.DataPoint[int64]{
		count("reason", "other_pod", 3), count("reason", "container_ambiguous", 2), count("reason", "pod_unknown", 1),
	}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualProcessorK8senrichPods(t, r.tel, []metricdata.DataPoint[int64]{
		{Attributes: attribute.NewSet(id), Value: 2},
	}, metricdatatest.IgnoreTimestamp())

	// The server ends a watch now and then; that is no error.
	api.cut()
	r.await("a watch after the cut", func() bool {
		_, err := r.tel.GetMetric("otelcol_processor_k8senrich_watch_restarts")
		return err == nil
	})
	api.down()
	r.await("the loss", func() bool { return len(r.host.seen()) == 3 })
	api.up()
	r.await("a watch after the outage", func() bool { return len(r.host.seen()) == 6 })
	metadatatest.AssertEqualProcessorK8senrichWatchRestarts(t, r.tel, []metricdata.DataPoint[int64]{
		count("cause", "ended", 1), count("cause", "error", 1),
	}, metricdatatest.IgnoreTimestamp())
}

func TestTelemetryWithoutPodID(t *testing.T) {
	newFakeAPI(t)
	r := started(t, fromKubeConfig)
	r.through(m{"service.name": "web"})
	metadatatest.AssertEqualProcessorK8senrichMisses(t, r.tel, []metricdata.DataPoint[int64]{{
		Attributes: attribute.NewSet(attribute.String("processor", "k8senrich"), attribute.String("reason", "no_pod_id")), Value: 1,
	}}, metricdatatest.IgnoreTimestamp())
}

func TestShutdown(t *testing.T) {
	t.Run("before start, and twice", func(t *testing.T) {
		newFakeAPI(t)
		r := newRig(t, fromKubeConfig)
		for range 2 {
			for _, c := range r.components() {
				require.NoError(t, c.Shutdown(t.Context()))
			}
		}
	})
	t.Run("twice after start", func(t *testing.T) {
		newFakeAPI(t)
		r := newRig(t, fromKubeConfig)
		for _, c := range r.components() {
			require.NoError(t, c.Start(t.Context(), r.host))
		}
		for range 2 {
			for _, c := range r.components() {
				require.NoError(t, c.Shutdown(t.Context()))
			}
		}
	})
	t.Run("while the server is away", func(t *testing.T) {
		api := newFakeAPI(t)
		api.down()
		r := newRig(t, fromKubeConfig)
		require.NoError(t, r.traces.Start(t.Context(), r.host))
		r.await("the loss", func() bool { return len(r.host.seen()) == 1 })
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		require.NoError(t, r.traces.Shutdown(ctx))
	})
	t.Run("out of time", func(t *testing.T) {
		newFakeAPI(t)
		r := newRig(t, fromKubeConfig)
		require.NoError(t, r.traces.Start(t.Context(), r.host))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.traces.Shutdown(ctx); err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
		require.NoError(t, r.traces.Shutdown(t.Context()), "a second call waits for the end")
	})
}

// What the pipelines of a configuration share is forgotten with them, so that
// a collector that reloads its configuration does not grow.
func TestFactoryForgets(t *testing.T) {
	f := newFactory()
	cfg := createDefaultConfig().(*Config)
	cfg.Aliases = kubeAliases
	set := processortest.NewNopSettings(metadata.Type)
	p, err := f.createTraces(t.Context(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	require.Len(t, f.shared, 1)
	require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, p.Shutdown(t.Context()))
	assert.Empty(t, f.shared)
}

func TestErrorsOfNextArePassedOn(t *testing.T) {
	f := NewFactory()
	cfg := f.CreateDefaultConfig().(*Config)
	cfg.Aliases = kubeAliases
	want := errors.New("queue is full")
	p, err := f.CreateTraces(t.Context(), processortest.NewNopSettings(metadata.Type), cfg, consumertest.NewErr(want))
	require.NoError(t, err)
	require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))
	td := ptrace.NewTraces()
	td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	require.ErrorIs(t, p.ConsumeTraces(t.Context(), td), want)
	require.NoError(t, p.Shutdown(t.Context()))
}

func tracesWith(spans int, attributes m) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	_ = rs.Resource().Attributes().FromRaw(attributes)
	ss := rs.ScopeSpans().AppendEmpty().Spans()
	for i := range spans {
		ss.AppendEmpty().SetName(strconv.Itoa(i))
	}
	return td
}

func TestCostDoesNotGrowWithSpans(t *testing.T) {
	newFakeAPI(t, pod("1", "one", container("web", "1", "1G")))
	cfg := m{"container_resources": m{"auth_type": "kubeConfig"}, "aliases": "kube"}
	r := started(t, cfg)
	r.awaitPods(1)
	f := NewFactory()
	c := f.CreateDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(cfg).Unmarshal(c))
	p, err := f.CreateTraces(t.Context(), r.set, c, consumertest.NewNop())
	require.NoError(t, err)
	// Enriched already, so that each run does the same.
	in := r.through(m{"k8s.pod.uid": "1", "k8s.pod.label.app": "web"})
	one, many := tracesWith(1, in), tracesWith(1000, in)
	a := testing.AllocsPerRun(100, func() { _ = p.ConsumeTraces(t.Context(), one) })
	b := testing.AllocsPerRun(100, func() { _ = p.ConsumeTraces(t.Context(), many) })
	require.InDelta(t, a, b, 0, "allocations grow with spans")
	require.NoError(t, p.Shutdown(t.Context()))
}

// FuzzEnrich sends any attributes through all that there is. Nothing that was
// there may change and what is added must come from the pod or be an alias.
func FuzzEnrich(f *testing.F) {
	f.Add("k8s.pod.uid", "1", "k8s.container.name", "web")
	f.Add("k8s.pod.name", "one", "k8s.namespace.name", "shop")
	f.Add("k8s.pod.label.app", "x", "labels.app", "y")
	f.Add("k8s.container.cpu.limit", "", "k8s.pod.label.", "")
	f.Setenv("POD_NAME", "one")
	f.Setenv("POD_UID", "1")
	r := started(f, m{"downward_api": m{"directory": ""}, "aliases": "kube"})
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		in := m{k1: v1, k2: v2}
		r.t = t
		out := r.through(in)
		for k, v := range in {
			require.Equal(t, v, out[k], k)
		}
		for k := range out {
			_, was := in[k]
			known := slices.Contains([]string{"k8s.pod.name", "k8s.pod.uid", "kube_pod_name", "kube_node_name", "kube_namespace", "kube_cpu_limit", "kube_memory_limit", "app_version"}, k) ||
				strings.HasPrefix(k, "labels.")
			require.True(t, was || known, k)
		}
	})
}
