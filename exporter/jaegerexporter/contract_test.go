// SPDX-License-Identifier: Apache-2.0

package jaegerexporter

import (
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/jaegerreceiver"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pipeline"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// The collector's contract between exporters and receivers, with contrib's jaeger
// receiver on the other side of a real connection: what may succeed later is sent
// again until it does, what never will is sent once.
func TestConsumeContract(t *testing.T) {
	address := harness.FreeAddress(t)
	receiver := jaegerreceiver.NewFactory()
	receiverConfig := receiver.CreateDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(map[string]any{
		"protocols": map[string]any{"grpc": map[string]any{"endpoint": address}},
	}).Unmarshal(receiverConfig))
	require.NoError(t, confmap.Validate(receiverConfig))

	exportertest.CheckConsumeContract(exportertest.CheckConsumeContractParams{
		T:                    t,
		NumberOfTestElements: 100,
		Signal:               pipeline.SignalTraces,
		ExporterFactory:      NewFactory(),
		ExporterConfig:       load(t, quick(&collector{address: address})),
		ReceiverFactory:      receiver,
		ReceiverConfig:       receiverConfig,
	})
}
