// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/otelcol-custom/otelcol-custom/processor/cloudroleprocessor/internal/metadatatest"
)

type attrs = map[string]any

// with returns a copy of in with changes; nil removes an attribute.
func with(in, changes attrs) attrs {
	out := maps.Clone(in)
	maps.Copy(out, changes)
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

// decisions drive every signal. Each is named after the rule it proves; set is what
// the processor changes in the input (nil: removed), all else must stay.
var decisions = []struct {
	name    string
	config  string
	in, set attrs
	outcome string
}{
	// The order of evaluation.
	{
		name:    "a mapping wins over rules and templates",
		config:  `{mappings: {app.py: mapped}, rules: [{match: {service.name: app.py}, role: ruled}]}`,
		in:      attrs{"service.name": "app.py", "service.namespace": "eu"},
		set:     attrs{"ai.cloud.role": "mapped"},
		outcome: "mapping",
	},
	{
		name:    "a mapping is exact",
		config:  `{mappings: {app.py: mapped, "*": star}}`,
		in:      attrs{"service.name": "app.pyc"},
		set:     attrs{"ai.cloud.role": "app.pyc"},
		outcome: "template",
	},
	{
		name:    "a mapping sees an ignored name",
		config:  `{mappings: {unknown_service:java: mapped}}`,
		in:      attrs{"service.name": "unknown_service:java"},
		set:     attrs{"ai.cloud.role": "mapped"},
		outcome: "mapping",
	},
	{
		name:    "the role of a mapping is no template",
		config:  `{mappings: {app.py: "{host.name}"}}`,
		in:      attrs{"service.name": "app.py", "host.name": "node-1"},
		set:     attrs{"ai.cloud.role": "{host.name}", "ai.cloud.roleInstance": "node-1"},
		outcome: "mapping",
	},
	{
		name:    "names with colons and blanks can be mapped",
		config:  `{mappings: {"app.py: shop": mapped, 8080: other}}`,
		in:      attrs{"service.name": "app.py: shop"},
		set:     attrs{"ai.cloud.role": "mapped"},
		outcome: "mapping",
	},
	{
		name:    "a name that is a number can be mapped",
		config:  `{mappings: {8080: gate}}`,
		in:      attrs{"service.name": 8080},
		set:     attrs{"ai.cloud.role": "gate"},
		outcome: "mapping",
	},
	{
		name:    "a rule wins over templates",
		config:  `{rules: [{match: {service.name: "legacy-*", k8s.namespace.name: staging}, role: "legacy-{k8s.deployment.name}"}]}`,
		in:      attrs{"service.name": "legacy-cart", "k8s.namespace.name": "staging", "k8s.deployment.name": "cart"},
		set:     attrs{"ai.cloud.role": "legacy-cart"},
		outcome: "rule",
	},
	{
		name:    "all globs of a rule must match",
		config:  `{rules: [{match: {service.name: "legacy-*", k8s.namespace.name: staging}, role: ruled}]}`,
		in:      attrs{"service.name": "legacy-cart", "k8s.namespace.name": "staging-2"},
		set:     attrs{"ai.cloud.role": "legacy-cart"},
		outcome: "template",
	},
	{
		name:    "an absent attribute matches nothing",
		config:  `{rules: [{match: {k8s.namespace.name: "*"}, role: ruled}]}`,
		in:      attrs{"service.name": "cart"},
		set:     attrs{"ai.cloud.role": "cart"},
		outcome: "template",
	},
	{
		name:    "an empty attribute matches nothing",
		config:  `{rules: [{match: {k8s.namespace.name: "*"}, role: ruled}]}`,
		in:      attrs{"service.name": "cart", "k8s.namespace.name": ""},
		set:     attrs{"ai.cloud.role": "cart"},
		outcome: "template",
	},
	{
		name:    "the first rule that matches wins",
		config:  `{rules: [{match: {service.name: "b*"}, role: one}, {match: {service.name: "a*"}, role: two}, {match: {service.name: "*"}, role: three}]}`,
		in:      attrs{"service.name": "ab"},
		set:     attrs{"ai.cloud.role": "two"},
		outcome: "rule",
	},
	{
		name:    "a rule whose role does not resolve is passed over",
		config:  `{rules: [{match: {service.name: "a*"}, role: "one-{host.name}"}, {match: {service.name: "ab"}, role: two}]}`,
		in:      attrs{"service.name": "ab"},
		set:     attrs{"ai.cloud.role": "two"},
		outcome: "rule",
	},
	{
		name:    "a rule sees an ignored name, its role does not",
		config:  `{ignore_service_names: ["*.py"], rules: [{match: {service.name: "app.*"}, role: "py-{service.name}"}, {match: {service.name: "app.*"}, role: "py-{host.name}"}], instance: []}`,
		in:      attrs{"service.name": "app.py", "host.name": "node-1"},
		set:     attrs{"ai.cloud.role": "py-node-1"},
		outcome: "rule",
	},
	{
		name:    "a rule can match a number",
		config:  `{rules: [{match: {shard: "1?"}, role: "shard-{shard}"}]}`,
		in:      attrs{"shard": 12},
		set:     attrs{"ai.cloud.role": "shard-12"},
		outcome: "rule",
	},

	// The default templates.
	{
		name:    "namespace and name",
		in:      attrs{"service.namespace": "eu", "service.name": "shop", "k8s.deployment.name": "d"},
		set:     attrs{"ai.cloud.role": "eu.shop"},
		outcome: "template",
	},
	{
		name:    "a template with an empty attribute does not resolve",
		in:      attrs{"service.namespace": "", "service.name": "shop"},
		set:     attrs{"ai.cloud.role": "shop"},
		outcome: "template",
	},
	{
		name:    "an ignored name leaves the deployment",
		config:  `{ignore_service_names: ["*.py", "unknown_service*"]}`,
		in:      attrs{"service.name": "app.py", "k8s.deployment.name": "opentelemetry-app1"},
		set:     attrs{"ai.cloud.role": "opentelemetry-app1"},
		outcome: "template",
	},
	{
		name:    "an ignored name is absent behind a namespace too",
		in:      attrs{"service.namespace": "eu", "service.name": "unknown_service:java", "k8s.job.name": "j"},
		set:     attrs{"ai.cloud.role": "j"},
		outcome: "template",
	},
	{
		name:    "a list of one's own ignored names replaces the default",
		config:  `{ignore_service_names: ["*.py"]}`,
		in:      attrs{"service.name": "unknown_service", "k8s.deployment.name": "d"},
		set:     attrs{"ai.cloud.role": "unknown_service"},
		outcome: "template",
	},
	{
		name:    "deployment before replica set",
		in:      attrs{"k8s.replicaset.name": "r", "k8s.deployment.name": "d"},
		set:     attrs{"ai.cloud.role": "d"},
		outcome: "template",
	},
	{
		name:    "replica set before stateful set",
		in:      attrs{"k8s.statefulset.name": "s", "k8s.replicaset.name": "r"},
		set:     attrs{"ai.cloud.role": "r"},
		outcome: "template",
	},
	{
		name:    "stateful set before job",
		in:      attrs{"k8s.job.name": "j", "k8s.statefulset.name": "s"},
		set:     attrs{"ai.cloud.role": "s"},
		outcome: "template",
	},
	{
		name:    "job before cron job",
		in:      attrs{"k8s.cronjob.name": "c", "k8s.job.name": "j"},
		set:     attrs{"ai.cloud.role": "j"},
		outcome: "template",
	},
	{
		name:    "cron job before daemon set",
		in:      attrs{"k8s.daemonset.name": "ds", "k8s.cronjob.name": "c"},
		set:     attrs{"ai.cloud.role": "c"},
		outcome: "template",
	},
	{
		name:    "daemon set last",
		in:      attrs{"k8s.daemonset.name": "ds"},
		set:     attrs{"ai.cloud.role": "ds"},
		outcome: "template",
	},
	{
		name:    "values that are not strings",
		config:  `{role: ["{b}/{i}/{d}/{l}/{m}"]}`,
		in:      attrs{"b": true, "i": 7, "d": 1.5, "l": []any{"x", 1}, "m": attrs{"k": "v"}},
		set:     attrs{"ai.cloud.role": `true/7/1.5/["x",1]/{"k":"v"}`},
		outcome: "template",
	},
	{
		name:    "text and braces",
		config:  `{role: ["{{x}}-{service.name}-}{{"]}`,
		in:      attrs{"service.name": "shop"},
		set:     attrs{"ai.cloud.role": "{x}}-shop-}{"},
		outcome: "template",
	},
	{
		name:    "a last template of text alone catches all",
		config:  `{role: ["{service.name}", other]}`,
		in:      attrs{"host.id": "h"},
		set:     attrs{"ai.cloud.role": "other"},
		outcome: "template",
	},

	// Nothing resolves.
	{
		name:    "an ignored name serves where nothing else does",
		in:      attrs{"service.namespace": "eu", "service.name": "unknown_service:java"},
		set:     attrs{"ai.cloud.role": "unknown_service:java"},
		outcome: "unresolved",
	},
	{
		name:    "a name serves where there are no templates",
		config:  `{role: []}`,
		in:      attrs{"service.name": "shop"},
		set:     attrs{"ai.cloud.role": "shop"},
		outcome: "unresolved",
	},
	{
		name:    "without a name nothing is set",
		in:      attrs{"host.id": "h"},
		outcome: "unresolved",
	},
	{
		name:    "an empty name is no name",
		config:  `{mappings: {shop: mapped}}`,
		in:      attrs{"service.name": ""},
		outcome: "unresolved",
	},

	// The instance.
	{
		name:    "service.instance.id first",
		in:      attrs{"service.name": "shop", "service.instance.id": "i", "k8s.pod.name": "p", "host.name": "h"},
		set:     attrs{"ai.cloud.role": "shop", "ai.cloud.roleInstance": "i"},
		outcome: "template",
	},
	{
		name:    "then the pod",
		in:      attrs{"service.name": "shop", "k8s.pod.name": "p", "host.name": "h"},
		set:     attrs{"ai.cloud.role": "shop", "ai.cloud.roleInstance": "p"},
		outcome: "template",
	},
	{
		name:    "then the host",
		in:      attrs{"service.name": "shop", "host.name": "h"},
		set:     attrs{"ai.cloud.role": "shop", "ai.cloud.roleInstance": "h"},
		outcome: "template",
	},
	{
		name:    "an instance without a role",
		in:      attrs{"host.name": "h"},
		set:     attrs{"ai.cloud.roleInstance": "h"},
		outcome: "unresolved",
	},
	{
		name:    "an ignored name is absent in the instance too",
		config:  `{instance: ["{service.name}", "{host.name}"]}`,
		in:      attrs{"service.name": "unknown_service", "host.name": "h"},
		set:     attrs{"ai.cloud.role": "unknown_service", "ai.cloud.roleInstance": "h"},
		outcome: "unresolved",
	},
	{
		name:    "no instance is set where the list is empty",
		config:  `{instance: []}`,
		in:      attrs{"service.name": "shop", "host.name": "h"},
		set:     attrs{"ai.cloud.role": "shop"},
		outcome: "template",
	},

	// What the app has set itself.
	{
		name:    "a role of the app's own is kept, the instance is decided",
		config:  `{mappings: {shop: mapped}}`,
		in:      attrs{"service.name": "shop", "ai.cloud.role": "own", "host.name": "h"},
		set:     attrs{"ai.cloud.roleInstance": "h"},
		outcome: "kept",
	},
	{
		name:    "an instance of the app's own is kept, the role is decided",
		config:  `{mappings: {shop: mapped}}`,
		in:      attrs{"service.name": "shop", "ai.cloud.roleInstance": "own-1", "host.name": "h"},
		set:     attrs{"ai.cloud.role": "mapped"},
		outcome: "mapping",
	},
	{
		name:    "an empty role of the app's own is none",
		in:      attrs{"service.name": "shop", "ai.cloud.role": "", "ai.cloud.roleInstance": "", "host.name": "h"},
		set:     attrs{"ai.cloud.role": "shop", "ai.cloud.roleInstance": "h"},
		outcome: "template",
	},
	{
		name:    "a role of the app's own keeps its type",
		in:      attrs{"service.name": "shop", "ai.cloud.role": 7},
		outcome: "kept",
	},
	{
		name:    "override replaces both",
		config:  `{override: true}`,
		in:      attrs{"service.name": "shop", "ai.cloud.role": "own", "ai.cloud.roleInstance": "own-1", "host.name": "h"},
		set:     attrs{"ai.cloud.role": "shop", "ai.cloud.roleInstance": "h"},
		outcome: "template",
	},
	{
		name:    "override has nothing to put in the place",
		config:  `{override: true}`,
		in:      attrs{"ai.cloud.role": "own", "ai.cloud.roleInstance": "own-1"},
		outcome: "unresolved",
	},

	// output: service.
	{
		name:   "service: name and instance are rewritten, the namespace goes",
		config: `{output: service, mappings: {app.py: shop}}`,
		in:     attrs{"service.name": "app.py", "service.namespace": "eu", "service.instance.id": "", "k8s.pod.name": "p", "other": 1},
		set: attrs{
			"service.name": "shop", "service.original_name": "app.py", "service.namespace": nil,
			"service.instance.id": "p",
		},
		outcome: "mapping",
	},
	{
		name:    "service: an instance id that stands there stays",
		config:  `{output: service}`,
		in:      attrs{"service.name": "shop", "service.instance.id": "i", "k8s.pod.name": "p"},
		set:     attrs{"service.original_name": "shop"},
		outcome: "template",
	},
	{
		name:    "service: the default joins namespace and name",
		config:  `{output: service}`,
		in:      attrs{"service.name": "shop", "service.namespace": "eu"},
		set:     attrs{"service.name": "eu.shop", "service.original_name": "shop", "service.namespace": nil},
		outcome: "template",
	},
	{
		name:    "service: without a name the original is empty",
		config:  `{output: service, mappings: {d: again}}`,
		in:      attrs{"k8s.deployment.name": "d"},
		set:     attrs{"service.name": "d", "service.original_name": ""},
		outcome: "template",
	},
	{
		name:    "service: an unresolved name stays, and its namespace would change the role",
		config:  `{output: service}`,
		in:      attrs{"service.name": "unknown_service", "service.namespace": "eu"},
		set:     attrs{"service.namespace": nil},
		outcome: "unresolved",
	},
	{
		name:    "service: without a role the namespace stays",
		config:  `{output: service}`,
		in:      attrs{"service.namespace": "eu", "host.name": "h"},
		set:     attrs{"service.instance.id": "h"},
		outcome: "unresolved",
	},
	{
		name:    "service: exporters read strings",
		config:  `{output: service}`,
		in:      attrs{"service.name": 7, "service.instance.id": 8},
		set:     attrs{"service.name": "7", "service.original_name": "7", "service.instance.id": "8"},
		outcome: "template",
	},
	{
		name:    "service: what the app has set itself is the role",
		config:  `{output: service}`,
		in:      attrs{"service.name": "shop", "service.instance.id": "i", "ai.cloud.role": "own", "ai.cloud.roleInstance": "own-1"},
		set:     attrs{"service.name": "own", "service.original_name": "shop", "service.instance.id": "own-1"},
		outcome: "kept",
	},
	{
		name:   "service: override brings the tags along",
		config: `{output: service, override: true}`,
		in:     attrs{"service.name": "shop", "service.instance.id": "i", "ai.cloud.role": "own", "ai.cloud.roleInstance": "own-1"},
		set: attrs{
			"service.original_name": "shop",
			"ai.cloud.role":         "shop", "ai.cloud.roleInstance": "i",
		},
		outcome: "template",
	},

	// What an earlier cloudrole with output: service has decided.
	{
		name:    "a decided role is not mapped again",
		config:  `{output: service, mappings: {shop: again, app.py: again}}`,
		in:      attrs{"service.name": "shop", "service.original_name": "app.py", "service.instance.id": "i", "k8s.pod.name": "p"},
		outcome: "kept",
	},
	{
		name:    "a decided role is not mapped again for tags",
		config:  `{mappings: {shop: again}, ignore_service_names: ["shop"]}`,
		in:      attrs{"service.name": "shop", "service.original_name": "app.py"},
		set:     attrs{"ai.cloud.role": "shop"},
		outcome: "kept",
	},
	{
		name:    "a decided role need not have had a name",
		config:  `{output: service, mappings: {d: again}}`,
		in:      attrs{"service.name": "d", "service.original_name": ""},
		outcome: "kept",
	},
	{
		name:    "a decided role that went missing is decided again",
		config:  `{output: service}`,
		in:      attrs{"service.original_name": "app.py", "k8s.deployment.name": "d"},
		set:     attrs{"service.name": "d"},
		outcome: "template",
	},
	{
		name:    "a decided role outlives override, what it was made from is gone",
		config:  `{output: service, override: true, instance: ["{k8s.pod.name}"]}`,
		in:      attrs{"service.name": "eu.shop", "service.original_name": "shop", "service.instance.id": "i", "k8s.pod.name": "p"},
		outcome: "kept",
	},
	{
		name:    "a decided resource can still be given an instance",
		config:  `{output: service}`,
		in:      attrs{"service.name": "shop", "service.original_name": "app.py", "k8s.pod.name": "p"},
		set:     attrs{"service.instance.id": "p"},
		outcome: "kept",
	},
	{
		name:    "a namespace that came later goes",
		config:  `{output: service}`,
		in:      attrs{"service.name": "shop", "service.original_name": "app.py", "service.namespace": "eu"},
		set:     attrs{"service.namespace": nil},
		outcome: "kept",
	},
}

func TestDecisions(t *testing.T) {
	for _, tt := range decisions {
		for _, sig := range signals {
			t.Run(tt.name+"/"+sig.name, func(t *testing.T) {
				tel := componenttest.NewTelemetry()
				defer func() { require.NoError(t, tel.Shutdown(t.Context())) }()
				p, err := sig.create(NewFactory(), metadatatest.NewSettings(tel), configFromYAML(t, tt.config))
				require.NoError(t, err)

				got, err := p.send(t.Context(), false, withAttributes(t, tt.in))
				require.NoError(t, err)
				require.Len(t, got, 1)
				want := pcommon.NewMap()
				require.NoError(t, want.FromRaw(with(tt.in, tt.set)))
				assert.Equal(t, want.AsRaw(), got[0].Attributes().AsRaw())
				metadatatest.AssertEqualProcessorCloudroleResources(t, tel, []metricdata.DataPoint[int64]{{
					Attributes: attribute.NewSet(attribute.String("outcome", tt.outcome), attribute.String("processor", "cloudrole")),
					Value:      1,
				}}, metricdatatest.IgnoreTimestamp())
			})
		}
	}
}

// TestTwice: a second processor of the same configuration (sidecar, then gateway)
// changes nothing.
func TestTwice(t *testing.T) {
	for _, tt := range decisions {
		t.Run(tt.name, func(t *testing.T) {
			d, err := newDecider(configFromYAML(t, tt.config))
			require.NoError(t, err)
			m := pcommon.NewMap()
			require.NoError(t, m.FromRaw(tt.in))
			var b batch
			d.decide(m, &b)
			once := m.AsRaw()
			d.decide(m, &b)
			assert.Equal(t, once, m.AsRaw())
		})
	}
}

// TestTwiceSelfReference: templates that would grow with each pass.
func TestTwiceSelfReference(t *testing.T) {
	for _, output := range []Output{OutputTags, OutputService} {
		t.Run(string(output), func(t *testing.T) {
			d, err := newDecider(configFromYAML(t, fmt.Sprintf(`
output: %s
mappings: {a: b, b: c}
role: ["x-{service.name}"]
instance: ["y-{service.instance.id}"]
`, output)))
			require.NoError(t, err)
			for name, want := range map[string]string{"a": "b", "b": "c", "shop": "x-shop"} {
				m := pcommon.NewMap()
				m.PutStr("service.name", name)
				m.PutStr("service.instance.id", "1")
				for range 3 {
					d.decide(m, &batch{})
				}
				wants := attrs{"service.name": name, "service.instance.id": "1", "ai.cloud.role": want, "ai.cloud.roleInstance": "y-1"}
				if output == OutputService {
					wants = attrs{"service.name": want, "service.original_name": name, "service.instance.id": "y-1"}
				}
				assert.Equal(t, wants, m.AsRaw())
			}
		})
	}
}

// TestLaterKnowsMore: a name that a sidecar could not resolve is left for a gateway.
func TestLaterKnowsMore(t *testing.T) {
	d, err := newDecider(configFromYAML(t, `{output: service}`))
	require.NoError(t, err)
	m := pcommon.NewMap()
	m.PutStr("service.name", "unknown_service:python")
	var b batch
	assert.Equal(t, outcomeUnresolved, d.decide(m, &b))
	m.PutStr("k8s.deployment.name", "opentelemetry-app1")
	assert.Equal(t, outcomeTemplate, d.decide(m, &b))
	assert.Equal(t, attrs{
		"service.name":          "opentelemetry-app1",
		"service.original_name": "unknown_service:python",
		"k8s.deployment.name":   "opentelemetry-app1",
	}, m.AsRaw())
}

// TestBatchOfResources: nothing of one resource shows in the next.
func TestBatchOfResources(t *testing.T) {
	for _, sig := range signals {
		t.Run(sig.name, func(t *testing.T) {
			p, err := sig.create(NewFactory(), nopSettings(), configFromYAML(t,
				`{rules: [{match: {service.name: "leg*", k8s.namespace.name: "s*"}, role: "{k8s.deployment.name}"}]}`))
			require.NoError(t, err)
			got, err := p.send(t.Context(), false,
				withAttributes(t, attrs{"service.name": "legacy", "k8s.namespace.name": "staging", "k8s.deployment.name": "d1", "k8s.pod.name": "p1"}),
				withAttributes(t, attrs{"service.name": "legacy", "k8s.deployment.name": "d2"}),
				withAttributes(t, attrs{"k8s.namespace.name": "staging"}),
			)
			require.NoError(t, err)
			require.Len(t, got, 3)
			assert.Equal(t, attrs{
				"service.name": "legacy", "k8s.namespace.name": "staging", "k8s.deployment.name": "d1", "k8s.pod.name": "p1",
				"ai.cloud.role": "d1", "ai.cloud.roleInstance": "p1",
			}, got[0].Attributes().AsRaw())
			assert.Equal(t, attrs{"service.name": "legacy", "k8s.deployment.name": "d2", "ai.cloud.role": "legacy"}, got[1].Attributes().AsRaw())
			assert.Equal(t, attrs{"k8s.namespace.name": "staging"}, got[2].Attributes().AsRaw())
		})
	}
}

// TestManyAttributes: a configuration may name more attributes than a view holds, in
// rules and in templates.
func TestManyAttributes(t *testing.T) {
	const n = 3 * maxViewed
	cfg := createDefaultConfig().(*Config)
	cfg.Role, cfg.Instance = nil, nil
	for i := range n {
		cfg.Rules = append(cfg.Rules, RuleConfig{
			Match: map[string]Glob{fmt.Sprintf("attr.%d", i): "va*"},
			Role:  Template(fmt.Sprintf("%d-{attr.%d}", i, i)),
		})
		cfg.Instance = append(cfg.Instance, Template(fmt.Sprintf("{other.%d}", i)))
	}
	d, err := newDecider(cfg)
	require.NoError(t, err)
	for i := range n {
		m := pcommon.NewMap()
		m.PutStr(fmt.Sprintf("attr.%d", i), "value")
		m.PutInt(fmt.Sprintf("other.%d", i), int64(i))
		var b batch
		require.Equal(t, outcomeRule, d.decide(m, &b))
		role, _ := m.Get(attrRole)
		require.Equal(t, fmt.Sprintf("%d-value", i), role.AsString())
		instance, _ := m.Get(attrRoleInstance)
		require.Equal(t, strconv.Itoa(i), instance.AsString())
	}
}

// TestSlotNames: attributes with names of every length, in one hash table.
func TestSlotNames(t *testing.T) {
	slots := newSlotTable()
	m := pcommon.NewMap()
	wants := map[int]string{}
	for i := range maxViewed - fixedSlots {
		name := strings.Repeat("n", 3*i+1)
		wants[slots.of(name)] = name
		m.PutStr(name, "value of "+name)
		m.PutStr(name+"!", "another")
	}
	require.Len(t, slots.names, maxViewed, "all in the table")
	var v view
	v.load(&slots, m)
	for slot, name := range wants {
		require.Equal(t, "value of "+name, v.get(slot))
		require.Equal(t, slot, slots.of(name), "numbered once")
	}
	require.Equal(t, 0, slots.of(attrServiceName))
}

// TestSameAttributeTwice: a malformed resource may hold a key twice; the first that
// says something counts.
func TestSameAttributeTwice(t *testing.T) {
	td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces([]byte(`{"resourceSpans": [{"resource": {"attributes": [
		{"key": "service.name", "value": {"stringValue": ""}},
		{"key": "service.name", "value": {"stringValue": "second"}},
		{"key": "service.name", "value": {"stringValue": "third"}}
	]}}]}`))
	require.NoError(t, err)
	m := td.ResourceSpans().At(0).Resource().Attributes()
	require.Equal(t, 3, m.Len())
	d, err := newDecider(createDefaultConfig().(*Config))
	require.NoError(t, err)
	var b batch
	assert.Equal(t, outcomeTemplate, d.decide(m, &b))
	role, _ := m.Get(attrRole)
	assert.Equal(t, "second", role.Str())
}
