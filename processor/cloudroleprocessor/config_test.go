// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/otelcol-custom/otelcol-custom/processor/cloudroleprocessor/internal/metadata"
)

// defaultConfig is written out here a second time: a changed default is a changed
// contract.
func defaultConfig() *Config {
	return &Config{
		Role: []Template{
			"{service.namespace}.{service.name}", "{service.name}", "{k8s.deployment.name}", "{k8s.replicaset.name}",
			"{k8s.statefulset.name}", "{k8s.job.name}", "{k8s.cronjob.name}", "{k8s.daemonset.name}",
		},
		Instance:           []Template{"{service.instance.id}", "{k8s.pod.name}", "{host.name}"},
		IgnoreServiceNames: []Glob{"unknown_service*"},
		Output:             OutputTags,
	}
}

func TestConfig(t *testing.T) {
	conf, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)

	bare := defaultConfig()
	wants := map[component.ID]*Config{
		component.NewID(metadata.Type): defaultConfig(),
		component.NewIDWithName(metadata.Type, "all"): {
			Mappings: map[string]string{
				"app.py":       "shop-frontend",
				"app.py: shop": "shop",
				"a/b c#d":      "{not.a.template}",
				"8080":         "gate",
			},
			Rules: []RuleConfig{
				{
					Match: map[string]Glob{"service.name": "legacy-*", "k8s.namespace.name": "staging"},
					Role:  "legacy-{k8s.deployment.name}",
				},
				{Match: map[string]Glob{"service.name": "a::b"}, Role: "fixed"},
			},
			Role:               []Template{"{{{service.name}}}", "none"},
			Instance:           []Template{"{host.name}"},
			IgnoreServiceNames: []Glob{"unknown_service*", "*.py"},
			Output:             OutputService,
			Override:           true,
		},
		component.NewIDWithName(metadata.Type, "one_of_each_list"): {
			Role:               []Template{"{service.name}"},
			Instance:           []Template{"{host.name}"},
			IgnoreServiceNames: []Glob{"*.py"},
			Output:             OutputTags,
		},
		component.NewIDWithName(metadata.Type, "empty_lists"): {
			Mappings:           map[string]string{},
			Rules:              []RuleConfig{},
			Role:               []Template{},
			Instance:           []Template{},
			IgnoreServiceNames: []Glob{},
			Output:             OutputTags,
		},
		component.NewIDWithName(metadata.Type, "bare_keys"): bare,
	}
	require.Len(t, wants, len(conf.ToStringMap()), "blocks in config.yaml")
	for id, want := range wants {
		t.Run(id.String(), func(t *testing.T) {
			sub, err := conf.Sub(id.String())
			require.NoError(t, err)
			cfg := NewFactory().CreateDefaultConfig()
			require.NoError(t, sub.Unmarshal(cfg))
			require.NoError(t, confmap.Validate(cfg))
			assert.Equal(t, want, cfg)
		})
	}
}

// TestConfigOverlay: a second --config file adds mappings and replaces lists.
func TestConfigOverlay(t *testing.T) {
	conf := confFromYAML(t, `{mappings: {a: one, b: two}, role: ["{a}", "{b}"]}`)
	require.NoError(t, conf.Merge(confFromYAML(t, `{mappings: {b: three, c: four}, role: ["{c}"]}`)))
	cfg := createDefaultConfig().(*Config)
	require.NoError(t, conf.Unmarshal(cfg))
	assert.Equal(t, map[string]string{"a": "one", "b": "three", "c": "four"}, cfg.Mappings)
	assert.Equal(t, []Template{"{c}"}, cfg.Role)
}

// TestDefaultsAreNotShared: a list decoded into one configuration must not show in
// the next one.
func TestDefaultsAreNotShared(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.Role[0], cfg.Instance[0], cfg.IgnoreServiceNames[0] = "x", "x", "x"
	assert.Equal(t, defaultConfig(), createDefaultConfig())
}

func TestBadConfig(t *testing.T) {
	const (
		decoding  = "decoding failed due to the following error(s):\n\n"
		templates = "; write {attribute} for a resource attribute and {{ for a brace"
		globs     = "; only * (any text) and ? (one character) are special, write ? in its place"
		noGlob    = `glob must not be empty; want text with * (any text) and ? (one character), for example "legacy-*"`
		noRole    = `template must not be empty; want text with attributes in braces, for example "{k8s.deployment.name}"`
		noMatch   = `match must not be empty; want attribute: glob, for example service.name: "legacy-*"`
	)
	wants := map[string]string{
		"mapping_empty_role":     `mappings: "app.py" has an empty role; want service.name: role`,
		"mapping_no_role":        `mappings: "app.py" has an empty role; want service.name: role`,
		"mapping_empty_name":     `mappings: "" is not a service.name; want service.name: role`,
		"mapping_number":         decoding + `'mappings[app.py]' expected type 'string', got unconvertible type 'int'`,
		"mapping_name_colons":    decoding + `'mappings[a]' expected type 'string', got unconvertible type 'map[string]interface {}'`,
		"mappings_list":          decoding + `'mappings' expected type 'map[string]string', got unconvertible type '[]interface {}'`,
		"rule_no_match":          "rules::0: " + noMatch,
		"rule_empty_attribute":   `rules::0: match: "" is not an attribute name; want attribute: glob, for example service.name: "legacy-*"`,
		"rule_no_role":           "rules::0::role: " + noRole,
		"rule_bad_glob":          `rules::1::match::service.name: glob "a[12]" holds "["` + globs,
		"rule_bad_role":          `rules::0::role: template "{a": "{a" is not closed by }` + templates,
		"rule_number":            decoding + `'rules[0].match[replicas]' expected type 'cloudroleprocessor.Glob', got unconvertible type 'int'`,
		"rule_null":              "rules::0: " + noMatch + "\nrules::0::role: " + noRole,
		"rule_unknown_key":       decoding + `'rules[0]' has invalid keys: roles`,
		"rules_map":              decoding + `'rules' source data must be an array or slice, got map`,
		"role_empty":             "role::0: " + noRole,
		"role_unclosed":          `role::1: template "x-{host.name": "{host.name" is not closed by }` + templates,
		"role_no_attribute":      `role::0: template "x-{}": "{}" names no attribute` + templates,
		"role_nested":            `role::0: template "{a{b}}": "{a{b}" has a { inside an attribute name` + templates,
		"role_blanks":            `role::0: template "{ service.name }": "{ service.name }" has blanks around the attribute name` + templates,
		"role_never_reached":     `role: "fixed" (entry 1) names no attribute and so always resolves, entry 2 is never reached; put it last`,
		"role_string":            decoding + `'role' source data must be an array or slice, got string`,
		"role_number":            decoding + `'role[0]' expected type 'cloudroleprocessor.Template', got unconvertible type 'int'`,
		"instance_unclosed":      `instance::0: template "{host.name": "{host.name" is not closed by }` + templates,
		"instance_never_reached": `instance: "{{host.name}" (entry 0) names no attribute and so always resolves, entry 1 is never reached; put it last`,
		"ignore_empty":           "ignore_service_names::1: " + noGlob,
		"ignore_escape":          `ignore_service_names::0: glob "a\\*" holds "\\"` + globs,
		"ignore_braces":          `ignore_service_names::0: glob "*.{py,js}" holds "{"` + globs,
		"output_unknown":         `output: "tag" is not one of "tags", "service"`,
		"output_empty":           `output: "" is not one of "tags", "service"`,
		"output_bare":            `output: "" is not one of "tags", "service"`,
		"output_number":          decoding + `'output' expected type 'cloudroleprocessor.Output', got unconvertible type 'int'`,
		"override_word":          decoding + `'override' expected type 'bool', got unconvertible type 'string'`,
		"unknown_key":            decoding + `'cloudroleprocessor.Config' has invalid keys: mapping`,
	}
	files, err := filepath.Glob(filepath.Join("testdata", "bad", "*.yaml"))
	require.NoError(t, err)
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	require.Equal(t, slices.Sorted(maps.Keys(wants)), names, "files in testdata/bad")

	for name, want := range wants {
		t.Run(name, func(t *testing.T) {
			conf, err := confmaptest.LoadConf(filepath.Join("testdata", "bad", name+".yaml"))
			require.NoError(t, err)
			cfg := createDefaultConfig()
			err = conf.Unmarshal(cfg)
			if err == nil {
				err = confmap.Validate(cfg)
			}
			require.EqualError(t, err, want)
		})
	}
}

// TestCreateChecks: code that skips Validate still gets an error and no panic.
func TestCreateChecks(t *testing.T) {
	for name, cfg := range map[string]*Config{
		`rules::0: match::a: glob must not be empty`:        {Rules: []RuleConfig{{Match: map[string]Glob{"a": ""}, Role: "x"}}},
		`rules::0: match must not be empty`:                 {Rules: []RuleConfig{{Role: "x"}}},
		`rules::0: role: template must not be empty`:        {Rules: []RuleConfig{{Match: map[string]Glob{"a": "b"}}}},
		`role: entry 1: template "{": "{" is not closed`:    {Role: []Template{"{a}", "{"}},
		`instance: entry 0: template must not be empty`:     {Instance: []Template{""}},
		`ignore_service_names::0: glob must not be empty`:   {IgnoreServiceNames: []Glob{""}},
		`ignore_service_names::0: glob "\xff" is not valid`: {IgnoreServiceNames: []Glob{"\xff"}},
	} {
		for _, sig := range signals {
			_, err := sig.create(NewFactory(), nopSettings(), cfg)
			require.ErrorContains(t, err, name)
		}
	}
}

func confFromYAML(tb testing.TB, yaml string) *confmap.Conf {
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(yaml))
	require.NoError(tb, err)
	conf, err := retrieved.AsConf()
	require.NoError(tb, err)
	return conf
}

// configFromYAML is what the collector makes of a user's block.
func configFromYAML(tb testing.TB, yaml string) *Config {
	cfg := NewFactory().CreateDefaultConfig()
	require.NoError(tb, confFromYAML(tb, yaml).Unmarshal(cfg))
	require.NoError(tb, confmap.Validate(cfg))
	return cfg.(*Config)
}
