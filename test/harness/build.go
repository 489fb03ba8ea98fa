// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Server is a real server whose version a Go module below test/servers pins.
type Server struct {
	Name    string // of the binary
	Folder  string // of the module, relative to the repository
	Module  string // that gives the version
	Package string // its command
}

// building holds a mutex for each path, so that tests of one process that need a
// server at the same time build it once.
var building sync.Map

// Build returns the path of the server's binary. It is built at the first use
// and kept in $XDG_CACHE_HOME/otelcol-custom (or the system's cache folder) in
// a folder named after everything that went into it; tests that build it at
// the same time get the same file.
func Build(tb testing.TB, s Server) string {
	tb.Helper()
	folder := filepath.Join(Root(tb), s.Folder)
	cache, err := os.UserCacheDir()
	if err != nil {
		tb.Fatalf("find the cache for built servers: %v", err)
	}
	out := filepath.Join(cache, "otelcol-custom", s.Name+"-"+s.version(tb, folder)+"-"+s.hash(tb, folder), s.Name)
	lock, _ := building.LoadOrStore(out, new(sync.Mutex))
	lock.(*sync.Mutex).Lock()
	defer lock.(*sync.Mutex).Unlock()
	if _, err := os.Stat(out); err == nil {
		return out
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		tb.Fatalf("make the cache for built servers: %v", err)
	}
	tb.Logf("building %s from %s, once", s.Name, s.Folder)
	// Unique, so that two processes do not write into one file, and in the same
	// folder, so that the rename is atomic.
	tmp := fmt.Sprintf("%s.%d", out, os.Getpid())
	defer func() { _ = os.Remove(tmp) }() // gone when renamed
	goRun(tb, folder, "build", "-o", tmp, s.Package)
	if err := os.Rename(tmp, out); err != nil {
		tb.Fatalf("keep the built server: %v", err)
	}
	return out
}

func (s Server) version(tb testing.TB, folder string) string {
	tb.Helper()
	return strings.TrimSpace(goRun(tb, folder, "list", "-m", "-f", "{{.Version}}", s.Module))
}

func (s Server) hash(tb testing.TB, folder string) string {
	tb.Helper()
	h := sha256.New()
	_, _ = fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH, s.Package) // a hash takes everything
	code, err := filepath.Glob(filepath.Join(folder, "*.go"))                          // a command of the module itself
	if err != nil {
		tb.Fatal(err)
	}
	for _, name := range append([]string{filepath.Join(folder, "go.mod"), filepath.Join(folder, "go.sum")}, code...) {
		raw, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		_, _ = h.Write(raw)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

func goRun(tb testing.TB, folder string, args ...string) string {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), "go", args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	stderr := new(strings.Builder)
	cmd.Stderr = stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("%s in %s: %v\n%s", cmd, folder, err, stderr)
	}
	return string(out)
}
