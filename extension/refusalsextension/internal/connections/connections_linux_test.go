// SPDX-License-Identifier: Apache-2.0

package connections

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// echo starts a server that says what it is told, and returns its address.
func echo(t testing.TB, network, address string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	require.NoError(t, err)
	serve(t, l)
	return l.Addr().String()
}

func serve(t testing.TB, l net.Listener) {
	t.Helper()
	var running sync.WaitGroup
	t.Cleanup(func() { // when the clients have gone
		_ = l.Close() // a test may have closed it
		running.Wait()
	})
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				// Until either side ends it; without splice, whose pipes are descriptors too.
				_, _ = io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
				_ = conn.Close()
			})
		}
	})
}

// dial connects, and returns when the server has accepted.
func dial(t testing.TB, from, to string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}).DialContext(t.Context(), "tcp", to)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, says(conn))
	return conn
}

func dialN(t testing.TB, n int, from, to string) []net.Conn {
	t.Helper()
	var conns []net.Conn
	for range n {
		conns = append(conns, dial(t, from, to))
	}
	return conns
}

// says returns nil when the connection's server answers.
func says(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

func serving(conns []net.Conn) (n int) {
	for _, conn := range conns {
		if says(conn) == nil {
			n++
		}
	}
	return n
}

func limit(t testing.TB, n int) *limiter {
	t.Helper()
	l, err := newLimiter(n)
	require.NoError(t, err)
	t.Cleanup(l.close)
	return l
}

func sweep(l *limiter) []Ended {
	ended, _ := l.sweep(time.Now())
	return ended
}

// Of one address the last ones to come are ended; who has few is left alone.
func TestOneAddress(t *testing.T) {
	l := limit(t, 8)
	server := echo(t, "tcp4", "127.0.0.1:0")
	first := dialN(t, 4, "127.0.0.9", server)
	ended, room := l.sweep(time.Now())
	require.Empty(t, ended)
	require.Zero(t, room, "that address has its four")
	then := dialN(t, 6, "127.0.0.9", server)
	other := dialN(t, 2, "127.0.0.8", server)
	ended, room = l.sweep(time.Now())
	assert.Equal(t, []Ended{{Address: netip.MustParseAddr("127.0.0.9"), Had: 10, Ended: 6, Limit: 8}}, ended)
	assert.Zero(t, room)
	assert.Equal(t, 4, serving(first))
	assert.Zero(t, serving(then))
	assert.Equal(t, 2, serving(other))

	for _, conn := range first {
		require.NoError(t, conn.Close())
	}
	require.Eventually(t, func() bool { connections, _ := l.sockets(); return len(connections) == 2 }, 10*time.Second, time.Millisecond)
	ended, room = l.sweep(time.Now().Add(atLeast)) // it is barred no longer
	require.Empty(t, ended)
	require.Equal(t, 2, room, "the other address has two of its four")
	again := dialN(t, 4, "127.0.0.9", server)
	require.Empty(t, sweep(l))
	assert.Equal(t, 4, serving(again))
}

// Of all addresses those with most lose some, also when others come later.
func TestAllAddresses(t *testing.T) {
	l := limit(t, 8)
	server := echo(t, "tcp4", "127.0.0.1:0")
	var conns [][]net.Conn
	for address := range 5 {
		conns = append(conns, dialN(t, 3, fmt.Sprintf("127.0.0.%d", 2+address), server))
	}
	ended, room := l.sweep(time.Now())
	require.Len(t, ended, 5, "each had three, and none has more than two")
	require.Zero(t, room)
	all := 0
	for _, of := range conns {
		n := serving(of)
		assert.Contains(t, []int{1, 2}, n)
		all += n
	}
	assert.Equal(t, 8, all)

	last := dialN(t, 1, "127.0.0.7", server)
	require.Len(t, sweep(l), 1)
	assert.Equal(t, 1, serving(last))
}

// Who floods one port is let in by the others.
func TestOtherPorts(t *testing.T) {
	l := limit(t, 8)
	flooded, other := echo(t, "tcp4", "127.0.0.1:0"), echo(t, "tcp4", "127.0.0.1:0")
	dialN(t, 10, "127.0.0.9", flooded)
	sweep(l)
	late := dialN(t, 1, "127.0.0.9", other)
	assert.Equal(t, []Ended{{Address: netip.MustParseAddr("127.0.0.9"), Had: 5, Ended: 1, Limit: 8}}, sweep(l))
	assert.Equal(t, 1, serving(late))
}

// Who has few connections gets others while the limit is full of many addresses, after
// the second that he is barred.
func TestFullOfAddresses(t *testing.T) {
	l := limit(t, 20)
	flooded, health := echo(t, "tcp4", "127.0.0.1:0"), echo(t, "tcp4", "127.0.0.1:0")
	now := time.Now()
	for i := range 20 {
		dial(t, fmt.Sprintf("127.0.2.%d", 1+i), flooded)
		require.Empty(t, sweep(l))
	}
	for range 3 {
		late := dial(t, "127.0.0.9", flooded)
		ended, _ := l.sweep(now)
		require.Equal(t, []Ended{{Address: netip.MustParseAddr("127.0.0.9"), Had: 1, Ended: 1, Limit: 20}}, ended)
		require.Error(t, says(late))
		require.False(t, isLetIn(t, "127.0.0.9", flooded))
		now = now.Add(atLeast)
		l.sweep(now)
		assert.Empty(t, l.barred)
	}
	for i := range 3 { // the last one to come to the flooded port gives way
		conn := dial(t, "127.0.0.1", health)
		ended, _ := l.sweep(now)
		require.Len(t, ended, 1)
		require.Equal(t, netip.AddrFrom4([4]byte{127, 0, 2, 20}), ended[0].Address)
		require.NoError(t, says(conn))
		require.NoError(t, conn.Close())
		require.Eventually(t, func() bool { connections, _ := l.sockets(); return len(connections) == 19 }, 10*time.Second, time.Millisecond, i)
		now = now.Add(atLeast)
		l.sweep(now)
		dial(t, "127.0.2.20", flooded)
		ended, _ = l.sweep(now)
		require.Empty(t, ended)
	}
}

// The first connections to each port stay, here two, although others are older and their
// clients have no second one.
func TestFirstOfPort(t *testing.T) {
	l := limit(t, 32)
	flooded, health := echo(t, "tcp4", "127.0.0.1:0"), echo(t, "tcp4", "127.0.0.1:0")
	for i := range 32 {
		dial(t, fmt.Sprintf("127.0.2.%d", 1+i), flooded)
	}
	require.Empty(t, sweep(l))
	conns := dialN(t, 3, "127.0.0.9", health)
	require.Len(t, sweep(l), 3, "the last two to the other port, and the third to this one")
	assert.Equal(t, 2, serving(conns))
}

func needIPv6(t *testing.T) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp6", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	require.NoError(t, l.Close())
}

func TestIPv6(t *testing.T) {
	for name, tt := range map[string]struct{ listen, client, server, is string }{
		"IPv6":           {"[::1]:0", "::1", "::1", "::1"},
		"IPv4 in it":     {"[::]:0", "127.0.0.9", "127.0.0.1", "127.0.0.9"},
		"unspecified v6": {"[::]:0", "::1", "::1", "::1"},
	} {
		t.Run(name, func(t *testing.T) {
			needIPv6(t)
			_, port, err := net.SplitHostPort(echo(t, "tcp", tt.listen))
			require.NoError(t, err)
			l := limit(t, 4)
			conns := dialN(t, 5, tt.client, net.JoinHostPort(tt.server, port))
			assert.Equal(t, []Ended{{Address: netip.MustParseAddr(tt.is), Had: 5, Ended: 3, Limit: 4}}, sweep(l))
			assert.Equal(t, 2, serving(conns))
		})
	}
}

// Connections that are no client's to a server of this process are not counted. Those
// whose listener is gone look like those to backends from both of their ends.
func TestNotCounted(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	serve(t, listener)
	conns := dialN(t, 6, "127.0.0.9", listener.Addr().String())
	require.NoError(t, listener.Close())

	file := filepath.Join(t.TempDir(), "socket")
	local := echo(t, "unix", file)
	for range 6 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "unix", local)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		conns = append(conns, conn)
	}

	port := netip.MustParseAddrPort(echo(t, "tcp4", "127.0.0.1:0")).Port()
	var datagrams []*net.UDPConn
	for i := range 6 { // from the same number as a port that is listened on
		conn, err := net.DialUDP("udp4",
			net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i)}), port)),
			net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.9:9")))
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		datagrams = append(datagrams, conn)
	}

	l := limit(t, 2)
	require.Empty(t, sweep(l))
	assert.Equal(t, 12, serving(conns))
	for _, conn := range datagrams {
		_, err := conn.Write([]byte{1})
		assert.NoError(t, err)
	}
}

// A server that speaks TLS closes what is ended before its handshake, and serves the rest.
func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	l := limit(t, 4)
	address := s.Listener.Addr().String()
	var silent []net.Conn
	for range 5 {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}).DialContext(t.Context(), "tcp", address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		silent = append(silent, conn)
	}
	require.Eventually(t, func() bool { connections, _ := l.sockets(); return len(connections) == 5 }, 10*time.Second, time.Millisecond)
	require.Len(t, sweep(l), 1)
	trust := x509.NewCertPool()
	trust.AddCert(s.Certificate())
	served := 0
	for _, conn := range silent {
		if tls.Client(conn, &tls.Config{RootCAs: trust, ServerName: "example.com"}).HandshakeContext(t.Context()) == nil {
			served++
		}
	}
	assert.Equal(t, 2, served)
	resp, err := s.Client().Get(s.URL)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
}

// A connection that its server is slow to close is ended once, and not counted again.
func TestSlowServer(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	for range 5 {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}).DialContext(t.Context(), "tcp", listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		accepted, err := listener.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { _ = accepted.Close() })
	}
	l := limit(t, 4)
	require.Len(t, sweep(l), 1)
	require.Empty(t, sweep(l))
}

// A descriptor that has become another socket's is not touched.
func TestReusedDescriptor(t *testing.T) {
	l := limit(t, 4)
	conns := dialN(t, 2, "127.0.0.9", echo(t, "tcp4", "127.0.0.1:0"))
	before, _ := l.sockets()
	require.Len(t, before, 2)
	mixed := before[0].socket
	mixed.cookie = before[1].cookie
	assert.False(t, l.end(mixed))
	assert.Equal(t, 2, serving(conns))
	assert.True(t, l.end(before[0].socket))
	assert.Equal(t, 1, serving(conns))
}

// Also when all descriptors are taken, of which half are the most there may be.
func TestWithoutDescriptors(t *testing.T) {
	var was unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	t.Cleanup(func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &was)) })
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 400, Max: was.Max}))
	l := limit(t, 1000)
	require.Equal(t, 200, l.limit)
	conns := dialN(t, 110, "127.0.0.9", echo(t, "tcp4", "127.0.0.1:0"))
	for {
		file, err := os.Open(os.DevNull)
		if err != nil {
			require.ErrorIs(t, err, unix.EMFILE)
			break
		}
		t.Cleanup(func() { _ = file.Close() })
	}
	assert.Equal(t, []Ended{{Address: netip.MustParseAddr("127.0.0.9"), Had: 110, Ended: 10, Limit: 200}}, l.look(time.Now()))
	assert.Equal(t, 100, serving(conns))
}

// Connections are counted when there are enough descriptors for too many of them, and once
// a second.
func TestLook(t *testing.T) {
	l := limit(t, 1000)
	now := time.Now()
	require.Len(t, l.names(), l.descriptors(), "as it is counted where the directory has no size")
	server := echo(t, "tcp4", "127.0.0.1:0")
	require.Empty(t, l.look(now))
	require.Equal(t, l.descriptors()+500, l.enough)

	dialN(t, 240, "127.0.0.9", server) // 480 descriptors, as both ends are here
	require.Empty(t, l.look(now.Add(atLeast/2)))
	require.Equal(t, now, l.swept, "too few have come since")
	require.Empty(t, l.look(now.Add(atLeast)))
	require.Equal(t, now.Add(atLeast), l.swept)
	require.Equal(t, l.descriptors()+260, l.enough)
	dialN(t, 270, "127.0.0.9", server)
	require.Equal(t, []Ended{{Address: netip.MustParseAddr("127.0.0.9"), Had: 510, Ended: 10, Limit: 1000}}, l.look(now.Add(atLeast+pause)))
}

// Nobody is let in while it is counted whose connections have come all at once.
func TestBarAll(t *testing.T) {
	l := limit(t, 4)
	server := echo(t, "tcp4", "127.0.0.1:0")
	conn := dial(t, "127.0.0.9", server)
	require.Empty(t, sweep(l))
	l.barAll()
	assert.False(t, isLetIn(t, "127.0.0.8", server))
	require.NoError(t, says(conn))
	require.Empty(t, sweep(l))
	assert.True(t, isLetIn(t, "127.0.0.8", server))
}

// When it is known which ports are flooded, others are open while it is counted.
func TestBarAllOfPort(t *testing.T) {
	l := limit(t, 4)
	flooded, other := echo(t, "tcp4", "127.0.0.1:0"), echo(t, "tcp4", "127.0.0.1:0")
	dialN(t, 3, "127.0.0.9", flooded)
	require.Len(t, sweep(l), 1)
	l.barAll()
	assert.False(t, isLetIn(t, "127.0.0.8", flooded))
	assert.True(t, isLetIn(t, "127.0.0.8", other))
}

// No more wait to be accepted than an eighth of the limit, or 16 where that is less.
func TestQueue(t *testing.T) {
	for of, waiting := range map[int]int{2: 16, 160: 20} {
		t.Run(strconv.Itoa(of), func(t *testing.T) {
			l := limit(t, of)
			listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { _ = listener.Close() })
			require.Empty(t, sweep(l))
			for range waiting + 1 { // the system lets in one more
				require.True(t, isLetIn(t, "127.0.0.9", listener.Addr().String()))
			}
			assert.False(t, isLetIn(t, "127.0.0.9", listener.Addr().String()))
		})
	}
}

// What the system has let in beside a filter has it from its listener, and loses it.
func TestInheritedFilter(t *testing.T) {
	conn := dial(t, "127.0.0.9", echo(t, "tcp4", "127.0.0.1:0"))
	accepted, _ := limit(t, 8).sockets()
	require.Len(t, accepted, 1)
	require.NoError(t, unix.SetsockoptSockFprog(accepted[0].descriptor, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: 1, Filter: &[]unix.SockFilter{drop}[0]}))
	t.Cleanup(func() { _ = unix.SetsockoptInt(accepted[0].descriptor, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
	require.Empty(t, sweep(limit(t, 8)))
	assert.NoError(t, says(conn))
}

func TestLimit(t *testing.T) {
	conns := dialN(t, 5, "127.0.0.9", echo(t, "tcp4", "127.0.0.1:0"))
	ended := make(chan Ended, 1)
	allowed, stop, err := Limit(4, func(e Ended) { ended <- e })
	require.NoError(t, err)
	assert.Equal(t, 4, allowed)
	_, _, err = Limit(4, nil)
	require.ErrorIs(t, err, ErrLimited)
	assert.Equal(t, Ended{Address: netip.MustParseAddr("127.0.0.9"), Had: 5, Ended: 3, Limit: 4}, <-ended)
	assert.Equal(t, 2, serving(conns))
	stop()
	stop()
	_, stop, err = Limit(4, nil)
	require.NoError(t, err)
	stop()
}

// isLetIn tells whether there is a connection in a time that is ample on loopback.
func isLetIn(t *testing.T, from, to string) bool {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 500 * time.Millisecond}).DialContext(t.Context(), "tcp", to)
	if err == nil {
		require.NoError(t, conn.Close())
		return true
	}
	require.True(t, os.IsTimeout(err), err)
	return false
}

// Who has had connections ended gets no new ones to that port, for a second and until
// he has fewer than he may have.
func TestBar(t *testing.T) {
	l := limit(t, 8)
	flooded, other := echo(t, "tcp4", "127.0.0.1:0"), echo(t, "tcp4", "127.0.0.1:0")
	conns := dialN(t, 5, "127.0.0.9", flooded)
	now := time.Now()
	ended, _ := l.sweep(now)
	require.Len(t, ended, 1)
	assert.False(t, isLetIn(t, "127.0.0.9", flooded))
	assert.True(t, isLetIn(t, "127.0.0.8", flooded))
	assert.True(t, isLetIn(t, "127.0.0.9", other))
	assert.Equal(t, 4, serving(conns), "what it has goes on")

	l.sweep(now.Add(atLeast))
	assert.False(t, isLetIn(t, "127.0.0.9", flooded), "it has all that it may have")
	for _, conn := range conns {
		require.NoError(t, conn.Close())
	}
	require.Eventually(t, func() bool { connections, _ := l.sockets(); return len(connections) == 0 }, 10*time.Second, time.Millisecond)
	l.sweep(now.Add(atLeast / 2))
	assert.False(t, isLetIn(t, "127.0.0.9", flooded), "the second is not over")
	assert.Empty(t, l.look(now.Add(2*atLeast)))
	assert.True(t, isLetIn(t, "127.0.0.9", flooded))
}

// Nobody is barred from a listener that goes on when the limiter has ended.
func TestBarEnds(t *testing.T) {
	l, err := newLimiter(2)
	require.NoError(t, err)
	server := echo(t, "tcp4", "127.0.0.1:0")
	dialN(t, 2, "127.0.0.9", server)
	require.Len(t, sweep(l), 1)
	require.False(t, isLetIn(t, "127.0.0.9", server))
	l.close()
	assert.True(t, isLetIn(t, "127.0.0.9", server))
}

func TestBarredAddresses(t *testing.T) {
	needIPv6(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "[::]:0")
	require.NoError(t, err)
	serve(t, listener)
	port := netip.MustParseAddrPort(listener.Addr().String()).Port()
	l := limit(t, 2)
	for _, tt := range []struct {
		barred             []string
		eight, nine, local bool // 127.0.0.8, 127.0.0.9, ::1 are let in
	}{
		{nil, true, true, true},
		{[]string{"127.0.0.9"}, true, false, true},
		{[]string{"127.0.0.2", "127.0.0.9", "127.0.0.3"}, true, false, true},
		{[]string{"::1"}, true, true, false},
		{[]string{"2001:db8::1", "::1", "2001:db8::2"}, true, true, false},
		{[]string{"2001:db8::1", "::2", "1::1", "0:1::1", "::1:0:1"}, true, true, true},
		{[]string{"127.0.0.8", "::1", "127.0.0.9"}, false, false, false},
	} {
		t.Run(fmt.Sprint(tt.barred), func(t *testing.T) {
			clear(l.barred)
			for _, client := range tt.barred {
				l.barred[stream{netip.MustParseAddr(client), port}] = time.Now()
			}
			_, l.listeners = l.sockets()
			l.bar()
			assert.Equal(t, tt.eight, isLetIn(t, "127.0.0.8", fmt.Sprintf("127.0.0.1:%d", port)))
			assert.Equal(t, tt.nine, isLetIn(t, "127.0.0.9", fmt.Sprintf("127.0.0.1:%d", port)))
			assert.Equal(t, tt.local, isLetIn(t, "::1", fmt.Sprintf("[::1]:%d", port)))
		})
	}
}

// A listener for MPTCP takes no filter; what is let in is ended all the same.
func TestMultipath(t *testing.T) {
	config := net.ListenConfig{}
	config.SetMultipathTCP(true)
	listener, err := config.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	serve(t, listener)
	l := limit(t, 2)
	_, listeners := l.sockets()
	require.Len(t, listeners, 1)
	if protocol, _ := unix.GetsockoptInt(listeners[0].descriptor, unix.SOL_SOCKET, unix.SO_PROTOCOL); protocol != unix.IPPROTO_MPTCP {
		t.Skip("this machine has no MPTCP")
	}
	for range 2 {
		conns := dialN(t, 3, "127.0.0.9", listener.Addr().String())
		require.Len(t, sweep(l), 1)
		assert.LessOrEqual(t, serving(conns), 1)
	}
}

// What a look costs while there are few connections, and one that counts many.
func BenchmarkLook(b *testing.B) {
	for _, n := range []int{100, 2000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			dialN(b, n, "127.0.0.9", echo(b, "tcp4", "127.0.0.1:0"))
			l := limit(b, 1<<20)
			b.Run("at rest", func(b *testing.B) {
				now := time.Now()
				l.look(now)
				b.ReportAllocs()
				for b.Loop() {
					l.look(now)
				}
			})
			b.Run("counts", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					l.sweep(time.Now())
				}
			})
		})
	}
}
