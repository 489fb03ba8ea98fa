// SPDX-License-Identifier: Apache-2.0

package connections

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// mostBarred is of one port; the connections of others are let in, and ended.
const mostBarred = 100

// bar has the system drop packets of who is barred from a port before there is a
// connection of them. Who opens connections as fast as he can takes the processor from
// all others even when each is ended at once, and a packet costs next to nothing.
//
// It is a help and no more: a listener for MPTCP, which Go makes when not told otherwise,
// takes no filter.
func (l *limiter) bar() {
	if !l.filters && len(l.barred) == 0 {
		return
	}
	clients := map[uint16][]netip.Addr{}
	for s := range l.barred {
		if of := clients[s.port]; len(of) < mostBarred {
			clients[s.port] = append(of, s.client)
		}
	}
	l.filter(func(port uint16) []unix.SockFilter { return without(clients[port]) })
	l.filters = len(l.barred) > 0
}

// barAll has packets of everybody dropped until bar is called, since it takes its time in
// a flood to count whose connections they are. Systems send again what has no answer,
// after a second. While a flood goes on, from more addresses than are barred, it is for the
// ports where somebody is barred: health's would else be closed again and again.
func (l *limiter) barAll() {
	flooded := map[uint16]bool{}
	for s := range l.barred {
		flooded[s.port] = true
	}
	l.filter(func(port uint16) []unix.SockFilter {
		if len(flooded) > 0 && !flooded[port] {
			return nil
		}
		return []unix.SockFilter{drop}
	})
	l.filters = true
}

// filter gives listeners their programs, or takes away what they have.
func (l *limiter) filter(programs func(port uint16) []unix.SockFilter) {
	for _, on := range l.listeners {
		if !l.hold(on.socket) {
			continue
		}
		if program := programs(on.port); program != nil {
			_ = unix.SetsockoptSockFprog(l.spare, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
				&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
		} else {
			_ = unix.SetsockoptInt(l.spare, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) // it may have none
		}
	}
	l.letGo()
}

// unfilter takes from a new connection what it has from its listener: one that was being
// made as barAll came would stay mute for ever.
func (l *limiter) unfilter(s socket) {
	if l.hold(s) {
		_ = unix.SetsockoptInt(l.spare, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) // nearly all have none
	}
}

// drop ends a program: nothing is left of the packet.
var drop = unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}

// without returns a program that drops packets from these addresses, none when there are
// none.
func without(clients []netip.Addr) []unix.SockFilter {
	const (
		header  = 0xfff00000 // IP's; an offset that is none of these is into TCP's
		source4 = header + 12
		source6 = header + 8
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		pass    = 1 << 31
	)
	if len(clients) == 0 {
		return nil
	}
	of4, of6 := []unix.SockFilter{{Code: load, K: source4}}, []unix.SockFilter(nil)
	for _, client := range clients {
		bytes := client.AsSlice()
		if client.Is4() {
			of4 = append(of4, unix.SockFilter{Code: equal, K: binary.BigEndian.Uint32(bytes), Jf: 1}, drop)
			continue
		}
		for i := range uint32(4) {
			of6 = append(of6, unix.SockFilter{Code: load, K: source6 + 4*i},
				unix.SockFilter{Code: equal, K: binary.BigEndian.Uint32(bytes[4*i:]), Jf: uint8(7 - 2*i)}) // to the next client
		}
		of6 = append(of6, drop)
	}
	of4 = append(of4, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: pass})
	of6 = append(of6, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: pass})
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: header},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xf0},
		{Code: equal, K: 4 << 4, Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(of4))},
	}
	return append(append(program, of4...), of6...)
}
