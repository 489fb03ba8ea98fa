// SPDX-License-Identifier: Apache-2.0

package harness_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// Tests that run side by side need the same server at the same time.
func TestBuildAtTheSameTime(t *testing.T) {
	gocache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	require.NoError(t, err)
	t.Setenv("GOCACHE", strings.TrimSpace(string(gocache))) // is below the other
	cache, module := t.TempDir(), t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache) // where XDG_CACHE_HOME is not looked at
	for name, text := range map[string]string{
		"go.mod": "module example.com/server\n\ngo 1.26\n", "go.sum": "", "main.go": "package main\n\nfunc main() {}\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(module, name), []byte(text), 0o600))
	}
	folder, err := filepath.Rel(harness.Root(t), module)
	require.NoError(t, err)
	server := harness.Server{Name: "server", Folder: folder, Module: "example.com/server", Package: "."}
	var paths [4]string
	var wg sync.WaitGroup
	for i := range paths {
		wg.Go(func() { paths[i] = harness.Build(t, server) })
	}
	wg.Wait()
	for _, path := range paths {
		assert.Equal(t, paths[0], path)
	}
	assert.FileExists(t, paths[0])
	left, err := os.ReadDir(filepath.Dir(paths[0]))
	require.NoError(t, err)
	assert.Len(t, left, 1)
}
