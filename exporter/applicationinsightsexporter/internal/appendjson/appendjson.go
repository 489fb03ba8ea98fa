// SPDX-License-Identifier: Apache-2.0

// Package appendjson writes JSON by appending to a byte slice. It uses no reflection and allocates nothing
// beyond the growth of the slice it is given.
//
// Every function takes any input and leaves valid JSON behind: invalid UTF-8 becomes U+FFFD, control characters
// are escaped, and numbers that JSON cannot hold are refused by Float's second result. All functions are pure
// and safe for concurrent use on different slices.
package appendjson

import (
	"math"
	"strconv"
	"unicode/utf8"
)

const hex = "0123456789abcdef"

// NoLimit is a limit that no string reaches.
const NoLimit = math.MaxInt

// String appends s as a quoted JSON string of at most limit UTF-16 code units, the unit in which Application
// Insights counts characters. A longer s is cut between two characters, never inside one. rest is how much of
// limit is left, and cut tells whether anything of s was left out.
func String[S ~string | ~[]byte](dst []byte, s S, limit int) (out []byte, rest int, cut bool) {
	dst = append(dst, '"')
	dst, rest, cut = Text(dst, s, limit)
	return append(dst, '"'), rest, cut
}

// Text is String without the quotes, for strings that are put together from parts.
func Text[S ~string | ~[]byte](dst []byte, s S, limit int) (out []byte, rest int, cut bool) {
	if len(s) > limit {
		n, units := prefix(s, limit)
		cut = n < len(s)
		return appendEscaped(dst, s[:n]), limit - units, cut
	}
	// A string has at most as many code units as bytes, so this one fits. What is left of limit is then
	// understated for text outside ASCII, which makes a cut of a later part come early, never late.
	return appendEscaped(dst, s), limit - len(s), false
}

// prefix returns the length in bytes of the longest prefix of s that has at most limit UTF-16 code units and
// ends between two characters, and how many units it has.
func prefix[S ~string | ~[]byte](s S, limit int) (n, units int) {
	for n < len(s) {
		r, size := decodeRune(s[n:])
		width := 1
		if r > 0xFFFF {
			width = 2
		}
		if units+width > limit {
			return n, units
		}
		n += size
		units += width
	}
	return n, units
}

// decodeRune decodes the first character of s, which must not be empty.
func decodeRune[S ~string | ~[]byte](s S) (rune, int) {
	if c := s[0]; c < utf8.RuneSelf {
		return rune(c), 1
	}
	var b [utf8.UTFMax]byte
	return utf8.DecodeRune(b[:copy(b[:], s)])
}

// appendEscaped appends s with everything escaped that JSON wants escaped. The common case, eight bytes of plain
// ASCII at a time, is a handful of operations on one word.
func appendEscaped[S ~string | ~[]byte](dst []byte, s S) []byte {
	start, i := 0, 0
	for i < len(s) {
		for len(s)-i >= 8 {
			w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
				uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
			if special(w) {
				break
			}
			i += 8
		}
		if i == len(s) {
			break
		}
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := decodeRune(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\ufffd"...)
			i++
			start = i
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xF])
		}
		i++
		start = i
	}
	return append(dst, s[start:]...)
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special reports whether any of the eight bytes of w is a control character, a quote, a backslash or not ASCII.
// It may say yes for a word that has none (never no for one that has), because a borrow can run into the next
// byte; the caller then looks at the bytes one by one.
func special(w uint64) bool {
	quote := w ^ (ones * '"')
	slash := w ^ (ones * '\\')
	return (w|(w-ones*0x20)|(quote-ones)|(slash-ones))&highs != 0
}

// Float appends f in the shortest form that reads back as the same number. ok is false, and dst unchanged, for
// NaN and the infinities, which JSON does not have.
func Float(dst []byte, f float64) (out []byte, ok bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, false
	}
	// Exponents for the very large and the very small only, as encoding/json and JavaScript do.
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if format == 'e' {
		// e-09 to e-9
		if n := len(dst); n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
			dst[n-2] = dst[n-1]
			dst = dst[:n-1]
		}
	}
	return dst, true
}
