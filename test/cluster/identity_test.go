// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

package cluster_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/cluster"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
)

// identity is what the spans of an app say of their pod.
func (a *app) identity() map[string]any {
	return map[string]any{
		"k8s.namespace.name":  appSpace,
		"k8s.pod.name":        a.pod.Name,
		"k8s.pod.uid":         string(a.pod.UID),
		"k8s.pod.ip":          a.pod.Status.PodIP,
		"k8s.node.name":       cluster.NodeName,
		"k8s.pod.label.app":   a.name,
		"k8s.pod.label.team":  a.pod.Labels["team"],
		"k8s.pod.label.tier":  a.pod.Labels["tier"],
		"k8s.deployment.name": a.name,
	}
}

// pair are two apps whose pods differ in all that is told of them. One sends by
// gRPC, the other by HTTP.
func pair(shape, endpoint string) (cart, pay *app) {
	cart = &app{
		name: shape + "-cart", labels: map[string]string{"team": "blue", "tier": "front"}, cpu: "500m", memory: "64Mi",
		env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint + ":4317"},
	}
	pay = &app{
		name: shape + "-pay", labels: map[string]string{"team": "red"}, cpu: "250m", memory: "96Mi",
		env: map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint + ":4318",
			"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
		},
	}
	return cart, pay
}

// testIdentity has the two send at once. The attributes in without are not told
// in the way they send.
func testIdentity(t *testing.T, b *otlpserver.Server, cart, pay *app, without ...string) {
	want := map[*app]map[string]any{cart: cart.identity(), pay: pay.identity()}
	// As in the manifests of the two: 500m and 64Mi, 250m and 96Mi.
	want[cart]["k8s.container.cpu.limit"], want[cart]["k8s.container.memory.limit"] = 0.5, int64(64<<20)
	want[pay]["k8s.container.cpu.limit"], want[pay]["k8s.container.memory.limit"] = 0.25, int64(96<<20)
	for _, attributes := range want {
		for _, name := range without {
			delete(attributes, name)
		}
	}
	// The agent may hear of a pod a moment after its first span.
	for a, attributes := range want {
		a.awaitResource(t, b, attributes)
	}
	from := len(b.Traces.AllTraces())
	for range 10 {
		for a := range want {
			a.send(t, 50)
		}
	}
	for a, attributes := range want {
		a.awaitSpans(t, b, from, 1000)
		all := a.resources(b, from)
		require.NotEmpty(t, all)
		for _, got := range all {
			require.NoError(t, differ(attributes, got))
		}
	}
}
