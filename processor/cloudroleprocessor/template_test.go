// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// expandOn compiles a template and expands it on a resource.
func expandOn(tb testing.TB, t Template, values map[string]string) (string, bool) {
	slots := newSlotTable()
	compiled, err := t.compile(&slots)
	require.NoError(tb, err)
	m := pcommon.NewMap()
	for name, value := range values {
		m.PutStr(name, value)
	}
	var v view
	v.load(&slots, m)
	v.values[slotTemplateName] = v.values[slotServiceName]
	return compiled.expand(&v)
}

func TestTemplate(t *testing.T) {
	values := map[string]string{"a": "1", "b.c": "2", "service.name": "shop", "empty": "", "with blank": "3"}
	for tmpl, want := range map[Template]string{
		"text":             "text",
		"{a}":              "1",
		"{a}{b.c}":         "12",
		"{service.name}":   "shop",
		"{with blank}":     "3",
		"x{a}y{b.c}z":      "x1y2z",
		"{{":               "{",
		"{{a}":             "{a}",
		"{{a}}":            "{a}}",
		"{{{a}}}":          "{1}}",
		"{{{{a}}}}":        "{{a}}}}",
		"}":                "}",
		"a}b":              "a}b",
		"}}{a}":            "}}1",
		"{a}}":             "1}",
		"déjà {a} ✓":       "déjà 1 ✓",
		"{{x{a}y{{{b.c}{{": "{x1y{2{",
	} {
		got, ok := expandOn(t, tmpl, values)
		assert.True(t, ok, tmpl)
		assert.Equal(t, want, got, tmpl)
	}
	for _, tmpl := range []Template{"{none}", "x{none}", "{a}{none}", "{none}{a}", "{empty}", "{a}-{empty}", "{A}", "{a.b.c}"} {
		got, ok := expandOn(t, tmpl, values)
		assert.False(t, ok, tmpl)
		assert.Empty(t, got, tmpl)
	}
}

func TestBadTemplate(t *testing.T) {
	for tmpl, want := range map[Template]string{
		"":         "must not be empty",
		"{":        `"{" is not closed`,
		"a{b":      `"{b" is not closed`,
		"{{{":      `"{" is not closed`,
		"{a}{":     `"{" is not closed`,
		"{}":       `"{}" names no attribute`,
		"{ }":      `"{ }" names no attribute`,
		"{a }":     `"{a }" has blanks around`,
		"{\ta}":    `has blanks around`,
		"{a{b}":    `"{a{b}" has a { inside`,
		"{a{{b}}":  `"{a{{b}" has a { inside`,
		"{a}{b{}}": `"{b{}" has a { inside`,
	} {
		require.ErrorContains(t, tmpl.Validate(), want, tmpl)
		slots := newSlotTable()
		_, err := tmpl.compile(&slots)
		require.ErrorContains(t, err, want, tmpl)
	}
}
