// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// hostPort is one end of a connection. A zero port is unknown or not worth saying.
type hostPort struct {
	host string
	port int64
}

func (h hostPort) appendTo(t *text) {
	if h.host == "" {
		return
	}
	if h.port == 0 {
		t.str(h.host)
		return
	}
	if strings.IndexByte(h.host, ':') >= 0 && h.host[0] != '[' { // an IPv6 address
		t.str("[")
		t.str(h.host)
		t.str("]")
	} else {
		t.str(h.host)
	}
	t.str(":")
	t.int(h.port)
}

// withoutHTTPPort drops the port that the scheme implies; without a scheme, either of the two.
func (h hostPort) withoutHTTPPort(scheme string) hostPort {
	switch {
	case h.port == 80 && !strings.EqualFold(scheme, "https"),
		h.port == 443 && !strings.EqualFold(scheme, "http"):
		h.port = 0
	}
	return h
}

// splitHostPort takes host:port, [v6]:port, a bare host or a bare v6 address.
func splitHostPort(s string) hostPort {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 || (strings.IndexByte(s, ':') != colon && (s[0] != '[' || s[colon-1] != ']')) {
		return hostPort{host: s}
	}
	port, err := strconv.ParseUint(s[colon+1:], 10, 16)
	if err != nil {
		return hostPort{host: s}
	}
	return hostPort{host: s[:colon], port: int64(port)}
}

// namedHost is a host by the attributes for its name and its port. Some instrumentations, Flask's among them,
// put the Host header with its port into the name.
func namedHost(name string, port int64) hostPort {
	h := splitHostPort(name)
	if port != 0 {
		h.port = port
	}
	return h
}

// urlParts are the parts of an absolute URL that the mapping needs. ok is false for anything else.
type urlParts struct {
	scheme, path string
	host         hostPort
	ok           bool
}

// splitURL reads what stands there and corrects nothing: what an application recorded is what its users look for.
func splitURL(u string) (p urlParts) {
	i := strings.Index(u, "://")
	if i <= 0 {
		return p
	}
	p.scheme = u[:i]
	rest := u[i+3:]
	authority := rest
	p.path = "/"
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
		if rest[i] == '/' {
			p.path = rest[i:]
			if j := strings.IndexAny(p.path, "?#"); j >= 0 {
				p.path = p.path[:j]
			}
		}
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	p.host = splitHostPort(authority)
	p.ok = authority != ""
	return p
}

// httpMethod is the sign of an HTTP span.
func httpMethod(f *found) string { return f.str(attrHTTPRequestMethod, attrHTTPMethod) }

func httpStatus(f *found) (pcommon.Value, bool) {
	return f.first(attrHTTPResponseStatusCode, attrHTTPStatusCode)
}

func fullURL(f *found) string { return f.str(attrURLFull, attrHTTPURL) }

// httpTarget is the path with the query, in both conventions.
func httpTarget(f *found) (t text) {
	if path := f.str(attrURLPath); path != "" {
		t.str(path)
	}
	if query := f.str(attrURLQuery); query != "" {
		if query[0] != '?' {
			t.str("?")
		}
		t.str(query)
	}
	if t.empty() {
		t.str(f.str(attrHTTPTarget))
	}
	return t
}

// httpURL is the whole URL if the span has it, else it is put together from its parts if they suffice.
func httpURL(f *found, server bool) (t text) {
	if httpMethod(f) == "" {
		return t
	}
	if u := fullURL(f); u != "" {
		t.str(u)
		return t
	}
	scheme := f.str(attrURLScheme, attrHTTPScheme)
	target := httpTarget(f)
	host := httpHost(f, server).withoutHTTPPort(scheme)
	if scheme == "" || target.empty() || host.host == "" {
		return t
	}
	t.str(scheme)
	t.str("://")
	host.appendTo(&t)
	t.add(&target)
	return t
}

// httpHost is the server's name as the client wrote it. Without one, the server names itself and the client
// names its peer.
func httpHost(f *found, server bool) hostPort {
	if h := f.str(attrServerAddress); h != "" {
		return namedHost(h, f.int(attrServerPort))
	}
	if h := f.str(attrHTTPHost); h != "" {
		return splitHostPort(h)
	}
	if server {
		if h := f.str(attrHTTPServerName, attrNetHostName, attrNetHostIP); h != "" {
			return namedHost(h, f.int(attrNetHostPort))
		}
		return hostPort{}
	}
	return namedPeer(f)
}

// namedPeer is the other end by the attributes that are about the connection, names before addresses.
func namedPeer(f *found) hostPort {
	if h := f.str(attrNetPeerName, attrNetSockPeerName); h != "" {
		return namedHost(h, f.int(attrNetPeerPort))
	}
	if h := f.str(attrNetworkPeerAddress); h != "" {
		return namedHost(h, f.int(attrNetworkPeerPort))
	}
	if h := f.str(attrNetPeerIP, attrNetSockPeerAddr); h != "" {
		return namedHost(h, f.int(attrNetPeerPort))
	}
	return hostPort{}
}

// target is the node that a dependency leads to on the application map: the name the application gave it, else
// host and port. impliedPort is the port that goes without saying, zero for that of HTTP.
func target(f *found, impliedPort int64) (t text) {
	if service := f.str(attrServicePeerName, attrPeerService); service != "" {
		t.str(service)
		return t
	}
	host, scheme := hostPort{}, f.str(attrURLScheme, attrHTTPScheme)
	url := splitURL(fullURL(f))
	if scheme == "" {
		scheme = url.scheme
	}
	switch {
	case f.any(attrServerAddress):
		host = namedHost(f.str(attrServerAddress), f.int(attrServerPort))
	case f.any(attrHTTPHost):
		host = splitHostPort(f.str(attrHTTPHost))
	case url.ok:
		host = url.host
	default:
		host = namedPeer(f)
	}
	if impliedPort == 0 {
		host = host.withoutHTTPPort(scheme)
	} else if host.port == impliedPort {
		host.port = 0
	}
	host.appendTo(&t)
	return t
}

// brokerAddress is host/destination of a message, or as much of it as is known.
func brokerAddress(f *found) (t text) {
	host := hostPort{host: f.str(attrServerAddress)}
	if host.host == "" {
		host = namedPeer(f)
		host.port = 0
	}
	host.appendTo(&t)
	if destination := f.str(attrMessagingDestinationName, attrMessagingDestination, attrMessageBusDestination); destination != "" {
		if !t.empty() {
			t.str("/")
		}
		t.str(destination)
	}
	return t
}
