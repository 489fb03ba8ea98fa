// SPDX-License-Identifier: Apache-2.0

package podwatch

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

type testStore struct {
	*Store
	t   *testing.T
	now time.Time
}

func (s *testStore) ByUID(uid string) *Figures {
	v := s.View()
	defer v.Close()
	return v.ByUID(uid)
}

func (s *testStore) ByName(namespace, name string) *Figures {
	v := s.View()
	defer v.Close()
	return v.ByName(namespace, name)
}

func (s *testStore) ByAddress(ip netip.Addr) (string, Owner) {
	v := s.View()
	defer v.Close()
	uid, _, owner := v.ByAddress(ip)
	return uid, owner
}

func newTestStore(t *testing.T) *testStore {
	s := &testStore{t: t, now: time.Unix(0, 0)}
	s.Store = newStore(func() time.Time { return s.now }, func(int) {})
	return s
}

func (s *testStore) add(uid, name, cpu string) {
	require.NoError(s.t, s.Add(makePod(uid, name, app("web", list(cpu, ""), nil))))
}

func (s *testStore) remove(uid, name, cpu string) {
	require.NoError(s.t, s.Delete(makePod(uid, name, app("web", list(cpu, ""), nil))))
}

// replace takes pods as the reflector hands them over: whole from a list, ours
// from a stream.
func (s *testStore) replace(pods ...*corev1.Pod) {
	list := make([]any, len(pods))
	for i, pod := range pods {
		list[i] = pod
		if i%2 == 0 {
			var err error
			list[i], err = s.Transformer()(pod)
			require.NoError(s.t, err)
		}
	}
	require.NoError(s.t, s.Replace(list, "1"))
}

// cpu returns the CPU limit of a pod, -1 if the pod is not known.
func cpu(p *Figures) int64 {
	if p == nil {
		return -1
	}
	return p.Sum()[CPULimit]
}

func TestStoreFindsPods(t *testing.T) {
	s := newTestStore(t)
	s.add("1", "web", "100m")
	assert.EqualValues(t, 100, cpu(s.ByUID("1")))
	assert.EqualValues(t, 100, cpu(s.ByName("shop", "web")))
	assert.Nil(t, s.ByUID("2"))
	assert.Nil(t, s.ByUID(""))
	assert.Nil(t, s.ByName("shop", "log"))
	assert.Nil(t, s.ByName("web", "shop"))

	require.NoError(t, s.Update(makePod("1", "web", app("web", list("200m", ""), nil))))
	assert.EqualValues(t, 200, cpu(s.ByUID("1")), "resized in place")
	assert.EqualValues(t, 200, cpu(s.ByName("shop", "web")))
	assert.Equal(t, 1, s.Len())
}

func TestStoreKeepsDeletedForAWhile(t *testing.T) {
	s := newTestStore(t)
	s.add("1", "web", "100m")
	s.remove("1", "web", "100m")
	s.now = s.now.Add(keepDeleted)
	s.add("9", "other", "1")
	assert.EqualValues(t, 100, cpu(s.ByUID("1")), "its last telemetry may still come")
	assert.EqualValues(t, 100, cpu(s.ByName("shop", "web")))

	s.now = s.now.Add(time.Second)
	s.add("9", "other", "1")
	assert.Nil(t, s.ByUID("1"))
	assert.Nil(t, s.ByName("shop", "web"))
	assert.Equal(t, 1, s.Len())
	assert.Len(t, s.byName, 1)
	assert.Empty(t, s.deleted)
}

// A pod of a stateful set comes back under its name with another UID.
func TestStoreNameIsTakenOver(t *testing.T) {
	s := newTestStore(t)
	s.add("1", "web", "100m")
	s.remove("1", "web", "100m")
	s.add("2", "web", "200m")
	assert.EqualValues(t, 100, cpu(s.ByUID("1")), "the old pod by its UID")
	assert.EqualValues(t, 200, cpu(s.ByUID("2")))
	assert.EqualValues(t, 200, cpu(s.ByName("shop", "web")), "the name is the new pod's at once")

	s.now = s.now.Add(keepDeleted + time.Second)
	s.add("9", "other", "1")
	assert.Nil(t, s.ByUID("1"))
	assert.EqualValues(t, 200, cpu(s.ByName("shop", "web")), "forgetting the old pod leaves the new one its name")
}

func TestStoreReplace(t *testing.T) {
	s := newTestStore(t)
	s.add("1", "web", "100m")
	s.add("2", "gone", "200m")
	s.add("3", "again", "300m")
	s.replace(
		makePod("1", "web", app("web", list("150m", ""), nil)),
		makePod("4", "again", app("web", list("400m", ""), nil)),
		makePod("5", "new", app("web", list("500m", ""), nil)),
	)
	assert.EqualValues(t, 150, cpu(s.ByUID("1")))
	assert.EqualValues(t, 200, cpu(s.ByUID("2")), "deleted while nobody watched, kept for a while")
	assert.EqualValues(t, 300, cpu(s.ByUID("3")))
	assert.EqualValues(t, 400, cpu(s.ByName("shop", "again")))
	assert.EqualValues(t, 500, cpu(s.ByUID("5")))

	s.now = s.now.Add(keepDeleted + time.Second)
	s.replace(makePod("1", "web", app("web", list("150m", ""), nil)))
	s.now = s.now.Add(keepDeleted + time.Second)
	s.add("1", "web", "150m")
	assert.Equal(t, 1, s.Len())
	assert.Len(t, s.byName, 1)
}

// A list may be older than what the watch has told, and leave out a pod that
// the watch tells of again.
func TestStorePodThatComesBack(t *testing.T) {
	s := newTestStore(t)
	s.add("1", "web", "100m")
	s.replace()
	s.add("1", "web", "100m")
	s.now = s.now.Add(keepDeleted + time.Second)
	s.add("9", "other", "1")
	assert.EqualValues(t, 100, cpu(s.ByUID("1")))
	assert.EqualValues(t, 100, cpu(s.ByName("shop", "web")))
}

func TestStoreBoundsTheDeleted(t *testing.T) {
	s := newTestStore(t)
	for i := range maxDeleted + 100 {
		uid := strconv.Itoa(i)
		s.add(uid, "web-"+uid, "1")
		s.remove(uid, "web-"+uid, "1")
	}
	assert.Equal(t, maxDeleted, s.Len())
	assert.Nil(t, s.ByUID("99"), "the oldest went")
	assert.NotNil(t, s.ByUID("100"))
}

func TestStoreRefusesOthers(t *testing.T) {
	s := newTestStore(t)
	for _, err := range []error{s.Add(1), s.Update(1), s.Delete(1), s.Replace([]any{1}, "1")} {
		assert.EqualError(t, err, "want a pod, got int")
	}
}

// What the reflector gathers while a list streams in is keyed by this.
func TestPodHasItsKey(t *testing.T) {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(mustLean(t, makePod("1", "web")))
	require.NoError(t, err)
	assert.Equal(t, "shop/web", key)
}

func mustLean(t *testing.T, pod *corev1.Pod) *lean {
	l, err := toLean(pod)
	require.NoError(t, err)
	return l
}

// Pods of one template share their figures, and those that no pod has are
// forgotten.
func TestStoreSharesFigures(t *testing.T) {
	s := newTestStore(t)
	s.add("1", "a", "1")
	s.add("2", "b", "1")
	s.add("3", "c", "2")
	assert.Same(t, s.ByUID("1"), s.ByUID("2"))
	assert.NotSame(t, s.ByUID("1"), s.ByUID("3"))
	assert.Len(t, s.figures, 2)
	s.add("3", "c", "3")
	s.add("2", "b", "3")
	assert.Same(t, s.ByUID("2"), s.ByUID("3"))
	assert.Len(t, s.figures, 2)
	s.remove("1", "a", "1")
	s.now = s.now.Add(keepDeleted + time.Second)
	s.add("2", "b", "3")
	assert.Len(t, s.figures, 1)
}

// Figures that differ in one thing are not taken for one another.
func TestFiguresEncode(t *testing.T) {
	all := map[string]string{}
	for name, options := range map[string][]option{
		"none":          nil,
		"one":           {app("a", list("1", "1"), list("1", "1"))},
		"name":          {app("b", list("1", "1"), list("1", "1"))},
		"CPU limit":     {app("a", list("2", "1"), list("1", "1"))},
		"memory limit":  {app("a", list("1", "2"), list("1", "1"))},
		"request":       {app("a", list("1", "1"), list("2", "1"))},
		"two":           {app("a", list("1", "1"), list("1", "1")), app("b", nil, nil)},
		"two in one":    {app("ab", list("1", "1"), list("1", "1")), app("", nil, nil)},
		"init":          {app("a", list("1", "1"), list("1", "1")), initContainer("b", nil, nil)},
		"sidecar":       {app("a", list("1", "1"), list("1", "1")), sidecar("b", nil, nil)},
		"stated":        {app("a", list("1", "1"), list("1", "1")), stated(list("1", ""), nil)},
		"with overhead": {app("a", list("1", "1"), list("1", "1")), overhead(list("1", ""))},
	} {
		text := newFigures(makePod("1", "web", options...)).encode()
		assert.Empty(t, all[text], name)
		all[text] = name
	}
}

func TestUID(t *testing.T) {
	const text = "8d9a2f6e-2f0b-4d0c-9f3e-0123456789ab"
	assert.Equal(t, uid{0x8d, 0x9a, 0x2f, 0x6e, 0x2f, 0x0b, 0x4d, 0x0c, 0x9f, 0x3e, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab}, newUID(text))
	seen := map[uid]string{}
	for _, other := range []string{
		text, "8D9A2F6E-2F0B-4D0C-9F3E-0123456789AB", "8d9a2f6e2f0b4d0c9f3e0123456789ab", "8d9a2f6e-2f0b-4d0c-9f3e-0123456789ag",
		"8d9a2f6e-2f0b-4d0c-9f3e-0123456789a", "8d9a2f6e-2f0b-4d0c-9f3e-0123456789ab0", "8d9a2f6e+2f0b-4d0c-9f3e-0123456789ab",
		"8d9a2f6e-2f0b-4d0c-9f3e--123456789ab", "", "1", "2", "------------------------------------",
	} {
		assert.NotContains(t, seen, newUID(other), "%q is taken for %q", other, seen[newUID(other)])
		seen[newUID(other)] = other
	}
}

// A look at a pod costs the same however many there are.
func TestStoreLookUpDoesNotAllocate(t *testing.T) {
	for _, pods := range []int{1, 1000} {
		s := newTestStore(t)
		for i := range pods {
			s.add(fmt.Sprintf("8d9a2f6e-2f0b-4d0c-9f3e-%012d", i), "web-"+strconv.Itoa(i), "1")
		}
		allocations := testing.AllocsPerRun(100, func() {
			if s.ByUID("8d9a2f6e-2f0b-4d0c-9f3e-000000000000") == nil || s.ByName("shop", "web-0") == nil || s.ByUID("unknown") != nil {
				t.Error("found the wrong pods")
			}
		})
		assert.Zero(t, allocations, "with %d pods", pods)
	}
}

// testUID is a UUID as the API server gives them.
func testUID(n int) string { return fmt.Sprintf("8d9a2f6e-2f0b-4d0c-9f3e-%012x", n) }

// addressed makes a pod that runs and has these addresses.
func addressed(n int, ips ...string) *corev1.Pod {
	p := makePod(testUID(n), fmt.Sprintf("web-%d", n), app("web", nil, nil))
	p.Status.Phase = corev1.PodRunning
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	if len(ips) > 0 {
		p.Status.PodIP = ips[0]
	}
	return p
}

func leaving(p *corev1.Pod) *corev1.Pod {
	p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	return p
}

// owns asserts that pod n has the address; 0 stands for nobody, -1 for several.
func (s *testStore) owns(n int, ip string, why ...any) {
	s.t.Helper()
	want, answer := testUID(n), OwnerKnown
	switch n {
	case 0:
		want, answer = "", OwnerUnknown
	case -1:
		want, answer = "", OwnerContested
	}
	got, how := s.ByAddress(netip.MustParseAddr(ip))
	assert.Equal(s.t, answer, how, why...)
	assert.Equal(s.t, want, got, why...)
}

func TestStoreFindsPodsByAddress(t *testing.T) {
	s := newTestStore(t)
	put := func(p *corev1.Pod) { t.Helper(); require.NoError(t, s.Update(p)) }
	s.owns(0, "10.0.0.1")
	put(addressed(1))
	s.owns(0, "10.0.0.1", "it has none yet")
	put(addressed(1, "10.0.0.1", "fd00::1"))
	put(addressed(2, "10.0.0.2"))
	s.owns(1, "10.0.0.1")
	s.owns(1, "::ffff:10.0.0.1")
	s.owns(1, "fd00::1")
	s.owns(2, "10.0.0.2")
	s.owns(0, "fd00::2")
	_, answer := s.ByAddress(netip.Addr{})
	assert.Equal(t, OwnerUnknown, answer)

	put(addressed(1, "10.0.0.3", "fd00::1"))
	s.owns(0, "10.0.0.1", "its sandbox was made anew")
	s.owns(1, "10.0.0.3")
	s.owns(1, "fd00::1")

	old := addressed(3, "10.0.0.4")
	old.Status.PodIPs = nil
	put(old)
	s.owns(3, "10.0.0.4", "by the field there was before")

	node := addressed(4, "10.9.0.1")
	node.Spec.HostNetwork = true
	put(node)
	s.owns(0, "10.9.0.1", "the node's, and of all that share it")

	put(leaving(addressed(2, "10.0.0.2")))
	s.owns(2, "10.0.0.2", "it may send until it is deleted")
	for _, phase := range []corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed} {
		ended := addressed(2, "10.0.0.2")
		ended.Status.Phase = phase
		put(ended)
		s.owns(0, "10.0.0.2", phase)
		put(addressed(2, "10.0.0.2"))
	}
	gone := addressed(2, "10.0.0.2")
	require.NoError(t, s.Delete(gone))
	s.owns(0, "10.0.0.2", "at once, though the pod is known by its UID")
	assert.NotNil(t, s.ByUID(testUID(2)))

	static := addressed(5, "10.0.0.5")
	static.UID = "0f8f" // not the API server's
	put(static)
	s.owns(0, "10.0.0.5")
	put(addressed(6, "no address"))
	put(addressed(6, ""))
}

// The next pod with an address may be told before the last one's end, in any order.
func TestStoreAddressIsTakenOver(t *testing.T) {
	const ip = "10.0.0.1"
	s := newTestStore(t)
	put := func(p *corev1.Pod) { t.Helper(); require.NoError(t, s.Update(p)) }
	put(addressed(1, ip))
	put(addressed(2, ip))
	s.owns(-1, ip, "neither is going")
	put(addressed(1, ip))
	s.owns(-1, ip)
	put(leaving(addressed(1, ip)))
	s.owns(2, ip)
	put(addressed(3, ip))
	s.owns(-1, ip)
	require.NoError(t, s.Delete(addressed(1, ip)))
	s.owns(-1, ip)
	put(leaving(addressed(2, ip)))
	s.owns(3, ip)
	put(leaving(addressed(3, ip)))
	s.owns(-1, ip, "both are going")
	require.NoError(t, s.Delete(addressed(3, ip)))
	s.owns(2, ip)
	assert.Empty(t, s.contested)
	require.NoError(t, s.Delete(addressed(2)))
	s.owns(0, ip, "the event need not have the address")
	assert.Empty(t, s.byAddress)
	assert.Empty(t, s.contested)
}

func TestStoreAddressesAfterAList(t *testing.T) {
	s := newTestStore(t)
	s.replace(addressed(1, "10.0.0.1"), addressed(2, "10.0.0.2"))
	s.replace(addressed(3, "10.0.0.1"), addressed(2, "10.0.0.3"), addressed(4, "10.0.0.2"))
	s.owns(3, "10.0.0.1", "the pod before was deleted while nobody watched")
	s.owns(2, "10.0.0.3")
	s.owns(4, "10.0.0.2")
	assert.Empty(t, s.contested)
}

// A long life leaves nothing behind.
func TestStoreForgetsAddresses(t *testing.T) {
	s := newTestStore(t)
	for n := range 1000 {
		p := addressed(n+1, fmt.Sprintf("10.0.0.%d", n%7), fmt.Sprintf("fd00::%d", n%5))
		require.NoError(t, s.Add(p))
		if n >= 10 {
			require.NoError(t, s.Delete(addressed(n-9)))
		}
	}
	for n := 990; n < 1000; n++ {
		require.NoError(t, s.Delete(addressed(n+1)))
	}
	assert.Empty(t, s.byAddress)
	assert.Empty(t, s.contested)
	s.now = s.now.Add(keepDeleted + time.Second)
	require.NoError(t, s.Add(addressed(5000)))
	assert.Len(t, s.pods, 1)
	assert.Len(t, s.byUID, 1)
}

func TestUIDText(t *testing.T) {
	for _, text := range []string{testUID(0), "00000000-0000-0000-0000-000000000000", "01234567-89ab-cdef-fedc-ba9876543210"} {
		assert.Equal(t, text, newUID(text).String())
	}
	assert.NotEqual(t, "1", newUID("1").String())
}

// Clients may send any text for a UID.
func FuzzUID(f *testing.F) {
	f.Add("8d9a2f6e-2f0b-4d0c-9f3e-0123456789ab")
	f.Add("00000000-0000-0000-0000-0000000000-0")
	f.Add("0-000000-0000-0000-0000-00000000000-")
	f.Add("------------------------------------")
	f.Fuzz(func(t *testing.T, text string) {
		if s := newUID(text).String(); s != text {
			assert.Equal(t, hashUID(text), newUID(text), "taken for %s", s)
		}
	})
}
