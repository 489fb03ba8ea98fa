// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import "go.opentelemetry.io/collector/component"

// Config has no keys: a server that names the extension under middlewares has it on.
type Config struct {
	_ struct{}
}

var _ component.Config = (*Config)(nil)
