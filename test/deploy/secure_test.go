// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/authority"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
	"github.com/otelcol-custom/otelcol-custom/test/kubetest"
)

// securedKustomization is what a user writes who names components of
// deploy/kustomize/secure too.
func securedKustomization(t *testing.T, s shape, components []string) string {
	t.Helper()
	dir := kustomization(t, s, "console")
	file := filepath.Join(dir, "kustomization.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	found := false
	for line := range strings.Lines(string(text)) {
		if before, _, ok := strings.Cut(line, "/backend/console"); ok {
			found = true
			for _, component := range components {
				text = fmt.Appendf(text, "%s/secure/%s\n", before, component)
			}
		}
	}
	require.True(t, found)
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return dir
}

// opaque makes a Secret, as a user does before the pods that need it.
func opaque(t *testing.T, c *kubetest.Cluster, namespace, name string, data map[string][]byte) {
	t.Helper()
	_, err := c.Client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data,
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// With the components of deploy/kustomize/secure the real API server takes agent
// and gateway, their pods listen on what they declare, Services lead to nothing
// else, and they let in whom they should and nobody else.
func TestSecure(t *testing.T) {
	c := kubetest.Start(t)
	c.Node(t, "node-1", nil)
	ours, clients := authority.New(t), authority.New(t)
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(ours.File)
	require.NoError(t, err)
	require.True(t, pool.AppendCertsFromPEM(ca))
	certFile, keyFile := clients.Issue(t, "shop")
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	header := func(value string) map[string]string { return map[string]string{"authorization": value} }
	// The hash below, by: printf good | openssl dgst -sha1 -binary | base64
	password := "Basic " + base64.StdEncoding.EncodeToString([]byte("shop:good"))

	for s, service := range map[shape]string{agent: "otelcol-custom-agent.otelcol-custom-agent.svc", gateway: "otelcol-custom-gateway.otelcol-custom.svc"} {
		withTLS := &tls.Config{RootCAs: pool, ServerName: service, MinVersion: tls.VersionTLS12}
		withBoth := withTLS.Clone()
		withBoth.Certificates = []tls.Certificate{certificate}
		made := false
		for _, test := range []struct {
			components []string
			good, bad  telemetry.Access
		}{
			{[]string{"tls"}, telemetry.Access{TLS: withTLS}, telemetry.Access{}},
			{[]string{"mtls"}, telemetry.Access{TLS: withBoth}, telemetry.Access{TLS: withTLS}},
			{[]string{"tls", "bearer"}, telemetry.Access{TLS: withTLS, Header: header("Bearer good")}, telemetry.Access{TLS: withTLS}},
			{[]string{"tls", "basic"}, telemetry.Access{TLS: withTLS, Header: header(password)}, telemetry.Access{TLS: withTLS}},
			{[]string{"mtls", "otlp-only"}, telemetry.Access{TLS: withBoth}, telemetry.Access{TLS: withTLS}},
		} {
			t.Run(string(s)+" "+strings.Join(test.components, " "), func(t *testing.T) {
				dir := securedKustomization(t, s, test.components)
				apply(t, c, dir)
				objects := render(t, dir)
				w := workloads(t, objects)[string(s)]
				if !made {
					made = true
					certFile, keyFile := ours.Issue(t, service)
					opaque(t, c, w.Namespace, "otelcol-custom-tls", map[string][]byte{
						"tls.crt": file(t, certFile), "tls.key": file(t, keyFile), "ca.crt": file(t, clients.File),
					})
					opaque(t, c, w.Namespace, "otelcol-custom-auth", map[string][]byte{
						"tokens": []byte("good shop\n"), "htpasswd": []byte("shop:{SHA}/BkxjdExKM4UNE0GZRCpgiacJBs=\n"),
					})
				}
				n := &node{cluster: c, name: "node-1"}
				r := n.start(t, w, 0, "")
				listensAsDeclared(t, r)
				declared := map[string]bool{}
				for _, port := range collectorOf(t, &r.pod.Spec).Ports {
					declared[port.Name] = true
				}
				for _, service := range of[*corev1.Service](objects) {
					for _, port := range service.Spec.Ports {
						assert.True(t, declared[port.TargetPort.StrVal], "%s leads to %s", service.Name, port.TargetPort.StrVal)
						assert.Equal(t, "https", orNone(port.AppProtocol), "%s %s", service.Name, port.Name)
					}
				}
				for _, protocol := range []telemetry.Protocol{telemetry.GRPC, telemetry.HTTPProtobuf} {
					v := telemetry.NewShop()
					bad := telemetry.DialWith(t, telemetry.Sender{Protocol: protocol}, r, test.bad)
					require.Error(t, bad.All(t.Context(), v), protocol)
					assert.NotContains(t, r.Stdout.String(), v.TraceID.String())
					good := telemetry.DialWith(t, telemetry.Sender{Protocol: protocol}, r, test.good)
					require.NoError(t, good.All(t.Context(), v), protocol)
					harness.Await(t, "the visit", func() error {
						if !strings.Contains(r.Stdout.String(), v.TraceID.String()) {
							return fmt.Errorf("no %s on the console", v.TraceID)
						}
						return nil
					})
				}
				r.Stop(t)
			})
		}
	}
}

func orNone(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func file(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}
