// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"path/filepath"
	"runtime"
	"testing"
)

// Root returns the top folder of the repository.
func Root(tb testing.TB) string {
	tb.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		tb.Fatal("cannot find the repository: the test was built with -trimpath")
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}
