// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/jaeger"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
	"github.com/otelcol-custom/otelcol-custom/test/kubetest"
)

// noContext is for what is done when a test is over.
func noContext() context.Context { return context.Background() }

const (
	openObserveUser     = "root@example.com"
	openObservePassword = "Complex-Pass:123"
)

// servers are what the backends of deploy/kustomize send to.
type servers struct {
	jaeger            *jaeger.Server
	ingestion         *ingestion.Server
	openobserve, otlp *otlpserver.Server
}

func startServers(t *testing.T) *servers {
	t.Helper()
	return &servers{
		jaeger:    jaeger.Start(t, jaeger.V1),
		ingestion: ingestion.Start(t),
		openobserve: otlpserver.Start(t, otlpserver.Config{
			Prefix: "/api/default", Username: openObserveUser, Password: openObservePassword,
		}),
		otlp: otlpserver.Start(t, otlpserver.Config{}),
	}
}

// secret makes the Secret that a backend needs, with what its file in configs/
// documents and nothing else.
func (s *servers) secret(t *testing.T, c *kubetest.Cluster, namespace, backend string) {
	t.Helper()
	var data map[string]string
	jaegerAt := func(endpoint string) map[string]string { return map[string]string{"JAEGER_ENDPOINT": endpoint} }
	azure := func() map[string]string {
		return map[string]string{"APPLICATIONINSIGHTS_CONNECTION_STRING": s.ingestion.ConnectionString()}
	}
	openobserve := func() map[string]string {
		return map[string]string{
			"OPENOBSERVE_ENDPOINT": s.openobserve.URL(),
			"OPENOBSERVE_USERNAME": openObserveUser,
			"OPENOBSERVE_PASSWORD": openObservePassword,
		}
	}
	switch backend {
	case "console":
	case "jaeger":
		data = jaegerAt(s.jaeger.OTLPGRPC)
	case "jaeger-legacy":
		data = jaegerAt(s.jaeger.GRPC)
	case "azure", "azure-contrib":
		data = azure()
	case "openobserve":
		data = openobserve()
	case "otlp":
		data = map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + s.otlp.GRPC}
	case "all":
		data = jaegerAt(s.jaeger.OTLPGRPC)
		maps.Copy(data, azure())
		maps.Copy(data, openobserve())
	default:
		require.Fail(t, "nothing is known of this backend; add it here and to see", backend)
	}
	secrets := c.Client.CoreV1().Secrets(namespace)
	err := secrets.Delete(t.Context(), "otelcol-custom-backend", metav1.DeleteOptions{})
	if !apierrors.IsNotFound(err) {
		require.NoError(t, err)
	}
	_, err = secrets.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "otelcol-custom-backend"}, StringData: data,
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// see returns what looks for a visit where a backend keeps it.
func (s *servers) see(t *testing.T, backend string, stdout fmt.Stringer) []func(*telemetry.Shop) error {
	t.Helper()
	console := func(v *telemetry.Shop) error {
		printed := stdout.String()
		return sameIDs(v, func(yield func(string)) {
			for line := range strings.Lines(printed) {
				if _, id, ok := strings.Cut(line, "    ID             : "); ok {
					yield(strings.TrimSpace(id))
				}
			}
		})
	}
	atJaeger := func(v *telemetry.Shop) error {
		trace, err := s.jaeger.Trace(v.TraceID.String())
		if err != nil {
			return err
		}
		return sameIDs(v, func(yield func(string)) {
			for _, span := range trace.Spans {
				yield(span.SpanID)
			}
		})
	}
	atIngestion := func(v *telemetry.Shop) error {
		return sameIDs(v, func(yield func(string)) {
			for _, e := range s.ingestion.Accepted() {
				if e.Tags["ai.operation.id"] == v.TraceID.String() {
					yield(e.Text("id"))
				}
			}
		})
	}
	at := func(server *otlpserver.Server) func(*telemetry.Shop) error {
		return func(v *telemetry.Shop) error {
			return sameIDs(v, func(yield func(string)) {
				for id, times := range server.SpanIDs() {
					for range times {
						yield(id)
					}
				}
			})
		}
	}
	all := map[string][]func(*telemetry.Shop) error{
		"console":       {console},
		"jaeger":        {atJaeger},
		"jaeger-legacy": {atJaeger},
		"azure":         {atIngestion},
		"azure-contrib": {atIngestion},
		"openobserve":   {at(s.openobserve)},
		"otlp":          {at(s.otlp)},
		"all":           {console, atJaeger, atIngestion, at(s.openobserve)},
	}
	require.NotEmpty(t, all[backend])
	return all[backend]
}

// sameIDs compares the spans of a visit with what has come: each of them, once.
func sameIDs(v *telemetry.Shop, each func(yield func(string))) error {
	want := map[string]int{}
	for span := range otlpserver.Spans(v.Traces) {
		want[span.SpanID().String()]++
	}
	got := map[string]int{}
	each(func(id string) {
		if want[id] > 0 {
			got[id]++
		}
	})
	if !maps.Equal(want, got) {
		return fmt.Errorf("spans and how often each has come: %v, want %v", got, want)
	}
	return nil
}

// visitFrom makes a visit of which an SDK says from which pod it is.
func visitFrom(pod *corev1.Pod) *telemetry.Shop {
	v := telemetry.NewShop()
	if pod == nil {
		return v
	}
	for _, rs := range v.Traces.ResourceSpans().All() {
		rs.Resource().Attributes().PutStr("k8s.pod.uid", string(pod.UID))
	}
	return v
}

// send sends the three signals of a visit to a pod.
func send(t *testing.T, r *run, v *telemetry.Shop) {
	t.Helper()
	client := telemetry.Dial(t, telemetry.Sender{Protocol: telemetry.GRPC, Gzip: true}, r)
	require.NoError(t, client.All(t.Context(), v))
}

// tierOverlay shortens what tests would wait for.
const tierOverlay = "processors::tail_sampling::decision_wait: 1s"

// The collector, run as the pod of each shape says, with the files of the
// rendered ConfigMap, carries a visit to each backend; it listens on the ports
// that its pod declares and on nothing else but localhost.
func TestCarries(t *testing.T) {
	c := kubetest.Start(t)
	c.Node(t, "node-1", nil)
	appNamespace(t, c)
	sv := startServers(t)
	each(t, func(t *testing.T, s shape, backend string) {
		applyQuietly(t, c, s, backend)
		found := workloads(t, rendered(t, s, backend))
		n := &node{cluster: c, name: "node-1", hosts: map[string][]string{}}
		var entry, exit *run
		switch s {
		case tiers:
			sv.secret(t, c, "otelcol-custom", backend)
			exit = n.start(t, found["sampling"], 0, tierOverlay)
			n.hosts["otelcol-custom-sampling.otelcol-custom.svc"] = []string{exit.pod.Status.PodIP}
			front := n.start(t, found["front"], 0, "")
			n.hosts["otelcol-custom-front.otelcol-custom.svc"] = []string{front.pod.Status.PodIP}
			entry = n.start(t, found["agent"], 0, "")
			listensAsDeclared(t, front)
			listensAsDeclared(t, entry)
		default:
			w := found[string(s)]
			sv.secret(t, c, w.Namespace, backend)
			exit = n.start(t, w, 0, "")
			entry = exit
		}
		listensAsDeclared(t, exit)
		v := telemetry.NewShop()
		send(t, entry, v)
		for _, see := range sv.see(t, backend, &exit.Stdout) {
			harness.Await(t, "the visit", func() error { return see(v) })
		}
		for _, r := range slices.Compact([]*run{entry, exit}) {
			r.Stop(t)
		}
	})
	assert.Empty(t, sv.ingestion.Rejected())
}

// With the component for it, pods listen on IPv6 addresses.
func TestIPv6(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	require.NoError(t, l.Close())
	c := kubetest.Start(t)
	c.Node(t, "node-1", nil)
	for _, s := range []shape{agent, gateway} {
		t.Run(string(s), func(t *testing.T) {
			dir := kustomization(t, s, "console")
			apply(t, c, dir) // without it first
			file := filepath.Join(dir, "kustomization.yaml")
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			ipv6 := regexp.MustCompile(`(?m)^(.*)/backend/console$`).ReplaceAllString(string(text), "$0\n$1/ipv6")
			require.NoError(t, os.WriteFile(file, []byte(ipv6), 0o600))
			apply(t, c, dir)
			n := &node{cluster: c, name: "node-1", ipv6: true}
			r := n.start(t, workloads(t, render(t, dir))[string(s)], 0, "")
			listensAsDeclared(t, r)
			v := telemetry.NewShop()
			send(t, r, v)
			harness.Await(t, "the visit", func() error { return (&servers{}).see(t, "console", &r.Stdout)[0](v) })
			r.Stop(t)
		})
	}
}

// listensAsDeclared compares what a process listens on with its pod's ports.
func listensAsDeclared(t *testing.T, r *run) {
	t.Helper()
	want := slices.Clone(r.local)
	for _, port := range collectorOf(t, &r.pod.Spec).Ports {
		want = append(want, net.JoinHostPort(r.pod.Status.PodIP, strconv.Itoa(int(port.ContainerPort))))
	}
	assert.ElementsMatch(t, want, r.Listening(t))
}

// With their account's token, agent and gateway know the pod that telemetry is
// from, and so does the backend behind the tiers; the sidecar knows its own by
// the Downward API alone.
func TestKnowsThePod(t *testing.T) {
	c := kubetest.Start(t)
	c.Node(t, "node-1", map[string]string{"topology.kubernetes.io/zone": "z1"})
	appNamespace(t, c)
	c.Namespace(t, "web")
	web := c.Pod(t, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "web-1", Labels: map[string]string{
			"app": "web", "pod-template-hash": "7d9c8f6b5", // by the Deployment's controller
		}},
		Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{
			Name: "app", Resources: corev1.ResourceRequirements{Limits: quantities("250m", "64Mi")},
		}}},
	}, "127.0.0.9", c.ReplicaSet(t, "web", "web"))
	sv := startServers(t)
	for _, s := range shapes {
		t.Run(string(s), func(t *testing.T) {
			apply(t, c, kustomization(t, s, "otlp"))
			found := workloads(t, rendered(t, s, "otlp"))
			n := &node{cluster: c, name: "node-1", hosts: map[string][]string{}}
			from := web
			want := map[string]any{
				"k8s.pod.name": "web-1", "k8s.namespace.name": "web", "k8s.node.name": "node-1",
				"k8s.deployment.name": "web", "k8s.pod.label.app": "web", "cloud.availability_zone": "z1",
				"k8s.container.cpu.limit": 0.25, "k8s.container.memory.limit": int64(64 << 20),
			}
			var entry *run
			switch s {
			case tiers:
				sv.secret(t, c, "otelcol-custom", "otlp")
				sampling := n.start(t, found["sampling"], 0, tierOverlay)
				n.hosts["otelcol-custom-sampling.otelcol-custom.svc"] = []string{sampling.pod.Status.PodIP}
				front := n.start(t, found["front"], 0, "")
				n.hosts["otelcol-custom-front.otelcol-custom.svc"] = []string{front.pod.Status.PodIP}
				entry = n.start(t, found["agent"], 0, "")
			case sidecar:
				sv.secret(t, c, "shop", "otlp")
				entry = n.start(t, found["sidecar"], 0, "")
				from = nil
				want = map[string]any{
					"k8s.pod.name": entry.pod.Name, "k8s.pod.uid": string(entry.pod.UID), "k8s.namespace.name": "shop",
					"k8s.pod.ip": entry.pod.Status.PodIP, "k8s.node.name": "node-1", "k8s.pod.label.app": "shop",
					"k8s.pod.annotation.team": "cash", "service.version": "1.4.2",
					"k8s.container.cpu.limit": 0.3, "k8s.container.memory.limit": int64(100 << 20),
				}
			default:
				sv.secret(t, c, found[string(s)].Namespace, "otlp")
				entry = n.start(t, found[string(s)], 0, "")
			}
			// The collector takes telemetry before it knows the pods.
			harness.Await(t, "a visit that says where it is from", func() error {
				v := visitFrom(from)
				send(t, entry, v)
				harness.Await(t, "the visit", func() error { return sv.see(t, "otlp", nil)[0](v) })
				for _, td := range sv.otlp.Traces.AllTraces() {
					for span, rs := range otlpserver.Spans(td) {
						if span.SpanID() != v.Page {
							continue
						}
						attributes := rs.Resource().Attributes().AsRaw()
						for name, value := range want {
							if attributes[name] != value {
								return fmt.Errorf("%s is %v, want %v; all: %v", name, attributes[name], value, attributes)
							}
						}
					}
				}
				return nil
			})
		})
	}
}

func quantities(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}
