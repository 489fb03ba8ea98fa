// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"

	"github.com/otelcol-custom/otelcol-custom/extension/refusalsextension/internal/metadata"
)

// NewFactory returns the factory of the refusals extension.
func NewFactory() extension.Factory {
	return extension.NewFactory(
		metadata.Type,
		newDefaultConfig,
		func(_ context.Context, set extension.Settings, config component.Config) (extension.Extension, error) {
			return newRefusals(set, config.(*Config))
		},
		metadata.ExtensionStability,
	)
}
