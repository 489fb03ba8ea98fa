// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package operator

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
)

// chart has the keys of values.schema.json in version 0.173.1 of the chart that
// deploy/helm may use, at each place where the schema allows no others; "*" is
// any key.
var chart = map[string]string{
	"": "mode fullnameOverride nameOverride podLabels image command configMap extraEnvs extraEnvsFrom " +
		"useGOMEMLIMIT resources serviceAccount clusterRole podSecurityContext securityContext tolerations " +
		"priorityClassName extraManifests initContainers extraVolumes extraVolumeMounts lifecycleHooks " +
		"terminationGracePeriodSeconds ports service networkPolicy startupProbe readinessProbe livenessProbe " +
		"rollout autoscaling podDisruptionBudget statefulset topologySpreadConstraints",
	"image":                          "registry repository tag digest pullPolicy",
	"command":                        "name extraArgs",
	"configMap":                      "create existingName existingPath",
	"serviceAccount":                 "create annotations name automountServiceAccountToken",
	"clusterRole":                    "create annotations name rules clusterRoleBinding",
	"clusterRole.clusterRoleBinding": "annotations name",
	"ports.*":                        "enabled containerPort servicePort hostPort nodePort protocol appProtocol",
	"resources":                      "limits requests",
	"resources.*":                    "cpu ephemeral-storage memory",
	"service": "enabled trafficDistribution type clusterIP loadBalancerIP loadBalancerSourceRanges annotations " +
		"internalTrafficPolicy externalTrafficPolicy",
	"networkPolicy":               "enabled annotations allowIngressFrom extraIngressRules egressRules",
	"lifecycleHooks":              "postStart preStop",
	"lifecycleHooks.preStop":      "exec httpGet sleep",
	"lifecycleHooks.preStop.exec": "command",

	"startupProbe":   "initialDelaySeconds periodSeconds timeoutSeconds failureThreshold terminationGracePeriodSeconds httpGet",
	"readinessProbe": "initialDelaySeconds periodSeconds timeoutSeconds failureThreshold successThreshold httpGet",
	"livenessProbe":  "initialDelaySeconds periodSeconds timeoutSeconds failureThreshold terminationGracePeriodSeconds httpGet",
	"*.httpGet":      "path port",
}

type helmValues struct {
	Mode    string
	Command struct {
		Name      string
		ExtraArgs []string `yaml:"extraArgs"`
	}
	ExtraEnvs []struct {
		Name, Value string
		ValueFrom   struct {
			FieldRef struct {
				FieldPath string `yaml:"fieldPath"`
			} `yaml:"fieldRef"`
		} `yaml:"valueFrom"`
	} `yaml:"extraEnvs"`
	ClusterRole struct{ Rules []any } `yaml:"clusterRole"`
}

// The values name only what the chart knows, ask for a pod like that of the
// kustomize tree and for no more rights, and start the collector with files that
// are in the image and a configuration that is valid, in front of each backend.
func TestHelm(t *testing.T) {
	for _, mode := range []string{"agent", "gateway"} {
		t.Run(mode, func(t *testing.T) {
			file := filepath.Join(harness.Root(t), "deploy", "helm", mode+".yaml")
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			keys := readYAML(t, file)
			known(t, "", keys)
			assert.Equal(t, podOf(t, mode), podOfValues(t, keys))

			var values helmValues
			require.NoError(t, yaml.Unmarshal(raw, &values))
			assert.Equal(t, map[string]string{"agent": "daemonset", "gateway": "statefulset"}[mode], values.Mode)
			assert.Equal(t, rulesOf(t, folder(t, mode, "rbac.yaml")), values.ClusterRole.Rules)

			env := map[string]string{}
			for _, e := range values.ExtraEnvs {
				env[e.Name] = e.Value
				if e.ValueFrom.FieldRef.FieldPath == "" {
					require.NotEmpty(t, e.Value, e.Name)
				} else {
					env[e.Name] = "127.0.0.1"
				}
			}
			for name, value := range map[string]string{
				"JAEGER_ENDPOINT":                       "localhost:4317",
				"APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=11111111-2222-4333-8444-555555555555",
				"OPENOBSERVE_ENDPOINT":                  "http://localhost:5080/api/default",
				"OPENOBSERVE_USERNAME":                  "user",
				"OPENOBSERVE_PASSWORD":                  "password",
				"OTEL_EXPORTER_OTLP_ENDPOINT":           "https://otlp.example.com:4317",
			} {
				env[name] = value
			}
			backends, err := filepath.Glob(filepath.Join(collector.Configs(t), "backend", "*.yaml"))
			require.NoError(t, err)
			require.NotEmpty(t, backends)
			for _, backend := range backends {
				args := []string{"validate"}
				for _, arg := range values.Command.ExtraArgs {
					arg = strings.ReplaceAll(arg, "/backend/console.yaml", "/backend/"+filepath.Base(backend))
					// In the image configs/ is /etc/otelcol-custom.
					args = append(args, strings.ReplaceAll(arg, "/etc/otelcol-custom/", collector.Configs(t)+"/"))
				}
				p := harness.Run(t, harness.Spec{Path: collector.Binary(t), Args: args, Env: env})
				assert.Zero(t, p.ExitCode(), "%s: %s", backend, p.Stderr.String())
			}

			// health_check answers where the chart's probes ask.
			args := []string{"print-config"}
			for _, arg := range values.Command.ExtraArgs {
				args = append(args, strings.ReplaceAll(arg, "/etc/otelcol-custom/", collector.Configs(t)+"/"))
			}
			p := harness.Run(t, harness.Spec{Path: collector.Binary(t), Args: args, Env: env})
			require.Zero(t, p.ExitCode(), p.Stderr.String())
			assert.Contains(t, p.Stdout.String(), "127.0.0.1:13133")
		})
	}
}

// podOf returns what a pod of deploy/kustomize is, by the names that the chart
// has for it.
func podOf(t *testing.T, mode string) map[string]any {
	t.Helper()
	file := map[string]string{"agent": "daemonset.yaml", "gateway": "statefulset.yaml"}[mode]
	var workload struct {
		Spec struct {
			Template struct {
				Metadata struct{ Labels map[string]any }
				Spec     map[string]any
			}
		}
	}
	raw, err := os.ReadFile(filepath.Join(harness.Root(t), "deploy", "kustomize", mode, file))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(raw, &workload))
	pod := workload.Spec.Template.Spec
	container := pod["containers"].([]any)[0].(map[string]any)
	return map[string]any{
		"labels":                        workload.Spec.Template.Metadata.Labels,
		"lifecycleHooks":                container["lifecycle"],
		"resources":                     container["resources"],
		"terminationGracePeriodSeconds": pod["terminationGracePeriodSeconds"],
		"tolerations":                   pod["tolerations"],
		"priorityClassName":             pod["priorityClassName"],
		"topologySpreadConstraints":     pod["topologySpreadConstraints"],
		"initContainers":                pod["initContainers"],
	}
}

// podOfValues returns the same of the chart's values, which name the image of
// an init container by a template.
func podOfValues(t *testing.T, values map[string]any) map[string]any {
	t.Helper()
	labels := map[string]any{"app.kubernetes.io/name": values["nameOverride"]}
	maps.Copy(labels, values["podLabels"].(map[string]any))
	out := map[string]any{"labels": labels}
	for _, key := range []string{
		"lifecycleHooks", "resources", "terminationGracePeriodSeconds", "tolerations",
		"priorityClassName", "topologySpreadConstraints", "initContainers",
	} {
		out[key] = values[key]
	}
	containers, _ := out["initContainers"].([]any)
	for _, c := range containers {
		container := c.(map[string]any)
		assert.Equal(t, "{{ .Values.image.repository }}:{{ .Values.image.tag }}", container["image"])
		image := values["image"].(map[string]any)
		container["image"] = fmt.Sprint(image["repository"], ":", image["tag"])
	}
	return out
}

// known ends the test where a key stands that the chart does not know.
func known(t *testing.T, path string, values map[string]any) {
	t.Helper()
	for pattern, keys := range chart {
		if !matches(pattern, path) {
			continue
		}
		for key := range values {
			assert.Contains(t, strings.Fields(keys), key, "in %q", path)
		}
	}
	for key, value := range values {
		if nested, ok := value.(map[string]any); ok {
			known(t, strings.TrimPrefix(path+"."+key, "."), nested)
		}
	}
}

func matches(pattern, path string) bool {
	if pattern == "" || path == "" {
		return pattern == path
	}
	p, q := strings.Split(pattern, "."), strings.Split(path, ".")
	if len(p) != len(q) {
		return false
	}
	for i := range p {
		if p[i] != "*" && p[i] != q[i] {
			return false
		}
	}
	return true
}

// rulesOf returns the rules of the ClusterRole in a file.
func rulesOf(t *testing.T, file string) []any {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, document := range strings.Split(string(raw), "\n---\n") {
		var role struct {
			Kind  string
			Rules []any
		}
		require.NoError(t, yaml.Unmarshal([]byte(document), &role))
		if role.Kind == "ClusterRole" {
			return role.Rules
		}
	}
	t.Fatalf("no ClusterRole in %s", file)
	return nil
}
