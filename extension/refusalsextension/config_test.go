// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

func TestConfig(t *testing.T) {
	all, err := confmaptest.LoadConf("testdata/config.yaml")
	require.NoError(t, err)
	for name, want := range map[string]*Config{
		"refusals":          {MaxDecodedMiB: 32, MaxInFlightMiB: 256, MaxConnections: 1000},
		"refusals/defaults": {MaxDecodedMiB: 64, MaxInFlightMiB: 128, MaxConnections: 4096},
	} {
		conf, err := all.Sub(name)
		require.NoError(t, err)
		cfg := NewFactory().CreateDefaultConfig()
		require.NoError(t, conf.Unmarshal(cfg))
		require.NoError(t, confmap.Validate(cfg))
		assert.Equal(t, want, cfg)
	}
}

func TestValidate(t *testing.T) {
	for name, tt := range map[string]struct {
		config Config
		err    string
	}{
		"zero":     {Config{MaxInFlightMiB: 1}, "max_decoded_mib: 0; allowed are 1 to 1073741824"},
		"negative": {Config{MaxDecodedMiB: -1, MaxInFlightMiB: 1}, "max_decoded_mib: -1; allowed are 1 to 1073741824"},
		"huge":     {Config{MaxDecodedMiB: 1, MaxInFlightMiB: 1<<31 + 1}, "max_in_flight_mib: 2147483649; allowed are twice max_decoded_mib (2) to 2147483648"},
		"one":      {Config{MaxDecodedMiB: 1, MaxInFlightMiB: 2, MaxConnections: 1}, "max_connections: 1; allowed are 2 to 1048576: half of it is for one client"},
		"many":     {Config{MaxDecodedMiB: 1, MaxInFlightMiB: 2, MaxConnections: 1<<20 + 1}, "max_connections: 1048577; allowed are 2 to 1048576"},
		"less":     {Config{MaxDecodedMiB: 2, MaxInFlightMiB: 3}, "max_in_flight_mib: 3; allowed are twice max_decoded_mib (4) to 2147483648"},
	} {
		assert.ErrorContains(t, tt.config.Validate(), tt.err, name)
	}
}
