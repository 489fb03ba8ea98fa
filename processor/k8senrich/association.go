// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"context"
	"net"
	"net/netip"

	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/podwatch"
)

const attributePodIP = "k8s.pod.ip"

// association finds the pods that telemetry is from by their addresses.
type association struct {
	watcher *podwatch.Watcher
}

// sender is who has sent a batch.
type sender struct {
	*association
	pods  podwatch.View
	ip    netip.Addr // not valid if nobody knows
	owner owner      // of the address that was asked for last
}

// owner is an answer of [podwatch.View.ByAddress].
type owner struct {
	ip     netip.Addr
	uid    string
	answer podwatch.Owner
	stale  bool
}

func (a *association) sender(ctx context.Context) *sender {
	return &sender{association: a, pods: a.watcher.Pods.View(), ip: addressOf(client.FromContext(ctx).Addr)}
}

// addressOf returns an address that is not valid if there is none.
func addressOf(addr net.Addr) netip.Addr {
	var ip netip.Addr
	switch a := addr.(type) {
	case *net.TCPAddr:
		ip, _ = netip.AddrFromSlice(a.IP)
	case *net.IPAddr:
		ip, _ = netip.AddrFromSlice(a.IP)
	case *net.UDPAddr:
		ip, _ = netip.AddrFromSlice(a.IP)
	}
	return ip.Unmap()
}

// associate gives a resource the UID of the pod that it is from, unless it names a
// pod itself: by UID, or by name.
func (s *sender) associate(attrs pcommon.Map, n *tally) {
	if str(attrs, attributePodUID) != "" {
		return
	}
	ip := s.ip
	if text := str(attrs, attributePodIP); text != "" {
		ip, _ = netip.ParseAddr(text)
		ip = ip.Unmap().WithZone("")
	} else {
		if str(attrs, attributePodName) != "" && str(attrs, attributeNamespace) != "" {
			return
		}
		if !ip.IsValid() {
			n.noAddress++
			return
		}
		attrs.EnsureCapacity(attrs.Len() + 2)
		// Who comes next may know whose it is, when nobody here does.
		attrs.PutStr(attributePodIP, ip.String())
	}
	o := s.ownerOf(ip)
	switch {
	case o.stale:
		n.addressStale++
	case o.answer == podwatch.OwnerContested:
		n.addressContested++
	case o.answer == podwatch.OwnerUnknown:
		n.addressUnknown++
	default:
		attrs.PutStr(attributePodUID, o.uid)
		n.podAssociation++
	}
}

// ownerOf asks once where all resources of a batch have one address.
func (s *sender) ownerOf(ip netip.Addr) owner {
	if s.owner.ip != ip || !ip.IsValid() {
		s.owner = owner{ip: ip, stale: s.watcher.Stale()}
		s.owner.uid, s.owner.answer = s.pods.ByAddress(ip)
	}
	return s.owner
}
