// SPDX-License-Identifier: Apache-2.0

package podwatch

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// Store holds the figures of pods by UID and by name. Pods that are deleted
// stay for a while under their UID, which no other pod ever has, and under
// their name until another pod takes it. It is what a reflector of client-go
// writes to.
//
// It knows pods by their addresses too. An address is a pod's from when the API
// server tells so until it tells that the pod has ended or is deleted.
//
// It is laid out so that a pod takes some 300 bytes, its name included, and a
// look at it by UID touches one place in memory, as small as can be.
//
// It is safe for concurrent use.
type Store struct {
	mu        sync.RWMutex
	byUID     map[uid]*shared // what pods has too, for the caches' sake
	pods      map[uid]pod
	byName    map[podName]uid
	byAddress map[address]uid
	contested map[address][]uid  // all that say they have it, where it is several
	figures   map[string]*shared // by Figures.encode
	deleted   []grave            // oldest first
	serial    uint32             // of the pod put last

	now    func() time.Time
	synced func(pods int)
}

// pod is what is kept of a pod besides its figures.
type pod struct {
	figures   *shared
	name      string
	namespace unique.Handle[string]
	addresses addresses
	created   int64  // in s since 1970
	serial    uint32 // tells whether it is the same pod as in a grave
	leaving   bool   // is being deleted, and may send until it is
}

// address is an IPv6 address, or an IPv4 address mapped into one.
type address [16]byte

// addresses are a pod's: one of each family at most. Zero means none.
type addresses [2]address

// shared are figures and the number of pods that have them.
type shared struct {
	Figures
	key   string
	users int
}

// uid is a pod's UID as 16 bytes, half of what the text takes and compared
// without following a pointer.
type uid [16]byte

// newUID reads the text of a UUID. The UIDs of other forms that there are (the
// API server gives none) are told apart by their hashes.
func newUID(text string) (u uid) {
	if len(text) == 36 && text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-' {
		n := 0
		for i := 0; i < 36; i += 2 {
			if i == 8 || i == 13 || i == 18 || i == 23 {
				i++ // the groups have even lengths, so that each begins a pair
			}
			high, low := digit[text[i]], digit[text[i+1]]
			if high|low > 15 {
				return hashUID(text)
			}
			u[n] = high<<4 | low
			n++
		}
		return u
	}
	return hashUID(text)
}

func hashUID(text string) uid {
	sum := sha256.Sum256([]byte(text))
	return uid(sum[:16])
}

// String is the text that newUID has read, if it was a UUID.
func (u uid) String() string {
	text := make([]byte, 0, 36)
	for i, b := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text = append(text, '-')
		}
		text = append(text, digits[b>>4], digits[b&15])
	}
	return string(text)
}

const digits = "0123456789abcdef" // that Kubernetes writes UIDs in

// digit has the values of the digits, and 255 for other bytes.
var digit = func() (values [256]byte) {
	for i := range values {
		values[i] = 255
	}
	for i, c := range []byte(digits) {
		values[c] = byte(i)
	}
	return values
}()

type podName struct{ namespace, name string }

type grave struct {
	uid    uid
	serial uint32
	until  time.Time
}

var _ cache.TransformingStore = (*Store)(nil)

// newStore returns an empty Store. It calls synced after each Replace.
func newStore(now func() time.Time, synced func(pods int)) *Store {
	return &Store{
		byUID:     map[uid]*shared{},
		pods:      map[uid]pod{},
		byName:    map[podName]uid{},
		byAddress: map[address]uid{},
		contested: map[address][]uid{},
		figures:   map[string]*shared{},
		now:       now,
		synced:    synced,
	}
}

// View is a Store that does not change until the View is closed. Locking costs as much
// as looking up, so a batch has one for all its resources; a second one of the same Store
// may wait for ever.
type View struct{ store *Store }

// View returns a View, which must be closed soon.
func (s *Store) View() View {
	s.mu.RLock()
	return View{s}
}

// Close lets the Store change again.
func (v View) Close() { v.store.mu.RUnlock() }

// ByUID returns the figures of the pod, nil if it is not known.
func (v View) ByUID(text string) *Figures { return v.store.byUID[newUID(text)].get() }

// ByName returns the figures of the pod that has the name now or had it last,
// nil if it is not known.
func (v View) ByName(namespace, name string) *Figures {
	u, ok := v.store.byName[podName{namespace, name}]
	if !ok {
		return nil
	}
	return v.store.byUID[u].get()
}

func (f *shared) get() *Figures {
	if f == nil {
		return nil
	}
	return &f.Figures
}

// Owner is an answer to whose an address is.
type Owner int

// The answers.
const (
	OwnerKnown     Owner = iota
	OwnerUnknown         // no pod has it
	OwnerContested       // several pods say that they have it
)

// ByAddress returns the UID of the pod that has the address, and when the pod was made. Where several say
// so, as when one has gone with its node, it is the one that is not being
// deleted, if that is one. Pods on the network of their node have none.
func (v View) ByAddress(ip netip.Addr) (text string, created time.Time, owner Owner) {
	if !ip.IsValid() {
		return "", created, OwnerUnknown
	}
	a := address(ip.As16())
	u, ok := v.store.byAddress[a]
	if !ok {
		return "", created, OwnerUnknown
	}
	if rivals := v.store.contested[a]; len(rivals) > 0 {
		staying := 0
		for _, rival := range rivals {
			if !v.store.pods[rival].leaving {
				u = rival
				staying++
			}
		}
		if staying != 1 {
			return "", created, OwnerContested
		}
	}
	return u.String(), time.Unix(v.store.pods[u].created, 0), OwnerKnown
}

// Len returns the number of pods, those deleted lately included.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.pods)
}

// lean is what is taken from a pod of the API.
type lean struct {
	uid             uid
	namespace, name string
	figures         *Figures
	addresses       addresses
	created         int64
	leaving         bool
}

// GetObjectMeta lets it stand in client-go's stores, which ask it for its name.
func (l *lean) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Name: l.name, Namespace: l.namespace}
}

// Transformer makes the reflector keep our small pods, and not Kubernetes'
// large ones, while it gathers the first list.
func (s *Store) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) { return toLean(obj) }
}

func toLean(obj any) (*lean, error) {
	switch p := obj.(type) {
	case *corev1.Pod:
		return &lean{
			uid: newUID(string(p.UID)), namespace: p.Namespace, name: p.Name, figures: newFigures(p),
			addresses: newAddresses(p), created: p.CreationTimestamp.Unix(), leaving: p.DeletionTimestamp != nil,
		}, nil
	case *lean:
		return p, nil
	default:
		return nil, fmt.Errorf("want a pod, got %T", obj)
	}
}

// newAddresses returns the addresses that are the pod's alone. When its
// containers have ended they may be another's, though it is told with them.
func newAddresses(p *corev1.Pod) (all addresses) {
	if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed ||
		newUID(string(p.UID)).String() != string(p.UID) { // could not be told by it
		return all
	}
	ips := p.Status.PodIPs
	if len(ips) == 0 {
		ips = []corev1.PodIP{{IP: p.Status.PodIP}}
	}
	for i := range all {
		if i == len(ips) {
			break
		}
		if ip, err := netip.ParseAddr(ips[i].IP); err == nil {
			all[i] = ip.As16()
		}
	}
	return all
}

// Add implements cache.ReflectorStore.
func (s *Store) Add(obj any) error {
	l, err := toLean(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(l)
	s.sweep()
	return nil
}

// Update implements cache.ReflectorStore.
func (s *Store) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s *Store) Delete(obj any) error {
	l, err := toLean(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The event carries the pod's last state, which may be news.
	s.put(l)
	s.bury(l.uid)
	s.sweep()
	return nil
}

// Replace implements cache.ReflectorStore. Pods that are not in the list were
// deleted while nobody watched.
func (s *Store) Replace(list []any, _ string) error {
	fresh := make([]*lean, len(list))
	alive := make(map[uid]struct{}, len(list))
	for i, obj := range list {
		l, err := toLean(obj)
		if err != nil {
			return err
		}
		fresh[i] = l
		alive[l.uid] = struct{}{}
	}
	s.mu.Lock()
	for _, g := range s.deleted {
		alive[g.uid] = struct{}{} // buried before, keeps its time
	}
	for u := range s.pods {
		if _, ok := alive[u]; !ok {
			s.bury(u)
		}
	}
	for _, l := range fresh {
		s.put(l)
	}
	s.sweep()
	s.mu.Unlock()
	s.synced(len(list))
	return nil
}

// Resync implements cache.ReflectorStore. There is nothing to repeat.
func (*Store) Resync() error { return nil }

// put stores a pod. Pods of one name follow one another, so the one put last
// has the name.
func (s *Store) put(l *lean) {
	old, known := s.pods[l.uid]
	figures := s.share(l.figures)
	if known {
		s.release(old.figures)
		l.name, l.namespace = old.name, old.namespace.Value() // the strings that are kept already
	}
	s.serial++
	p := pod{
		figures: figures, name: l.name, namespace: unique.Make(l.namespace),
		addresses: l.addresses, created: l.created, serial: s.serial, leaving: l.leaving,
	}
	s.byUID[l.uid] = figures
	s.pods[l.uid] = p
	s.byName[p.key()] = l.uid
	if old.addresses != l.addresses {
		s.vacate(l.uid, old.addresses)
		s.occupy(l.uid, l.addresses)
	}
}

func (s *Store) occupy(u uid, all addresses) {
	for _, a := range all {
		if a == (address{}) {
			continue
		}
		owner, ok := s.byAddress[a]
		switch {
		case !ok:
			s.byAddress[a] = u
		case owner == u:
		case s.contested[a] == nil:
			s.contested[a] = []uid{owner, u}
		case !slices.Contains(s.contested[a], u):
			s.contested[a] = append(s.contested[a], u)
		}
	}
}

func (s *Store) vacate(u uid, all addresses) {
	for _, a := range all {
		if rivals, ok := s.contested[a]; ok {
			rivals = slices.DeleteFunc(rivals, func(rival uid) bool { return rival == u })
			s.contested[a] = rivals
			s.byAddress[a] = rivals[0]
			if len(rivals) == 1 {
				delete(s.contested, a)
			}
		} else if s.byAddress[a] == u {
			delete(s.byAddress, a)
		}
	}
}

// key is made of the strings that are kept anyway.
func (p pod) key() podName { return podName{p.namespace.Value(), p.name} }

// share returns the figures that are kept for all that are equal.
func (s *Store) share(f *Figures) *shared {
	key := f.encode()
	kept, ok := s.figures[key]
	if !ok {
		kept = &shared{Figures: *f, key: key}
		s.figures[key] = kept
	}
	kept.users++
	return kept
}

func (s *Store) release(f *shared) {
	if f.users--; f.users == 0 {
		delete(s.figures, f.key)
	}
}

// bury ends a pod, which is remembered for a while, but not by its addresses.
func (s *Store) bury(u uid) {
	p := s.pods[u]
	s.vacate(u, p.addresses)
	p.addresses = addresses{}
	s.pods[u] = p
	s.deleted = append(s.deleted, grave{uid: u, serial: p.serial, until: s.now().Add(keepDeleted)})
}

// sweep forgets pods deleted long ago. It runs with each change and not by a
// clock: what stays longer because nothing changes is no more than there was.
func (s *Store) sweep() {
	if len(s.deleted) == 0 {
		return
	}
	now := s.now()
	n := 0
	for n < len(s.deleted) && (len(s.deleted)-n > maxDeleted || now.After(s.deleted[n].until)) {
		g := s.deleted[n]
		n++
		p := s.pods[g.uid]
		if p.figures == nil || p.serial != g.serial {
			continue // it came back: a list may be older than what the watch has told
		}
		s.release(p.figures)
		delete(s.byUID, g.uid)
		delete(s.pods, g.uid)
		if s.byName[p.key()] == g.uid {
			delete(s.byName, p.key())
		}
	}
	if s.deleted = s.deleted[n:]; len(s.deleted) == 0 {
		s.deleted = nil
	}
}
