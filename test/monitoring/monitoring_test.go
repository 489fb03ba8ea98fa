// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package monitoring

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/kubetest"
)

var (
	promtool = harness.Server{
		Name: "promtool", Folder: "test/servers/prometheus",
		Module: "github.com/prometheus/prometheus", Package: "github.com/prometheus/prometheus/cmd/promtool",
	}
	selectors = harness.Server{
		Name: "promql-selectors", Folder: "test/servers/prometheus",
		Module: "github.com/prometheus/prometheus", Package: ".",
	}
	kubectl = harness.Server{
		Name: "kubectl", Folder: "test/servers/kubernetes",
		Module: "k8s.io/kubernetes", Package: "k8s.io/kubernetes/cmd/kubectl",
	}
)

// ofPrometheus are labels that Prometheus gives each series that it scrapes.
var ofPrometheus = []string{"job", "instance"}

// Each metric that the dashboard, the rules and their tests name is one that the
// binary exposes, with the labels that they name.
func TestMetrics(t *testing.T) {
	exposed := expose(t)
	enums := enumerations(t)
	for source, expressions := range map[string][]string{
		"dashboard.json":   dashboard(t),
		"alerts.yaml":      rules(t),
		"alerts_test.yaml": series(t),
	} {
		require.NotEmpty(t, expressions, source)
		for i, e := range parse(t, expressions) {
			where := source + ": " + expressions[i]
			require.Empty(t, e.Error, where)
			require.NotEmpty(t, e.Metrics, where)
			for _, m := range e.Metrics {
				if m.Name == "up" { // Prometheus' own
					continue
				}
				if !assert.NotNil(t, exposed[m.Name], "%s: %s is not exposed", where, m.Name) {
					continue
				}
				for _, matcher := range m.Matchers {
					if slices.Contains(ofPrometheus, matcher.Label) {
						continue
					}
					if !assert.Contains(t, exposed[m.Name], matcher.Label, "%s: label of %s", where, m.Name) {
						continue
					}
					values := []string{matcher.Value}
					if strings.HasSuffix(matcher.Op, "~") {
						values = strings.Split(matcher.Value, "|")
					}
					for _, value := range values {
						known := exposed[m.Name][matcher.Label][value] || slices.Contains(enums[m.Name][matcher.Label], value)
						anyName := slices.Contains([]string{"exporter", "receiver", "processor"}, matcher.Label)
						madeUp := source == "alerts_test.yaml" && len(enums[m.Name][matcher.Label]) == 0 // one of many
						assert.True(t, known || anyName || madeUp, "%s: %s has no %s %q", where, m.Name, matcher.Label, value)
					}
				}
			}
			for _, g := range e.Groups {
				found := slices.Contains(ofPrometheus, g.Label) || slices.ContainsFunc(g.Metrics, func(name string) bool {
					return len(exposed[name][g.Label]) > 0
				})
				assert.True(t, found, "%s: none of %v has the label %s", where, g.Metrics, g.Label)
			}
		}
	}

	// What people are told to look at is there too.
	for _, file := range []string{"docs/deploy.md", "docs/configuration.md", "deploy/monitoring/README.md", "deploy/monitoring/alerts.yaml"} {
		text, err := os.ReadFile(filepath.Join(harness.Root(t), file))
		require.NoError(t, err)
		for _, name := range regexp.MustCompile(`\botelcol_[a-z0-9_]+\*?`).FindAllString(string(text), -1) {
			prefix, isPrefix := strings.CutSuffix(name, "*")
			found := false
			for metric := range exposed {
				found = found || metric == name || isPrefix && strings.HasPrefix(metric, prefix)
			}
			assert.True(t, found, "%s names %s, which the binary does not expose", file, name)
		}
	}
}

// The rules are good rules, and do what their tests say.
func TestRules(t *testing.T) {
	for _, args := range [][]string{
		{"check", "rules", "alerts.yaml"},
		{"test", "rules", "alerts_test.yaml"},
	} {
		p := harness.Run(t, harness.Spec{Path: harness.Build(t, promtool), Args: args, Dir: folder(t)})
		assert.Zero(t, p.ExitCode(), "%s %s", p.Stdout.String(), p.Stderr.String())
	}
	// Each has a test of its own.
	tests, err := os.ReadFile(filepath.Join(folder(t), "alerts_test.yaml"))
	require.NoError(t, err)
	for _, name := range alerts(t) {
		assert.Contains(t, string(tests), name)
	}
	docs, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "deploy.md"))
	require.NoError(t, err)
	for _, name := range alerts(t) {
		assert.Contains(t, string(docs), "`"+name+"`", "docs/deploy.md does not say what to do")
	}
}

// The resources for the Prometheus Operator are the same rules, and valid.
func TestPrometheusOperator(t *testing.T) {
	var rule struct{ Spec any }
	readYAML(t, "prometheusrule.yaml", &rule)
	var plain any
	readYAML(t, "alerts.yaml", &plain)
	assert.Equal(t, plain, rule.Spec, "run `make generate`")

	c := kubetest.Start(t)
	config := c.Kubeconfig(t, c.Address, "admin")
	run := func(stdin []byte, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), harness.Build(t, kubectl), args...)
		cmd.Env = []string{"KUBECONFIG=" + config, "HOME=" + t.TempDir()}
		cmd.Stdin = bytes.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, name := range []string{"prometheusrules", "podmonitors"} {
		out, err := run(nil, "apply", "--server-side", "-f", filepath.Join(prometheusOperator(t), "monitoring.coreos.com_"+name+".yaml"))
		require.NoError(t, err, out)
	}
	out, err := run(nil, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
	require.NoError(t, err, out)
	c.Namespace(t, "monitoring")
	out, err = run(nil, "apply", "--server-side", "--validate=strict", "-k", folder(t))
	require.NoError(t, err, out)

	rendered, err := run(nil, "kustomize", folder(t))
	require.NoError(t, err, rendered)
	for right, wrong := range map[string]string{"podMetricsEndpoints:": "podMetricEndpoints:", "  for: 5m": "  for: soon"} {
		require.Contains(t, rendered, right)
		_, err = run([]byte(strings.Replace(rendered, right, wrong, 1)), "apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-")
		assert.Error(t, err, wrong)
	}
}

// prometheusOperator is the folder of that operator's CustomResourceDefinitions.
func prometheusOperator(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", "github.com/prometheus-operator/prometheus-operator@v0.81.0")
	out, err := cmd.Output()
	require.NoError(t, err)
	var module struct{ Dir string }
	require.NoError(t, json.Unmarshal(out, &module))
	return filepath.Join(module.Dir, "example", "prometheus-operator-crd")
}

func folder(t *testing.T) string {
	t.Helper()
	return filepath.Join(harness.Root(t), "deploy", "monitoring")
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(folder(t), file))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(raw, into))
}

type ruleFile struct {
	Groups []struct {
		Rules []struct{ Alert, Expr string }
	}
}

func rules(t *testing.T) []string {
	t.Helper()
	var file ruleFile
	readYAML(t, "alerts.yaml", &file)
	var all []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			all = append(all, r.Expr)
		}
	}
	return all
}

func alerts(t *testing.T) []string {
	t.Helper()
	var file ruleFile
	readYAML(t, "alerts.yaml", &file)
	var all []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			all = append(all, r.Alert)
		}
	}
	require.NotEmpty(t, all)
	return all
}

// series are those that the rules' tests make up.
func series(t *testing.T) []string {
	t.Helper()
	var file struct {
		Tests []struct {
			InputSeries []struct{ Series string } `yaml:"input_series"`
		}
	}
	readYAML(t, "alerts_test.yaml", &file)
	var all []string
	for _, test := range file.Tests {
		for _, s := range test.InputSeries {
			all = append(all, s.Series)
		}
	}
	return all
}

// dashboard returns the expressions of all panels and variables, with Grafana's
// own variables filled in.
func dashboard(t *testing.T) []string {
	t.Helper()
	var board struct {
		Panels []struct {
			Type    string
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct {
				Query any
			}
		}
	}
	raw, err := os.ReadFile(filepath.Join(folder(t), "dashboard.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &board))
	var all []string
	for _, p := range board.Panels {
		if p.Type != "row" {
			require.NotEmpty(t, p.Targets, p.Title)
		}
		for _, target := range p.Targets {
			all = append(all, strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"))
		}
	}
	labelValues := regexp.MustCompile(`^label_values\((.*), \w+\)$`)
	for _, v := range board.Templating.List {
		if q, ok := v.Query.(map[string]any); ok {
			m := labelValues.FindStringSubmatch(q["query"].(string))
			require.NotNil(t, m, q)
			all = append(all, m[1])
		}
	}
	return all
}

type expression struct {
	Error   string
	Metrics []struct {
		Name     string
		Matchers []struct{ Label, Op, Value string }
	}
	Groups []struct {
		Label   string
		Metrics []string
	}
}

func parse(t *testing.T, expressions []string) []expression {
	t.Helper()
	in, err := json.Marshal(expressions)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), harness.Build(t, selectors))
	cmd.Stdin = bytes.NewReader(in)
	raw, err := cmd.Output()
	require.NoError(t, err)
	var out []expression
	require.NoError(t, json.Unmarshal(raw, &out))
	require.Len(t, out, len(expressions))
	return out
}

// enumerations are the values that our components declare of their labels, by
// metric and label.
func enumerations(t *testing.T) map[string]map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(harness.Root(t), "*", "*", "metadata.yaml"))
	require.NoError(t, err)
	out := map[string]map[string][]string{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		var metadata struct {
			Attributes map[string]struct{ Enum []string }
			Telemetry  struct {
				Metrics map[string]struct{ Attributes []string }
			}
		}
		require.NoError(t, yaml.Unmarshal(raw, &metadata), file)
		for name, m := range metadata.Telemetry.Metrics {
			out["otelcol_"+name] = map[string][]string{}
			for _, a := range m.Attributes {
				out["otelcol_"+name][a] = metadata.Attributes[a].Enum
			}
		}
	}
	require.NotEmpty(t, out)
	return out
}
