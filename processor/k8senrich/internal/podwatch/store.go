// SPDX-License-Identifier: Apache-2.0

package podwatch

import (
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	// Telemetry of a pod may arrive when the pod is gone: it waits in the
	// client's and in other collectors' queues. k8s_attributes keeps pods as
	// long.
	keepDeleted = 2 * time.Minute
	// maxDeleted bounds the memory that a cluster in turmoil takes.
	maxDeleted = 10_000
)

// Store holds pods by UID and by name. Pods that are deleted stay for a while
// under their UID, which no other pod ever has, and under their name until
// another pod takes it. It is what a reflector of client-go writes to.
//
// It is safe for concurrent use.
type Store struct {
	mu      sync.RWMutex
	byUID   map[string]*Pod
	byName  map[podName]*Pod
	deleted []grave // oldest first
	now     func() time.Time
	synced  func(pods int)
}

type podName struct{ namespace, name string }

type grave struct {
	pod   *Pod
	until time.Time
}

var _ cache.TransformingStore = (*Store)(nil)

// newStore returns an empty Store. It calls synced after each Replace.
func newStore(now func() time.Time, synced func(pods int)) *Store {
	return &Store{byUID: map[string]*Pod{}, byName: map[podName]*Pod{}, now: now, synced: synced}
}

// ByUID returns the pod, or nil.
func (s *Store) ByUID(uid string) *Pod {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byUID[uid]
}

// ByName returns the pod that has the name now or had it last, or nil.
func (s *Store) ByName(namespace, name string) *Pod {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byName[podName{namespace, name}]
}

// Len returns the number of pods, those deleted lately included.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byUID)
}

// Transformer makes the reflector keep our small pods, and not Kubernetes'
// large ones, while it gathers the first list.
func (s *Store) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) { return toPod(obj) }
}

func toPod(obj any) (*Pod, error) {
	switch pod := obj.(type) {
	case *corev1.Pod:
		return newPod(pod), nil
	case *Pod:
		return pod, nil
	default:
		return nil, fmt.Errorf("want a pod, got %T", obj)
	}
}

// Add implements cache.ReflectorStore.
func (s *Store) Add(obj any) error {
	pod, err := toPod(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(pod)
	s.sweep()
	return nil
}

// Update implements cache.ReflectorStore.
func (s *Store) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s *Store) Delete(obj any) error {
	pod, err := toPod(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The event carries the pod's last state, which may be news.
	s.put(pod)
	s.bury(pod)
	s.sweep()
	return nil
}

// Replace implements cache.ReflectorStore. Pods that are not in the list were
// deleted while nobody watched.
func (s *Store) Replace(list []any, _ string) error {
	pods := make(map[string]struct{}, len(list))
	fresh := make([]*Pod, len(list))
	for i, obj := range list {
		pod, err := toPod(obj)
		if err != nil {
			return err
		}
		fresh[i] = pod
		pods[pod.uid] = struct{}{}
	}
	s.mu.Lock()
	for _, g := range s.deleted {
		pods[g.pod.uid] = struct{}{} // buried before, keeps its time
	}
	for uid, pod := range s.byUID {
		if _, ok := pods[uid]; !ok {
			s.bury(pod)
		}
	}
	for _, pod := range fresh {
		s.put(pod)
	}
	s.sweep()
	s.mu.Unlock()
	s.synced(len(list))
	return nil
}

// Resync implements cache.ReflectorStore. There is nothing to repeat.
func (*Store) Resync() error { return nil }

func (s *Store) put(pod *Pod) {
	s.byUID[pod.uid] = pod
	s.byName[pod.key()] = pod
}

func (p *Pod) key() podName { return podName{p.namespace.Value(), p.name} }

func (s *Store) bury(pod *Pod) {
	s.deleted = append(s.deleted, grave{pod: pod, until: s.now().Add(keepDeleted)})
}

// sweep forgets pods deleted long ago. It runs with each change and not by a
// clock: what stays longer because nothing changes is no more than there was.
func (s *Store) sweep() {
	now := s.now()
	n := 0
	for n < len(s.deleted) && (len(s.deleted)-n > maxDeleted || now.After(s.deleted[n].until)) {
		// A pod that came back is another Pod by now: a list may be older than
		// what the watch has told before.
		pod := s.deleted[n].pod
		if s.byUID[pod.uid] == pod {
			delete(s.byUID, pod.uid)
		}
		if s.byName[pod.key()] == pod {
			delete(s.byName, pod.key())
		}
		s.deleted[n].pod = nil
		n++
	}
	if s.deleted = s.deleted[n:]; len(s.deleted) == 0 {
		s.deleted = nil
	}
}
