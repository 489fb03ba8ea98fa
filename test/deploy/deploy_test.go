// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package deploy holds the manifests of deploy/kustomize against a real API
// server, rendered and applied by the kubectl that users have, and runs the
// built binary as each of their pods says: with its arguments, its environment,
// its volumes and its account's token. There is no kubelet; what one would do
// for a pod is in kubelet_test.go; it needs Linux, and root or a system where all
// users may make namespaces. Pods that a real kubelet runs are the work of
// test/cluster.
//
//	make e2e
//	OTELCOL_BIN=/path/to/otelcol-custom go test -tags e2e ./test/deploy/...
package deploy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/kubetest"
)

func TestMain(m *testing.M) {
	// Those that matter are asserted where kubectl prints them.
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	os.Exit(m.Run())
}

// shape is a way to run the distribution in a cluster.
type shape string

const (
	agent   shape = "agent"
	gateway shape = "gateway"
	tiers   shape = "tiers"
	sidecar shape = "sidecar"
)

var shapes = []shape{agent, gateway, tiers, sidecar}

// backends are the names in deploy/kustomize/backend.
func backends(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(harness.Root(t), "deploy", "kustomize", "backend"))
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	require.NotEmpty(t, names)
	return names
}

// each runs a test for each shape in front of each backend.
func each(t *testing.T, test func(t *testing.T, s shape, backend string)) {
	t.Helper()
	for _, s := range shapes {
		for _, backend := range backends(t) {
			t.Run(string(s)+" "+backend, func(t *testing.T) { test(t, s, backend) })
		}
	}
}

// app is a Deployment that "restricted" admits, as a user has one before the
// sidecar component patches it.
const app = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  namespace: shop
  labels: {otelcol-custom/sidecar: checkout}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata:
      labels: {app: shop, app.kubernetes.io/version: 1.4.2}
      annotations: {team: cash}
    spec:
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: helper
          image: helper
          resources: {limits: {cpu: 50m, memory: 10Mi}}
          securityContext: &restricted {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
        - name: checkout
          image: checkout
          resources: {limits: {cpu: 300m, memory: 100Mi}}
          securityContext: *restricted
`

// kustomization returns a folder with what a user writes for a shape and a
// backend: a copy of the overlay of deploy/kustomize, with another path.
func kustomization(t *testing.T, s shape, backend string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	root, err := filepath.EvalSymlinks(harness.Root(t))
	require.NoError(t, err)
	up, err := filepath.Rel(dir, filepath.Join(root, "deploy", "kustomize"))
	require.NoError(t, err)
	overlay, err := os.ReadFile(filepath.Join(root, "deploy", "kustomize", "overlays", backend, "kustomization.yaml"))
	require.NoError(t, err)
	text := string(overlay)
	require.Equal(t, 1, strings.Count(text, "- ../../agent "), "the overlay has not the line that names the shape")
	if s == sidecar {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "app.yaml"), []byte(app), 0o600))
		text = strings.Replace(text, "- ../../agent ", "- app.yaml ", 1)
		text = strings.Replace(text, "components:\n", "components:\n  - ../../sidecar\n", 1)
	} else {
		text = strings.Replace(text, "- ../../agent ", "- ../../"+string(s)+" ", 1)
	}
	text = strings.ReplaceAll(text, "- ../../", "- "+filepath.ToSlash(up)+"/")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600))
	return dir
}

var kubectlBinary struct {
	sync.Once
	path string
}

// kubectl runs a command to its end and returns what it writes.
func kubectl(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	kubectlBinary.Do(func() {
		kubectlBinary.path = harness.Build(t, harness.Server{
			Name:    "kubectl",
			Folder:  "test/servers/kubernetes",
			Module:  "k8s.io/kubernetes",
			Package: "k8s.io/kubernetes/cmd/kubectl",
		})
	})
	cmd := exec.CommandContext(t.Context(), kubectlBinary.path, args...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "KUBECTL_KUBERC=false"} // nothing of the user's own
	var out, warnings strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &warnings
	err = cmd.Run()
	return out.String(), warnings.String(), err
}

var renderings = map[string][]runtime.Object{}

// rendered returns the objects of a shape in front of a backend. Tests may not
// change them.
func rendered(t *testing.T, s shape, backend string) []runtime.Object {
	t.Helper()
	key := string(s) + " " + backend
	if _, ok := renderings[key]; !ok {
		renderings[key] = render(t, kustomization(t, s, backend))
	}
	return renderings[key]
}

// render returns the objects of a kustomization.
func render(t *testing.T, dir string) []runtime.Object {
	t.Helper()
	text, warnings, err := kubectl(t, "kustomize", dir)
	require.NoError(t, err, warnings)
	require.Empty(t, warnings)
	documents := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	var objects []runtime.Object
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err)
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
		require.NoError(t, err)
		objects = append(objects, object)
	}
}

// of returns the objects of one type.
func of[T runtime.Object](objects []runtime.Object) []T {
	var found []T
	for _, object := range objects {
		if o, ok := object.(T); ok {
			found = append(found, o)
		}
	}
	return found
}

// workload is what makes pods.
type workload struct {
	metav1.ObjectMeta
	kind     string
	selector *metav1.LabelSelector
	template corev1.PodTemplateSpec
	claims   []corev1.PersistentVolumeClaim
}

// workloads returns what makes pods, by the component that it is, "sidecar" for
// the app's.
func workloads(t *testing.T, objects []runtime.Object) map[string]workload {
	t.Helper()
	found := map[string]workload{}
	for _, object := range objects {
		switch o := object.(type) {
		case *appsv1.DaemonSet:
			found[o.Labels["app.kubernetes.io/component"]] = workload{o.ObjectMeta, o.Kind, o.Spec.Selector, o.Spec.Template, nil}
		case *appsv1.StatefulSet:
			found[o.Labels["app.kubernetes.io/component"]] = workload{o.ObjectMeta, o.Kind, o.Spec.Selector, o.Spec.Template, o.Spec.VolumeClaimTemplates}
		case *appsv1.Deployment:
			found["sidecar"] = workload{o.ObjectMeta, o.Kind, o.Spec.Selector, o.Spec.Template, nil}
		}
	}
	require.NotEmpty(t, found)
	return found
}

// live returns a workload as it is in a cluster, where applying one over another
// may have made something else of its template.
func (w workload) live(t *testing.T, c *kubetest.Cluster) workload {
	t.Helper()
	apps := c.Client.AppsV1()
	switch w.kind {
	case "DaemonSet":
		o, err := apps.DaemonSets(w.Namespace).Get(t.Context(), w.Name, metav1.GetOptions{})
		require.NoError(t, err)
		w.template = o.Spec.Template
	case "StatefulSet":
		o, err := apps.StatefulSets(w.Namespace).Get(t.Context(), w.Name, metav1.GetOptions{})
		require.NoError(t, err)
		w.template = o.Spec.Template
	case "Deployment":
		o, err := apps.Deployments(w.Namespace).Get(t.Context(), w.Name, metav1.GetOptions{})
		require.NoError(t, err)
		w.template = o.Spec.Template
	default:
		require.Fail(t, "no such workload", w.kind)
	}
	return w
}

// components are the names of the workloads of a shape.
func (s shape) components() []string {
	if s == tiers {
		return []string{"agent", "front", "sampling"}
	}
	return []string{string(s)}
}

// pod returns a pod as the workload's controller makes it.
func (w workload) pod(ordinal int) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: *w.template.ObjectMeta.DeepCopy(), Spec: *w.template.Spec.DeepCopy()}
	pod.Namespace = w.Namespace
	pod.Name = fmt.Sprintf("%s-%d", w.Name, ordinal)
	for _, claim := range w.claims {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name + "-" + pod.Name},
		}})
	}
	return pod
}

// collectorOf returns the collector's container of a pod.
func collectorOf(t *testing.T, spec *corev1.PodSpec) *corev1.Container {
	t.Helper()
	for i := range spec.InitContainers {
		if c := &spec.InitContainers[i]; c.Name == "otelcol-custom" {
			return c
		}
	}
	for i := range spec.Containers {
		if c := &spec.Containers[i]; c.Name == "collector" {
			return c
		}
	}
	require.Fail(t, "the pod has no collector")
	return nil
}

// names returns the sorted keys of a map.
func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
