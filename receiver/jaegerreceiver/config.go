// SPDX-License-Identifier: Apache-2.0

package jaegerreceiver

import (
	"errors"
	"fmt"

	upstream "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/jaegerreceiver"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
)

// maxDatagram is what UDP carries.
const maxDatagram = 65507

// Config is what users write under jaeger: what contrib's receiver takes.
type Config struct {
	Upstream upstream.Config `mapstructure:",squash"`

	_ struct{}
}

var _ component.Config = (*Config)(nil)

// Validate checks what upstream does not.
func (c *Config) Validate() error {
	return errors.Join(
		validateUDP("thrift_compact", c.Upstream.Protocols.ThriftCompactUDP),
		validateUDP("thrift_binary", c.Upstream.Protocols.ThriftBinaryUDP),
	)
}

func validateUDP(protocol string, optional configoptional.Optional[upstream.ProtocolUDP]) error {
	if !optional.HasValue() {
		return nil
	}
	udp := optional.Get().ServerConfigUDP
	var errs []error
	between := func(key string, value, least, most int) {
		if value < least || value > most {
			errs = append(errs, fmt.Errorf("protocols::%s::%s: %d is not between %d and %d", protocol, key, value, least, most))
		}
	}
	between("queue_size", udp.QueueSize, 1, 1<<20)
	between("workers", udp.Workers, 1, 1<<10)
	between("max_packet_size", udp.MaxPacketSize, 1, maxDatagram)
	between("socket_buffer_size", udp.SocketBufferSize, 0, 1<<30)
	return errors.Join(errs...)
}
