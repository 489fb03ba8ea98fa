// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/metadata"
)

func TestConfig(t *testing.T) {
	all := []ResourceAttribute{
		"k8s.container.cpu.limit", "k8s.container.memory.limit",
		"k8s.container.cpu.request", "k8s.container.memory.request",
	}
	for name, want := range map[string]*Config{
		"sidecar": {
			DownwardAPI: configoptional.Some(DownwardAPIConfig{
				Directory: "/podinfo",
				Env: map[string]string{
					"k8s.pod.name":               "POD_NAME",
					"k8s.pod.uid":                "POD_UID",
					"k8s.pod.ip":                 "POD_IP",
					"k8s.namespace.name":         "POD_NAMESPACE",
					"k8s.node.name":              "NODE_NAME",
					"service.version":            "APP_VERSION",
					"k8s.container.cpu.limit":    "CPU_LIMIT",
					"k8s.container.memory.limit": "MEMORY_LIMIT",
				},
				CPUUnit: "auto",
			}),
		},
		"own_env": {
			DownwardAPI: configoptional.Some(DownwardAPIConfig{
				Directory: "/etc/podinfo",
				Env: map[string]string{
					"k8s.pod.name":               "POD_NAME",
					"k8s.pod.uid":                "POD_UID",
					"k8s.pod.ip":                 "",
					"k8s.namespace.name":         "POD_NAMESPACE",
					"k8s.node.name":              "",
					"service.version":            "APP_VERSION",
					"k8s.container.cpu.limit":    "CPU_LIMIT",
					"k8s.container.memory.limit": "MEMORY_LIMIT",
					"team":                       "TEAM",
				},
				CPUUnit: "millicores",
			}),
		},
		"agent": {
			ContainerResources: configoptional.Some(ContainerResourcesConfig{
				AuthType:       "serviceAccount",
				NodeFromEnvVar: "NODE_NAME",
				Attributes:     all,
			}),
			Aliases: Aliases{
				"k8s.pod.name":               "kube_pod_name",
				"k8s.node.name":              "kube_node_name",
				"k8s.namespace.name":         "kube_namespace",
				"k8s.container.cpu.limit":    "kube_cpu_limit",
				"k8s.container.memory.limit": "kube_memory_limit",
				"service.version":            "app_version",
				"k8s.pod.label.*":            "labels.*",
				"k8s.pod.labels.*":           "labels.*",
			},
		},
		"association": {
			PodAssociation: configoptional.Some(PodAssociationConfig{
				AuthType:     "serviceAccount",
				MaxStaleness: 10 * time.Minute,
			}),
		},
		"association_of_node": {
			PodAssociation: configoptional.Some(PodAssociationConfig{
				AuthType:       "kubeConfig",
				NodeFromEnvVar: "NODE_NAME",
			}),
		},
		"chosen": {
			ContainerResources: configoptional.Some(ContainerResourcesConfig{
				AuthType:   "kubeConfig",
				Attributes: []ResourceAttribute{"k8s.container.memory.limit"},
			}),
			Aliases: Aliases{"k8s.pod.name": "pod", "k8s.pod.label.*": "labels.*"},
		},
		"switched_off": {
			DownwardAPI:        configoptional.None[DownwardAPIConfig](),
			ContainerResources: configoptional.Some(ContainerResourcesConfig{AuthType: "none", Attributes: all}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			conf, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
			require.NoError(t, err)
			sub, err := conf.Sub(component.NewIDWithName(metadata.Type, name).String())
			require.NoError(t, err)
			got := createDefaultConfig().(*Config)
			require.NoError(t, sub.Unmarshal(got))
			require.NoError(t, confmap.Validate(got))
			assert.Equal(t, want.DownwardAPI.Get(), got.DownwardAPI.Get())
			assert.Equal(t, want.PodAssociation.Get(), got.PodAssociation.Get())
			assert.Equal(t, want.ContainerResources.Get(), got.ContainerResources.Get())
			assert.Equal(t, want.Aliases, got.Aliases)
		})
	}
}

// The users of one factory do not see each other's variables.
func TestConfigDefaultIsFresh(t *testing.T) {
	one := createDefaultConfig().(*Config)
	require.NoError(t, confmap.NewFromStringMap(map[string]any{
		"downward_api": map[string]any{"env": map[string]any{"team": "TEAM"}},
	}).Unmarshal(one))
	two := createDefaultConfig().(*Config)
	require.NoError(t, confmap.NewFromStringMap(map[string]any{"downward_api": nil}).Unmarshal(two))
	assert.Contains(t, maps.Collect(maps.All(one.DownwardAPI.Get().Env)), "team")
	assert.NotContains(t, two.DownwardAPI.Get().Env, "team")
}

func TestConfigStruct(t *testing.T) {
	require.NoError(t, componenttest.CheckConfigStruct(createDefaultConfig()))
}

func TestConfigBad(t *testing.T) {
	nothing := "nothing to do: set at least one of downward_api, pod_association, container_resources, aliases"
	for file, want := range map[string]string{
		"nothing":            nothing,
		"all_off":            nothing,
		"alias_list":         `'aliases' "cube" is not one of "none", "kube" or a map from attribute to name`,
		"alias_type":         `aliases: [k8s.pod.name] is not one of "none", "kube" or a map from attribute to name`,
		"alias_star":         `aliases: "k8s.pod.label.*": "labels" must end in * both or neither`,
		"alias_self":         `aliases: "k8s.pod.name" is its own alias`,
		"alias_empty":        `aliases: "k8s.pod.name": "" must not be empty on either side; want attribute: name`,
		"auth_type":          `container_resources: auth_type: "tls" is not one of "serviceAccount", "kubeConfig", "none"`,
		"attribute":          `container_resources: attributes::1: "k8s.pod.cpu.limit" is not one of "k8s.container.cpu.limit", "k8s.container.memory.limit", "k8s.container.cpu.request", "k8s.container.memory.request"`,
		"attributes_empty":   `container_resources: attributes must not be empty; allowed are "k8s.container.cpu.limit", "k8s.container.memory.limit", "k8s.container.cpu.request", "k8s.container.memory.request"`,
		"cpu_unit":           `downward_api: cpu_unit: "1m" is not one of "auto", "cores", "millicores"`,
		"env_variable":       `downward_api: env: team: "TEAM=x" is not the name of an environment variable`,
		"env_empty":          `downward_api: directory and env must not both be empty`,
		"association_auth":   `pod_association: auth_type: "tls" is not one of "serviceAccount", "kubeConfig", "none"`,
		"max_staleness":      `pod_association: max_staleness: -1s is not allowed; want 0s, or a duration from 1ms with its unit, such as 10m`,
		"max_staleness_unit": `pod_association: max_staleness: 10ns is not allowed; want 0s, or a duration from 1ms with its unit, such as 10m`,
		"unknown_key":        `'downward_api' decoding failed due to the following error(s)`,
	} {
		t.Run(file, func(t *testing.T) {
			conf, err := confmaptest.LoadConf(filepath.Join("testdata", "bad", file+".yaml"))
			require.NoError(t, err)
			cfg := createDefaultConfig()
			err = conf.Unmarshal(cfg)
			if err == nil {
				err = confmap.Validate(cfg)
			}
			require.Error(t, err)
			assert.Contains(t, strings.ReplaceAll(err.Error(), "\n", " "), want)
		})
	}
	files, err := filepath.Glob(filepath.Join("testdata", "bad", "*.yaml"))
	require.NoError(t, err)
	assert.Len(t, files, 17, "a file without an expected message proves nothing")
}

// What the README says of keys and defaults, and its configurations, are held
// against the code.
func TestReadme(t *testing.T) {
	raw, err := os.ReadFile("README.md")
	require.NoError(t, err)
	text := string(raw)

	row := func(cells ...string) {
		t.Helper()
		assert.Contains(t, text, "| "+strings.Join(cells, " | ")+" |")
	}
	code := func(values ...string) string { return "`" + strings.Join(values, "`, `") + "`" }
	row("`downward_api::directory`", "string", code(defaultDirectory), "a folder; `\"\"` for none", "Where a downwardAPI volume is mounted with the files `labels` and `annotations`.")
	for attribute, variable := range defaultEnv() {
		assert.Contains(t, text, "| "+code(attribute)+" | "+code(variable)+" |")
	}
	for key, start := range map[string]string{
		"downward_api::cpu_unit":                 "string | " + code(string(defaultCPUUnit)) + " | " + code("auto", "cores", "millicores"),
		"pod_association::auth_type":             "string | " + code(string(defaultAuthType)) + " | " + code("serviceAccount", "kubeConfig", "none"),
		"pod_association::node_from_env_var":     "string | `\"\"`",
		"pod_association::max_staleness":         "duration | `10m`",
		"container_resources::auth_type":         "string | " + code(string(defaultAuthType)) + " | " + code("serviceAccount", "kubeConfig", "none"),
		"container_resources::node_from_env_var": "string | `\"\"`",
		"container_resources::attributes": "list | all four | " + code(
			"k8s.container.cpu.limit", "k8s.container.memory.limit", "k8s.container.cpu.request", "k8s.container.memory.request"),
		"aliases": "string or map | `none` | `none`, `kube`",
	} {
		assert.Contains(t, text, "| `"+key+"` | "+start)
	}
	line := regexp.MustCompile("(?s)The aliases of `kube`:.*?\\.\n").FindString(text)
	flat := strings.ReplaceAll(line, "\n", " ")
	for from, to := range kubeAliases {
		assert.Contains(t, flat, "`"+strings.ReplaceAll(from, "*", "<key>")+"`")
		assert.Contains(t, flat, "→ `"+strings.ReplaceAll(to, "*", "<key>")+"`")
	}

	configs := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(text, -1) {
		got, err := confmap.NewRetrievedFromYAML([]byte(block[1]))
		require.NoError(t, err)
		conf, err := got.AsConf()
		require.NoError(t, err)
		for _, id := range []string{"processors::k8senrich", "processors::k8senrich/pod"} {
			if !conf.IsSet(id) {
				continue
			}
			configs++
			sub, err := conf.Sub(id)
			require.NoError(t, err)
			cfg := createDefaultConfig()
			require.NoError(t, sub.Unmarshal(cfg), block[1])
			require.NoError(t, confmap.Validate(cfg), block[1])
		}
	}
	assert.Equal(t, 8, configs)
}
