// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jaegertracing/jaeger-idl/proto-gen/api_v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
	"github.com/otelcol-custom/otelcol-custom/test/kubetest"
)

// shop is a cluster with the namespace shop, the nodes node-1 and node-2, and a
// Deployment "web" whose pods tests make. Addresses of its pods are of
// 127.0.0.0/8, so that a test can send from them.
type shop struct {
	*kubetest.Cluster

	replicaSet *appsv1.ReplicaSet
	nodes      map[string]string      // UIDs by name
	account    *corev1.ServiceAccount // as deploy/ has it
}

var zones = map[string]string{"node-1": "z1", "node-2": "z2"}

// startShop starts a cluster in which mode m may do what deploy/ grants it.
func startShop(t *testing.T, m mode, flags ...string) *shop {
	t.Helper()
	s := &shop{Cluster: kubetest.Start(t, flags...), nodes: map[string]string{}}
	s.Namespace(t, "shop")
	for name, zone := range zones {
		node := s.Node(t, name, map[string]string{
			"topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": "r1", "node.kubernetes.io/instance-type": "m5",
		})
		s.nodes[name] = string(node.UID)
	}
	s.replicaSet = s.ReplicaSet(t, "shop", "web")
	s.account = s.grant(t, m, "", func(*rbacv1.ClusterRole) {})
	return s
}

// grant applies the manifest of deploy/ that says what a mode may do, and returns the
// account. With a suffix on all names, several roles can be beside each other;
// change may change what is granted.
func (s *shop) grant(t *testing.T, m mode, suffix string, change func(*rbacv1.ClusterRole)) *corev1.ServiceAccount {
	t.Helper()
	var account *corev1.ServiceAccount
	s.Apply(t, filepath.Join(harness.Root(t), "deploy", "kustomize", string(m), "rbac.yaml"), func(object any) bool {
		switch o := object.(type) {
		case *corev1.ServiceAccount:
			o.Name += suffix
			s.Namespace(t, o.Namespace)
			account = o
		case *rbacv1.ClusterRole:
			o.Name += suffix
			change(o)
		case *rbacv1.ClusterRoleBinding:
			o.Name += suffix
			o.RoleRef.Name += suffix
			for i := range o.Subjects {
				o.Subjects[i].Name += suffix
			}
		}
		return true
	})
	require.NotNil(t, account)
	return account
}

// config starts a mode and a backend with a token of an account.
func (s *shop) config(t *testing.T, m mode, backend string, env map[string]string, account *corev1.ServiceAccount) collector.Config {
	t.Helper()
	token, _ := s.Token(t, account.Namespace, account.Name)
	return shopConfig(t, m, backend, env, s.Kubeconfig(t, s.Address, token))
}

func shopConfig(t *testing.T, m mode, backend string, env map[string]string, kubeconfig string) collector.Config {
	t.Helper()
	c := m.config(t, backend, env).With(map[string]string{"KUBECONFIG": kubeconfig})
	c.Overlay += "\nprocessors::k8senrich::aliases: kube"
	return c
}

// pod makes a pod of the Deployment, with a label and limits that no other
// pod of the test has: n is the pod's own.
func (s *shop) pod(t *testing.T, name, node, ip string, n int, change ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{
			"app": "web", "pod-template-hash": "7d9c8f6b5", "shop.example.com/pod": name,
		}},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Name: "app", Image: "registry.example.com/shop/web:1.4.2",
			Resources: corev1.ResourceRequirements{
				Limits: corev1.ResourceList{
					corev1.ResourceCPU:    *apiresource.NewMilliQuantity(int64(1000+n), apiresource.DecimalSI),
					corev1.ResourceMemory: *apiresource.NewQuantity(int64(128<<20+n), apiresource.BinarySI),
				},
				Requests: corev1.ResourceList{corev1.ResourceCPU: apiresource.MustParse("250m"), corev1.ResourceMemory: apiresource.MustParse("64Mi")},
			},
		}}},
	}
	for _, f := range change {
		f(pod)
	}
	return s.Pod(t, pod, ip, s.replicaSet)
}

// status changes the status of a pod, as its kubelet would.
func (s *shop) status(t *testing.T, pod *corev1.Pod, change func(*corev1.PodStatus)) *corev1.Pod {
	t.Helper()
	pods := s.Client.CoreV1().Pods(pod.Namespace)
	pod, err := pods.Get(t.Context(), pod.Name, metav1.GetOptions{})
	require.NoError(t, err)
	change(&pod.Status)
	pod, err = pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
	require.NoError(t, err)
	return pod
}

// attributes is what telemetry of a pod made by [shop.pod] gets.
func (s *shop) attributes(pod *corev1.Pod) map[string]any {
	limits := pod.Spec.Containers[0].Resources.Limits
	cpu, memory := float64(limits.Cpu().MilliValue())/1000, limits.Memory().Value()
	zone := zones[pod.Spec.NodeName]
	attributes := map[string]any{
		"k8s.pod.name":                 pod.Name,
		"k8s.pod.uid":                  string(pod.UID),
		"k8s.pod.ip":                   pod.Status.PodIP,
		"k8s.pod.start_time":           pod.CreationTimestamp.UTC().Format(time.RFC3339),
		"k8s.namespace.name":           "shop",
		"k8s.node.name":                pod.Spec.NodeName,
		"k8s.deployment.name":          "web",
		"k8s.replicaset.name":          "web-7d9c8f6b5",
		"k8s.container.name":           "app",
		"container.image.name":         "registry.example.com/shop/web",
		"cloud.availability_zone":      zone,
		"cloud.region":                 "r1",
		"k8s.node.uid":                 s.nodes[pod.Spec.NodeName],
		"host.type":                    "m5",
		"k8s.container.cpu.limit":      cpu,
		"k8s.container.memory.limit":   memory,
		"k8s.container.cpu.request":    0.25,
		"k8s.container.memory.request": int64(64 << 20),
		"kube_pod_name":                pod.Name,
		"kube_node_name":               pod.Spec.NodeName,
		"kube_namespace":               "shop",
		"kube_cpu_limit":               cpu,
		"kube_memory_limit":            memory,
	}
	for label, value := range map[string]string{
		"app": "web", "pod-template-hash": "7d9c8f6b5", "shop.example.com/pod": pod.Name,
		"topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": "r1", // Kubernetes copies them from the node
	} {
		attributes["k8s.pod.label."+label] = value
		attributes["labels."+label] = value
	}
	return attributes
}

// twoContainers adds a container, so that telemetry that names none is of
// either.
func twoContainers(pod *corev1.Pod) {
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
		Name: "log", Image: "log", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
			corev1.ResourceCPU: apiresource.MustParse("500m"), corev1.ResourceMemory: apiresource.MustParse("64Mi"),
		}},
	})
}

// visit is one span of an app in a pod.
type visit struct {
	trace    pcommon.TraceID
	span     pcommon.SpanID
	instance string
	traces   ptrace.Traces
}

// newVisit makes a span whose resource has these attributes and its own
// service.instance.id.
func newVisit(attributes map[string]any) *visit {
	v := &visit{trace: telemetry.NewTraceID(), traces: ptrace.NewTraces()}
	id := telemetry.NewTraceID()
	copy(v.span[:], id[:8])
	v.instance = v.span.String()
	rs := v.traces.ResourceSpans().AppendEmpty()
	for key, value := range with(map[string]any{"service.name": "web", "service.instance.id": v.instance}, attributes) {
		if err := rs.Resource().Attributes().PutEmpty(key).FromRaw(value); err != nil {
			panic(err) // a mistake in this file
		}
	}
	span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetTraceID(v.trace)
	span.SetSpanID(v.span)
	span.SetName("GET /")
	span.SetKind(ptrace.SpanKindServer)
	now := time.Now()
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(now.Add(-time.Millisecond)))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(now))
	return v
}

// enriched is what the resource of a visit comes out with, k8s being what the
// pod adds.
func (v *visit) enriched(k8s map[string]any) map[string]any {
	return with(map[string]any{
		"ai.cloud.role":         "web",
		"ai.cloud.roleInstance": v.instance,
	}, v.traces.ResourceSpans().At(0).Resource().Attributes().AsRaw(), k8s)
}

func with(all ...map[string]any) map[string]any {
	merged := map[string]any{}
	for _, m := range all {
		maps.Copy(merged, m)
	}
	return merged
}

func without(m map[string]any, keys ...string) map[string]any {
	m = maps.Clone(m)
	for _, key := range keys {
		delete(m, key)
	}
	return m
}

// from is an address of this machine that an app sends from.
type from struct{ ip string }

func (f *from) tcp() *net.Dialer { return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(f.ip)}} }

// connect returns a connection for gRPC, which is kept until the test ends.
func (f *from) connect(t *testing.T, to string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:"+to, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return f.tcp().DialContext(ctx, "tcp", address)
		}))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// post sends a body by HTTP.
func (f *from) post(t *testing.T, url, contentType string, body []byte) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: f.tcp().DialContext, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", contentType)
	resp, err := client.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 2, resp.StatusCode/100, resp.Status)
}

// datagram sends by UDP.
func (f *from) datagram(t *testing.T, to string, data []byte) {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(f.ip)}}
	conn, err := dialer.DialContext(t.Context(), "udp", to)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write(data)
	require.NoError(t, err)
}

func export(ctx context.Context, conn *grpc.ClientConn, td ptrace.Traces) error {
	_, err := ptraceotlp.NewGRPCClient(conn).Export(ctx, ptraceotlp.NewExportRequestFromTraces(td))
	return err
}

// What telemetry says of itself, or the address that it comes from, is enough to
// say all about its pod, at all backends. The collector has the rights that
// deploy/ grants, and no more.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	b := startBackends(t)
	for _, m := range []mode{"agent", "gateway"} {
		t.Run(string(m), func(t *testing.T) {
			s := startShop(t, m)
			one := s.pod(t, "one", "node-1", "127.0.0.11", 1)
			two := s.pod(t, "two", "node-1", "127.0.0.12", 2, twoContainers)
			other := s.pod(t, "other", "node-2", "127.0.0.13", 3)
			c := collector.Start(t, s.config(t, m, "all", b.env(), s.account))
			awaitPods(t, c, m)

			ofOne, ofTwo := s.attributes(one), s.attributes(two)
			// It is not known which of the two sent, so the figures are the pod's:
			// 1,002m and 500m, 128 MiB and two bytes and 64 MiB.
			ofTwo = with(without(ofTwo, "k8s.container.name", "container.image.name", "kube_cpu_limit", "kube_memory_limit",
				"k8s.container.cpu.limit", "k8s.container.memory.limit", "k8s.container.cpu.request", "k8s.container.memory.request"),
				map[string]any{
					"k8s.pod.cpu.limit": 1.502, "k8s.pod.memory.limit": int64(192<<20 + 2),
					"k8s.pod.cpu.request": 0.75, "k8s.pod.memory.request": int64(128 << 20),
				})
			ofLog := with(s.attributes(two), map[string]any{
				"k8s.container.name": "log", "container.image.name": "log",
				"k8s.container.cpu.limit": 0.5, "k8s.container.memory.limit": int64(64 << 20), "kube_cpu_limit": 0.5, "kube_memory_limit": int64(64 << 20),
				"k8s.container.cpu.request": 0.5, "k8s.container.memory.request": int64(64 << 20),
			})
			ofOther := s.attributes(other)
			if m == "agent" { // knows the pods of its own node
				ofOther = map[string]any{"k8s.pod.ip": "127.0.0.13"}
			}
			overHTTP := func(f *from, v *visit) {
				body, err := ptraceotlp.NewExportRequestFromTraces(v.traces).MarshalProto()
				require.NoError(t, err)
				f.post(t, "http://"+c.HTTP(t)+"/v1/traces", "application/x-protobuf", body)
			}
			overGRPC := func(f *from, v *visit) { require.NoError(t, export(t.Context(), f.connect(t, c.GRPC(t)), v.traces)) }
			cases := map[string]*struct {
				from string
				sent map[string]any
				send func(*from, *visit)
				want map[string]any
			}{
				"by its address, gRPC":        {"127.0.0.11", nil, overGRPC, ofOne},
				"by its address, HTTP":        {"127.0.0.11", nil, overHTTP, ofOne},
				"by its UID":                  {"127.0.0.1", map[string]any{"k8s.pod.uid": string(one.UID)}, overGRPC, ofOne},
				"an address in it is before":  {"127.0.0.12", map[string]any{"k8s.pod.ip": "127.0.0.11"}, overGRPC, ofOne},
				"by its name":                 {"127.0.0.1", map[string]any{"k8s.namespace.name": "shop", "k8s.pod.name": "one"}, overGRPC, ofOne},
				"a UID is before the address": {"127.0.0.12", map[string]any{"k8s.pod.uid": string(one.UID)}, overGRPC, ofOne},
				"two containers":              {"127.0.0.12", nil, overGRPC, ofTwo},
				"two containers, one named":   {"127.0.0.12", map[string]any{"k8s.container.name": "log"}, overGRPC, ofLog},
				"what the app says stays": {
					"127.0.0.11",
					map[string]any{"k8s.deployment.name": "mine", "k8s.container.cpu.limit": 7.0, "labels.app": "mine", "service.version": "9"},
					overGRPC,
					with(ofOne, map[string]any{
						"k8s.deployment.name": "mine", "k8s.container.cpu.limit": 7.0, "labels.app": "mine",
						"kube_cpu_limit": 7.0, "app_version": "9", // second names of what is there
					}),
				},
				"a pod on another node": {"127.0.0.13", nil, overGRPC, ofOther},
				"a pod that is not":     {"127.0.0.1", map[string]any{"k8s.pod.uid": "8a3ae2a0-1fc7-4a1c-9a3f-4e3c1d5b7a90"}, overGRPC, map[string]any{}},
			}
			visits := map[string]*visit{}
			for name, tc := range cases { // they wait for a batch together
				visits[name] = newVisit(tc.sent)
				tc.send(&from{ip: tc.from}, visits[name])
			}
			for name, tc := range cases {
				t.Run(name, func(t *testing.T) {
					v := visits[name]
					want := v.enriched(tc.want)
					v.atConsole(t, c, want)
					v.atJaeger(t, b, want)
					v.atIngestion(t, b, want)
				})
			}
			for name, send := range map[string]func(*from, *ride){
				"by its address, Jaeger's UDP": func(f *from, r *ride) {
					f.datagram(t, c.Endpoint(t, compactKey), r.datagram(t, compactProtocol()))
				},
				"by its address, Jaeger's gRPC": func(f *from, r *ride) {
					client := api_v2.NewCollectorServiceClient(f.connect(t, c.Endpoint(t, grpcKey)))
					_, err := client.PostSpans(t.Context(), &api_v2.PostSpansRequest{Batch: r.proto()})
					require.NoError(t, err)
				},
				"by its address, Zipkin": func(f *from, r *ride) {
					f.post(t, "http://"+c.Endpoint(t, zipkinKey)+"/api/v1/spans", "application/json", []byte(r.zipkinV1JSON()))
				},
			} {
				t.Run(name, func(t *testing.T) {
					r := newRide()
					send(&from{ip: "127.0.0.11"}, r)
					rs, _ := awaitSpan(t, b.openobserve, r)
					assertHas(t, ofOne, rs.Resource())
				})
			}
			t.Run("metrics and logs", func(t *testing.T) {
				conn := (&from{ip: "127.0.0.11"}).connect(t, c.GRPC(t))
				shop := telemetry.NewShop()
				_, err := pmetricotlp.NewGRPCClient(conn).Export(t.Context(), pmetricotlp.NewExportRequestFromMetrics(shop.Metrics))
				require.NoError(t, err)
				_, err = plogotlp.NewGRPCClient(conn).Export(t.Context(), plogotlp.NewExportRequestFromLogs(shop.Logs))
				require.NoError(t, err)
				harness.Await(t, "metrics and logs", func() error { return metricsAndLogs(b, shop) })
				md, ld := b.openobserve.Metrics.AllMetrics(), b.openobserve.Logs.AllLogs()
				assertHas(t, ofOne, md[len(md)-1].ResourceMetrics().At(0).Resource())
				assertHas(t, ofOne, ld[len(ld)-1].ResourceLogs().At(0).Resource())
			})
			assert.Empty(t, b.ingestion.Rejected())
			c.Stop(t)
		})
	}
}

// assertHas asserts that a resource has these attributes among others.
func assertHas(t *testing.T, want map[string]any, resource pcommon.Resource) {
	t.Helper()
	got := resource.Attributes().AsRaw()
	for key, value := range want {
		assert.Equal(t, value, got[key], key)
	}
}

// awaitPods waits until both processors know the pods: k8senrich says so, k8s_attributes
// does not, but each pod that it gets to know counts.
func awaitPods(t *testing.T, c *collector.Collector, m mode) {
	t.Helper()
	pods := map[mode]float64{"agent": 2, "gateway": 3}[m]
	c.AwaitMetric(t, pods, "otelcol_processor_k8senrich_pods")
	c.AwaitMetric(t, 3*pods, "otelcol_otelsvc_k8s_pod_added") // of each of three pipelines
}

var printedAttribute = regexp.MustCompile(`(?m)^     -> ([^:]+): (.*)$`)

func (v *visit) atConsole(t *testing.T, c *collector.Collector, want map[string]any) {
	t.Helper()
	lines := map[string]string{}
	for key, value := range want {
		lines[key] = printed(value)
	}
	harness.Await(t, "the console", func() error {
		blocks := printedBlocks(c.Stdout.String(), "ResourceSpans", v.instance)
		if len(blocks) == 0 {
			return errors.New("not printed yet")
		}
		resource, _, _ := strings.Cut(blocks[0], "\nScopeSpans #0")
		got := map[string]string{}
		for _, m := range printedAttribute.FindAllStringSubmatch(resource, -1) {
			got[m[1]] = m[2]
		}
		assert.Equal(t, lines, got)
		return nil
	})
}

func (v *visit) atJaeger(t *testing.T, b *backends, want map[string]any) {
	t.Helper()
	trace := b.jaeger.AwaitTrace(t, v.trace.String(), 1)
	process := trace.Processes[trace.Spans[0].ProcessID]
	assert.Equal(t, "web", process.ServiceName)
	attributes := pcommon.NewMap()
	require.NoError(t, attributes.FromRaw(without(want, "service.name")))
	assert.Equal(t, sorted(tags(attributes)), sorted(process.Tags))
}

func (v *visit) atIngestion(t *testing.T, b *backends, want map[string]any) {
	t.Helper()
	e := awaitEnvelope(t, b.ingestion, func(e *ingestion.Envelope) bool { return e.Text("id") == v.span.String() })
	properties := map[string]string{}
	for key, value := range without(want, "ai.cloud.role", "ai.cloud.roleInstance") {
		properties[key] = fmt.Sprint(value)
	}
	assert.Equal(t, properties, e.Properties())
	assert.Equal(t, "web", e.Tags["ai.cloud.role"])
}
