// SPDX-License-Identifier: Apache-2.0

package podwatch

import (
	"encoding/binary"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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

// Figures are the Resources of a pod and its containers. Pods made from one
// template have the same Figures, which are kept once. They never change.
type Figures struct {
	containers []container
	apps       int  // the first so many containers are the app's, the others init containers
	sidecars   bool // an init container runs beside them
	sum        Resources
	stated     Resources // what the pod states for itself, outside of its containers
}

type container struct {
	name string
	res  Resources
}

// Container returns the figures of the container of that name, and false if it
// is not known which container is meant. An empty name means that the
// telemetry names none: in a pod that runs one container it is that one.
// Init containers that have done their work do not count as running.
func (f *Figures) Container(name string) (*Resources, bool) {
	if name == "" {
		if f.apps == 1 && !f.sidecars {
			return &f.containers[0].res, true
		}
		return nil, false
	}
	for i := range f.containers {
		if f.containers[i].name == name {
			return &f.containers[i].res, true
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
func (f *Figures) Sum() *Resources { return &f.sum }

// Stated returns the figures that the pod states for itself. They bind a
// container that has none of its own.
func (f *Figures) Stated() *Resources { return &f.stated }

// newFigures takes the figures from a pod. They are those of the spec: what the
// owner asks for, which is also what the Downward API and k8s_cluster tell.
// While a resize in place is under way or put off, the kernel's limits are
// still the old ones.
func newFigures(from *corev1.Pod) *Figures {
	f := &Figures{
		containers: make([]container, 0, len(from.Spec.Containers)+len(from.Spec.InitContainers)),
		apps:       len(from.Spec.Containers),
	}
	together := adder{}
	for i := range from.Spec.Containers {
		c := &from.Spec.Containers[i]
		together.add(f.keep(c.Name, &c.Resources))
	}
	var sidecars, initially Resources
	for i := range from.Spec.InitContainers {
		c := &from.Spec.InitContainers[i]
		res := f.keep(c.Name, &c.Resources)
		use := sidecars.plus(res)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			f.sidecars = true
			together.add(res)
			sidecars = use
		}
		initially = initially.larger(use)
	}
	if from.Spec.Resources != nil {
		f.stated = newResources(from.Spec.Resources)
	}
	overhead := newResources(&corev1.ResourceRequirements{Limits: from.Spec.Overhead, Requests: from.Spec.Overhead})
	for r := range NumResources {
		v := max(together.sum[r], initially[r])
		if together.unlimited[r] {
			v = 0
		}
		if f.stated[r] > 0 {
			v = f.stated[r]
		}
		if v > 0 || r == CPURequest || r == MemoryRequest {
			v += overhead[r]
		}
		f.sum[r] = v
	}
	return f
}

func (f *Figures) keep(name string, req *corev1.ResourceRequirements) Resources {
	res := newResources(req)
	f.containers = append(f.containers, container{name: name, res: res})
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

// encode returns a text that only equal figures have.
func (f *Figures) encode() string {
	b := make([]byte, 0, 256)
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	all := func(r *Resources) {
		for _, n := range r {
			number(n)
		}
	}
	number(int64(f.apps))
	number(int64(len(f.containers)))
	for i := range f.containers {
		number(int64(len(f.containers[i].name)))
		b = append(b, f.containers[i].name...)
		all(&f.containers[i].res)
	}
	if f.sidecars {
		number(1)
	} else {
		number(0)
	}
	all(&f.sum)
	all(&f.stated)
	return string(b)
}
