// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

package cluster_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/authority"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
)

// testSecure turns the agent into one that wants TLS and a token. The plain app
// has sent to it before.
func testSecure(t *testing.T, s *suite, b *otlpserver.Server, plain *app) {
	host := strings.TrimPrefix(agentService, "http://")
	ca := authority.New(t)
	cert, key := ca.Issue(t, host)
	s.Kubectl(t, "create", "secret", "tls", "otelcol-custom-tls", "-n", agentSpace, "--cert", cert, "--key", key)
	s.Kubectl(t, "create", "secret", "generic", "otelcol-custom-auth", "-n", agentSpace, "--from-literal=tokens=good member")
	s.Kubectl(t, "create", "configmap", "ca", "-n", appSpace, "--from-file=ca.pem="+ca.File)
	s.applyK(t, []string{"agent"}, []string{"backend/otlp", "secure/tls", "secure/bearer"}, "")
	s.Kubectl(t, "rollout", "status", "daemonset/otelcol-custom-agent", "-n", agentSpace, "--timeout=3m")

	client := func(name, token string) *app {
		a := &app{
			name: name, cpu: "100m", memory: "64Mi",
			env: map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT":    "https://" + host + ":4317",
				"OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca/ca.pem",
				"OTEL_EXPORTER_OTLP_HEADERS":     "authorization=Bearer%20" + token,
			},
		}
		s.deploy(t, a)
		return a
	}
	member, guest := client("member", "good"), client("guest", "bad")
	member.awaitResource(t, b, member.identity())
	awaitDelivered(t, b, []*app{member})
	for a, why := range map[*app]string{guest: "Unauthenticated", plain: ""} {
		before := len(a.acknowledged(t))
		a.rate(t, 50)
		harness.AwaitFor(t, patience, a.name+" is let in", func() error {
			refusal := a.must(t, http.MethodGet, "/error")
			if refusal == "" || !strings.Contains(refusal, why) {
				return fmt.Errorf("it is told %q", refusal)
			}
			return nil
		})
		assert.Len(t, a.acknowledged(t), before)
	}
}
