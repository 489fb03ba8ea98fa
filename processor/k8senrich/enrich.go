// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/podinfo"
	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/podwatch"
)

const (
	attributePodUID        = "k8s.pod.uid"
	attributePodName       = "k8s.pod.name"
	attributeNamespace     = "k8s.namespace.name"
	attributeContainerName = "k8s.container.name"
)

// downward gives a resource what the collector's pod says of itself.
func downward(attrs pcommon.Map, pod *podinfo.Description, n *tally) {
	if pod.UID != "" {
		if uid, ok := attrs.Get(attributePodUID); ok && uid.AsString() != pod.UID {
			n.otherPod++
			return
		}
	}
	before := attrs.Len()
	attrs.EnsureCapacity(before + len(pod.Attributes))
	for i := range pod.Attributes {
		a := &pod.Attributes[i]
		value, exists := attrs.GetOrPutEmpty(a.Key)
		if exists {
			continue
		}
		switch a.Kind {
		case podinfo.String:
			value.SetStr(a.Str)
		case podinfo.Double:
			value.SetDouble(a.Double)
		case podinfo.Int:
			value.SetInt(a.Int)
		}
	}
	if attrs.Len() > before {
		n.downwardAPI++
	}
}

// limits gives a resource the figures of its container or of its pod.
type limits struct {
	pods *podwatch.Store
	// wanted are the resources to give, with their attributes.
	wanted []wantedResource
}

type wantedResource struct {
	resource       podwatch.Resource
	cpu            bool // in cores, a double; else in bytes, an int
	container, pod string
}

func newLimits(pods *podwatch.Store, attributes []ResourceAttribute) *limits {
	l := &limits{pods: pods}
	for _, a := range attributes {
		w := wantedResource{container: string(a), pod: "k8s.pod." + strings.TrimPrefix(string(a), "k8s.container.")}
		switch a {
		case ResourceAttributeCPULimit:
			w.resource, w.cpu = podwatch.CPULimit, true
		case ResourceAttributeMemoryLimit:
			w.resource = podwatch.MemoryLimit
		case ResourceAttributeCPURequest:
			w.resource, w.cpu = podwatch.CPURequest, true
		case ResourceAttributeMemoryRequest:
			w.resource = podwatch.MemoryRequest
		}
		l.wanted = append(l.wanted, w)
	}
	return l
}

func (l *limits) add(attrs pcommon.Map, pods podwatch.View, n *tally) {
	pod, named := find(attrs, pods)
	if pod == nil {
		if named {
			n.podUnknown++
		} else {
			n.noPodID++
		}
		return
	}
	before := attrs.Len()
	container, known := pod.Container(str(attrs, attributeContainerName))
	if !known {
		n.containerAmbiguous++
	}
	attrs.EnsureCapacity(before + len(l.wanted))
	for i := range l.wanted {
		w := &l.wanted[i]
		switch {
		case !known:
			w.put(attrs, w.pod, pod.Sum()[w.resource])
		case container[w.resource] > 0:
			w.put(attrs, w.container, container[w.resource])
		default:
			w.put(attrs, w.pod, pod.Stated()[w.resource])
		}
	}
	if attrs.Len() > before {
		n.containerResources++
	}
}

// find returns the pod of a resource, and whether the resource names one. A
// resource with a UID is found by that alone: another pod may have the name.
func find(attrs pcommon.Map, pods podwatch.View) (pod *podwatch.Figures, named bool) {
	if uid := str(attrs, attributePodUID); uid != "" {
		return pods.ByUID(uid), true
	}
	name := str(attrs, attributePodName)
	if name == "" {
		return nil, false
	}
	namespace := str(attrs, attributeNamespace)
	if namespace == "" {
		return nil, false
	}
	return pods.ByName(namespace, name), true
}

// put sets a figure that there is and that nobody has set before.
func (w *wantedResource) put(attrs pcommon.Map, key string, figure int64) {
	if figure == 0 {
		return
	}
	value, exists := attrs.GetOrPutEmpty(key)
	switch {
	case exists:
	case w.cpu:
		value.SetDouble(float64(figure) / 1000)
	default:
		value.SetInt(figure)
	}
}

// str returns a string attribute, empty if it is not there or not a string.
func str(attrs pcommon.Map, key string) string {
	v, ok := attrs.Get(key)
	if !ok || v.Type() != pcommon.ValueTypeStr {
		return ""
	}
	return v.Str()
}
