// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Slots of the attributes that every decision looks at.
const (
	slotServiceName  = iota
	slotTemplateName // service.name as templates see it: empty where it is ignored
	slotNamespace
	slotInstanceID
	slotOriginalName
	slotRole
	slotRoleInstance
	fixedSlots
)

// maxViewed is how many attributes a view holds. A configuration may name more; the
// rest is looked up when asked for.
const maxViewed = 64

// slotTable numbers the attributes that a configuration names, so that one pass over
// a resource finds all of them.
type slotTable struct {
	names []string
	// Most attributes of a resource are in no slot: their length shows it, as bits in
	// lengths (modulo 64), or a look into first does. That and next are a hash table of
	// the slots below maxViewed: first leads from a bucket to a slot, next from one slot
	// to another in the same bucket; noSlot ends the chain.
	lengths uint64
	first   [256]uint8
	next    [maxViewed]uint8
	// headed are the slots whose heads conditions look at.
	headed []int
}

const noSlot = maxViewed

// bucket tells attribute names apart by their length and two of their bytes.
func bucket(name string) uint8 {
	n := len(name)
	if n == 0 {
		return 0
	}
	return uint8(n%256)*7 + name[n/2]*13 + name[n/3]*31
}

func newSlotTable() slotTable {
	var t slotTable
	for i := range t.first {
		t.first[i] = noSlot
	}
	t.add(attrServiceName)
	t.names = append(t.names, attrServiceName) // slotTemplateName: derived, not looked up
	for _, name := range []string{attrNamespace, attrInstanceID, attrOriginalName, attrRole, attrRoleInstance} {
		t.add(name)
	}
	return t
}

func (t *slotTable) add(name string) int {
	slot := len(t.names)
	t.names = append(t.names, name)
	if slot < maxViewed {
		t.lengths |= 1 << (len(name) % 64)
		b := bucket(name)
		t.first[b], t.next[slot] = uint8(slot), t.first[b]
	}
	return slot
}

// of returns the slot of an attribute; a new one if it has none yet.
func (t *slotTable) of(name string) int {
	if slot := slices.Index(t.names, name); slot >= 0 {
		return slot
	}
	return t.add(name)
}

func (t *slotTable) addHead(slot int) {
	if !slices.Contains(t.headed, slot) {
		t.headed = append(t.headed, slot)
	}
}

// inTemplate is of for an attribute that a template names.
func (t *slotTable) inTemplate(name string) int {
	if name == attrServiceName {
		return slotTemplateName
	}
	return t.of(name)
}

// view holds the values of one resource by slot, as strings: empty stands for absent.
type view struct {
	values    [maxViewed]string
	heads     [maxViewed]uint64 // of the values that rules ask for; see condition
	present   uint64            // the slots whose attribute is there, empty or not
	converted uint64            // the slots whose value is not a string in the resource
	slots     *slotTable
	attrs     pcommon.Map
	scratch   [128]byte // where templates are put together; room for most roles
}

// load fills the view. It reads each attribute once.
func (v *view) load(slots *slotTable, attrs pcommon.Map) {
	clear(v.values[:min(len(slots.names), maxViewed)])
	v.present, v.converted, v.slots, v.attrs = 0, 0, slots, attrs
	for name, value := range attrs.All() {
		if slots.lengths&(1<<(len(name)%64)) == 0 {
			continue
		}
		slot := slots.first[bucket(name)]
		for slot != noSlot && slots.names[slot] != name {
			slot = slots.next[slot]
		}
		if slot == noSlot || v.values[slot] != "" {
			continue
		}
		v.present |= 1 << slot
		if s := value.Str(); s != "" {
			v.values[slot] = s
		} else if value.Type() != pcommon.ValueTypeStr {
			v.values[slot] = value.AsString()
			v.converted |= 1 << slot
		}
	}
}

// loadHeads is for rules; a resource that gets its role otherwise does without.
func (v *view) loadHeads() {
	for _, slot := range v.slots.headed {
		v.heads[slot] = head(v.values[slot])
	}
}

func (v *view) get(slot int) string {
	if slot < maxViewed {
		return v.values[slot]
	}
	return v.lookUp(slot)
}

func (v *view) lookUp(slot int) string {
	if value, ok := v.attrs.Get(v.slots.names[slot]); ok {
		return value.AsString()
	}
	return ""
}

// decided says whether a cloudrole with the output "service" has given the resource
// its role: then service.name is that role, and what it was made from is gone in part.
// Where the app gave no name, the original name is there and empty.
func (v *view) decided() bool { return v.present&(1<<slotOriginalName) != 0 }

func (v *view) isConverted(slot int) bool { return v.converted&(1<<slot) != 0 }
