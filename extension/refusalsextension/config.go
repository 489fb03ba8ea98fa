// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/component"
)

// Config limits what requests take in memory once they are decoded, which is up to two
// hundred times what they take on the wire, and how many connections there are.
type Config struct {
	// MaxDecodedMiB is for one request. One that would take more is refused for good.
	MaxDecodedMiB int `mapstructure:"max_decoded_mib"`
	// MaxInFlightMiB is for all requests that are in progress, half of it for those
	// from one address. What would go over it is refused for now, and clients send it
	// again.
	MaxInFlightMiB int `mapstructure:"max_in_flight_mib"`
	// MaxConnections is for all servers of the collector, half of it for those from one
	// address. The last to come of those that are more are ended.
	MaxConnections int `mapstructure:"max_connections"`
	// prevent unkeyed literal initialization
	_ struct{}
}

var _ component.Config = (*Config)(nil)

func newDefaultConfig() component.Config {
	return &Config{MaxDecodedMiB: 64, MaxInFlightMiB: 128, MaxConnections: 4096}
}

// maxMiB keeps the number of bytes an int64.
const maxMiB = 1 << 30

// maxConnections is as many descriptors as Linux gives a process at most.
const maxConnections = 1 << 20

// Validate implements confmap.Validator.
func (c *Config) Validate() error {
	var errs []error
	if c.MaxDecodedMiB < 1 || c.MaxDecodedMiB > maxMiB {
		errs = append(errs, fmt.Errorf("max_decoded_mib: %d; allowed are 1 to %d", c.MaxDecodedMiB, maxMiB))
	}
	if c.MaxInFlightMiB < 2*c.MaxDecodedMiB || c.MaxInFlightMiB > 2*maxMiB {
		errs = append(errs, fmt.Errorf("max_in_flight_mib: %d; allowed are twice max_decoded_mib (%d) to %d: half of it is for one client",
			c.MaxInFlightMiB, 2*c.MaxDecodedMiB, 2*maxMiB))
	}
	if c.MaxConnections < 2 || c.MaxConnections > maxConnections {
		errs = append(errs, fmt.Errorf("max_connections: %d; allowed are 2 to %d: half of it is for one client", c.MaxConnections, maxConnections))
	}
	return errors.Join(errs...)
}
