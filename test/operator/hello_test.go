// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package operator

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
)

// What docs/deploy.md has people do to see that it works: a span through the API
// server to a pod, and the pod's metrics back.
func TestHello(t *testing.T) {
	docs, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "deploy.md"))
	require.NoError(t, err)
	for _, command := range []string{
		"PODS=http://localhost:8001/api/v1/namespaces/$NAMESPACE/pods\nkubectl proxy --port 8001 &\n",
		"curl -sS -H 'Content-Type: application/json' --data @hello.json $PODS/$POD:4318/proxy/v1/traces\n",
		"curl -sS $PODS/$POD:8888/proxy/metrics",
	} {
		require.Contains(t, string(docs), command)
	}
	hello := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(docs)
	require.NotNil(t, hello)
	address := machineAddress(t)
	l := startLab(t)
	l.Node(t, "node-1", nil)
	l.Namespace(t, "otelcol-custom-agent")
	l.Pod(t, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "otelcol-custom-agent", Name: "agent"},
		Spec:       corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "collector"}}},
	}, address, nil)
	c := collector.Start(t, collector.Config{
		Files: []string{"agent.yaml"},
		Env: map[string]string{
			"POD_IP": address, "NODE_NAME": "node-1", "OTELCOL_QUEUE_DIRECTORY": t.TempDir(),
			"KUBECONFIG": l.kubeconfig,
		},
		Overlay: "processors: {k8s_attributes: {auth_type: kubeConfig}, k8senrich/pod: {pod_association: {auth_type: kubeConfig}}, k8senrich: {container_resources: {auth_type: kubeConfig}}}",
	})
	_, port, err := net.SplitHostPort(c.HTTP(t))
	require.NoError(t, err)

	local := harness.FreePort(t)
	proxy := harness.Start(t, harness.Spec{
		Path: l.kubectlPath, Args: []string{"proxy", "--port", strconv.Itoa(local)},
		Env: map[string]string{"KUBECONFIG": l.kubeconfig, "HOME": t.TempDir()},
	})
	pods := fmt.Sprintf("http://localhost:%d/api/v1/namespaces/otelcol-custom-agent/pods", local)
	proxy.AwaitReady(t, func() error {
		_, err := harness.Get(pods)
		return err
	})
	answer, err := http.Post(pods+"/agent:"+port+"/proxy/v1/traces", "application/json", bytes.NewReader(hello[1]))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	assert.Equal(t, http.StatusOK, answer.StatusCode)
	c.Stdout.Await(t, "service.name: Str(hello)")
}

// machineAddress is an address of this machine that is not loopback: the API
// server passes nothing on to those.
func machineAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback")
	return ""
}
