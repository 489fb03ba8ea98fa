// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNamedHost(t *testing.T) {
	for name, tt := range map[string]struct {
		host string
		port int64
		want hostPort
	}{
		"a name":                     {host: "shop", want: hostPort{host: "shop"}},
		"a name and a port":          {host: "shop", port: 8080, want: hostPort{"shop", 8080}},
		"both in the name":           {host: "127.0.0.1:8080", want: hostPort{"127.0.0.1", 8080}},
		"both, and the port as well": {host: "127.0.0.1:8080", port: 8080, want: hostPort{"127.0.0.1", 8080}},
		"the attribute decides":      {host: "shop:80", port: 8080, want: hostPort{"shop", 8080}},
		"an IPv6 address":            {host: "fd00::1", port: 8080, want: hostPort{"fd00::1", 8080}},
		"an IPv6 address, both":      {host: "[fd00::1]:8080", want: hostPort{"[fd00::1]", 8080}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, namedHost(tt.host, tt.port))
		})
	}
}
