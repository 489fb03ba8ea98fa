// SPDX-License-Identifier: Apache-2.0

// Package connections limits how many TCP connections others have to the servers of this
// process. What makes the servers lets nobody put a listener of his own in their place,
// so that connections are let in and, when there are too many, ended: looked for
// among the process's descriptors, and shut down. The server they belong to reads the end
// of its input and closes them. So it makes no difference which server it is, whether it
// speaks TLS, and whether the client has said anything yet.
//
// Left alone are connections that this process has opened, listeners, and all that is
// not TCP.
package connections

import (
	"errors"
	"net/netip"
)

// ErrLimited is returned when the process's connections are limited already.
var ErrLimited = errors.New("another instance limits the connections of this process")

// Ended is what was done to one address.
type Ended struct {
	Address netip.Addr
	Had     int // connections
	Ended   int // of these; the last ones to come
	Limit   int // of all addresses; half of it is for one
}
