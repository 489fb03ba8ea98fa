// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.opentelemetry.io/collector/component"
)

// Config says how a resource gets its cloud role and role instance.
type Config struct {
	// Mappings gives the role for an exact service.name; looked up first.
	Mappings map[string]string `mapstructure:"mappings"`
	// Rules are tried in order where no mapping is found.
	Rules []RuleConfig `mapstructure:"rules"`
	// Role holds the templates tried in order where no rule gives a role. A list in
	// the user's file replaces the default list as a whole; so it is for the others.
	Role []Template `mapstructure:"role"`
	// Instance holds the templates for the role instance, tried in order.
	Instance []Template `mapstructure:"instance"`
	// IgnoreServiceNames holds globs: a service.name that matches one of them counts
	// as absent in templates. Mappings and rules still see it.
	IgnoreServiceNames []Glob `mapstructure:"ignore_service_names"`
	// Output says which attributes carry the result.
	Output Output `mapstructure:"output"`
	// Override replaces a role or role instance that the app has set itself.
	Override bool `mapstructure:"override"`

	_ struct{}
}

// RuleConfig gives a role to the resources that match it.
type RuleConfig struct {
	// Match holds a glob for each attribute that the rule asks for; all must match.
	Match map[string]Glob `mapstructure:"match"`
	// Role is the template of the role. When it does not resolve whole, the rule is
	// passed over.
	Role Template `mapstructure:"role"`

	_ struct{}
}

// Output names the attributes that carry the result.
type Output string

const (
	// OutputTags sets ai.cloud.role and ai.cloud.roleInstance.
	OutputTags Output = "tags"
	// OutputService rewrites service.name and service.instance.id, for exporters that
	// build the role from these.
	OutputService Output = "service"
)

var _ component.Config = (*Config)(nil)

// Validate checks what concerns more than one element; elements check themselves.
func (c *Config) Validate() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.Mappings)) {
		if name == "" {
			errs = append(errs, errors.New(`mappings: "" is not a service.name; want service.name: role`))
		} else if c.Mappings[name] == "" {
			errs = append(errs, fmt.Errorf("mappings: %q has an empty role; want service.name: role", name))
		}
	}
	return errors.Join(append(errs, reachable("role", c.Role), reachable("instance", c.Instance))...)
}

// reachable refuses templates behind one that always resolves.
func reachable(key string, list []Template) error {
	for i, t := range list[:max(len(list)-1, 0)] {
		if parts, err := t.parse(); err == nil && !slices.ContainsFunc(parts, part.isAttribute) {
			return fmt.Errorf("%s: %q (entry %d) names no attribute and so always resolves, entry %d is never reached; put it last", key, t, i, i+1)
		}
	}
	return nil
}

// Validate checks the rule's own keys.
func (r *RuleConfig) Validate() error {
	if len(r.Match) == 0 {
		return errors.New("match must not be empty; want attribute: glob, for example service.name: \"legacy-*\"")
	}
	if _, ok := r.Match[""]; ok {
		return errors.New(`match: "" is not an attribute name; want attribute: glob, for example service.name: "legacy-*"`)
	}
	return nil
}

// Validate checks that the value is one of the known ones.
func (o Output) Validate() error {
	switch o {
	case OutputTags, OutputService:
		return nil
	}
	return fmt.Errorf("%q is not one of %q, %q", string(o), OutputTags, OutputService)
}
