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
		func() component.Config { return &Config{} },
		func(_ context.Context, set extension.Settings, _ component.Config) (extension.Extension, error) {
			return newRefusals(set)
		},
		metadata.ExtensionStability,
	)
}
