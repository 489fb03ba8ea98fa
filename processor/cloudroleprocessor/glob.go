// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Glob matches a whole attribute value: * stands for any text, none included, ? for
// exactly one character, everything else for itself. There is no escape and there
// are no character classes; the characters other glob dialects use for these are
// refused, since a pattern that means something else than its author thought would
// only ever show by not matching.
type Glob string

const (
	globWild     = "*?"
	globReserved = `[]{}\`
)

// Validate checks that the glob can be compiled.
func (g Glob) Validate() error {
	if g == "" {
		return errors.New(`glob must not be empty; want text with * (any text) and ? (one character), for example "legacy-*"`)
	}
	if !utf8.ValidString(string(g)) {
		return fmt.Errorf("glob %q is not valid UTF-8", string(g))
	}
	if i := strings.IndexAny(string(g), globReserved); i >= 0 {
		return fmt.Errorf("glob %q holds %q; only * (any text) and ? (one character) are special, write ? in its place", string(g), g[i:i+1])
	}
	return nil
}

type globKind uint8

const (
	globExact    globKind = iota // abc
	globPrefix                   // abc*
	globSuffix                   // *abc
	globContains                 // *abc*, and * as the empty text contained
	globGeneral                  // anything else
)

// glob is a compiled Glob. The common shapes are one comparison.
type glob struct {
	kind globKind
	text string // without its stars, unless kind is globGeneral
}

func (g Glob) compile() (glob, error) {
	if err := g.Validate(); err != nil {
		return glob{}, err
	}
	pattern := string(g)
	inner := strings.Trim(pattern, "*")
	if strings.ContainsAny(inner, globWild) {
		return glob{kind: globGeneral, text: pattern}, nil
	}
	switch head, tail := pattern[0] == '*', pattern[len(pattern)-1] == '*'; {
	case head && tail:
		return glob{kind: globContains, text: inner}, nil
	case head:
		return glob{kind: globSuffix, text: inner}, nil
	case tail:
		return glob{kind: globPrefix, text: inner}, nil
	default:
		return glob{kind: globExact, text: inner}, nil
	}
}

// match takes time proportional to the length of s, for a given pattern.
func (g *glob) match(s string) bool {
	switch g.kind {
	case globExact:
		return s == g.text
	case globPrefix:
		return strings.HasPrefix(s, g.text)
	case globSuffix:
		return strings.HasSuffix(s, g.text)
	case globContains:
		return strings.Contains(s, g.text)
	default:
		return matchWild(g.text, s)
	}
}

// matchWild goes back to the last star only: what an earlier star took never needs
// to change, because the text behind it was found at the first place it fits. So at
// most len(pattern) × len(s) steps. A byte of s that is not UTF-8 is one character.
func matchWild(pattern, s string) bool {
	p, i := 0, 0
	star, from := -1, 0 // the last star, and where the text behind it was last tried
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			i += runeLen(s[i:])
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			from += runeLen(s[from:])
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

func runeLen(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}
