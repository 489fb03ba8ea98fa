// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be the program, run as root with CAP_CHOWN alone.
// A process keeps of root's capabilities what its bounding set has when it is
// executed, and the set is a thread's until then.
func TestMain(m *testing.M) {
	switch os.Getenv("PODHELPER_TEST") {
	case "":
		os.Exit(m.Run())
	case "drop":
		runtime.LockOSThread()
		for capability := range uintptr(64) {
			if capability == unix.CAP_CHOWN {
				continue
			}
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
				panic(err)
			}
		}
		panic(unix.Exec("/proc/self/exe", os.Args, []string{"PODHELPER_TEST=run"}))
	case "run":
		main()
	}
}

// tree makes a directory as the kubelet and a collector of another user leave
// it: root's at the top, closed to all but their owner below.
func tree(t *testing.T) string {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "state")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "queue", "deep"), 0o700))
	for _, name := range []string{"top", "queue/file", "queue/deep/file"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(top, "outside"), nil, 0o600))
	require.NoError(t, os.Symlink(filepath.Join(top, "outside"), filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink(top, filepath.Join(dir, "queue", "up")))
	return dir
}

// owners returns "uid:gid" by the path below the directory.
func owners(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		name, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		stat := info.Sys().(*syscall.Stat_t)
		found[name] = strconv.Itoa(int(stat.Uid)) + ":" + strconv.Itoa(int(stat.Gid))
		return nil
	}))
	return found
}

func all(owner string) map[string]string {
	want := map[string]string{}
	for _, name := range []string{".", "link", "queue", "queue/deep", "queue/deep/file", "queue/file", "queue/up", "top"} {
		want[name] = owner
	}
	return want
}

// Who owns everything already may run it, whoever he is.
func TestOwnWhatIsOwned(t *testing.T) {
	dir := tree(t)
	uid, gid := strconv.Itoa(os.Getuid()), strconv.Itoa(os.Getgid())
	code, said := call(t, "own", "-uid", uid, "-gid", gid, dir)
	assert.Equal(t, 0, code)
	assert.Empty(t, said)
	assert.Equal(t, all(uid+":"+gid), owners(t, dir))
}

func TestOwnRefuses(t *testing.T) {
	dir := tree(t)
	for path, want := range map[string]string{
		"/":                          "whole file system",
		filepath.Join(dir, "top"):    "not a directory",
		filepath.Join(dir, "link"):   "not a directory",
		filepath.Join(dir, "absent"): "no such file",
	} {
		code, said := call(t, "own", path)
		assert.Equal(t, 1, code, path)
		assert.Contains(t, said, want, path)
	}
}

// As the agent's init container runs it: root, with CAP_CHOWN and no other
// capability, so that what another user has closed is closed to it as well.
func TestOwnNeedsChownAlone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to give files away")
	}
	dir := tree(t)
	outside := owners(t, filepath.Join(dir, "..", "outside"))
	program := filepath.Join(dir, "..", "podhelper")
	self, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, self, 0o755))

	// The second run finds what the first has left: all of it another user's.
	for _, owner := range []string{"10001", "10002"} {
		cmd := exec.CommandContext(t.Context(), program, "own", "-uid", owner, "-gid", owner, dir)
		cmd.Env = []string{"PODHELPER_TEST=drop"}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		assert.Empty(t, string(out))
		assert.Equal(t, all(owner+":"+owner), owners(t, dir))
	}
	assert.Equal(t, outside, owners(t, filepath.Join(dir, "..", "outside")), "followed a link")
}
