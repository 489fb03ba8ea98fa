// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

package cluster_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func testTiers(t *testing.T, s *suite) {
	b := s.backend(t)
	s.applyK(t, []string{"tiers"}, []string{"backend/otlp"}, "")
	s.secret(t, gatewaySpace, b)
	s.AwaitReady(t, agentSpace, agentSelector, 1)
	s.AwaitReady(t, gatewaySpace, "app.kubernetes.io/component=front", 2)
	sampling := s.AwaitReady(t, gatewaySpace, "app.kubernetes.io/component=sampling", 2)

	cart, pay := pair("tiers", agentService)
	s.deploy(t, cart)
	s.deploy(t, pay)
	// The pods are the agent's to know, two hops before the backend.
	testIdentity(t, b, cart, pay)
	// One of the two spans of each trace has no error, and comes in another batch.
	// Nine of ten of these would be missing, were they not judged together.
	awaitDelivered(t, b, []*app{cart, pay})
	for i := range sampling {
		assert.Positive(t, metric(t, &sampling[i], "otelcol_receiver_accepted_spans"), sampling[i].Name)
	}
}
