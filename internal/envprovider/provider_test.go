// SPDX-License-Identifier: Apache-2.0

package envprovider

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/yamlprovider"
)

func resolve(t *testing.T, yaml string) (map[string]any, error) {
	t.Helper()
	resolver, err := confmap.NewResolver(confmap.ResolverSettings{
		URIs:              []string{"yaml:" + yaml},
		ProviderFactories: []confmap.ProviderFactory{NewFactory(), yamlprovider.NewFactory()},
		DefaultScheme:     "env",
	})
	require.NoError(t, err)
	conf, err := resolver.Resolve(t.Context())
	if err != nil {
		return nil, err
	}
	return conf.ToStringMap(), nil
}

func TestRetrieve(t *testing.T) {
	t.Setenv("ENVPROVIDER_SET", "jaeger:4317")
	t.Setenv("ENVPROVIDER_EMPTY", "")
	for name, tt := range map[string]struct {
		yaml string
		want map[string]any
		err  string
	}{
		"set":                      {yaml: `k: ${env:ENVPROVIDER_SET}`, want: map[string]any{"k": "jaeger:4317"}},
		"set, within a string":     {yaml: `k: http://${env:ENVPROVIDER_SET}/`, want: map[string]any{"k": "http://jaeger:4317/"}},
		"empty counts as set":      {yaml: `k: ${env:ENVPROVIDER_EMPTY}`, want: map[string]any{"k": nil}},
		"unset with a default":     {yaml: `k: ${env:ENVPROVIDER_UNSET:-7}`, want: map[string]any{"k": 7}},
		"unset with empty default": {yaml: `k: ${env:ENVPROVIDER_UNSET:-}`, want: map[string]any{"k": ""}},
		"set beats the default":    {yaml: `k: ${env:ENVPROVIDER_SET:-x}`, want: map[string]any{"k": "jaeger:4317"}},
		"unset":                    {yaml: `k: ${env:ENVPROVIDER_UNSET}`, err: "environment variable ENVPROVIDER_UNSET is not set; set it, or write ${env:ENVPROVIDER_UNSET:-VALUE} to give it a default"},
		"unset, without a scheme":  {yaml: `k: ${ENVPROVIDER_UNSET}`, err: "environment variable ENVPROVIDER_UNSET is not set"},
		"unset, within a string":   {yaml: `k: http://${env:ENVPROVIDER_UNSET}/`, err: "environment variable ENVPROVIDER_UNSET is not set"},
		"not a name":               {yaml: `k: ${env:1+1}`, err: `environment variable "1+1" has invalid name`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := resolve(t, tt.yaml)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}
