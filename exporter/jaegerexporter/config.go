// SPDX-License-Identifier: Apache-2.0

package jaegerexporter

import (
	"errors"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
)

// Config is what users write under jaeger. Its keys and defaults are those of the
// exporter that contrib removed after v0.85.0.
type Config struct {
	// TimeoutConfig bounds each call; a push may be several.
	TimeoutConfig exporterhelper.TimeoutConfig                             `mapstructure:",squash"`
	QueueConfig   configoptional.Optional[exporterhelper.QueueBatchConfig] `mapstructure:"sending_queue"`
	RetryConfig   configretry.BackOffConfig                                `mapstructure:"retry_on_failure"`
	ClientConfig  configgrpc.ClientConfig                                  `mapstructure:",squash"`

	_ struct{}
}

var _ component.Config = (*Config)(nil)

// Validate checks what configgrpc does not ask for.
func (c *Config) Validate() error {
	if c.ClientConfig.Endpoint == "" {
		return errors.New(`endpoint must not be empty; want host:port of Jaeger's gRPC port, for example "jaeger-collector:14250"`)
	}
	return nil
}
