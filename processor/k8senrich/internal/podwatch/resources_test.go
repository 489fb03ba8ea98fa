// SPDX-License-Identifier: Apache-2.0

package podwatch

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	mi = 1 << 20
	gi = 1 << 30
)

// list makes a resource list of CPU and memory; empty means none.
func list(cpu, memory string) corev1.ResourceList {
	l := corev1.ResourceList{}
	if cpu != "" {
		l[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		l[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return l
}

type option func(*corev1.Pod)

func app(name string, limits, requests corev1.ResourceList) option {
	return func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: name, Resources: corev1.ResourceRequirements{Limits: limits, Requests: requests},
		})
	}
}

func initContainer(name string, limits, requests corev1.ResourceList) option {
	return func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{
			Name: name, Resources: corev1.ResourceRequirements{Limits: limits, Requests: requests},
		})
	}
}

func sidecar(name string, limits, requests corev1.ResourceList) option {
	return func(p *corev1.Pod) {
		initContainer(name, limits, requests)(p)
		always := corev1.ContainerRestartPolicyAlways
		p.Spec.InitContainers[len(p.Spec.InitContainers)-1].RestartPolicy = &always
	}
}

func stated(limits, requests corev1.ResourceList) option {
	return func(p *corev1.Pod) {
		p.Spec.Resources = &corev1.ResourceRequirements{Limits: limits, Requests: requests}
	}
}

func overhead(l corev1.ResourceList) option {
	return func(p *corev1.Pod) { p.Spec.Overhead = l }
}

func makePod(uid, name string, options ...option) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), Name: name, Namespace: "shop"}}
	for _, o := range options {
		o(p)
	}
	return p
}

func TestPodFigures(t *testing.T) {
	none := list("", "")
	type want struct {
		sum, stated Resources
		unnamed     *Resources // the container of telemetry that names none
		named       map[string]Resources
	}
	for name, tc := range map[string]struct {
		pod  []option
		want want
	}{
		"one container": {
			pod: []option{app("web", list("1.5", "256Mi"), list("500m", "1G"))},
			want: want{
				sum:     Resources{1500, 256 * mi, 500, 1_000_000_000},
				unnamed: &Resources{1500, 256 * mi, 500, 1_000_000_000},
				named:   map[string]Resources{"web": {1500, 256 * mi, 500, 1_000_000_000}},
			},
		},
		"nothing stated": {
			pod:  []option{app("web", none, none)},
			want: want{unnamed: &Resources{}, named: map[string]Resources{"web": {}}},
		},
		"a limit of zero is none": {
			pod:  []option{app("web", list("0", "0"), list("0", "0"))},
			want: want{unnamed: &Resources{}, named: map[string]Resources{"web": {}}},
		},
		"two containers": {
			pod: []option{app("web", list("500m", "128Mi"), list("100m", "64Mi")), app("log", list("250m", "64Mi"), none)},
			want: want{
				sum:   Resources{750, 192 * mi, 100, 64 * mi},
				named: map[string]Resources{"web": {500, 128 * mi, 100, 64 * mi}, "log": {250, 64 * mi}},
			},
		},
		"two containers, one without a CPU limit": {
			pod: []option{app("web", list("", "128Mi"), list("100m", "")), app("log", list("250m", "64Mi"), list("200m", "64Mi"))},
			want: want{
				sum:   Resources{0, 192 * mi, 300, 64 * mi},
				named: map[string]Resources{"web": {0, 128 * mi, 100, 0}, "log": {250, 64 * mi, 200, 64 * mi}},
			},
		},
		"an init container that has done its work": {
			pod: []option{initContainer("migrate", list("200m", "32Mi"), list("50m", "16Mi")), app("web", list("500m", "128Mi"), list("100m", "64Mi"))},
			want: want{
				sum:     Resources{500, 128 * mi, 100, 64 * mi},
				unnamed: &Resources{500, 128 * mi, 100, 64 * mi},
				named:   map[string]Resources{"web": {500, 128 * mi, 100, 64 * mi}, "migrate": {200, 32 * mi, 50, 16 * mi}},
			},
		},
		"an init container that needs more than all that follows": {
			pod: []option{
				initContainer("migrate", list("4", "32Mi"), list("2", "1Gi")),
				app("web", list("500m", "128Mi"), list("100m", "64Mi")), app("log", list("500m", "128Mi"), list("100m", "64Mi")),
			},
			want: want{sum: Resources{4000, 256 * mi, 2000, gi}},
		},
		"an init container without limits does not undo those of the app": {
			pod:  []option{initContainer("migrate", none, none), app("web", list("500m", "128Mi"), none)},
			want: want{sum: Resources{500, 128 * mi}, unnamed: &Resources{500, 128 * mi}},
		},
		"a sidecar runs beside the app": {
			pod: []option{sidecar("proxy", list("100m", "64Mi"), list("50m", "32Mi")), app("web", list("500m", "128Mi"), list("100m", "64Mi"))},
			want: want{
				sum:   Resources{600, 192 * mi, 150, 96 * mi},
				named: map[string]Resources{"web": {500, 128 * mi, 100, 64 * mi}, "proxy": {100, 64 * mi, 50, 32 * mi}},
			},
		},
		"a sidecar without limits": {
			pod: []option{sidecar("proxy", none, list("50m", "")), app("web", list("500m", "128Mi"), list("100m", "64Mi"))},
			want: want{
				sum:   Resources{0, 0, 150, 64 * mi},
				named: map[string]Resources{"web": {500, 128 * mi, 100, 64 * mi}, "proxy": {0, 0, 50, 0}},
			},
		},
		// migrate runs while proxy does and late has not begun: 100m + 1; the
		// app runs beside both: 500m + 100m + 50m.
		"an init container between sidecars": {
			pod: []option{
				sidecar("proxy", list("100m", "64Mi"), list("100m", "64Mi")),
				initContainer("migrate", list("1", "64Mi"), list("1", "64Mi")),
				sidecar("late", list("50m", "64Mi"), list("50m", "64Mi")),
				app("web", list("500m", "128Mi"), list("500m", "128Mi")),
			},
			want: want{sum: Resources{1100, 256 * mi, 1100, 256 * mi}},
		},
		"the pod's own figures": {
			pod: []option{app("web", list("500m", ""), none), app("log", none, none), stated(list("2", "1Gi"), list("1", "512Mi"))},
			want: want{
				sum:    Resources{2000, gi, 1000, 512 * mi},
				stated: Resources{2000, gi, 1000, 512 * mi},
				named:  map[string]Resources{"web": {500, 0, 0, 0}, "log": {}},
			},
		},
		"the pod's own figures of one resource only": {
			pod: []option{app("web", list("500m", "128Mi"), list("100m", "64Mi")), stated(list("", "1Gi"), none)},
			want: want{
				sum:     Resources{500, gi, 100, 64 * mi},
				stated:  Resources{0, gi, 0, 0},
				unnamed: &Resources{500, 128 * mi, 100, 64 * mi},
			},
		},
		"overhead of the runtime": {
			pod: []option{app("web", list("500m", ""), list("100m", "64Mi")), overhead(list("250m", "120Mi"))},
			want: want{
				sum:     Resources{750, 0, 350, 184 * mi},
				unnamed: &Resources{500, 0, 100, 64 * mi},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newFigures(makePod("1", "web-1", tc.pod...))
			assert.Equal(t, tc.want.sum, *pod.Sum())
			assert.Equal(t, tc.want.stated, *pod.Stated())
			unnamed, known := pod.Container("")
			if tc.want.unnamed != nil {
				require.True(t, known)
				assert.Equal(t, *tc.want.unnamed, *unnamed)
			} else {
				assert.False(t, known, "which container is not known")
			}
			for container, want := range tc.want.named {
				got, known := pod.Container(container)
				require.True(t, known, container)
				assert.Equal(t, want, *got, container)
			}
			_, known = pod.Container("another")
			assert.False(t, known)
		})
	}
}
