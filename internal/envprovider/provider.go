// SPDX-License-Identifier: Apache-2.0

// Package envprovider is the collector's own environment variable provider
// (`${env:NAME}`, `${env:NAME:-default}`) with one difference: a variable that
// is not set and has no default is an error that names it. Upstream puts an
// empty value in its place, so that a forgotten password shows only as a
// backend's refusals, hours later.
//
// A variable that is set to the empty string counts as set. The provider holds
// no state and may be used concurrently.
package envprovider

import (
	"context"
	"fmt"
	"os"
	"strings"

	"go.opentelemetry.io/collector/confmap"
	upstream "go.opentelemetry.io/collector/confmap/provider/envprovider"
)

// NewFactory returns the factory of the provider of scheme "env".
func NewFactory() confmap.ProviderFactory {
	return confmap.NewProviderFactory(func(set confmap.ProviderSettings) confmap.Provider {
		return provider{upstream.NewFactory().Create(set)}
	})
}

type provider struct {
	confmap.Provider
}

// Retrieve resolves uri, "env:NAME" or "env:NAME:-default".
func (p provider) Retrieve(ctx context.Context, uri string, watcher confmap.WatcherFunc) (*confmap.Retrieved, error) {
	retrieved, err := p.Provider.Retrieve(ctx, uri, watcher)
	if err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(uri, p.Scheme()+":")
	if strings.Contains(name, ":-") {
		return retrieved, nil
	}
	if _, ok := os.LookupEnv(name); !ok {
		return nil, fmt.Errorf("environment variable %s is not set; set it, or write ${env:%s:-VALUE} to give it a default", name, name)
	}
	return retrieved, nil
}
