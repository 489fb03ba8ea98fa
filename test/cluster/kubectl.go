// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// Kubectl runs kubectl as the administrator and returns what it prints.
func (c *Cluster) Kubectl(tb testing.TB, args ...string) string {
	tb.Helper()
	out, err := c.TryKubectl(tb, "", args...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// TryKubectl is [Cluster.Kubectl] that may fail, and that gives kubectl its input.
func (c *Cluster) TryKubectl(tb testing.TB, input string, args ...string) (string, error) {
	tb.Helper()
	// Not the test's context: clean-up calls this, too.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.file("bin/kubectl"), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "KUBECONFIG=" + c.file("admin.conf")}
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// StartKubectl starts a command of kubectl that goes on until the test ends.
func (c *Cluster) StartKubectl(tb testing.TB, args ...string) *harness.Process {
	tb.Helper()
	return harness.Start(tb, harness.Spec{Path: c.file("bin/kubectl"), Args: args, Env: map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": c.dir, "KUBECONFIG": c.file("admin.conf"),
	}})
}

// Apply applies YAML as `kubectl apply` does, with strict validation.
func (c *Cluster) Apply(tb testing.TB, yaml string) {
	tb.Helper()
	if _, err := c.TryKubectl(tb, yaml, "apply", "--validate=strict", "-f", "-"); err != nil {
		tb.Fatal(err)
	}
}

// keepLogs prints the end of what the programs of the node have logged.
func (c *Cluster) keepLogs(tb testing.TB) {
	tb.Helper()
	files, _ := filepath.Glob(c.file("log/*"))
	for _, file := range files {
		raw, _ := os.ReadFile(file)
		const most = 4 << 10
		tb.Logf("--- %s, its end\n%s", filepath.Base(file), raw[max(0, len(raw)-most):])
	}
}
