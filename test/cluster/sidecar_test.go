// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

package cluster_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
)

func testSidecar(t *testing.T, s *suite) {
	b := s.backend(t)
	s.secret(t, appSpace, b)
	// Go's SDK has the right address by default, but wants TLS there unless it is
	// told http://.
	cart, pay := pair("sidecar", "http://localhost")
	for _, a := range []*app{cart, pay} {
		s.applyK(t, []string{"app.yaml\n" + a.yaml()}, []string{"sidecar", "backend/otlp"}, "")
	}
	s.await(t, cart)
	s.await(t, pay)

	t.Run("each pod is known", func(t *testing.T) { testIdentity(t, b, cart, pay, "k8s.deployment.name") })
	t.Run("a label that changes shows", func(t *testing.T) { testLabel(t, b, cart) })
	t.Run("the pod is locked down", func(t *testing.T) {
		testLockedDown(t, s, &cart.pod, "otelcol-custom", 0.5, 256<<20)
		// Nothing of the sidecar is for other pods.
		testReach(t, pay, &cart.pod, []int{8080}, []int{4317, 4318, 8888, 13133, 1777, 55679})
		_, err := os.Stat(s.Container(t, &cart.pod, "otelcol-custom").File("/var/run/secrets/kubernetes.io"))
		assert.ErrorIs(t, err, os.ErrNotExist, "a token")
	})
	t.Run("a restart under load loses nothing", func(t *testing.T) {
		cart.rate(t, 100)
		old := cart.acknowledgedAfter(t, 500)
		s.Kubectl(t, "rollout", "restart", "deployment/"+cart.name, "-n", appSpace)
		s.Kubectl(t, "rollout", "status", "deployment/"+cart.name, "-n", appSpace, "--timeout=3m")
		awaitIDs(t, b, cart.name, old)
		s.await(t, cart)
	})
}
