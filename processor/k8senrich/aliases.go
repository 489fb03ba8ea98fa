// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Aliases maps attributes to the further names that they are given. A name
// that ends in * stands for all attributes that begin so, and what the * stands
// for is kept: "k8s.pod.label.*" to "labels.*".
//
// In YAML it is such a map, or the name of a list that is built in.
type Aliases map[string]string

var _ encoding.TextUnmarshaler = (*Aliases)(nil)

// The lists that are built in.
const (
	aliasesNone = "none"
	aliasesKube = "kube"

	wantAliases = `is not one of "none", "kube" or a map from attribute to name`
)

// kubeAliases are the names in dashboards written for collectors that pass on
// the Downward API. k8s_attributes writes labels with "labels" unless its
// feature gates or a tag_name say otherwise.
var kubeAliases = Aliases{
	"k8s.pod.name":               "kube_pod_name",
	"k8s.node.name":              "kube_node_name",
	"k8s.namespace.name":         "kube_namespace",
	"k8s.container.cpu.limit":    "kube_cpu_limit",
	"k8s.container.memory.limit": "kube_memory_limit",
	"service.version":            "app_version",
	"k8s.pod.label.*":            "labels.*",
	"k8s.pod.labels.*":           "labels.*",
}

// UnmarshalText takes the name of a list.
func (a *Aliases) UnmarshalText(text []byte) error {
	switch name := string(text); name {
	case aliasesNone:
		*a = nil
	case aliasesKube:
		*a = maps.Clone(kubeAliases)
	default:
		return fmt.Errorf("%q %s", name, wantAliases)
	}
	return nil
}

// Validate implements confmap.Validator.
func (a Aliases) Validate() error {
	var errs []error
	for _, from := range slices.Sorted(maps.Keys(a)) {
		to := a[from]
		switch {
		case from == "" || to == "":
			errs = append(errs, fmt.Errorf("%q: %q must not be empty on either side; want attribute: name", from, to))
		case from == to:
			errs = append(errs, fmt.Errorf("%q is its own alias", from))
		case strings.Contains(strings.TrimSuffix(from, "*"), "*") || strings.Contains(strings.TrimSuffix(to, "*"), "*"):
			errs = append(errs, fmt.Errorf("%q: %q may have a * at the end only", from, to))
		case strings.HasSuffix(from, "*") != strings.HasSuffix(to, "*"):
			errs = append(errs, fmt.Errorf("%q: %q must end in * both or neither", from, to))
		}
	}
	return errors.Join(errs...)
}

// aliaser adds the aliases to resources. It is safe for concurrent use.
type aliaser struct {
	exact  [][]alias // by the length of from, which tells most keys apart
	prefix []prefixAlias
}

type alias struct{ from, to string }

type prefixAlias struct {
	from string
	to   *joiner
}

// newAliaser returns nil if there is nothing to add.
func newAliaser(aliases Aliases) *aliaser {
	if len(aliases) == 0 {
		return nil
	}
	a := &aliaser{}
	for _, from := range slices.Sorted(maps.Keys(aliases)) {
		to := aliases[from]
		if prefix, ok := strings.CutSuffix(from, "*"); ok {
			a.prefix = append(a.prefix, prefixAlias{from: prefix, to: newJoiner(strings.TrimSuffix(to, "*"))})
			continue
		}
		for len(a.exact) <= len(from) {
			a.exact = append(a.exact, nil)
		}
		a.exact[len(from)] = append(a.exact[len(from)], alias{from: from, to: to})
	}
	return a
}

// add gives the attributes their aliases. An alias that another alias names is
// not followed: only what stood there before counts.
func (a *aliaser) add(attrs pcommon.Map) {
	if a == nil {
		return
	}
	// The values are taken out first, since a map that grows moves its values.
	var room [24]taken
	copies := room[:0]
	for key, value := range attrs.All() {
		copies = a.match(copies, key, value)
	}
	attrs.EnsureCapacity(attrs.Len() + len(copies))
	for i := range copies {
		if to, exists := attrs.GetOrPutEmpty(copies[i].to); !exists {
			copies[i].put(to)
		}
	}
}

// taken is a value outside of its map. Strings and numbers, which is what the
// attributes of a pod are, cost no allocation.
type taken struct {
	to    string
	kind  pcommon.ValueType
	str   string
	num   float64
	other pcommon.Value
}

func take(to string, value pcommon.Value) taken {
	t := taken{to: to, kind: value.Type()}
	switch t.kind {
	case pcommon.ValueTypeStr:
		t.str = value.Str()
	case pcommon.ValueTypeDouble:
		t.num = value.Double()
	default:
		t.other = pcommon.NewValueEmpty()
		value.CopyTo(t.other)
	}
	return t
}

func (t *taken) put(to pcommon.Value) {
	switch t.kind {
	case pcommon.ValueTypeStr:
		to.SetStr(t.str)
	case pcommon.ValueTypeDouble:
		to.SetDouble(t.num)
	default:
		t.other.CopyTo(to)
	}
}

func (a *aliaser) match(copies []taken, key string, value pcommon.Value) []taken {
	if len(key) < len(a.exact) {
		for _, x := range a.exact[len(key)] {
			if x.from == key {
				copies = append(copies, take(x.to, value))
			}
		}
	}
	for i := range a.prefix {
		if rest, ok := strings.CutPrefix(key, a.prefix[i].from); ok && rest != "" {
			copies = append(copies, take(a.prefix[i].to.join(rest), value))
		}
	}
	return copies
}

// joiner puts a prefix before names and remembers the results, so that the
// label keys of a cluster, which are few, cost no allocation. The number
// remembered is bounded because clients may send any key.
type joiner struct {
	prefix string
	known  atomic.Pointer[map[string]string] // never changed, but replaced
	mu     sync.Mutex                        // held to replace it
}

const maxJoined = 1000

func newJoiner(prefix string) *joiner {
	j := &joiner{prefix: prefix}
	j.known.Store(&map[string]string{})
	return j
}

func (j *joiner) join(rest string) string {
	known := *j.known.Load()
	if name, ok := known[rest]; ok {
		return name
	}
	name := j.prefix + rest
	if len(known) < maxJoined {
		j.mu.Lock()
		defer j.mu.Unlock()
		more := maps.Clone(*j.known.Load())
		// The key is a part of the name, so that the map does not keep the
		// request alive that the string came with.
		more[name[len(j.prefix):]] = name
		j.known.Store(&more)
	}
	return name
}
