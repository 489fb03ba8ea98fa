// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// What deploy/kustomize/README.md has a user write does what it says.
func TestReadme(t *testing.T) {
	root, err := filepath.EvalSymlinks(harness.Root(t))
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(root, "deploy", "kustomize", "README.md"))
	require.NoError(t, err)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	up, err := filepath.Rel(dir, root)
	require.NoError(t, err)
	var blocks []string
	for _, m := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, strings.ReplaceAll(m[1], "../otelcol-custom/", filepath.ToSlash(up)+"/"))
	}
	require.Len(t, blocks, 5)
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}

	// One's own kustomization, with the Secret and a file more.
	write("kustomization.yaml", blocks[0]+blocks[1]+blocks[2])
	write("backend.env", "APPLICATIONINSIGHTS_CONNECTION_STRING=InstrumentationKey=1\n")
	write("my-roles.yaml", "processors: {cloudrole: {}}\n")
	objects := render(t, dir)
	pod := one[*appsv1.DaemonSet](t, objects).Spec.Template.Spec
	for _, c := range []corev1.Container{pod.InitContainers[0], pod.Containers[0]} {
		assert.Equal(t, "registry.example.com/otelcol-custom:0.1.0", c.Image)
	}
	c := collectorOf(t, &pod)
	assert.Equal(t, "--config=/etc/otelcol-custom/my-roles.yaml", c.Args[len(c.Args)-1])
	configMap, secret := one[*corev1.ConfigMap](t, objects), one[*corev1.Secret](t, objects)
	assert.Contains(t, configMap.Data, "my-roles.yaml")
	assert.Contains(t, configMap.Data, "agent.yaml")
	for _, volume := range pod.Volumes {
		if volume.ConfigMap != nil {
			assert.Equal(t, configMap.Name, volume.ConfigMap.Name)
		}
	}
	assert.Regexp(t, `^otelcol-custom-backend-\w+$`, secret.Name, "its name is to change with its content")
	env := map[string]corev1.EnvVar{}
	for _, e := range c.Env {
		env[e.Name] = e
	}
	assert.Equal(t, "azure", env["BACKEND"].Value)
	assert.Equal(t, secret.Name, env["APPLICATIONINSIGHTS_CONNECTION_STRING"].ValueFrom.SecretKeyRef.Name)

	// The sidecar.
	write("kustomization.yaml", blocks[3])
	const label = "otelcol-custom/sidecar: checkout"
	require.Contains(t, blocks[4], label)
	require.Contains(t, app, label)
	write("deployment.yaml", app)
	pod = one[*appsv1.Deployment](t, render(t, dir)).Spec.Template.Spec
	assert.Equal(t, "otelcol-custom", pod.InitContainers[0].Name)

	// Two of them are refused as it says.
	write("deployment.yaml", app+"---\n"+strings.Replace(app, "name: shop\n", "name: shop2\n", 1))
	_, says, err := kubectl(t, "kustomize", dir)
	require.Error(t, err)
	assert.Contains(t, says, "multiple matches for selector Deployment")
	assert.Contains(t, strings.Join(strings.Fields(string(text)), " "), "`multiple matches for selector Deployment`")
}
