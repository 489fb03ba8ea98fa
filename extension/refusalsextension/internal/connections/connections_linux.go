// SPDX-License-Identifier: Apache-2.0

package connections

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pause      = 50 * time.Millisecond // between two looks at the number of descriptors
	floodPause = 20 * time.Millisecond // the same when the last look ended connections
	// atLeast is how often connections are counted: some may have gone, others have come, and
	// the number of descriptors be the same. It is also how long who had too many is barred
	// at least.
	atLeast = time.Second
	// Parts of the limit: what may wait to be accepted by each listener, how many of its
	// first connections each port keeps, and by how many descriptors more than enough there
	// need be for a flood.
	waiting = 8
	first   = 16
	flood   = 64

	leastWaiting = 16
	mostFirst    = 16
)

// limiting is whether there is a limiter: another would take away its filters.
var limiting atomic.Bool

// Limit ends connections that are more than limit, or more than half of it from one
// address, until stop is called. It reports each address that it happens to, and returns
// the limit: no more than half of the descriptors there may be.
func Limit(limit int, report func(Ended)) (allowed int, stop func(), err error) {
	if !limiting.CompareAndSwap(false, true) {
		return 0, nil, ErrLimited
	}
	l, err := newLimiter(limit)
	if err != nil {
		limiting.Store(false)
		return 0, nil, err
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		defer limiting.Store(false)
		defer l.close()
		timer := time.NewTimer(pause)
		defer timer.Stop()
		for {
			select {
			case <-done:
				return
			case now := <-timer.C:
				ended := l.look(now)
				for _, e := range ended {
					report(e)
				}
				if len(ended) > 0 {
					timer.Reset(floodPause)
				} else {
					timer.Reset(pause)
				}
			}
		}
	}()
	return l.limit, sync.OnceFunc(func() { close(done); <-stopped }), nil
}

// limiter needs no descriptor but the two it has: a flood may have taken all others.
type limiter struct {
	limit     int
	directory *os.File // of the process's descriptors
	spare     int      // descriptor to hold on to a socket by

	known     map[uint64]known // by cookie
	last      int              // order
	enough    int              // so many descriptors can't be too many connections
	swept     time.Time
	listeners []listener           // then
	barred    map[stream]time.Time // since when
	filters   bool                 // listeners have some
}

// socket is one by its descriptor; a descriptor may be another's a moment later, a cookie
// never is.
type socket struct {
	descriptor int
	cookie     uint64
}

// stream is whose connections are to which of the process's ports, 0 when they are not TCP.
type stream struct {
	client netip.Addr
	port   uint16
}

// known is a socket that is connected, to a client or a backend.
type known struct {
	stream
	order int  // in which it was first seen
	ended bool // and its server has not closed it yet
}

type connection struct {
	socket
	known
	rank int // by age, in its stream; -1 when it is one of its port's first
}

type listener struct {
	socket
	port uint16
}

func newLimiter(limit int) (*limiter, error) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return nil, fmt.Errorf("get the limit of descriptors: %w", err)
	}
	directory, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	spare, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		_ = directory.Close()
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	// Files, and connections to backends, need descriptors too.
	l := &limiter{
		limit: int(min(uint64(limit), files.Cur/2)), directory: directory, spare: spare,
		barred: map[stream]time.Time{},
	}
	if _, err := cookie(spare); err != nil {
		l.close()
		return nil, fmt.Errorf("get a socket's cookie: %w", err)
	}
	return l, nil
}

func (l *limiter) close() {
	clear(l.barred)
	_, l.listeners = l.sockets()
	l.bar()
	_ = l.directory.Close()
	_ = unix.Close(l.spare)
}

// look counts connections when there may be too many, and now and then, and ends those.
func (l *limiter) look(now time.Time) []Ended {
	n := l.descriptors()
	if n <= l.enough && now.Sub(l.swept) < atLeast {
		return nil
	}
	if n > l.enough+l.limit/flood {
		l.barAll()
	}
	l.swept = now
	ended, room := l.sweep(now)
	l.enough = n + room
	for _, e := range ended {
		l.enough -= e.Ended
	}
	return ended
}

// descriptors returns how many there are: the directory's size, which Linux before 6.2
// does not know.
func (l *limiter) descriptors() int {
	if info, err := l.directory.Stat(); err == nil && info.Size() > 0 {
		return int(info.Size())
	}
	return len(l.names())
}

func (l *limiter) names() []string {
	if _, err := l.directory.Seek(0, 0); err != nil {
		return nil
	}
	names, _ := l.directory.Readdirnames(-1) // those before an error
	return names
}

// sweep ends the connections that are too many, and returns how many more there may be,
// whoever they are from, before there are too many again.
//
// What stays are the oldest few connections to each port; then the first one of each
// client to each port, the oldest before the others, then the second of each, and so on
// until there are enough. So a client with few has them, however many others have; an
// address that floods one port, such as an app's beside its sidecar, is let in by the
// others; and where few connect, as to health's port, nothing is ended for what many
// addresses do elsewhere.
func (l *limiter) sweep(now time.Time) (ended []Ended, room int) {
	seen := l.last
	connections, listeners := l.sockets()
	l.queues(listeners)
	slices.SortFunc(connections, func(a, b connection) int { return cmp.Compare(a.order, b.order) })
	ranks, to := map[stream]int{}, map[uint16]int{}
	for i := range connections {
		c := &connections[i]
		c.rank = ranks[c.stream]
		ranks[c.stream]++
		if to[c.port] < min(mostFirst, l.limit/first) {
			c.rank = -1
		}
		to[c.port]++
	}
	slices.SortStableFunc(connections, func(a, b connection) int { return cmp.Compare(a.rank, b.rank) })

	all, most, kept := 0, 0, map[netip.Addr]int{}
	connections = slices.DeleteFunc(connections, func(c connection) bool {
		if all == l.limit || kept[c.client] == l.limit/2 {
			l.barred[c.stream] = now
			return false
		}
		all++
		kept[c.client]++
		most = max(most, kept[c.client])
		if c.order > seen {
			l.unfilter(c.socket)
		}
		return true
	})
	// Who has not his whole share is let in also when all is full: he may be one of those
	// who have fewest, and of all that ever tried nobody keeps a list.
	maps.DeleteFunc(l.barred, func(s stream, since time.Time) bool {
		return kept[s.client] < l.limit/2 && now.Sub(since) >= atLeast
	})
	l.bar() // before it takes time to end the others

	of := map[netip.Addr]int{}
	for _, c := range connections {
		if l.end(c.socket) {
			of[c.client]++
			c.ended = true
			l.known[c.cookie] = c.known
		}
	}
	l.letGo()
	for client, n := range of {
		ended = append(ended, Ended{Address: client, Had: kept[client] + n, Ended: n, Limit: l.limit})
	}
	return ended, min(l.limit-all, l.limit/2-most)
}

// sockets returns the connections to ports that the process listens on, without those
// that have been ended, and what listens.
func (l *limiter) sockets() ([]connection, []listener) {
	var connected []connection
	var listeners []listener
	listening := map[uint16]bool{}
	seen := make(map[uint64]known, len(l.known))
	for _, name := range l.names() {
		descriptor, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		id, err := cookie(descriptor)
		if err != nil { // no socket
			continue
		}
		s := socket{descriptor, id}
		k, ok := l.known[id]
		if !ok {
			peer, err := unix.Getpeername(descriptor)
			if errors.Is(err, unix.ENOTCONN) {
				if is, _ := unix.GetsockoptInt(descriptor, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); is == 1 && localPort(descriptor) != 0 {
					listeners = append(listeners, listener{s, localPort(descriptor)})
					listening[localPort(descriptor)] = true
				}
			}
			client, ok := addressOf(peer)
			if !ok {
				continue
			}
			l.last++
			k = known{stream: stream{client, localPort(descriptor)}, order: l.last}
		}
		seen[id] = k
		if !k.ended {
			connected = append(connected, connection{socket: s, known: k})
		}
	}
	l.known = seen
	return slices.DeleteFunc(connected, func(c connection) bool { return !listening[c.port] }), listeners
}

// queues shortens those of new listeners, in which connections wait to be accepted: what
// is in them when a flood begins cannot be kept out.
func (l *limiter) queues(listeners []listener) {
	for _, on := range listeners {
		if !slices.Contains(l.listeners, on) && l.hold(on.socket) {
			_ = unix.Listen(l.spare, max(leastWaiting, l.limit/waiting)) // it listens already
		}
	}
	l.listeners = listeners
}

// end shuts a connection down.
func (l *limiter) end(s socket) bool {
	if !l.hold(s) {
		return false
	}
	// Without lingering nothing is left of it in the system either, once it is closed.
	_ = unix.SetsockoptLinger(l.spare, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	return unix.Shutdown(l.spare, unix.SHUT_RDWR) == nil
}

// hold makes spare the socket's descriptor too, which nobody else closes. It returns
// false when the socket has gone, and its descriptor may be another's.
func (l *limiter) hold(s socket) bool {
	if err := unix.Dup3(s.descriptor, l.spare, unix.O_CLOEXEC); err != nil {
		return false
	}
	id, err := cookie(l.spare)
	return err == nil && id == s.cookie
}

// letGo ends what hold has begun.
func (l *limiter) letGo() {
	_ = unix.Dup3(int(l.directory.Fd()), l.spare, unix.O_CLOEXEC) // both are open
}

func cookie(descriptor int) (uint64, error) {
	return unix.GetsockoptUint64(descriptor, unix.SOL_SOCKET, unix.SO_COOKIE)
}

// localPort returns 0 for what is not TCP.
func localPort(descriptor int) uint16 {
	if kind, _ := unix.GetsockoptInt(descriptor, unix.SOL_SOCKET, unix.SO_TYPE); kind != unix.SOCK_STREAM {
		return 0
	}
	switch address, _ := unix.Getsockname(descriptor); address := address.(type) {
	case *unix.SockaddrInet4:
		return uint16(address.Port)
	case *unix.SockaddrInet6:
		return uint16(address.Port)
	default:
		return 0
	}
}

// addressOf returns an address without its zone: who has the same in two is one client.
func addressOf(peer unix.Sockaddr) (netip.Addr, bool) {
	switch peer := peer.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(peer.Addr), true
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(peer.Addr).Unmap(), true
	default:
		return netip.Addr{}, false
	}
}
