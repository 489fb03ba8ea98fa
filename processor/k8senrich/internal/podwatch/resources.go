// SPDX-License-Identifier: Apache-2.0

package podwatch

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Resource indexes Resources.
type Resource int

// The resources.
const (
	CPULimit      Resource = iota // thousandths of a core
	MemoryLimit                   // bytes
	CPURequest                    // thousandths of a core
	MemoryRequest                 // bytes

	NumResources
)

// Resources are the figures of a container or of a pod. Zero means that there
// is no such limit or request, which is what zero means to Kubernetes too.
type Resources [NumResources]int64

// Pod is what is kept of a pod: a few hundred bytes. It never changes once it
// is in a Store.
type Pod struct {
	uid, name  string
	namespace  unique.Handle[string]
	containers []container
	apps       int  // the first so many containers are the app's, the others init containers
	sidecars   bool // an init container runs beside them
	sum        Resources
	stated     Resources // what the pod states for itself, outside of its containers
}

type container struct {
	name unique.Handle[string]
	res  Resources
}

// Container returns the figures of the container of that name, and false if it
// is not known which container is meant. An empty name means that the
// telemetry names none: in a pod that runs one container it is that one.
// Init containers that have done their work do not count as running.
func (p *Pod) Container(name string) (*Resources, bool) {
	if name == "" {
		if p.apps == 1 && !p.sidecars {
			return &p.containers[0].res, true
		}
		return nil, false
	}
	for i := range p.containers {
		if p.containers[i].name.Value() == name {
			return &p.containers[i].res, true
		}
	}
	return nil, false
}

// Sum returns the figures of the whole pod, as Kubernetes reckons them:
//
//   - what the pod states for itself (spec.resources), where it does;
//   - else the containers that run side by side (the app's and the sidecars)
//     together, or the largest that any init container needs together with the
//     sidecars started before it, if that is more;
//   - and what the runtime needs for itself (spec.overhead) on top.
//
// There is no limit where one of the containers that run side by side has none.
func (p *Pod) Sum() *Resources { return &p.sum }

// Stated returns the figures that the pod states for itself. They bind a
// container that has none of its own.
func (p *Pod) Stated() *Resources { return &p.stated }

// GetObjectMeta lets a Pod stand in client-go's stores, which ask it for its
// name.
func (p *Pod) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Name: p.name, Namespace: p.namespace.Value()}
}

// newPod takes from a pod what is kept. Nothing of the pod stays referenced but
// its strings. The figures are those of the spec: what the owner asks for,
// which is also what the Downward API and k8s_cluster tell. While a resize in
// place is under way or put off, the kernel's limits are still the old ones.
func newPod(from *corev1.Pod) *Pod {
	p := &Pod{
		uid:        string(from.UID),
		name:       from.Name,
		namespace:  unique.Make(from.Namespace),
		containers: make([]container, 0, len(from.Spec.Containers)+len(from.Spec.InitContainers)),
		apps:       len(from.Spec.Containers),
	}
	together := adder{}
	for i := range from.Spec.Containers {
		c := &from.Spec.Containers[i]
		together.add(p.keep(c.Name, &c.Resources))
	}
	var sidecars, initially Resources
	for i := range from.Spec.InitContainers {
		c := &from.Spec.InitContainers[i]
		res := p.keep(c.Name, &c.Resources)
		use := sidecars.plus(res)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			p.sidecars = true
			together.add(res)
			sidecars = use
		}
		initially = initially.larger(use)
	}
	if from.Spec.Resources != nil {
		p.stated = newResources(from.Spec.Resources)
	}
	overhead := newResources(&corev1.ResourceRequirements{Limits: from.Spec.Overhead, Requests: from.Spec.Overhead})
	for r := range NumResources {
		v := max(together.sum[r], initially[r])
		if together.unlimited[r] {
			v = 0
		}
		if p.stated[r] > 0 {
			v = p.stated[r]
		}
		if v > 0 || r == CPURequest || r == MemoryRequest {
			v += overhead[r]
		}
		p.sum[r] = v
	}
	return p
}

func (p *Pod) keep(name string, req *corev1.ResourceRequirements) Resources {
	res := newResources(req)
	p.containers = append(p.containers, container{name: unique.Make(name), res: res})
	return res
}

// adder sums containers that run at the same time.
type adder struct {
	sum       Resources
	unlimited [NumResources]bool
}

func (a *adder) add(res Resources) {
	a.sum = a.sum.plus(res)
	for _, r := range []Resource{CPULimit, MemoryLimit} {
		a.unlimited[r] = a.unlimited[r] || res[r] == 0
	}
}

func (a Resources) plus(b Resources) Resources {
	for r := range a {
		a[r] += b[r]
	}
	return a
}

func (a Resources) larger(b Resources) Resources {
	for r := range a {
		a[r] = max(a[r], b[r])
	}
	return a
}

func newResources(req *corev1.ResourceRequirements) Resources {
	return Resources{
		CPULimit:      milli(req.Limits),
		MemoryLimit:   bytes(req.Limits),
		CPURequest:    milli(req.Requests),
		MemoryRequest: bytes(req.Requests),
	}
}

func milli(list corev1.ResourceList) int64 {
	return figure(list, corev1.ResourceCPU, (*resource.Quantity).MilliValue)
}

func bytes(list corev1.ResourceList) int64 {
	return figure(list, corev1.ResourceMemory, (*resource.Quantity).Value)
}

func figure(list corev1.ResourceList, name corev1.ResourceName, value func(*resource.Quantity) int64) int64 {
	q, ok := list[name]
	if !ok {
		return 0
	}
	return max(0, value(&q))
}
