// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package k8senrich

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/kubetest"
)

// The tests of this file run the processor against a real API server, with a
// token of the account that deploy/ gives the gateway.

const (
	account   = "otelcol-custom-gateway"
	namespace = "otelcol-custom"
)

func cluster(t *testing.T) *kubetest.Cluster {
	t.Helper()
	c := kubetest.Start(t)
	c.Namespace(t, namespace)
	c.Namespace(t, "shop")
	c.Apply(t, filepath.Join(harness.Root(t), "deploy", "kustomize", "gateway", "rbac.yaml"))
	return c
}

// connect points KUBECONFIG at an address of the cluster.
func connect(t *testing.T, c *kubetest.Cluster, address string) {
	t.Helper()
	token, _ := c.Token(t, namespace, account)
	t.Setenv("KUBECONFIG", c.Kubeconfig(t, address, token))
}

func shopPod(name string, options ...podOption) *corev1.Pod {
	p := pod("", name, options...)
	p.UID = ""
	return p
}

// cpuLimit returns what telemetry of a pod gets for a limit, nil if nothing.
func (r *rig) cpuLimit(p *corev1.Pod) any {
	return r.through(m{"k8s.pod.uid": string(p.UID)})["k8s.container.cpu.limit"]
}

func TestE2EPodsAsTheAPIServerHasThem(t *testing.T) {
	c := cluster(t)
	connect(t, c, c.Address)
	always := corev1.ContainerRestartPolicyAlways
	pods := map[string]*corev1.Pod{}
	for name, options := range map[string][]podOption{
		"one":  {container("web", "1500m", "0.25Gi")},
		"two":  {container("web", "500m", "128Mi"), requests("100m", "64Mi"), container("log", "250m", "1G")},
		"free": {container("web", "", "")},
		"native-sidecar": {container("web", "500m", "128Mi"), func(p *corev1.Pod) {
			container("proxy", "0.1", "64Mi")(p)
			last := len(p.Spec.Containers) - 1
			p.Spec.InitContainers = []corev1.Container{p.Spec.Containers[last]}
			p.Spec.InitContainers[0].RestartPolicy = &always
			p.Spec.Containers = p.Spec.Containers[:last]
		}},
		"pod-level": {container("web", "", ""), container("log", "", ""), podLimits("2", "1Gi")},
	} {
		pods[name] = c.Pod(t, shopPod(name, options...), "", nil)
	}
	r := started(t, fromKubeConfig)
	r.awaitPods(5)
	const mi = int64(1 << 20)
	for _, tc := range []struct {
		pod, container string
		want           m
	}{
		// The API server takes a limit for a request where there is none.
		{"one", "", m{"k8s.container.cpu.limit": 1.5, "k8s.container.memory.limit": 256 * mi, "k8s.container.cpu.request": 1.5, "k8s.container.memory.request": 256 * mi}},
		{"two", "web", m{"k8s.container.cpu.limit": 0.5, "k8s.container.memory.limit": 128 * mi, "k8s.container.cpu.request": 0.1, "k8s.container.memory.request": 64 * mi}},
		{"two", "", m{"k8s.pod.cpu.limit": 0.75, "k8s.pod.memory.limit": 128*mi + 1_000_000_000, "k8s.pod.cpu.request": 0.35, "k8s.pod.memory.request": 64*mi + 1_000_000_000}},
		{"free", "", m{}},
		{"native-sidecar", "proxy", m{"k8s.container.cpu.limit": 0.1, "k8s.container.memory.limit": 64 * mi, "k8s.container.cpu.request": 0.1, "k8s.container.memory.request": 64 * mi}},
		{"native-sidecar", "", m{"k8s.pod.cpu.limit": 0.6, "k8s.pod.memory.limit": 192 * mi, "k8s.pod.cpu.request": 0.6, "k8s.pod.memory.request": 192 * mi}},
		{"pod-level", "", m{"k8s.pod.cpu.limit": 2.0, "k8s.pod.memory.limit": 1024 * mi, "k8s.pod.cpu.request": 2.0, "k8s.pod.memory.request": 1024 * mi}},
		{"pod-level", "web", m{"k8s.pod.cpu.limit": 2.0, "k8s.pod.memory.limit": 1024 * mi, "k8s.pod.cpu.request": 2.0, "k8s.pod.memory.request": 1024 * mi}},
	} {
		in := m{"k8s.pod.uid": string(pods[tc.pod].UID)}
		if tc.container != "" {
			in["k8s.container.name"] = tc.container
		}
		assert.Equal(t, with(in, tc.want), r.through(in), "%s %s", tc.pod, tc.container)
	}
	assert.Empty(t, r.warnings())

	// Resized in place, as kubectl does.
	one := pods["one"].DeepCopy()
	one.Spec.Containers[0].Resources.Limits[corev1.ResourceCPU] = resource.MustParse("2")
	one.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("2")
	_, err := c.Client.CoreV1().Pods("shop").UpdateResize(t.Context(), "one", one, metav1.UpdateOptions{})
	require.NoError(t, err)
	r.await("the resize", func() bool { return r.cpuLimit(one) == 2.0 })
}

func TestE2ENodeFilter(t *testing.T) {
	c := cluster(t)
	connect(t, c, c.Address)
	c.Node(t, "node-1", nil)
	c.Node(t, "node-2", nil)
	here := c.Pod(t, shopPod("here", onNode("node-1"), container("web", "1", "")), "", nil)
	there := c.Pod(t, shopPod("there", onNode("node-2"), container("web", "1", "")), "", nil)
	t.Setenv("NODE_NAME", "node-1")
	r := started(t, m{"container_resources": m{"auth_type": "kubeConfig", "node_from_env_var": "NODE_NAME"}})
	r.awaitPods(1)
	assert.Equal(t, any(1.0), r.cpuLimit(here))
	assert.Nil(t, r.cpuLimit(there))
}

func TestE2EServerDiesAndComesBack(t *testing.T) {
	c := cluster(t)
	connect(t, c, c.Address)
	old := c.Pod(t, shopPod("old", container("web", "1", "")), "", nil)
	r := started(t, fromKubeConfig)
	r.awaitPods(1)
	c.KillAPIServer()
	r.await("the loss", func() bool { return len(r.host.seen()) == 3 })
	assert.Equal(t, any(1.0), r.cpuLimit(old))
	c.StartAPIServer(t)
	fresh := c.Pod(t, shopPod("new", container("web", "2", "")), "", nil)
	r.await("the new pod", func() bool { return r.cpuLimit(fresh) == 2.0 })
	assert.Equal(t, any(1.0), r.cpuLimit(old))
	recoverable, ok := componentstatus.StatusRecoverableError, componentstatus.StatusOK
	assert.Equal(t, []componentstatus.Status{recoverable, recoverable, recoverable, ok, ok, ok}, r.host.seen())
	assert.Len(t, r.warnings(), 1)
}

func TestE2EStartBeforeTheServer(t *testing.T) {
	c := cluster(t)
	connect(t, c, c.Address)
	p := c.Pod(t, shopPod("web", container("web", "1", "")), "", nil)
	c.KillAPIServer()
	r := started(t, fromKubeConfig)
	assert.Nil(t, r.cpuLimit(p), "telemetry passes without")
	r.await("the loss", func() bool { return len(r.host.seen()) == 3 })
	c.StartAPIServer(t)
	r.await("the pod", func() bool { return r.cpuLimit(p) == 1.0 })
}

// The watch is cut, pods come and go, etcd forgets how, and the server that is
// asked to go on from then is a new one.
func TestE2ECompacted(t *testing.T) {
	c := cluster(t)
	link := c.Link(t)
	connect(t, c, link.Address)
	old := c.Pod(t, shopPod("old", container("web", "1", "")), "", nil)
	gone := c.Pod(t, shopPod("gone", container("web", "3", "")), "", nil)
	r := started(t, fromKubeConfig)
	r.awaitPods(2)
	link.Cut()
	r.await("the loss", func() bool { return len(r.host.seen()) == 3 })
	fresh := c.Pod(t, shopPod("new", container("web", "2", "")), "", nil)
	c.DeletePod(t, gone)
	c.CompactEtcd(t)
	c.KillAPIServer()
	c.StartAPIServer(t)
	link.Mend(t)
	r.await("the new pod", func() bool { return r.cpuLimit(fresh) == 2.0 })
	assert.Equal(t, any(1.0), r.cpuLimit(old))
	assert.Equal(t, any(3.0), r.cpuLimit(gone), "its last telemetry may still come")
	late := c.Pod(t, shopPod("late", container("web", "4", "")), "", nil)
	r.await("a pod after that", func() bool { return r.cpuLimit(late) == 4.0 })
}

func TestE2ETokenIsReplaced(t *testing.T) {
	c := cluster(t)
	link := c.Link(t)
	first, revoke := c.Token(t, namespace, account)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(first), 0o600))
	t.Setenv("KUBECONFIG", c.KubeconfigWithTokenFile(t, link.Address, file))
	old := c.Pod(t, shopPod("old", container("web", "1", "")), "", nil)
	r := started(t, fromKubeConfig)
	r.awaitPods(1)
	revoke()
	link.Cut() // or the watch would go on for minutes with the token it began with
	c.KillAPIServer()
	c.StartAPIServer(t) // which does not remember that the token was good
	link.Mend(t)
	r.await("the refusal", func() bool {
		for _, e := range r.logs.All() {
			if text, _ := e.ContextMap()["error"].(string); text == "Unauthorized" {
				return true
			}
		}
		return false
	})
	assert.Equal(t, any(1.0), r.cpuLimit(old), "the last known state serves")
	second, _ := c.Token(t, namespace, account)
	require.NoError(t, os.WriteFile(file+".new", []byte(second), 0o600))
	require.NoError(t, os.Rename(file+".new", file))
	fresh := c.Pod(t, shopPod("new", container("web", "2", "")), "", nil)
	r.await("the new pod", func() bool { return r.cpuLimit(fresh) == 2.0 })
}

// All pods of a cluster are replaced while telemetry of all of them flows. Each
// pod has a limit of its own, so that another pod's would show.
func TestE2EAllPodsAreReplaced(t *testing.T) {
	const pods = 1000
	c := cluster(t)
	connect(t, c, c.Address)
	create := func(generation, i int) *corev1.Pod {
		return c.Pod(t, shopPod(fmt.Sprintf("web-%d", i), container("web", fmt.Sprintf("%dm", 2*i+generation+1), "")), "", nil)
	}
	limit := func(generation, i int) any { return float64(2*i+generation+1) / 1000 }
	var mu sync.RWMutex
	now := make([]*corev1.Pod, pods)
	for i := range now {
		now[i] = create(0, i)
	}
	r := started(t, fromKubeConfig)
	r.awaitPods(pods)

	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // telemetry of the pods that are there, by UID
		defer close(done)
		for {
			for i := range pods {
				select {
				case <-stop:
					return
				default:
				}
				mu.RLock()
				p := now[i]
				mu.RUnlock()
				want := p.Spec.Containers[0].Resources.Limits.Cpu().AsApproximateFloat64()
				got := r.cpuLimit(p)
				if got != nil && !assert.InDelta(t, want, got, 1e-9, "another pod's limit") {
					return
				}
			}
		}
	}()
	for i := range pods {
		c.DeletePod(t, now[i])
		p := create(1, i)
		mu.Lock()
		now[i] = p
		mu.Unlock()
	}
	close(stop)
	<-done
	r.awaitPods(2 * pods)
	for i := range pods {
		assert.Equal(t, limit(1, i), r.cpuLimit(now[i]))
		assert.Equal(t, limit(1, i), r.through(m{"k8s.namespace.name": "shop", "k8s.pod.name": now[i].Name})["k8s.container.cpu.limit"])
	}
}

// Each verb of the role is needed: list where the API server does not stream
// lists, watch everywhere. (That the rule for nodes is needed shows only with
// k8s_attributes, see test/e2e.)
func TestE2ERoleGrantsWhatIsNeeded(t *testing.T) {
	for name, tc := range map[string]struct {
		without string // this verb
		flag    string
		works   bool
	}{
		"as it is":                          {"", "WatchList=true", true},
		"as it is, no streamed lists":       {"", "WatchList=false", true},
		"without watch":                     {"watch", "WatchList=true", false},
		"without list, no streamed lists":   {"list", "WatchList=false", false},
		"without list, but streamed lists ": {"list", "WatchList=true", true},
	} {
		t.Run(name, func(t *testing.T) {
			c := kubetest.Start(t, "--feature-gates="+tc.flag)
			c.Namespace(t, namespace)
			c.Namespace(t, "shop")
			c.Apply(t, filepath.Join(harness.Root(t), "deploy", "kustomize", "gateway", "rbac.yaml"), func(object any) bool {
				if role, ok := object.(*rbacv1.ClusterRole); ok {
					for i := range role.Rules {
						role.Rules[i].Verbs = slices.DeleteFunc(role.Rules[i].Verbs, func(verb string) bool { return verb == tc.without })
					}
				}
				return true
			})
			connect(t, c, c.Address)
			c.Pod(t, shopPod("web", container("web", "1", "")), "", nil)
			r := started(t, fromKubeConfig)
			if tc.works {
				r.awaitPods(1)
				assert.Empty(t, r.warnings())
				return
			}
			r.await("the refusal", func() bool { return len(r.warnings()) > 0 })
			assert.Contains(t, r.warnings()[0], "list and watch on pods must be granted")
		})
	}
}
