// SPDX-License-Identifier: Apache-2.0

package appendjson

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestString(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		limit    int
		want     string
		cut      bool
	}{
		{name: "empty", in: "", limit: 5, want: `""`},
		{name: "plain text shorter than a word", in: "abc", limit: 5, want: `"abc"`},
		{name: "plain text longer than a word", in: "abcdefghijklm", limit: 50, want: `"abcdefghijklm"`},
		{name: "quote and backslash", in: `a"b\c`, limit: 50, want: `"a\"b\\c"`},
		{name: "quote in every place of a word", in: `"234567890`, limit: 50, want: `"\"234567890"`},
		{name: "line ends and tab", in: "a\n\r\tb", limit: 50, want: `"a\n\r\tb"`},
		{name: "other control characters", in: "\x00\x1f\x7f", limit: 50, want: "\"\\u0000\\u001f\x7f\""},
		{name: "two and three byte characters stay as they are", in: "é€\u2028", limit: 50, want: "\"é€\u2028\""},
		{name: "each invalid byte becomes a replacement character", in: "a\xff\xc3b", limit: 50, want: "\"a\ufffd\ufffdb\""},
		{name: "half a surrogate in UTF-8 is invalid", in: "\xed\xa0\x80", limit: 50, want: "\"\ufffd\ufffd\ufffd\""},
		{name: "exactly the limit", in: "abcde", limit: 5, want: `"abcde"`},
		{name: "one over the limit", in: "abcdef", limit: 5, want: `"abcde"`, cut: true},
		{name: "more bytes than the limit but not more characters", in: "ééééé", limit: 5, want: `"ééééé"`},
		{name: "cut between characters", in: "éééééx", limit: 5, want: `"ééééé"`, cut: true},
		{name: "a character of two units does not fit in one", in: "abcd😀", limit: 5, want: `"abcd"`, cut: true},
		{name: "a character of two units fits in two", in: "abc😀", limit: 5, want: `"abc😀"`},
		{name: "limit zero", in: "a", limit: 0, want: `""`, cut: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, cut := String([]byte("x"), tt.in, tt.limit)
			assert.Equal(t, "x"+tt.want, string(got))
			assert.Equal(t, tt.cut, cut)
			fromBytes, _, cut := String(nil, []byte(tt.in), tt.limit)
			assert.Equal(t, tt.want, string(fromBytes))
			assert.Equal(t, tt.cut, cut)
		})
	}
}

func TestTextSpendsOneLimitOnItsParts(t *testing.T) {
	out, rest, cut := Text(nil, "GET", 10)
	assert.False(t, cut)
	assert.Equal(t, 7, rest)
	out, rest, cut = Text(out, " ", rest)
	assert.False(t, cut)
	assert.Equal(t, 6, rest)
	out, rest, cut = Text(out, "/a/long/path", rest)
	assert.True(t, cut)
	assert.Equal(t, 0, rest)
	assert.Equal(t, "GET /a/lon", string(out))
}

func TestFloat(t *testing.T) {
	for _, tt := range []struct {
		in   float64
		want string
	}{
		{0, "0"},
		{1, "1"},
		{-1.5, "-1.5"},
		{0.1, "0.1"},
		{123456789, "123456789"},
		{1e20, "100000000000000000000"},
		{1e21, "1e+21"},
		{0.000001, "0.000001"},
		{0.0000001, "1e-7"},
		{math.MaxFloat64, "1.7976931348623157e+308"},
		{math.SmallestNonzeroFloat64, "5e-324"},
	} {
		got, ok := Float([]byte("x"), tt.in)
		assert.True(t, ok)
		assert.Equal(t, "x"+tt.want, string(got))
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		got, ok := Float([]byte("x"), f)
		assert.False(t, ok, "%v", f)
		assert.Equal(t, "x", string(got), "%v", f)
	}
}

// The reference is encoding/json: whatever goes in comes out of its decoder as the same text, with invalid bytes
// replaced, and no longer than the limit.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", `"\/` + "\b\f\n\r\t", "\xff\xfe", "日本語😀", strings.Repeat("a", 7) + "\"", "\u2028\u2029<>&"} {
		f.Add(s, 1000)
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if limit < 0 {
			limit = -(limit + 1)
		}
		out, rest, cut := String(nil, s, limit)
		var got string
		require.NoError(t, json.Unmarshal(out, &got), "%q", out)
		clean := strings.ToValidUTF8(s, "")
		if utf8.ValidString(s) {
			require.Equal(t, clean, s)
			if !cut {
				require.Equal(t, s, got)
			} else {
				require.True(t, strings.HasPrefix(s, got), "%q is no prefix of %q", got, s)
			}
		}
		require.LessOrEqual(t, len(utf16.Encode([]rune(got))), limit)
		require.GreaterOrEqual(t, rest, 0)
		reference, err := json.Marshal(s)
		require.NoError(t, err)
		var want string
		require.NoError(t, json.Unmarshal(reference, &want))
		if !cut {
			require.Equal(t, want, got)
		}
	})
}

func FuzzFloat(f *testing.F) {
	for _, v := range []float64{0, 1, -1, 0.1, 1e21, 1e-7, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Copysign(0, -1)} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v float64) {
		out, ok := Float(nil, v)
		reference, err := json.Marshal(v)
		require.Equal(t, err == nil, ok)
		if ok {
			require.Equal(t, string(reference), string(out))
		}
	})
}

func BenchmarkString(b *testing.B) {
	s := strings.Repeat("SELECT id, name FROM customers ", 8)
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	b.SetBytes(int64(len(s)))
	for b.Loop() {
		buf, _, _ = String(buf[:0], s, NoLimit)
	}
}
