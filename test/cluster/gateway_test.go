// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

package cluster_test

import "testing"

const (
	gatewaySelector = "app.kubernetes.io/component=gateway"
	gatewayService  = "http://otelcol-custom-gateway." + gatewaySpace + ".svc"
)

func testGateway(t *testing.T, s *suite) {
	b := s.backend(t)
	s.applyK(t, []string{"gateway"}, []string{"backend/otlp"}, `
patches:
  - target: {kind: StatefulSet}
    patch: |`+smallQueue+`
      # A replica that is restarted under load, or in an outage, takes all of this time,
      # since its clients stay with it: two minutes for the two, as shipped.
      - op: replace
        path: /spec/template/spec/containers/0/lifecycle/preStop/exec/command/2
        value: -timeout=15s
`)
	s.secret(t, gatewaySpace, b)
	// Two, though the manifest has no number: the autoscaler sees to its least even
	// where nobody measures anything.
	pods := s.AwaitReady(t, gatewaySpace, gatewaySelector, 2)

	cart, pay := pair("gateway", gatewayService)
	s.deploy(t, cart)
	s.deploy(t, pay)
	t.Run("each pod is known", func(t *testing.T) { testIdentity(t, b, cart, pay) })
	t.Run("a label that changes shows", func(t *testing.T) { testLabel(t, b, cart) })
	t.Run("the pod is locked down", func(t *testing.T) {
		testLockedDown(t, s, &pods[0], "collector", 2, 1<<30)
		testReach(t, cart, &pods[0], []int{4317, 4318, 8888}, []int{13133, 1777, 55679})
		testRBAC(t, s, &pods[0])
	})
	t.Run("a restart under load loses nothing", func(t *testing.T) {
		testRestart(t, s, b, "statefulset/otelcol-custom-gateway", gatewaySpace, gatewaySelector, cart, pay)
	})
	t.Run("a full queue outlives an eviction", func(t *testing.T) {
		testEviction(t, s, b, gatewaySpace, gatewaySelector, cart, pay)
	})
}
