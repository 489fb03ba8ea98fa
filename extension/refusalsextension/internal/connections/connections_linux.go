// SPDX-License-Identifier: Apache-2.0

package connections

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pause      = 100 * time.Millisecond // between two looks at the number of descriptors
	floodPause = 20 * time.Millisecond  // the same when the last look ended connections
	// atLeast is how often connections are counted while there may be too many from one
	// address: others may have gone, and the number of descriptors be the same.
	atLeast = time.Second
)

// Limit ends connections that are more than limit, or more than half of it from one
// address, until stop is called. It reports each address that it happens to.
func Limit(limit int, report func(Ended)) (stop func(), err error) {
	l, err := newLimiter(limit)
	if err != nil {
		return nil, err
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
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
	return sync.OnceFunc(func() { close(done); <-stopped }), nil
}

// limiter needs no descriptor but the two it has: a flood may have taken all others.
type limiter struct {
	limit     int
	directory *os.File // of the process's descriptors
	spare     int      // descriptor to hold on to a socket by

	known  map[uint64]known // by a socket's cookie, which no other ever has
	last   int              // order
	enough int              // so many descriptors can't be too many connections
	swept  time.Time
}

// known is a socket that is connected, to a client or a backend.
type known struct {
	client netip.Addr
	port   uint16 // its own; 0 when it is not TCP
	order  int    // in which it was first seen
	ended  bool   // and its server has not closed it yet
}

type connection struct {
	descriptor int
	cookie     uint64
	known
	rank int // by age, of those from its client to its port
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
	l := &limiter{limit: int(min(uint64(limit), files.Cur/2)), directory: directory, spare: spare}
	l.enough = l.limit / 2
	if _, err := cookie(spare); err != nil {
		l.close()
		return nil, fmt.Errorf("get a socket's cookie: %w", err)
	}
	return l, nil
}

func (l *limiter) close() {
	_ = l.directory.Close()
	_ = unix.Close(l.spare)
}

// look counts connections when there may be too many, and ends those.
func (l *limiter) look(now time.Time) []Ended {
	n := l.descriptors()
	if n <= l.enough && (n <= l.limit/2 || now.Sub(l.swept) < atLeast) {
		return nil
	}
	l.swept = now
	ended, room := l.sweep()
	l.enough = n + room
	for _, e := range ended {
		l.enough -= e.Ended
	}
	l.enough = max(l.enough, l.limit/2)
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
// What stays is the first connection of each client to each port, the oldest before the
// others, then the second of each, and so on until there are enough. So a client with
// few has them, however many others have; and an address that floods one port, such as
// an app's beside its sidecar, is let in by the others: health's, for one.
func (l *limiter) sweep() (ended []Ended, room int) {
	connections := l.connections()
	slices.SortFunc(connections, func(a, b connection) int { return cmp.Compare(a.order, b.order) })
	type stream struct {
		client netip.Addr
		port   uint16
	}
	ranks := map[stream]int{}
	for i := range connections {
		c := &connections[i]
		c.rank = ranks[stream{c.client, c.port}]
		ranks[stream{c.client, c.port}]++
	}
	slices.SortStableFunc(connections, func(a, b connection) int { return cmp.Compare(a.rank, b.rank) })

	all, most := 0, 0
	of := map[netip.Addr]*Ended{}
	for _, c := range connections {
		e := of[c.client]
		if e == nil {
			e = &Ended{Address: c.client, Limit: l.limit}
			of[c.client] = e
		}
		e.Had++
		switch {
		case all < l.limit && e.Had-e.Ended <= l.limit/2:
			all++
			most = max(most, e.Had-e.Ended)
		case l.end(c):
			e.Ended++
			c.ended = true
			l.known[c.cookie] = c.known
		default: // it has gone by itself
			e.Had--
		}
	}
	_ = unix.Dup3(int(l.directory.Fd()), l.spare, unix.O_CLOEXEC) // lets go of the last one
	for _, e := range of {
		if e.Ended > 0 {
			ended = append(ended, *e)
		}
	}
	return ended, min(l.limit-all, l.limit/2-most)
}

// connections returns those to ports that the process listens on, without those that
// have been ended.
func (l *limiter) connections() []connection {
	var connected []connection
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
		k, ok := l.known[id]
		if !ok {
			peer, err := unix.Getpeername(descriptor)
			if errors.Is(err, unix.ENOTCONN) {
				if is, _ := unix.GetsockoptInt(descriptor, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); is == 1 {
					listening[localPort(descriptor)] = true
				}
			}
			client, ok := addressOf(peer)
			if !ok {
				continue
			}
			l.last++
			k = known{client: client, port: localPort(descriptor), order: l.last}
		}
		seen[id] = k
		if !k.ended {
			connected = append(connected, connection{descriptor: descriptor, cookie: id, known: k})
		}
	}
	l.known = seen
	delete(listening, 0) // sockets of other kinds
	return slices.DeleteFunc(connected, func(c connection) bool { return !listening[c.port] })
}

// end shuts a connection down. Its descriptor may be another file's by now, which a copy
// of it no longer can.
func (l *limiter) end(c connection) bool {
	if err := unix.Dup3(c.descriptor, l.spare, unix.O_CLOEXEC); err != nil {
		return false
	}
	if id, err := cookie(l.spare); err != nil || id != c.cookie {
		return false
	}
	// Without lingering nothing is left of it in the system either, once it is closed.
	_ = unix.SetsockoptLinger(l.spare, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	return unix.Shutdown(l.spare, unix.SHUT_RDWR) == nil
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
