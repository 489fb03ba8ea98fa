// SPDX-License-Identifier: Apache-2.0

//go:build sdks

package sdks

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var noSuchItemPython = exception{"__main__.NoSuchItem", "gold"}

// Nothing but variables: all signals, both protocols, both generations of
// attribute names. One half is named app.py, as its file is; the other has no
// name, and its Deployment stands in for it.
func TestPythonAutoInstrumented(t *testing.T) {
	r := newRig(t, "processors::cloudrole::mappings: {app.py: shop-frontend}")
	stable := map[string]string{"OTEL_SEMCONV_STABILITY_OPT_IN": "http"}
	for _, c := range []struct {
		name     string
		protocol map[string]string
		http     conventions
		vars     map[string]string
	}{
		{"grpc-old", r.grpc(t), oldHTTP, nil},
		{"http-old", r.http(t), oldHTTP, nil},
		{"grpc-new", r.grpc(t), newHTTP, stable},
		{"http-new", r.http(t), newHTTP, stable},
	} {
		t.Run(c.name, func(t *testing.T) {
			backend := "backend-" + c.name
			back := start(t, underPython(pythonSDK), "backend", env(c.protocol, c.vars, named("", "k8s.deployment.name="+backend)))
			front := start(t, underPython(pythonSDK), "frontend", env(c.protocol, c.vars, named("app.py"),
				map[string]string{"DATA_URL": back.data()}))
			shop := []hop{
				{service: "app.py", role: "shop-frontend", http: c.http, path: "/order", app: front, status: 200},
				{service: "unknown_service:python", role: backend, http: c.http, path: "/data", app: back, status: 200},
			}

			tea := front.order(t, "17", "tea", 200)
			r.check(t, tea, outcome{hops: shop})
			r.checkLog(t, tea, shop[0], "order 17: tea", warning)
			r.checkLog(t, tea, shop[1], "price of tea", warning)

			shop[0].status, shop[1].status = 500, 404
			gold := front.order(t, "18", "gold", 500)
			r.check(t, gold, outcome{hops: shop, failure: noSuchItemPython})
			r.checkLog(t, gold, shop[0], "no gold for order 18", failure)

			front.order(t, "19", "tea", 200)
			r.checkCounter(t, tea, shop[0], 2)
			r.checkCounter(t, gold, shop[0], 1)
		})
	}
	assert.NotContains(t, r.roles(), "app.py")
	assert.NotContains(t, r.roles(), "unknown_service:python")
}

// The SDK set up in the code, which names the service after its file, and spans
// written by hand. Two services from one image have the same name then; their
// Deployments tell them apart.
func TestPythonByHand(t *testing.T) {
	r := newRig(t, "processors::cloudrole::rules: [{match: {service.name: app.py}, role: '{k8s.deployment.name}'}]")
	back := start(t, underPython(pythonSDK), "backend", env(r.grpc(t), named("app.py", "k8s.deployment.name=stock")))
	front := start(t, plainPython, "by-hand", env(r.grpc(t), named("not heeded", "k8s.deployment.name=till"),
		map[string]string{"DATA_URL": back.data()}))
	shop := []hop{
		{service: "app.py", role: "till", http: oldHTTP, path: "/order", app: front, status: 200, span: "order", byHand: true},
		{service: "app.py", role: "stock", http: oldHTTP, path: "/data", app: back, status: 200},
	}

	tea := front.order(t, "19", "tea", 200)
	r.check(t, tea, outcome{hops: shop})
	_, passages := r.checkJaeger(t, tea, outcome{hops: shop})
	events := passages[0].server.Logs
	if assert.Len(t, events, 2) {
		assert.Equal(t, "order accepted", text(events[0].Fields, "event"))
		assert.Equal(t, "tea", text(events[0].Fields, "item"))
		assert.Equal(t, "price known", text(events[1].Fields, "event"))
		assert.Equal(t, "3", text(events[1].Fields, "price"))
	}

	shop[0].status, shop[1].status = 500, 404
	gold := front.order(t, "20", "gold", 500)
	r.check(t, gold, outcome{hops: shop, onCall: true, failure: exception{
		"requests.exceptions.HTTPError", "404 Client Error: NOT FOUND for url: " + shop[1].url(gold),
	}})
}

// The last OpenTelemetry release with an exporter for Jaeger's agent: the
// collector is the agent.
func TestPythonJaegerClient(t *testing.T) {
	r := newRig(t, "processors::cloudrole::mappings: {app.py: shop-frontend}")
	host, port, err := net.SplitHostPort(r.collector.Endpoint(t, "receivers::jaeger::protocols::thrift_compact"))
	require.NoError(t, err)
	agent := map[string]string{
		"OTEL_TRACES_EXPORTER":            "jaeger_thrift",
		"OTEL_METRICS_EXPORTER":           "none",
		"OTEL_EXPORTER_JAEGER_AGENT_HOST": host,
		"OTEL_EXPORTER_JAEGER_AGENT_PORT": port,
	}
	old := underPython(pythonJaegerClient)
	back := start(t, old, "backend", env(agent, named("stock")))
	front := start(t, old, "frontend", env(agent, named("app.py", "deployment.environment=test"),
		map[string]string{"DATA_URL": back.data()}))
	shop := []hop{
		{service: "app.py", role: "shop-frontend", http: oldHTTP, path: "/order", app: front, status: 200, span: "/order"},
		{service: "stock", role: "stock", http: oldHTTP, path: "/data", app: back, status: 200, span: "/data"},
	}
	tea := outcome{hops: shop, nameless: true}
	o := front.order(t, "21", "tea", 200)
	r.check(t, o, tea)
	// This client's resource attributes are on each span, not on the process.
	trace, passages := r.checkJaeger(t, o, tea)
	assert.Equal(t, "test", text(passages[0].server.Tags, "deployment.environment"))
	assert.Empty(t, text(trace.Processes[passages[0].server.ProcessID].Tags, "deployment.environment"))

	shop[0].status, shop[1].status = 500, 404
	r.check(t, front.order(t, "22", "gold", 500), outcome{
		hops: shop, nameless: true, message: true, failure: exception{"NoSuchItem", "gold"},
	})
}

// An app without a line about Kubernetes, in a pod that describes itself to the
// collector beside it: the properties that apps used to read from the Downward
// API themselves, by the names that they gave them.
func TestPythonInSidecarPod(t *testing.T) {
	podinfo := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(podinfo, "labels"), []byte("app=\"shop\"\n"), 0o600))
	r := setup{
		mode: "sidecar", backend: "all",
		overlay: "processors::k8senrich: {aliases: kube, downward_api: {directory: " + podinfo + "}}",
		env: map[string]string{
			"POD_NAME": "till-5c8-x2", "POD_NAMESPACE": "shop", "NODE_NAME": "node-1", "POD_UID": "11-22",
			"APP_VERSION": "1.4.2", "CPU_LIMIT": "250", "MEMORY_LIMIT": "134217728",
		},
	}.start(t)
	back := start(t, underPython(pythonSDK), "backend", env(r.grpc(t), named("stock")))
	front := start(t, underPython(pythonSDK), "frontend", env(r.grpc(t), named("till"), map[string]string{"DATA_URL": back.data()}))
	shop := []hop{
		{service: "till", role: "till", http: oldHTTP, path: "/order", app: front, status: 200},
		{service: "stock", role: "stock", http: oldHTTP, path: "/data", app: back, status: 200},
	}
	tea := front.order(t, "27", "tea", 200)
	r.check(t, tea, outcome{hops: shop})
	for _, e := range r.operation(t, tea.trace, outcome{hops: shop}) {
		properties := e.Properties()
		for name, value := range map[string]string{
			"kube_pod_name": "till-5c8-x2", "kube_node_name": "node-1", "kube_namespace": "shop",
			"kube_cpu_limit": "0.25", "kube_memory_limit": "134217728", "app_version": "1.4.2", "labels.app": "shop",
			"k8s.pod.name": "till-5c8-x2", "k8s.pod.uid": "11-22",
		} {
			assert.Equal(t, value, properties[name], name)
		}
	}
}
