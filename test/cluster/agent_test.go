// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

package cluster_test

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
)

const (
	agentSelector = "app.kubernetes.io/component=agent"
	agentService  = "http://otelcol-custom-agent." + agentSpace + ".svc"
)

func testAgent(t *testing.T, s *suite) {
	b := s.backend(t)
	s.applyK(t, []string{"agent"}, []string{"backend/otlp"}, `
patches:
  - target: {kind: DaemonSet}
    patch: |`+smallQueue+`
      # A judgement within seconds, not minutes.
      - op: replace
        path: /spec/template/spec/containers/0/livenessProbe/periodSeconds
        value: 1
      - op: replace
        path: /spec/template/spec/containers/0/livenessProbe/failureThreshold
        value: 2
      - op: add
        path: /spec/template/spec/containers/0/livenessProbe/terminationGracePeriodSeconds
        value: 1
`)
	s.secret(t, agentSpace, b)
	s.AwaitReady(t, agentSpace, agentSelector, 1)

	cart, pay := pair("agent", agentService)
	s.deploy(t, cart)
	s.deploy(t, pay)
	t.Run("each pod is known by the Service", func(t *testing.T) { testIdentity(t, b, cart, pay) })
	t.Run("a label that changes shows", func(t *testing.T) { testLabel(t, b, cart) })
	t.Run("host port", func(t *testing.T) { testHostPort(t, s, b) })
	t.Run("the pod is locked down", func(t *testing.T) {
		pod := s.AwaitReady(t, agentSpace, agentSelector, 1)[0]
		testLockedDown(t, s, &pod, "collector", 1, 512<<20)
		// OTLP and metrics; health, pprof and zPages.
		testReach(t, cart, &pod, []int{4317, 4318, 8888}, []int{13133, 1777, 55679})
		testRBAC(t, s, &pod)
	})
	t.Run("the documented way to see that it works", func(t *testing.T) { testDocs(t, s, b) })
	t.Run("a collector that hangs is started again", func(t *testing.T) { testHang(t, s, b, cart) })
	t.Run("a restart under load loses nothing", func(t *testing.T) {
		testRestart(t, s, b, "daemonset/otelcol-custom-agent", agentSpace, agentSelector, cart, pay)
	})
	t.Run("a full queue outlives an eviction", func(t *testing.T) {
		testEviction(t, s, b, agentSpace, agentSelector, cart, pay)
	})
	b.Stop(t) // it has ended already if the test before has started it anew
	b.Start(t)
	t.Run("TLS and a token", func(t *testing.T) { testSecure(t, s, b, cart) })
}

// testLabel changes a label of a live pod, and adds one.
func testLabel(t *testing.T, b *otlpserver.Server, a *app) {
	a.s.Kubectl(t, "label", "pod", "-n", appSpace, a.pod.Name, "--overwrite", "team=green", "new=yes")
	a.awaitResource(t, b, map[string]any{
		"k8s.pod.name": a.pod.Name, "k8s.pod.label.team": "green", "k8s.pod.label.new": "yes",
	})
	a.pod = a.s.AwaitReady(t, appSpace, "app="+a.name, 1)[0]
}

// testHostPort sends to the node's address. portmap, as most network plugins set
// it up, hides the sender from a pod of the same node, so that a pod is known by
// what it says of itself and not by its address.
func testHostPort(t *testing.T, s *suite, b *otlpserver.Server) {
	silent := &app{
		name: "silent", cpu: "100m", memory: "64Mi",
		env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://$(NODE_IP):4317"},
	}
	says := &app{
		name: "says", cpu: "100m", memory: "64Mi",
		env: map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": "http://$(NODE_IP):4317",
			"OTEL_RESOURCE_ATTRIBUTES":    "k8s.pod.uid=$(POD_UID)",
		},
	}
	s.deploy(t, silent)
	s.deploy(t, says)
	says.awaitResource(t, b, says.identity())
	// By now the agent has heard of both pods. It takes the unknown sender for
	// nobody, above all not for another pod.
	silent.send(t, 10)
	silent.awaitResource(t, b, map[string]any{
		"k8s.pod.ip":   s.Bridge().String(),
		"k8s.pod.name": "", "k8s.pod.uid": "", "k8s.pod.label.app": "", "k8s.deployment.name": "",
	})
}

// testLockedDown reads from the running container what the manifest asks for.
func testLockedDown(t *testing.T, s *suite, pod *corev1.Pod, container string, cpus float64, memory int) {
	t.Helper()
	c := s.Container(t, pod, container)
	assert.Equal(t, "10001\t10001\t10001\t10001", c.Status(t, "Uid"))
	assert.Equal(t, "10001\t10001\t10001\t10001", c.Status(t, "Gid"))
	for _, set := range []string{"CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"} {
		assert.Equal(t, "0000000000000000", c.Status(t, set), set)
	}
	assert.Equal(t, "1", c.Status(t, "NoNewPrivs"))
	assert.Equal(t, "2", c.Status(t, "Seccomp"), "a filter")
	assert.InDelta(t, cpus, c.CPULimit(t), 0.001)
	assert.Equal(t, memory, c.MemoryLimit(t))

	// Root may write there but for the mounts.
	for _, name := range []string{"/new", "/etc/new", "/etc/otelcol-custom/new.yaml"} {
		_, err := os.OpenFile(c.File(name), os.O_CREATE|os.O_WRONLY, 0o600)
		require.ErrorIs(t, err, syscall.EROFS, name)
	}
	queue := c.File("/var/lib/otelcol-custom/new")
	require.NoError(t, os.WriteFile(queue, nil, 0o600))
	require.NoError(t, os.Remove(queue))
}

// testReach finds which ports another pod reaches.
func testReach(t *testing.T, from *app, pod *corev1.Pod, open, closed []int) {
	t.Helper()
	dial := func(port int) error {
		_, err := from.call(http.MethodGet, "/dial?to="+net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(port)))
		return err
	}
	for _, port := range open {
		require.NoError(t, dial(port))
	}
	for _, port := range closed {
		require.ErrorContains(t, dial(port), "connection refused")
	}
}

// testRBAC tries what the pod's own token is good for.
func testRBAC(t *testing.T, s *suite, pod *corev1.Pod) {
	t.Helper()
	c := s.Container(t, pod, "collector")
	token, err := os.ReadFile(c.File("/var/run/secrets/kubernetes.io/serviceaccount/token"))
	require.NoError(t, err)
	client, err := kubernetes.NewForConfig(s.Config(string(token)))
	require.NoError(t, err)
	core := client.CoreV1()
	_, err = core.Pods("").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	_, err = core.Nodes().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	for what, try := range map[string]func() error{
		"secrets": func() error { _, err := core.Secrets("").List(t.Context(), metav1.ListOptions{}); return err },
		"its own Secret": func() error {
			_, err := core.Secrets(pod.Namespace).Get(t.Context(), "otelcol-custom-backend", metav1.GetOptions{})
			return err
		},
		"configmaps": func() error { _, err := core.ConfigMaps("").List(t.Context(), metav1.ListOptions{}); return err },
		"namespaces": func() error { _, err := core.Namespaces().List(t.Context(), metav1.ListOptions{}); return err },
		"a pod": func() error {
			_, err := core.Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
			return err
		},
		"its end": func() error { return core.Pods(pod.Namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}) },
		"the node's kubelet": func() error {
			return client.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/node-1/proxy/pods").Do(t.Context()).Error()
		},
	} {
		err := try()
		assert.True(t, apierrors.IsForbidden(err), "%s: %v", what, err)
	}
}

// testDocs sends what docs/deploy.md sends, by the way it goes.
func testDocs(t *testing.T, s *suite, b *otlpserver.Server) {
	pod := s.AwaitReady(t, agentSpace, agentSelector, 1)[0]
	docs, err := os.ReadFile(filepath.Join(harness.Root(t), "docs/deploy.md"))
	require.NoError(t, err)
	_, after, found := strings.Cut(string(docs), "```json\n")
	require.True(t, found)
	hello, _, found := strings.Cut(after, "```")
	require.True(t, found)

	proxy := "/api/v1/namespaces/" + agentSpace + "/pods/" + pod.Name
	api := s.Client.CoreV1().RESTClient()
	require.NoError(t, api.Post().AbsPath(proxy+":4318/proxy/v1/traces").SetHeader("Content-Type", "application/json").
		Body([]byte(hello)).Do(t.Context()).Error())
	(&app{name: "hello"}).awaitSpans(t, b, 0, 1)
	metrics, err := api.Get().AbsPath(proxy + ":8888/proxy/metrics").DoRaw(t.Context())
	require.NoError(t, err)
	for _, name := range []string{"otelcol_receiver_accepted_spans", "otelcol_exporter_sent_spans", "otelcol_exporter_queue_size"} {
		assert.Contains(t, string(metrics), name)
	}

	local := harness.FreePort(t)
	forward := s.StartKubectl(t, "port-forward", "-n", agentSpace, pod.Name, strconv.Itoa(local)+":55679")
	forward.AwaitReady(t, func() error {
		page, err := harness.Get(fmt.Sprintf("http://127.0.0.1:%d/debug/pipelinez", local))
		if err == nil && !strings.Contains(string(page), "k8senrich") {
			return harness.GiveUp(fmt.Errorf("no pipelines in %s", page))
		}
		return err
	})
}

// testHang stops the collector's process, as a deadlock would.
func testHang(t *testing.T, s *suite, b *otlpserver.Server, a *app) {
	pod := s.AwaitReady(t, agentSpace, agentSelector, 1)[0]
	require.NoError(t, syscall.Kill(s.Container(t, &pod, "collector").PID, syscall.SIGSTOP))
	harness.AwaitFor(t, patience, "the collector was not started again", func() error {
		now := s.AwaitReady(t, agentSpace, agentSelector, 1)[0]
		require.Equal(t, pod.UID, now.UID)
		return differ(map[string]any{"restarts": 1}, map[string]any{"restarts": int(now.Status.ContainerStatuses[0].RestartCount)})
	})
	a.send(t, 10)
	awaitDelivered(t, b, []*app{a})
}

// testRestart replaces all pods of a workload while apps send.
func testRestart(t *testing.T, s *suite, b *otlpserver.Server, workload, namespace, selector string, apps ...*app) {
	before := map[string]bool{}
	for _, pod := range s.Pods(t, namespace, selector) {
		before[string(pod.UID)] = true
	}
	for _, a := range apps {
		a.rate(t, 100)
	}
	s.Kubectl(t, "rollout", "restart", workload, "-n", namespace)
	s.Kubectl(t, "rollout", "status", workload, "-n", namespace, "--timeout=5m")
	pods := s.AwaitReady(t, namespace, selector, len(before))
	for i := range pods {
		require.False(t, before[string(pods[i].UID)], "pod %s is the old one", pods[i].Name)
	}
	awaitDelivered(t, b, apps)
}

// testEviction evicts a pod whose queue is full, since the backend is down. The
// queue was made small by smallQueue.
func testEviction(t *testing.T, s *suite, b *otlpserver.Server, namespace, selector string, apps ...*app) {
	pods := s.AwaitReady(t, namespace, selector, len(s.Pods(t, namespace, selector)))
	b.Stop(t)
	for _, a := range apps {
		a.rate(t, 500)
	}
	for _, a := range apps {
		harness.AwaitFor(t, patience, a.name+" is refused nothing", func() error {
			if a.must(t, http.MethodGet, "/error") == "" {
				return errNotYet
			}
			return nil
		})
	}
	full := slices.MaxFunc(pods, func(a, b corev1.Pod) int { return cmp.Compare(queued(t, &a), queued(t, &b)) })
	require.Greater(t, queued(t, &full), 0.5*smallQueueSize)
	evict := func(pod *corev1.Pod) error {
		return s.Client.PolicyV1().Evictions(namespace).Evict(t.Context(), &policyv1.Eviction{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: namespace},
		})
	}
	harness.Await(t, "the eviction", func() error { return evict(&full) })
	for i := range pods {
		if pods[i].UID != full.UID {
			err := evict(&pods[i])
			assert.True(t, apierrors.IsTooManyRequests(err), "the budget keeps the other: %v", err)
		}
	}
	harness.AwaitFor(t, patience, "the evicted pod is still there", func() error {
		now, err := s.Client.CoreV1().Pods(namespace).Get(t.Context(), full.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && now.UID != full.UID {
			return nil
		}
		return errNotYet
	})
	s.AwaitReady(t, namespace, selector, len(pods)) // with a full queue, and no backend
	b.Start(t)
	awaitDelivered(t, b, apps)
}

const (
	smallQueueSize = 200_000 // bytes, full within seconds; as shipped it is a gibibyte
	smallQueue     = `
      - op: add
        path: /spec/template/spec/containers/0/args/-
        value: "--config=yaml:exporters::otlp_grpc::sending_queue::queue_size: 200000"
`
)

// queued returns the bytes in the queue of traces.
func queued(t *testing.T, pod *corev1.Pod) float64 {
	t.Helper()
	return metric(t, pod, `otelcol_exporter_queue_size{data_type="traces"`)
}

// metric returns the sum of the pod's own metrics that begin so.
func metric(t *testing.T, pod *corev1.Pod, prefix string) float64 {
	t.Helper()
	body, err := harness.Get("http://" + net.JoinHostPort(pod.Status.PodIP, "8888") + "/metrics")
	require.NoError(t, err)
	var sum float64
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, prefix) {
			fields := strings.Fields(line)
			value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			require.NoError(t, err)
			sum += value
		}
	}
	return sum
}
