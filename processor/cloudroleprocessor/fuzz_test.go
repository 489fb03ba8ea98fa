// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// eachTestdataConfig hands out the configurations in testdata, good and bad, as far as
// they can be decoded.
func eachTestdataConfig(tb testing.TB, f func(*Config)) {
	files, err := filepath.Glob(filepath.Join("testdata", "bad", "*.yaml"))
	require.NoError(tb, err)
	var confs []*confmap.Conf
	for _, file := range files {
		conf, err := confmaptest.LoadConf(file)
		require.NoError(tb, err)
		confs = append(confs, conf)
	}
	good, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(tb, err)
	for id := range good.ToStringMap() {
		sub, err := good.Sub(id)
		require.NoError(tb, err)
		confs = append(confs, sub)
	}
	for _, conf := range confs {
		if cfg := createDefaultConfig(); conf.Unmarshal(cfg) == nil {
			f(cfg.(*Config))
		}
	}
}

// FuzzTemplate checks a template against what its parts say, and that escaping works.
func FuzzTemplate(f *testing.F) {
	eachTestdataConfig(f, func(cfg *Config) {
		for _, t := range append(append([]Template(nil), cfg.Role...), cfg.Instance...) {
			f.Add(string(t), "value")
		}
		for _, r := range cfg.Rules {
			f.Add(string(r.Role), "{a}")
		}
	})
	for _, s := range []string{"{{{a}}}", "}{", "{a}{", "{é}", "{service.name}"} {
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		if text != "" {
			// Any text can be written literally.
			escaped := Template(strings.ReplaceAll(text, "{", "{{"))
			require.NoError(t, escaped.Validate())
			got, ok := expandOn(t, escaped, nil)
			require.True(t, ok)
			require.Equal(t, text, got)
		}

		parts, err := Template(text).parse()
		if err != nil {
			require.True(t, text == "" || strings.Contains(text, "{"), "text without braces is a template: %v", err)
			return
		}
		// Put the template together again from its parts, and the expected result.
		var again, want strings.Builder
		values := make(map[string]string)
		whole := true
		for _, p := range parts {
			if p.attribute {
				require.Equal(t, strings.TrimSpace(p.text), p.text)
				require.NotEmpty(t, p.text)
				again.WriteString("{" + p.text + "}")
				want.WriteString(value)
				values[p.text] = value
				whole = whole && value != ""
			} else {
				again.WriteString(strings.ReplaceAll(p.text, "{", "{{"))
				want.WriteString(p.text)
			}
		}
		require.Equal(t, text, again.String())
		got, ok := expandOn(t, Template(text), values)
		require.Equal(t, whole, ok)
		if whole {
			require.Equal(t, want.String(), got)
		} else {
			require.Empty(t, got)
		}
		// Without the attributes only text resolves.
		_, ok = expandOn(t, Template(text), nil)
		require.Equal(t, len(values) == 0, ok)
	})
}

// FuzzGlob compares with regular expressions, for the glob and for the head check that
// rules make before it.
func FuzzGlob(f *testing.F) {
	eachTestdataConfig(f, func(cfg *Config) {
		for _, g := range cfg.IgnoreServiceNames {
			f.Add(string(g), "unknown_service:java")
		}
		for _, r := range cfg.Rules {
			for _, g := range r.Match {
				f.Add(string(g), "legacy-cart")
			}
		}
	})
	f.Add("*a*b?", "aabbb")
	f.Add("é?*", "éé\xff")
	f.Add("12345678", "123456789")
	f.Add("123456789*", "12345678")
	f.Add("**", "")
	quote := strings.NewReplacer(`\*`, ".*", `\?`, ".")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		g, err := Glob(pattern).compile()
		if err != nil {
			require.True(t, pattern == "" || !utf8.ValidString(pattern) || strings.ContainsAny(pattern, globReserved), err)
			return
		}
		if len(pattern)*len(s) > 1<<20 {
			t.Skip("the regular expression would take too long")
		}
		if strings.ContainsRune(pattern, utf8.RuneError) && !utf8.ValidString(s) {
			t.Skip("in a regular expression the replacement character stands for every broken byte")
		}
		want := regexp.MustCompile(`(?s)\A` + quote.Replace(regexp.QuoteMeta(pattern)) + `\z`).MatchString(s)
		require.Equal(t, want, g.match(s))

		slots := newSlotTable()
		r, err := (&RuleConfig{Match: map[string]Glob{"a": Glob(pattern)}, Role: "x"}).compile(&slots)
		require.NoError(t, err)
		m := pcommon.NewMap()
		m.PutStr("a", s)
		var v view
		v.load(&slots, m)
		v.loadHeads()
		require.Equal(t, want && s != "", r.matches(&v), "as a rule")
	})
}

// FuzzDecide throws resources at the configurations in testdata: what was there stays
// unless the README says otherwise, there is a role wherever there is a name, and a
// second pass changes nothing.
func FuzzDecide(f *testing.F) {
	var deciders []*decider
	eachTestdataConfig(f, func(cfg *Config) {
		if confmap.Validate(cfg) == nil {
			d, err := newDecider(cfg)
			require.NoError(f, err)
			deciders = append(deciders, d)
		}
	})
	require.NotEmpty(f, deciders)
	for _, tt := range decisions {
		name, _ := tt.in["service.name"].(string)
		role, _ := tt.in["ai.cloud.role"].(string)
		namespace, _ := tt.in["service.namespace"].(string)
		deployment, _ := tt.in["k8s.deployment.name"].(string)
		f.Add(name, namespace, deployment, role, int64(0))
	}
	f.Fuzz(func(t *testing.T, name, namespace, deployment, role string, id int64) {
		for _, d := range deciders {
			m := pcommon.NewMap()
			for key, value := range map[string]string{
				"service.name": name, "service.namespace": namespace, "k8s.deployment.name": deployment, "ai.cloud.role": role,
			} {
				if value != "" {
					m.PutStr(key, value)
				}
			}
			m.PutInt("service.instance.id", id)
			m.PutStr("other", "stays")

			var b batch
			out := d.decide(m, &b)
			require.Equal(t, int64(1), b.tally[out])
			got := m.AsRaw()
			require.Equal(t, "stays", got["other"])
			key := attrRole
			if d.output == OutputService {
				key = attrServiceName
				require.NotContains(t, got, "ai.cloud.roleInstance")
			} else {
				require.Equal(t, id, got["service.instance.id"])
				if name != "" {
					require.Equal(t, name, got["service.name"])
				}
			}
			if name != "" {
				require.NotEmpty(t, got[key])
			}
			if role != "" && !d.override {
				require.Equal(t, outcomeKept, out)
				require.Equal(t, role, got[key])
			}
			d.decide(m, &b)
			require.Equal(t, got, m.AsRaw(), "second pass")
		}
	})
}
