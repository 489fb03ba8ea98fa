// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGlob(t *testing.T) {
	for g, tt := range map[Glob]struct{ yes, no []string }{
		"abc":      {yes: []string{"abc"}, no: []string{"", "ab", "abcd", "xabc", "ABC"}},
		"abc*":     {yes: []string{"abc", "abcd", "abc*"}, no: []string{"ab", "xabc"}},
		"*abc":     {yes: []string{"abc", "xabc", "abcabc"}, no: []string{"abcx", "bc"}},
		"*abc*":    {yes: []string{"abc", "xabcx"}, no: []string{"ab", "acb"}},
		"*":        {yes: []string{"", "a", "a\nb", "\xff"}},
		"**":       {yes: []string{"", "a"}},
		"***a":     {yes: []string{"a", "ba"}, no: []string{"", "ab"}},
		"?":        {yes: []string{"a", "é", "✓", "\xff", "\n"}, no: []string{"", "ab", "\xff\xff"}},
		"??":       {yes: []string{"ab", "é✓", "\xff\xff"}, no: []string{"a", "é", "abc"}},
		"?*":       {yes: []string{"a", "ab"}, no: []string{""}},
		"*?":       {yes: []string{"a", "ab", "é"}, no: []string{""}},
		"a*b":      {yes: []string{"ab", "axb", "abb", "abab"}, no: []string{"a", "b", "aba", "xab"}},
		"a*b*c":    {yes: []string{"abc", "axbxc", "abcbc", "aabbcc"}, no: []string{"acb", "abcx", "ac"}},
		"*ab*ab*":  {yes: []string{"abab", "ab-ab", "xabyabz"}, no: []string{"ab", "aab"}},
		"*a?c":     {yes: []string{"abc", "aabc", "abcaéc"}, no: []string{"ac", "abcd"}},
		"a?":       {yes: []string{"ab", "aé"}, no: []string{"a", "abc"}},
		"*é*":      {yes: []string{"é", "caféine"}, no: []string{"e", "\xc3", "\xa9"}},
		"a.b":      {yes: []string{"a.b"}, no: []string{"axb"}},
		"a+(b)|^$": {yes: []string{"a+(b)|^$"}, no: []string{"ab"}},
	} {
		compiled, err := g.compile()
		require.NoError(t, err, g)
		for _, s := range tt.yes {
			assert.True(t, compiled.match(s), "%q matches %q", g, s)
		}
		for _, s := range tt.no {
			assert.False(t, compiled.match(s), "%q does not match %q", g, s)
		}
	}
}

// TestGlobKinds: the common shapes get by with one comparison.
func TestGlobKinds(t *testing.T) {
	for g, want := range map[Glob]glob{
		"abc":   {globExact, "abc"},
		"abc*":  {globPrefix, "abc"},
		"*abc":  {globSuffix, "abc"},
		"*abc*": {globContains, "abc"},
		"*":     {globContains, ""},
		"a*b":   {globGeneral, "a*b"},
		"a?":    {globGeneral, "a?"},
	} {
		got, err := g.compile()
		require.NoError(t, err)
		assert.Equal(t, want, got, g)
	}
}

// TestGlobSteps: names come from outside. A pattern that makes a matcher with
// recursion at each star take longer than the world has been there takes a moment.
func TestGlobSteps(t *testing.T) {
	g, err := Glob(strings.Repeat("*a", 30) + "*b?").compile()
	require.NoError(t, err)
	require.Equal(t, globGeneral, g.kind)
	require.False(t, g.match(strings.Repeat("a", 1<<20)))
}
