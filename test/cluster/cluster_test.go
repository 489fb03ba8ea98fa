// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

package cluster_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/cluster"
	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
)

const (
	agentSpace   = "otelcol-custom-agent"
	gatewaySpace = "otelcol-custom"
	appSpace     = "shop"

	// A pod may take its grace period to end, and a busy machine its time.
	patience = 3 * time.Minute
)

// TestCluster tries deploy/kustomize with real pods. Its parts share a cluster;
// each takes away what it has deployed.
func TestCluster(t *testing.T) {
	start := time.Now()
	s := &suite{Cluster: cluster.Start(t)}
	t.Logf("the node is ready after %s", time.Since(start).Round(time.Second))
	s.Import(t, cluster.CollectorImage(t), cluster.CollectorName)
	s.Import(t, cluster.AppImage(t), cluster.AppName)
	s.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata:
  name: %s
  labels: {pod-security.kubernetes.io/enforce: restricted}
`, appSpace))
	s.volumes(t)
	t.Logf("it has its images after %s", time.Since(start).Round(time.Second))

	t.Run("shapes", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *suite){"agent": testAgent, "gateway": testGateway, "sidecar": testSidecar} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, s)
				t.Logf("done %s after the start", time.Since(start).Round(time.Second))
			})
		}
	})
	t.Run("tiers", func(t *testing.T) { testTiers(t, s) })
	t.Logf("done after %s", time.Since(start).Round(time.Second))
}

type suite struct{ *cluster.Cluster }

// volumes makes volumes for the claims of the StatefulSets, since nobody provides
// them here: ten, each a folder of the node, of the class that is the default.
func (s *suite) volumes(t *testing.T) {
	t.Helper()
	var yaml strings.Builder
	yaml.WriteString(`
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: local
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
`)
	for n := range 10 {
		folder := "/var/lib/volumes/" + strconv.Itoa(n)
		s.OnNode(t, "mkdir", "-p", folder)
		fmt.Fprintf(&yaml, `---
apiVersion: v1
kind: PersistentVolume
metadata: {name: local-%d}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: local
  local: {path: %s}
  nodeAffinity:
    required:
      nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]}]
`, n, folder, cluster.NodeName)
	}
	s.Apply(t, yaml.String())
}

// backend starts a backend outside of the cluster.
func (s *suite) backend(t *testing.T) *otlpserver.Server {
	t.Helper()
	b := otlpserver.New(t, otlpserver.Config{})
	b.GRPC = net.JoinHostPort(s.HostIP.String(), strconv.Itoa(harness.FreePort(t)))
	b.HTTP = net.JoinHostPort(s.HostIP.String(), strconv.Itoa(harness.FreePort(t)))
	b.Start(t)
	return b
}

// secret makes the Secret that the overlay of the backend asks for.
func (s *suite) secret(t *testing.T, namespace string, b *otlpserver.Server) {
	t.Helper()
	s.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: otelcol-custom-backend, namespace: %s}
stringData: {OTEL_EXPORTER_OTLP_ENDPOINT: "http://%s"}
`, namespace, b.GRPC))
}

// applyK applies a kustomization of a user: resources and components of
// deploy/kustomize, and patches. All of it is taken away when the test ends.
func (s *suite) applyK(t *testing.T, resources, components []string, rest string) {
	t.Helper()
	folder := t.TempDir()
	deploy, err := filepath.Rel(folder, filepath.Join(harness.Root(t), "deploy/kustomize"))
	require.NoError(t, err)
	var text strings.Builder
	text.WriteString("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
	for _, r := range resources {
		if name, file, ok := strings.Cut(r, "\n"); ok { // one of the test's own
			require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(file), 0o600))
			fmt.Fprintf(&text, "  - %s\n", name)
			continue
		}
		fmt.Fprintf(&text, "  - %s/%s\n", deploy, r)
	}
	text.WriteString("components:\n")
	for _, c := range components {
		fmt.Fprintf(&text, "  - %s/%s\n", deploy, c)
	}
	text.WriteString(rest)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text.String()), 0o600))
	s.Kubectl(t, "apply", "--server-side", "--validate=strict", "-k", folder)
	t.Cleanup(func() {
		s.tell(t)
		_, err := s.TryKubectl(t, "", "delete", "-k", folder, "--ignore-not-found", "--wait=true", "--timeout=3m")
		require.NoError(t, err)
	})
}

// tell prints what there is and what it has logged, if the test has failed.
func (s *suite) tell(t *testing.T) {
	t.Helper()
	if !t.Failed() {
		return
	}
	out, _ := s.TryKubectl(t, "", "get", "pods,events", "-A", "-o", "wide", "--sort-by=.metadata.creationTimestamp")
	t.Log(out)
	for _, selector := range []string{"app.kubernetes.io/name=otelcol-custom", "test/app"} {
		out, _ = s.TryKubectl(t, "", "logs", "-A", "-l", selector, "--prefix", "--all-containers", "--tail", "30")
		t.Log(out)
	}
}
