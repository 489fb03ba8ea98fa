// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// rule is a compiled RuleConfig.
type rule struct {
	first condition // kept apart from the others: most rules end here
	rest  []condition
	role  template
}

// condition asks that the value in a slot matches a glob. With many rules nearly
// every value fails nearly every condition, so they are told apart by their head, the
// first eight bytes as one number, before the glob is looked at.
type condition struct {
	want, mask uint64 // head & mask must be want
	slot       int
	glob       glob
}

func (r *RuleConfig) compile(slots *slotTable) (rule, error) {
	if err := r.Validate(); err != nil {
		return rule{}, err
	}
	names := slices.Sorted(maps.Keys(r.Match))
	if i := slices.Index(names, attrServiceName); i > 0 {
		names[0], names[i] = names[i], names[0] // it tells most resources apart: ask for it first
	}
	conditions := make([]condition, len(names))
	for i, name := range names {
		var err error
		if conditions[i], err = newCondition(slots, name, r.Match[name]); err != nil {
			return rule{}, fmt.Errorf("match::%s: %w", name, err)
		}
	}
	role, err := r.Role.compile(slots)
	if err != nil {
		return rule{}, fmt.Errorf("role: %w", err)
	}
	return rule{first: conditions[0], rest: conditions[1:], role: role}, nil
}

func newCondition(slots *slotTable, attr string, g Glob) (condition, error) {
	compiled, err := g.compile()
	if err != nil {
		return condition{}, err
	}
	c := condition{slot: slots.of(attr), glob: compiled}
	start := string(g)
	if i := strings.IndexAny(start, globWild); i >= 0 {
		start = start[:i]
	}
	if start != "" && c.slot < maxViewed {
		c.want = head(start)
		c.mask = 1<<(8*min(len(start), 8)) - 1
		slots.addHead(c.slot)
	}
	return c, nil
}

// head packs the first eight bytes of s into a number; bytes that s lacks are zero.
func head(s string) uint64 {
	if len(s) >= 8 { // one load, as the compiler sees it
		return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	}
	var h uint64
	for i := range len(s) {
		h |= uint64(s[i]) << (8 * i)
	}
	return h
}

// matches is false where one of the attributes is absent or empty, whatever the glob.
func (r *rule) matches(v *view) bool {
	if !r.first.matches(v) {
		return false
	}
	for i := range r.rest {
		if !r.rest[i].matches(v) {
			return false
		}
	}
	return true
}

// excludes says at a glance that a value cannot match; false says nothing.
func (c *condition) excludes(v *view) bool {
	return v.heads[c.slot%maxViewed]&c.mask != c.want
}

func (c *condition) matches(v *view) bool {
	value := v.get(c.slot)
	return value != "" && c.glob.match(value)
}
