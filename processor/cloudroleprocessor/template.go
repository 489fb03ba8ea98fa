// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"errors"
	"fmt"
	"strings"
)

// Template is text in which {name} stands for the value of a resource attribute and
// {{ for a brace. A } that closes nothing stands for itself, so doubling every { is
// enough to write any text literally.
type Template string

const templateHelp = "write {attribute} for a resource attribute and {{ for a brace"

// part is a piece of a template: literal text, or an attribute's name.
type part struct {
	text      string
	attribute bool
}

func (p part) isAttribute() bool { return p.attribute }

// Validate checks that the template can be compiled.
func (t Template) Validate() error {
	_, err := t.parse()
	return err
}

func (t Template) parse() ([]part, error) {
	if t == "" {
		return nil, errors.New(`template must not be empty; want text with attributes in braces, for example "{k8s.deployment.name}"`)
	}
	var (
		parts   []part
		literal strings.Builder
	)
	flush := func() {
		if literal.Len() > 0 {
			parts = append(parts, part{text: literal.String()})
			literal.Reset()
		}
	}
	for rest := string(t); rest != ""; {
		text, behind, found := strings.Cut(rest, "{")
		literal.WriteString(text)
		if !found {
			break
		}
		if strings.HasPrefix(behind, "{") {
			literal.WriteByte('{')
			rest = behind[1:]
			continue
		}
		name, after, closed := strings.Cut(behind, "}")
		switch {
		case !closed:
			return nil, fmt.Errorf("template %q: %q is not closed by }; %s", string(t), "{"+behind, templateHelp)
		case strings.Contains(name, "{"):
			return nil, fmt.Errorf("template %q: %q has a { inside an attribute name; %s", string(t), "{"+name+"}", templateHelp)
		case strings.TrimSpace(name) == "":
			return nil, fmt.Errorf("template %q: %q names no attribute; %s", string(t), "{"+name+"}", templateHelp)
		case strings.TrimSpace(name) != name:
			return nil, fmt.Errorf("template %q: %q has blanks around the attribute name; %s", string(t), "{"+name+"}", templateHelp)
		}
		flush()
		parts = append(parts, part{text: name, attribute: true})
		rest = after
	}
	flush()
	return parts, nil
}

// literal marks a piece of a compiled template that is text.
const literal = -1

// piece is a part with its attribute looked up in a slotTable.
type piece struct {
	slot int // literal, or where the attribute's value is
	text string
}

// template is a compiled Template.
type template []piece

func (t Template) compile(slots *slotTable) (template, error) {
	parts, err := t.parse()
	if err != nil {
		return nil, err
	}
	compiled := make(template, len(parts))
	for i, p := range parts {
		compiled[i] = piece{slot: literal, text: p.text}
		if p.attribute {
			compiled[i] = piece{slot: slots.inTemplate(p.text)}
		}
	}
	return compiled, nil
}

// expand returns false unless each attribute the template names is there and not
// empty. Only a string put together from several pieces is allocated (once, up to the
// size of the scratch space).
func (t template) expand(v *view) (string, bool) {
	if len(t) == 1 {
		if t[0].slot == literal {
			return t[0].text, true
		}
		value := v.get(t[0].slot)
		return value, value != ""
	}
	text := v.scratch[:0]
	for i := range t {
		p := &t[i]
		if p.slot == literal {
			text = append(text, p.text...)
			continue
		}
		value := v.get(p.slot)
		if value == "" {
			return "", false
		}
		text = append(text, value...)
	}
	return string(text), true
}
