// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/otelcol-custom/otelcol-custom/extension/refusalsextension/internal/metadata"
)

// The log says when there may be fewer connections than the configuration has, and which
// instance does not limit them.
func TestLimitInLog(t *testing.T) {
	var was unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	t.Cleanup(func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &was)) })
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 400, Max: was.Max}))
	core, logs := observer.New(zap.InfoLevel)
	start := func(maxConnections int) (end func()) {
		set := extensiontest.NewNopSettings(metadata.Type)
		set.Logger = zap.New(core)
		config := NewFactory().CreateDefaultConfig().(*Config)
		config.MaxConnections = maxConnections
		ext, err := NewFactory().Create(t.Context(), set, config)
		require.NoError(t, err)
		require.NoError(t, ext.Start(t.Context(), componenttest.NewNopHost()))
		return func() { require.NoError(t, ext.Shutdown(t.Context())) }
	}
	start(200)()
	require.Empty(t, logs.All())
	end := start(4096)
	defer end()
	require.Equal(t, 1, logs.Len())
	assert.Equal(t, zap.InfoLevel, logs.All()[0].Level)
	assert.Equal(t, map[string]any{"max_connections": int64(4096), "allowed": int64(200)}, logs.All()[0].ContextMap())
	start(4096)()
	assert.Equal(t, 1, logs.FilterMessage("Connections are limited by another instance of this extension").Len())
	assert.Equal(t, 2, logs.Len())
}
