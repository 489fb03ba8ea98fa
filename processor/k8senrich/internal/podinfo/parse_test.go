// SPDX-License-Identifier: Apache-2.0

package podinfo

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParsePairs(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []Pair
		err  string
	}{
		"empty file":       {text: ""},
		"one":              {text: `app="shop"`, want: []Pair{{"app", "shop"}}},
		"line break ends":  {text: "app=\"shop\"\nteam=\"a\"\n", want: []Pair{{"app", "shop"}, {"team", "a"}}},
		"empty value":      {text: `app=""`, want: []Pair{{"app", ""}}},
		"key with prefix":  {text: `app.kubernetes.io/name="shop"`, want: []Pair{{"app.kubernetes.io/name", "shop"}}},
		"quotes":           {text: `note="say \"hi\""`, want: []Pair{{"note", `say "hi"`}}},
		"line break":       {text: `note="one\ntwo"`, want: []Pair{{"note", "one\ntwo"}}},
		"equals sign":      {text: `note="a=b=c"`, want: []Pair{{"note", "a=b=c"}}},
		"backslash":        {text: `path="C:\\temp\\new"`, want: []Pair{{"path", `C:\temp\new`}}},
		"not ASCII":        {text: `city="Zürich 東京 🚢"`, want: []Pair{{"city", "Zürich 東京 🚢"}}},
		"escaped rune":     {text: `odd="\u00ad\U000e0001\x00\t"`, want: []Pair{{"odd", "\u00ad\U000e0001\x00\t"}}},
		"carriage return":  {text: "app=\"shop\"\r\nteam=\"a\"\r\n", want: []Pair{{"app", "shop"}, {"team", "a"}}},
		"not quoted":       {text: "app=shop\nteam=\"a\"", want: []Pair{{"team", "a"}}, err: `line 1: want key="value"`},
		"no equals sign":   {text: "app\n\nteam=\"a\"\n=\"x\"", want: []Pair{{"team", "a"}}, err: `line 1, 4: want key="value"`},
		"raw string":       {text: "app=`shop`", err: `line 1: want key="value"`},
		"single character": {text: "app='s'", err: `line 1: want key="value"`},
		"cut off":          {text: "team=\"a\"\napp=\"sh", want: []Pair{{"team", "a"}}, err: `line 2: want key="value"`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParsePairs(tc.text)
			assert.Equal(t, tc.want, got)
			if tc.err == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, tc.err)
			}
		})
	}
}

// writePairs writes what the kubelet writes: key=%q for each pair, joined by
// line breaks.
func writePairs(pairs []Pair) string {
	lines := make([]string, len(pairs))
	for i, p := range pairs {
		lines[i] = fmt.Sprintf("%v=%q", p.Key, p.Value)
	}
	return strings.Join(lines, "\n")
}

// What is written for a label is read as that label, whatever its value, and
// no input panics or gives more pairs than it has lines.
func FuzzParsePairs(f *testing.F) {
	f.Add("app", "shop", "app=\"shop\"\nteam=\"a\"")
	f.Add("note", "say \"hi\"\n=\\", "note=\"one\\ntwo\"")
	f.Add("city", "Zürich 東京 \xff", "odd=\"\\x00\"\n\n=\n\"")
	f.Fuzz(func(t *testing.T, key, value, text string) {
		if key != "" && !strings.ContainsAny(key, "=\r\n") {
			want := []Pair{{key, value}, {key + "2", ""}}
			got, err := ParsePairs(writePairs(want))
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		pairs, err := ParsePairs(text)
		filled := 0
		for line := range strings.Lines(text) {
			if strings.TrimRight(line, "\r\n") != "" {
				filled++
			}
		}
		if err == nil {
			require.Len(t, pairs, filled)
		} else {
			require.Less(t, len(pairs), filled)
		}
	})
}

func TestParseCPU(t *testing.T) {
	for _, tc := range []struct {
		text string
		unit Unit
		want int64
	}{
		// resourceFieldRef without a divisor: whole cores.
		{"1", Auto, 1000},
		{"2", Auto, 2000},
		{"64", Auto, 64_000},
		{"99", Auto, 99_000},
		{"192", Cores, 192_000},
		// resourceFieldRef with divisor 1m.
		{"100", Auto, 100},
		{"500", Auto, 500},
		{"1500", Auto, 1500},
		{"50", Millicores, 50},
		{"1", Millicores, 1},
		// A quantity says by itself what it is in, whatever the unit.
		{"500m", Auto, 500},
		{"500m", Cores, 500},
		{"500m", Millicores, 500},
		{"1.5", Auto, 1500},
		{"0.25", Millicores, 250},
		{"2k", Auto, 2_000_000},
		// No limit.
		{"0", Auto, 0},
	} {
		got, err := ParseCPU(tc.text, tc.unit)
		require.NoError(t, err, tc.text)
		assert.Equal(t, tc.want, got, "%s %s", tc.text, tc.unit)
	}
	for _, text := range []string{"", "two", "-1", "1 core", "1,5", "9999999999999999999999x"} {
		_, err := ParseCPU(text, Auto)
		require.Error(t, err, text)
	}
	_, err := ParseCPU("9223372036854775807", Cores)
	assert.EqualError(t, err, "more than 1000000 cores")
}

func TestParseMemory(t *testing.T) {
	for text, want := range map[string]int64{
		"268435456": 268_435_456,
		"256Mi":     268_435_456,
		"1G":        1_000_000_000,
		"1.5Gi":     1_610_612_736,
		"128974848": 128_974_848,
		"123M":      123_000_000,
		"1e9":       1_000_000_000,
		"0":         0,
	} {
		got, err := ParseMemory(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "much", "-1", "256 Mi"} {
		_, err := ParseMemory(text)
		require.Error(t, err, text)
	}
}
