// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package operator

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

// The example shop: two Deployments of one image, whose telemetry says app.py
// for both, come out of its collector as two roles.
func TestShop(t *testing.T) {
	l := startLab(t)
	shop := filepath.Join(harness.Root(t), "examples", "shop-python", "kubernetes")
	require.NoError(t, l.apply(t, shop))
	l.Namespace(t, "shop") // and its ServiceAccount, which a controller makes elsewhere
	require.NoError(t, l.apply(t, filepath.Join(shop, "collector")))
	l.Node(t, "node-1", nil)

	env := map[string]map[string]string{} // of each app
	for name, ip := range map[string]string{"shop-frontend": "127.0.0.8", "shop-backend": "127.0.0.9"} {
		env[name] = l.runShop(t, name, ip)
	}
	assert.Equal(t, env["shop-frontend"]["OTEL_SERVICE_NAME"], env["shop-backend"]["OTEL_SERVICE_NAME"])

	// The address that the apps are given is the agent's.
	for _, e := range env {
		name, rest, ok := strings.Cut(strings.TrimPrefix(e["OTEL_EXPORTER_OTLP_ENDPOINT"], "http://"), ".")
		require.True(t, ok)
		namespace, port, ok := strings.Cut(rest, ".svc:")
		require.True(t, ok)
		service, err := l.Client.CoreV1().Services(namespace).Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, "4317", port)
		assert.Equal(t, int32(4317), service.Spec.Ports[0].Port)
	}
	data := env["shop-frontend"]["DATA_URL"]
	_, err := l.Client.CoreV1().Services("shop").Get(t.Context(), "shop-backend", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "http://shop-backend:8081/data", data)

	c := l.runAgent(t)
	client := telemetry.Dial(t, telemetry.Senders()[0], c)
	for name, e := range env {
		td := ptrace.NewTraces()
		rs := td.ResourceSpans().AppendEmpty()
		// As an SDK reads its variables.
		for _, pair := range strings.Split(e["OTEL_RESOURCE_ATTRIBUTES"], ",") {
			key, value, ok := strings.Cut(pair, "=")
			require.True(t, ok, pair)
			rs.Resource().Attributes().PutStr(key, value)
		}
		rs.Resource().Attributes().PutStr("service.name", e["OTEL_SERVICE_NAME"])
		span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		span.SetTraceID(telemetry.NewTraceID())
		span.SetSpanID(telemetry.NumberedID(1))
		span.SetName("of " + name)
		harness.Await(t, "the pod is known", func() error { // k8s_attributes has its own watch
			require.NoError(t, client.Traces(t.Context(), td))
			if !strings.Contains(c.Stdout.String(), "k8s.deployment.name: Str("+name+")") {
				return errors.New("no Deployment")
			}
			return nil
		})
		before := len(c.Stdout.String())
		require.NoError(t, client.Traces(t.Context(), td))
		c.Stdout.Await(t, "ai.cloud.role: Str("+name+")")
		assert.NotContains(t, c.Stdout.String()[before:], "ai.cloud.role: Str(app.py)")
	}
}

// runShop makes a pod of a Deployment, as its controllers would, and returns the
// variables that its app gets.
func (l *lab) runShop(t *testing.T, name, ip string) map[string]string {
	t.Helper()
	d, err := l.Client.AppsV1().Deployments("shop").Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	yes := true
	const hash = "7d9c8f6b5"
	labels := map[string]string{"pod-template-hash": hash}
	maps.Copy(labels, d.Spec.Template.Labels)
	d.Spec.Template.Labels = labels
	set, err := l.Client.AppsV1().ReplicaSets("shop").Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: name + "-" + hash,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, UID: d.UID, Controller: &yes,
			}},
		},
		Spec: appsv1.ReplicaSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: set.Name + "-abcde", Labels: d.Spec.Template.Labels},
		Spec:       *d.Spec.Template.Spec.DeepCopy(),
	}
	pod.Spec.NodeName = "node-1"
	pod = l.Pod(t, pod, ip, set) // refused where Pod Security "restricted" does not like it
	assert.Equal(t, "shop-python:dev", pod.Spec.Containers[0].Image)
	_, err = os.Stat(filepath.Join(harness.Root(t), "examples", "shop-python", pod.Spec.Containers[0].Args[0]))
	require.NoError(t, err, "what the image is to run")

	env := map[string]string{}
	for _, e := range pod.Spec.Containers[0].Env {
		value := e.Value
		if e.ValueFrom != nil {
			value = map[string]string{"metadata.name": pod.Name, "metadata.uid": string(pod.UID)}[e.ValueFrom.FieldRef.FieldPath]
			require.NotEmpty(t, value, e.Name)
		}
		for name, v := range env { // as the kubelet does for those that stand before
			value = strings.ReplaceAll(value, "$("+name+")", v)
		}
		require.NotContains(t, value, "$(", e.Name)
		env[e.Name] = value
	}
	return env
}

// runAgent runs the collector with the files of the agent's ConfigMap, in the
// order of its arguments.
func (l *lab) runAgent(t *testing.T) *collector.Collector {
	t.Helper()
	const name = "otelcol-custom-agent"
	set, err := l.Client.AppsV1().DaemonSets(name).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	var volume corev1.Volume
	for _, v := range set.Spec.Template.Spec.Volumes {
		if v.ConfigMap != nil {
			volume = v
		}
	}
	require.NotNil(t, volume.ConfigMap)
	m, err := l.Client.CoreV1().ConfigMaps(name).Get(t.Context(), volume.ConfigMap.Name, metav1.GetOptions{})
	require.NoError(t, err)
	dir := t.TempDir()
	var files []string
	for _, arg := range set.Spec.Template.Spec.Containers[0].Args {
		file, ok := strings.CutPrefix(arg, "--config=/etc/otelcol-custom/")
		require.True(t, ok, arg)
		file = strings.ReplaceAll(file, "$(BACKEND)", "console")
		require.Contains(t, m.Data, file)
		path := filepath.Join(dir, file)
		require.NoError(t, os.WriteFile(path, []byte(m.Data[file]), 0o600))
		files = append(files, path)
	}
	var roles map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(m.Data["shop-roles.yaml"]), &roles))
	require.NotEmpty(t, roles)
	l.ServiceAccount(t, name, set.Spec.Template.Spec.ServiceAccountName)
	token, _ := l.Token(t, name, set.Spec.Template.Spec.ServiceAccountName)
	c := collector.Start(t, collector.Config{
		Files: files,
		Env: map[string]string{
			"POD_IP": "127.0.0.1", "NODE_NAME": "node-1", "OTELCOL_QUEUE_DIRECTORY": t.TempDir(),
			"KUBECONFIG": l.Kubeconfig(t, l.Address, token),
		},
		Overlay: "processors: {k8s_attributes: {auth_type: kubeConfig}, k8senrich/pod: {pod_association: {auth_type: kubeConfig}}, k8senrich: {container_resources: {auth_type: kubeConfig}}}",
	})
	c.AwaitMetric(t, 2, "otelcol_processor_k8senrich_pods")
	return c
}
