// SPDX-License-Identifier: Apache-2.0

//go:build image && linux

package image

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// podman is Podman with storage and settings of its own.
type podman struct{ env []string }

func newPodman(t *testing.T) podman {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root")
	}
	for _, name := range []string{"podman", "runc"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("needs %s: %v", name, err)
		}
	}
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	p := podman{env: append(os.Environ(),
		"CONTAINERS_STORAGE_CONF="+write("storage.conf", fmt.Sprintf(`[storage]
driver = "vfs"
graphroot = %q
runroot = %q
`, filepath.Join(dir, "storage"), filepath.Join(dir, "run"))),
		// Works where there is no systemd, and where limits may not be raised.
		"CONTAINERS_CONF="+write("containers.conf", fmt.Sprintf(`[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = %q
volume_path = %q
`, filepath.Join(dir, "tmp"), filepath.Join(dir, "volumes"))),
	)}
	t.Cleanup(func() {
		// Podman wants to remove timers for health checks, and fails where there are none.
		if _, err := p.try("rm", "--all", "--force", "--time", "0"); err != nil {
			t.Errorf("remove the containers: %v", err)
		}
		harness.Await(t, "the end of what Podman leaves behind a container", func() error { return unused(dir) })
	})
	return p
}

// unused returns an error while a process has the folder in its command line.
func unused(dir string) error {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), dir) { // else it has ended
			return fmt.Errorf("%s: %q", file, line)
		}
	}
	return nil
}

// try runs Podman and returns what it prints on standard output.
func (p podman) try(args ...string) (string, error) {
	cmd := exec.Command("podman", args...)
	cmd.Env = p.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("podman %s: %w\n%s", strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(string(out)), err
}

func (p podman) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.try(args...)
	require.NoError(t, err)
	return out
}

// container is a running container, reached without a network of its own: by
// connections made in its network namespace.
type container struct {
	podman
	id  string
	pid int
}

// lockedDown is how the image is to be run. Its root is read-only without the
// temporary file systems that Podman adds, and health is asked by the test alone,
// since where there is no systemd Podman has no timers.
var lockedDown = []string{
	"--read-only", "--read-only-tmpfs=false", "--cap-drop", "all", "--security-opt", "no-new-privileges",
	"--network", "none", "--memory", "200m", "--memory-swap", "200m", "--pids-limit", "100", "--health-interval", "disable",
}

// start runs the image with more options of podman run, and with arguments.
func (p podman) start(t *testing.T, image string, options []string, args ...string) container {
	t.Helper()
	c := p.launch(t, append(append(append(slices.Clone(lockedDown), options...), image), args...))
	c.awaitHealthy(t)
	return c
}

// launch runs a container with arguments of podman run.
func (p podman) launch(t *testing.T, args []string) container {
	t.Helper()
	c := container{podman: p, id: p.run(t, append([]string{"run", "--detach"}, args...)...)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the container's log:\n%s", c.logs(t))
		}
	})
	pid, err := strconv.Atoi(p.run(t, "inspect", "--format", "{{.State.Pid}}", c.id))
	require.NoError(t, err)
	c.pid = pid
	return c
}

func (c container) awaitHealthy(t *testing.T) {
	t.Helper()
	harness.Await(t, "the image's health check", func() error {
		_, err := c.try("healthcheck", "run", c.id)
		return err
	})
}

// logs returns both outputs of the container.
func (c container) logs(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("podman", "logs", c.id)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	require.NoError(t, err)
	return string(out)
}

// exec runs a command in the container and returns its exit code and output.
func (c container) exec(t *testing.T, command ...string) (int, string) {
	t.Helper()
	cmd := exec.Command("podman", append([]string{"exec", c.id}, command...)...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil {
		require.ErrorAs(t, err, &exit)
		return exit.ExitCode(), string(out)
	}
	return 0, string(out)
}

// status returns a line of /proc/PID/status.
func (c container) status(t *testing.T, key string) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(raw)) {
		if name, value, _ := strings.Cut(line, ":"); name == key {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %s in the status of process %d", key, c.pid)
	return ""
}

// GRPC implements telemetry.Target.
func (c container) GRPC(tb testing.TB) string { return c.forward(tb, "127.0.0.1:4317") }

// HTTP implements telemetry.Target.
func (c container) HTTP(tb testing.TB) string { return c.forward(tb, "127.0.0.1:4318") }

// forward leads an address of this machine to one of the container.
func (c container) forward(tb testing.TB, to string) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return // closed
			}
			far, err := c.dial(to)
			if err != nil {
				_ = near.Close() // the client sees it
				continue
			}
			go pipe(near, far)
			go pipe(far, near)
		}
	}()
	return listener.Addr().String()
}

func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from) // ends when either end is closed
	_ = to.Close()
	_ = from.Close()
}

// dial connects in the container's network namespace, by a thread that ends with it.
func (c container) dial(address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is the container's now
		conn, err := func() (net.Conn, error) {
			ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.pid))
			if err != nil {
				return nil, err
			}
			defer func() { _ = ns.Close() }()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return nil, err
			}
			return new(net.Dialer).Dial("tcp4", address)
		}()
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}
