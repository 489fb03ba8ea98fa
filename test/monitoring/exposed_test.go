// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package monitoring

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
	"github.com/otelcol-custom/otelcol-custom/test/kubetest"
)

// exposition is what collectors expose: of each metric its labels, of each label
// the values seen.
type exposition map[string]map[string]map[string]bool

// add adds what a collector exposes now.
func (e exposition) add(t *testing.T, c *collector.Collector) {
	t.Helper()
	body, err := harness.Get("http://" + c.MetricsAddress + "/metrics")
	require.NoError(t, err)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	require.NoError(t, err)
	for name, family := range families {
		if e[name] == nil {
			e[name] = map[string]map[string]bool{}
		}
		for _, m := range family.GetMetric() {
			for _, pair := range m.GetLabel() {
				if e[name][pair.GetName()] == nil {
					e[name][pair.GetName()] = map[string]bool{}
				}
				e[name][pair.GetName()][pair.GetValue()] = true
			}
		}
	}
}

// expose runs collectors in good times and in bad, so that all counters of a
// life appear.
func expose(t *testing.T) exposition {
	t.Helper()
	e := exposition{}
	for name, run := range map[string]func(*testing.T) *collector.Collector{
		"in front of Application Insights": agent,
		"in front of an old Jaeger":        oldJaeger,
		"refused by the backend":           refused,
		"queue full":                       queueFull,
		"short of memory":                  shortOfMemory,
		"no room for requests":             noRoom,
	} {
		if !t.Run(name, func(t *testing.T) { e.add(t, run(t)) }) {
			t.FailNow() // what follows would be noise
		}
	}
	return e
}

// start starts a mode in front of a backend.
func start(t *testing.T, mode, backend, overlay string, env map[string]string) *collector.Collector {
	t.Helper()
	return collector.Start(t, collector.Config{
		Files:   []string{mode + ".yaml", filepath.Join("backend", backend+".yaml")},
		Overlay: overlay,
	}.With(map[string]string{"OTELCOL_QUEUE_DIRECTORY": t.TempDir()}).With(env))
}

func dial(t *testing.T, c *collector.Collector) *telemetry.Client {
	t.Helper()
	return telemetry.Dial(t, telemetry.Sender{Protocol: telemetry.GRPC}, c)
}

// agent has an API server that goes away for a while, and a backend that refuses
// one item and loses an answer.
func agent(t *testing.T) *collector.Collector {
	server := ingestion.Start(t)
	server.Next(
		ingestion.Answer{Refuse: func(index int, _ *ingestion.Envelope) ingestion.ItemError {
			if index == 0 {
				return ingestion.ItemError{StatusCode: http.StatusBadRequest, Message: "no"}
			}
			return ingestion.ItemError{}
		}},
		ingestion.Answer{Fault: ingestion.LoseAnswer},
	)
	cluster := kubetest.Start(t)
	cluster.Node(t, "node-1", nil)
	cluster.Namespace(t, "shop")
	cluster.Pod(t, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "pod-1"},
		Spec:       corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "app"}}},
	}, "127.0.0.9", nil)
	// Without cumulative_to_delta, as a config of one's own may be.
	c := start(t, "agent", "azure", `
processors: {k8s_attributes: {auth_type: kubeConfig}, k8senrich/pod: {pod_association: {auth_type: kubeConfig}}, k8senrich: {container_resources: {auth_type: kubeConfig}}}
service: {pipelines: {metrics/azure: {processors: [cloudrole]}}}
`, map[string]string{
		"NODE_NAME": "node-1", "POD_IP": "127.0.0.1", "KUBECONFIG": cluster.Kubeconfig(t, cluster.Address, "admin"),
		"APPLICATIONINSIGHTS_CONNECTION_STRING": server.ConnectionString(),
	})
	c.AwaitMetric(t, 1, "otelcol_processor_k8senrich_pods")
	cluster.KillAPIServer()
	client := dial(t, c)
	require.NoError(t, client.All(t.Context(), telemetry.NewShop()))
	long := ptrace.NewTraces()
	resource := long.ResourceSpans().AppendEmpty()
	resource.Resource().Attributes().PutStr("service.name", "unknown_service:python")
	span := resource.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetTraceID(telemetry.NewTraceID())
	span.SetSpanID(telemetry.NumberedID(1))
	span.SetName("a")
	span.Attributes().PutStr("long", strings.Repeat("x", 9000))
	require.NoError(t, client.Traces(t.Context(), long))

	response, err := http.Post("http://"+c.HTTP(t)+"/v1/traces", "application/x-protobuf", strings.NewReader("no protobuf"))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	datagrams, err := net.Dial("udp", c.Endpoint(t, "receivers::jaeger::protocols::thrift_compact"))
	require.NoError(t, err)
	defer func() { require.NoError(t, datagrams.Close()) }()
	_, err = datagrams.Write([]byte("no Thrift"))
	require.NoError(t, err)

	cluster.StartAPIServer(t)

	c.AwaitMetric(t, 1, "otelcol_receiver_jaeger_dropped_datagrams")
	c.AwaitMetric(t, 1, "otelcol_exporter_applicationinsights_refused_items")
	c.AwaitMetric(t, 1, "otelcol_exporter_applicationinsights_possible_duplicates")
	c.AwaitMetric(t, 1, "otelcol_exporter_applicationinsights_cut_texts")
	c.AwaitMetric(t, 1, "otelcol_processor_k8senrich_watch_restarts")
	for _, signal := range []string{"spans", "metric_points", "log_records"} {
		c.AwaitMetric(t, 1, "otelcol_exporter_sent_"+signal)
	}
	return c
}

// oldJaeger has a backend that does not speak Jaeger's protocol, and a pod that
// describes itself.
func oldJaeger(t *testing.T) *collector.Collector {
	server := otlpserver.Start(t, otlpserver.Config{})
	c := start(t, "sidecar", "jaeger-legacy", "", map[string]string{"JAEGER_ENDPOINT": server.GRPC, "POD_NAME": "pod-1"})
	require.NoError(t, dial(t, c).All(t.Context(), telemetry.NewShop()))
	c.AwaitMetric(t, 1, "otelcol_exporter_jaeger_refused_spans")
	return c
}

// refused has a backend that asks for another password.
func refused(t *testing.T) *collector.Collector {
	server := otlpserver.Start(t, otlpserver.Config{Username: "user", Password: "right"})
	c := start(t, "sidecar", "openobserve", "", map[string]string{
		"OPENOBSERVE_ENDPOINT": server.URL(), "OPENOBSERVE_USERNAME": "user", "OPENOBSERVE_PASSWORD": "wrong",
	})
	require.NoError(t, dial(t, c).All(t.Context(), telemetry.NewShop()))
	for _, signal := range []string{"spans", "metric_points", "log_records"} {
		c.AwaitMetric(t, 1, "otelcol_exporter_send_failed_"+signal)
	}
	return c
}

// queueFull has a backend that is away and a queue that nothing fits in.
func queueFull(t *testing.T) *collector.Collector {
	c := start(t, "sidecar", "otlp", `
exporters: {otlp_grpc: {sending_queue: {queue_size: 10, batch: {min_size: 1, max_size: 1}}}}
`, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + harness.FreeAddress(t)})
	client := dial(t, c)
	shop := telemetry.NewShop()
	require.Error(t, client.Traces(t.Context(), shop.Traces))
	require.Error(t, client.Metrics(t.Context(), shop.Metrics))
	require.Error(t, client.Logs(t.Context(), shop.Logs))
	for _, signal := range []string{"spans", "metric_points", "log_records"} {
		c.AwaitMetric(t, 1, "otelcol_exporter_enqueue_failed_"+signal)
		c.AwaitMetric(t, 1, "otelcol_receiver_refused_"+signal)
	}
	return c
}

// shortOfMemory has less memory than it was born with.
func shortOfMemory(t *testing.T) *collector.Collector {
	c := start(t, "sidecar", "console", "processors: {memory_limiter: {limit_mib: 2, spike_limit_mib: 1}}", nil)
	client := dial(t, c)
	shop := telemetry.NewShop()
	for signal, send := range map[string]func() error{
		"spans":         func() error { return client.Traces(t.Context(), shop.Traces) },
		"metric_points": func() error { return client.Metrics(t.Context(), shop.Metrics) },
		"log_records":   func() error { return client.Logs(t.Context(), shop.Logs) },
	} {
		harness.Await(t, signal, func() error {
			if send() == nil {
				return fmt.Errorf("%s are taken", signal)
			}
			return nil
		})
		c.AwaitMetric(t, 1, "otelcol_processor_memory_limiter_refused_"+signal)
	}
	return c
}

// noRoom has a client that takes all that one address may have, with a body that
// it does not finish.
func noRoom(t *testing.T) *collector.Collector {
	c := start(t, "sidecar", "console", "extensions: {refusals: {max_decoded_mib: 1, max_in_flight_mib: 2}}", nil)
	conn, err := net.Dial("tcp", c.HTTP(t))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\n"+
		"Content-Length: 1000000\r\n\r\n%s", strings.Repeat("x", 900_000))
	require.NoError(t, err)

	shop := telemetry.NewShop()
	for _, s := range []telemetry.Sender{{Protocol: telemetry.GRPC}, {Protocol: telemetry.HTTPProtobuf}} {
		client := telemetry.Dial(t, s, c)
		harness.Await(t, s.String(), func() error {
			if client.Traces(t.Context(), shop.Traces) == nil {
				return errors.New("there is room")
			}
			return nil
		})
	}
	c.AwaitMetric(t, 1, "otelcol_extension_refusals_requests", "status=503")
	c.AwaitMetric(t, 1, "otelcol_extension_refusals_requests", "status=Unavailable")
	return c
}
