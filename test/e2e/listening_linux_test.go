// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
)

// declaredRow is a line of the table of ports in docs/security.md: port, what it
// is for, and where it is in each mode.
var declaredRow = regexp.MustCompile(`(?m)^\| (\d+)(/udp)? \| [^|]+ \| ([a-z–]+) \| ([a-z–]+) \| ([a-z–]+) \|$`)

// declaredPorts returns what docs/security.md says that a mode listens on.
func declaredPorts(t *testing.T, mode, podIP string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "security.md"))
	require.NoError(t, err)
	column := map[string]int{"console": 3, "sidecar": 4, "agent": 5, "gateway": 5}[mode]
	var addresses []string
	for _, row := range declaredRow.FindAllStringSubmatch(string(raw), -1) {
		switch row[column] {
		case "localhost":
			addresses = append(addresses, net.JoinHostPort("127.0.0.1", row[1]))
		case "pod":
			addresses = append(addresses, net.JoinHostPort(podIP, row[1]))
		case "–":
		default:
			t.Fatalf("%q is nowhere that is known", row[0])
		}
	}
	require.NotEmpty(t, addresses)
	return addresses
}

// With the files as they are, no port moved, each mode listens on what
// docs/security.md declares and on nothing else; what is for its operator on
// localhost alone. It runs in a network of its own, where all ports are free.
func TestDeclaredPorts(t *testing.T) {
	const podIP = "127.0.0.2"
	if out, err := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "--net", "true").CombinedOutput(); err != nil {
		t.Skipf("this machine gives no network namespaces: %v %s", err, out)
	}
	for _, name := range []string{"console", "sidecar", "agent", "gateway"} {
		t.Run(name, func(t *testing.T) {
			config := mode(name).config(t, "console", map[string]string{"POD_IP": podIP})
			if name == "console" {
				config = collector.Config{Files: []string{"console.yaml"}}
			}
			test, err := os.Executable()
			require.NoError(t, err)
			command := append([]string{collector.Binary(t)}, config.Args(t)...)
			p := harness.Start(t, harness.Spec{
				Path: "/usr/bin/unshare",
				Args: []string{"--user", "--map-root-user", "--net", test, "-test.run=^TestInOwnNetwork$"},
				Env:  config.With(map[string]string{ownNetwork: strings.Join(command, "\x1f")}).Env,
			})
			p.Stderr.Await(t, "Everything is ready")
			declared := declaredPorts(t, name, podIP)
			assert.ElementsMatch(t, declared, p.Listening(t))
			for _, port := range []string{"13133", "55679", "1777"} {
				assert.Contains(t, declared, net.JoinHostPort("127.0.0.1", port))
			}
		})
	}
}

const ownNetwork = "RUN_IN_OWN_NETWORK"

// TestInOwnNetwork is no test: it is what runs in the network that
// TestDeclaredPorts makes. It brings up its loopback interface and becomes the
// collector.
func TestInOwnNetwork(t *testing.T) {
	command, ok := os.LookupEnv(ownNetwork)
	if !ok {
		return
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	require.NoError(t, err)
	lo, err := unix.NewIfreq("lo")
	require.NoError(t, err)
	lo.SetUint16(unix.IFF_UP)
	require.NoError(t, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo))
	require.NoError(t, unix.Close(fd))
	args := strings.Split(command, "\x1f")
	require.NoError(t, syscall.Exec(args[0], args, os.Environ()))
}
