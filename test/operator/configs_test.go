// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package operator

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
)

// differences are all that the operator's resources may change in a mode's file.
var differences = map[string]any{
	"extensions::health_check::endpoint": "${env:POD_IP}:13133", // the operator probes by HTTP
	"extensions::health_check::path":     "/",                   // the default, which it writes itself
	"service::telemetry::metrics::readers": []any{map[string]any{"pull": map[string]any{
		"exporter": map[string]any{"prometheus": map[string]any{"host": "${env:POD_IP}", "port": 8888}},
	}}},
}

// What the resources carry is what configs/ says, key by key.
func TestConfigs(t *testing.T) {
	for file, source := range map[string]string{
		"agent/collector.yaml":   "agent.yaml",
		"gateway/collector.yaml": "gateway.yaml",
		"apps/sidecar.yaml":      "sidecar.yaml",
	} {
		t.Run(file, func(t *testing.T) {
			want := flat(readYAML(t, filepath.Join(collector.Configs(t), source)))
			for key, value := range differences {
				want[key] = value
			}
			assert.Equal(t, want, flat(configOf(t, file)), "run `make generate`")
		})
	}
	backends, err := filepath.Glob(filepath.Join(collector.Configs(t), "backend", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, backends)
	for _, source := range backends {
		name := filepath.Base(source[:len(source)-len(".yaml")])
		if name == "console" { // is what a mode does by itself
			continue
		}
		t.Run(name, func(t *testing.T) {
			want := flat(readYAML(t, source))
			assert.Equal(t, want, flat(configOf(t, filepath.Join("backend", name, "collector.yaml"))), "run `make generate`")
		})
	}
}

// The operator's resources need the same rights as those of the kustomize tree, and no more.
func TestRights(t *testing.T) {
	for _, mode := range []string{"agent", "gateway"} {
		for _, file := range []string{"rbac.yaml", "namespace.yaml"} {
			ours, err := os.ReadFile(folder(t, mode, file))
			require.NoError(t, err)
			theirs, err := os.ReadFile(filepath.Join(harness.Root(t), "deploy", "kustomize", mode, file))
			require.NoError(t, err)
			assert.Equal(t, string(theirs), string(ours), "%s/%s", mode, file)
		}
	}
}

func folder(t *testing.T, elements ...string) string {
	t.Helper()
	return filepath.Join(append([]string{harness.Root(t), "deploy", "operator"}, elements...)...)
}

// configOf returns spec.config of a resource.
func configOf(t *testing.T, file string) map[string]any {
	t.Helper()
	spec, ok := readYAML(t, folder(t, file))["spec"].(map[string]any)
	require.True(t, ok, "%s has no spec", file)
	config, ok := spec["config"].(map[string]any)
	require.True(t, ok, "%s has no spec.config", file)
	return config
}

func readYAML(t *testing.T, file string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, yaml.Unmarshal(raw, &out))
	return out
}

// flat turns nested maps into one, with keys such as "receivers::otlp". No
// settings are the same whether they are absent or an empty map, and a number is
// the same however it is written.
func flat(config map[string]any) map[string]any {
	out := map[string]any{}
	var walk func(prefix string, value any)
	walk = func(prefix string, value any) {
		nested, ok := value.(map[string]any)
		switch {
		case ok && len(nested) > 0:
			for key, v := range nested {
				walk(prefix+"::"+key, v)
			}
		case ok, value == nil:
			out[prefix[2:]] = nil
		default:
			if n, ok := value.(int); ok {
				value = float64(n)
			}
			out[prefix[2:]] = value
		}
	}
	walk("", config)
	return out
}
