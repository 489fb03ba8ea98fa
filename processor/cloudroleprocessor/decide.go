// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"fmt"
	"maps"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// The attributes this processor reads and writes by name.
const (
	attrServiceName  = "service.name"
	attrNamespace    = "service.namespace"
	attrInstanceID   = "service.instance.id"
	attrOriginalName = "service.original_name"
	attrRole         = "ai.cloud.role"
	attrRoleInstance = "ai.cloud.roleInstance"
)

// outcome is what gave a resource its role.
type outcome int

const (
	outcomeMapping outcome = iota
	outcomeRule
	outcomeTemplate
	outcomeUnresolved
	outcomeKept
	outcomes // how many there are
)

// batch is what the signal loops carry from one resource to the next.
type batch struct {
	tally [outcomes]int64
	view  view
}

// decider is the compiled configuration. It is read-only.
type decider struct {
	slots    slotTable
	mappings map[string]string
	rules    []rule
	role     []template
	instance []template
	ignored  []glob
	output   Output
	override bool
}

// newDecider compiles cfg; an error says what Validate would have said.
func newDecider(cfg *Config) (*decider, error) {
	d := &decider{
		slots:    newSlotTable(),
		mappings: maps.Clone(cfg.Mappings),
		output:   cfg.Output,
		override: cfg.Override,
	}
	for i := range cfg.Rules {
		r, err := cfg.Rules[i].compile(&d.slots)
		if err != nil {
			return nil, fmt.Errorf("rules::%d: %w", i, err)
		}
		d.rules = append(d.rules, r)
	}
	var err error
	if d.role, err = compileTemplates(cfg.Role, &d.slots); err != nil {
		return nil, fmt.Errorf("role: %w", err)
	}
	if d.instance, err = compileTemplates(cfg.Instance, &d.slots); err != nil {
		return nil, fmt.Errorf("instance: %w", err)
	}
	for i, g := range cfg.IgnoreServiceNames {
		compiled, err := g.compile()
		if err != nil {
			return nil, fmt.Errorf("ignore_service_names::%d: %w", i, err)
		}
		d.ignored = append(d.ignored, compiled)
	}
	return d, nil
}

func compileTemplates(list []Template, slots *slotTable) ([]template, error) {
	compiled := make([]template, len(list))
	for i, t := range list {
		var err error
		if compiled[i], err = t.compile(slots); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return compiled, nil
}

// decide gives the resource its role and role instance and counts the outcome in b.
// Afterwards b.view still holds the resource as it was before.
func (d *decider) decide(attrs pcommon.Map, b *batch) outcome {
	v := &b.view
	v.load(&d.slots, attrs)
	v.values[slotTemplateName] = v.values[slotServiceName]
	if d.isIgnored(v.values[slotServiceName]) {
		v.values[slotTemplateName] = ""
	}

	role, out := d.decideRole(v)
	instance := d.decideInstance(v)
	if d.output == OutputService {
		d.writeService(attrs, v, role, instance, out)
	} else {
		writeTags(attrs, v, role, instance)
	}
	b.tally[out]++
	return out
}

// decideRole returns an empty role only where nothing resolves and there is no
// service.name either.
func (d *decider) decideRole(v *view) (string, outcome) {
	name := v.values[slotServiceName]
	if own := v.values[slotRole]; own != "" && !d.override {
		return own, outcomeKept
	}
	if name != "" && v.decided() {
		return name, outcomeKept
	}
	if role, ok := d.mappings[name]; ok {
		return role, outcomeMapping
	}
	v.loadHeads()
	for i := range d.rules {
		r := &d.rules[i]
		if r.first.excludes(v) || !r.matches(v) {
			continue
		}
		if role, ok := r.role.expand(v); ok {
			return role, outcomeRule
		}
	}
	if role, ok := firstWhole(d.role, v); ok {
		return role, outcomeTemplate
	}
	return name, outcomeUnresolved
}

// decideInstance returns an empty instance where nothing resolves.
func (d *decider) decideInstance(v *view) string {
	if own := v.values[slotRoleInstance]; own != "" && !d.override {
		return own
	}
	if id := v.values[slotInstanceID]; id != "" && v.decided() {
		return id
	}
	instance, _ := firstWhole(d.instance, v)
	return instance
}

func (d *decider) isIgnored(name string) bool {
	for i := range d.ignored {
		if d.ignored[i].match(name) {
			return true
		}
	}
	return false
}

func firstWhole(list []template, v *view) (string, bool) {
	for _, t := range list {
		if s, ok := t.expand(v); ok {
			return s, true
		}
	}
	return "", false
}

func writeTags(attrs pcommon.Map, v *view, role, instance string) {
	if role != v.values[slotRole] && role != "" {
		attrs.PutStr(attrRole, role)
	}
	if instance != v.values[slotRoleInstance] && instance != "" {
		attrs.PutStr(attrRoleInstance, instance)
	}
}

// writeService also brings tags that override has just overruled up to date, so that
// whoever reads them sees the same role.
func (d *decider) writeService(attrs pcommon.Map, v *view, role, instance string, out outcome) {
	name := v.values[slotServiceName]
	if role != "" {
		// The original name doubles as the mark that a cloudrole has decided (see
		// view.decided). An unresolved name is left unmarked for a later cloudrole,
		// one that knows more, to decide.
		if out != outcomeUnresolved && !v.decided() {
			attrs.PutStr(attrOriginalName, name)
		}
		if role != name || v.isConverted(slotServiceName) {
			attrs.PutStr(attrServiceName, role)
		}
		if v.values[slotNamespace] != "" {
			attrs.Remove(attrNamespace)
		}
		if own := v.values[slotRole]; own != "" && own != role {
			attrs.PutStr(attrRole, role)
		}
	}
	if instance != "" {
		if instance != v.values[slotInstanceID] || v.isConverted(slotInstanceID) && !v.decided() {
			attrs.PutStr(attrInstanceID, instance)
		}
		if own := v.values[slotRoleInstance]; own != "" && own != instance {
			attrs.PutStr(attrRoleInstance, instance)
		}
	}
}

// missing lists the attributes that the role list names and the resource lacks, a
// service.name that is ignored among them.
func (d *decider) missing(v *view) []string {
	var names []string
	for _, t := range d.role {
		for _, p := range t {
			if p.slot == literal || v.get(p.slot) != "" {
				continue
			}
			if name := d.slots.names[p.slot]; !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
