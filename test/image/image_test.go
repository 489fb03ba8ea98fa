// SPDX-License-Identifier: Apache-2.0

//go:build image && linux

package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

const (
	name      = "otelcol-custom:test"
	user      = 10001
	stateDir  = "/var/lib/otelcol-custom"
	configDir = "/etc/otelcol-custom"
	megabyte  = 1 << 20 // of podman's --memory
)

// build builds the image from a checkout and returns, by architecture, the
// archive and the id that were printed for it.
func (p podman) build(t *testing.T, checkout string, env ...string) map[string]built {
	t.Helper()
	dist := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(checkout, "tools", "image.sh"))
	cmd.Env = slices.Concat(p.env, []string{"ENGINE=podman", "VERSION=test", "DIST=" + dist, "BUILD=" + t.TempDir()}, env)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	images := map[string]built{}
	for _, m := range regexp.MustCompile(`(?m)^(\S+_linux_(\w+)\.image\.tar): otelcol-custom:test, (sha256:\S+)$`).FindAllStringSubmatch(string(out), -1) {
		images[m[2]] = built{archive: m[1], id: m[3]}
	}
	require.NotEmpty(t, images, string(out))
	return images
}

type built struct{ archive, id string }

// Two clones of one commit in two folders, built for both platforms with another
// umask and another time zone, give the same images.
func TestTwoBuildsGiveOneDigest(t *testing.T) {
	p := newPodman(t)
	clone := func() string {
		dir := filepath.Join(t.TempDir(), "clone")
		out, err := exec.CommandContext(t.Context(), "git", "clone", "--quiet", harness.Root(t), dir).CombinedOutput()
		require.NoError(t, err, string(out))
		return dir
	}
	one, two := clone(), clone()
	first := p.build(t, one, "TZ=UTC")
	old := syscall.Umask(0o077)
	second := p.build(t, two, "TZ=Asia/Tokyo")
	syscall.Umask(old)
	require.Equal(t, []string{"amd64", "arm64"}, slices.Sorted(maps.Keys(first)))
	for arch, image := range first {
		assert.Equal(t, image.id, second[arch].id, arch)
		assert.Equal(t, hash(t, image.archive), hash(t, second[arch].archive), arch)
		t.Logf("%s: %s", arch, image.id)
	}
	assert.NotEqual(t, first["amd64"].id, first["arm64"].id)
}

func hash(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// The image of this checkout, for this machine.
func TestImage(t *testing.T) {
	p := newPodman(t)
	before := revision(t)
	mine := p.importEmpty(t, name)
	archive := p.build(t, harness.Root(t), "ARCHS=amd64")["amd64"].archive
	assert.Equal(t, mine, p.run(t, "images", "--all", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"),
		"the build touches images of the user, or leaves its own")
	p.run(t, "load", "--quiet", "--input", archive)

	t.Run("files", func(t *testing.T) { checkFiles(t, archive) })
	t.Run("labels", func(t *testing.T) { p.checkLabels(t, before, revision(t)) })
	t.Run("locked down", func(t *testing.T) { p.checkLockedDown(t) })
	t.Run("queue", func(t *testing.T) { p.checkQueue(t) })
	t.Run("memory", func(t *testing.T) { p.checkMemory(t) })
	t.Run("validate", func(t *testing.T) { p.checkValidate(t) })
	t.Run("compose", func(t *testing.T) { p.checkCompose(t) })
}

// importEmpty makes an empty image of a name and returns its id and full name.
func (p podman) importEmpty(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "empty.tar")
	require.NoError(t, os.WriteFile(file, make([]byte, 1024), 0o600)) // the end of an archive
	return p.run(t, "import", "--quiet", file, name) + " localhost/" + name
}

// An engine that cannot build is told of before anything is built.
func TestEngine(t *testing.T) {
	bin := t.TempDir() // what the script needs up to there, without an engine
	for _, command := range []string{"bash", "dirname", "git", "sed"} {
		file, err := exec.LookPath(command)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(file, filepath.Join(bin, command)))
	}
	for engine, want := range map[string]string{
		"nerdctl": "ENGINE is nerdctl, and not one of podman, buildah, docker.\n",
		"buildah": "ENGINE is buildah, which is not here; podman, buildah and docker are allowed.\n",
		"":        "No podman, buildah or docker here to build an image with.\n",
	} {
		dist := filepath.Join(t.TempDir(), "dist")
		cmd := exec.CommandContext(t.Context(), filepath.Join(harness.Root(t), "tools", "image.sh"))
		cmd.Env = append(os.Environ(), "PATH="+bin, "ENGINE="+engine, "VERSION=test", "DIST="+dist)
		out, err := cmd.CombinedOutput()
		require.Error(t, err, engine)
		assert.Equal(t, want, string(out), engine)
		assert.NoDirExists(t, dist, engine)
	}
}

// checkFiles holds every file of the image: there is no other, none can be
// written by the user it runs as, and none gives more rights.
func checkFiles(t *testing.T, archive string) {
	files := unpack(t, archive)
	executables, directories := []string{}, []string{}
	for name, file := range files {
		assert.Zero(t, file.Mode&0o7000, "%s: setuid, setgid or sticky", name)
		switch file.Typeflag {
		case tar.TypeDir:
			directories = append(directories, name)
		case tar.TypeReg:
			assert.Zero(t, file.Mode&0o222, "%s can be written", name)
			if file.Mode&0o111 != 0 {
				executables = append(executables, name)
			}
		default:
			t.Errorf("%s is a link or a device", name)
		}
		if name == "var/lib/otelcol-custom/" {
			assert.Equal(t, []int{user, user, 0o700}, []int{file.Uid, file.Gid, int(file.Mode & 0o777)}, name)
			continue
		}
		assert.Equal(t, []int{0, 0}, []int{file.Uid, file.Gid}, name)
		assert.Zero(t, file.Mode&0o022, "%s can be written by others", name)
	}
	assert.ElementsMatch(t, []string{"otelcol-custom", "podhelper"}, executables)
	assert.Contains(t, directories, "var/lib/otelcol-custom/")

	for _, name := range executables {
		binary, err := elf.NewFile(bytes.NewReader(files[name].content))
		require.NoError(t, err, name)
		for _, p := range binary.Progs {
			assert.NotEqual(t, elf.PT_INTERP, p.Type, "%s is not static", name)
		}
		info, err := buildinfo.Read(bytes.NewReader(files[name].content))
		require.NoError(t, err, name)
		assert.Equal(t, "github.com/otelcol-custom/otelcol-custom/cmd/"+name, info.Path)
	}

	want := []string{
		"otelcol-custom", "podhelper", "etc/ssl/certs/ca-certificates.crt",
		"usr/share/doc/otelcol-custom/LICENSE", "usr/share/doc/otelcol-custom/THIRD-PARTY-LICENSES",
		"usr/share/sbom/otelcol-custom.cdx.json",
	}
	for _, config := range configs(t) {
		image := path.Join("etc/otelcol-custom", config)
		want = append(want, image)
		raw, err := os.ReadFile(filepath.Join(harness.Root(t), "configs", config))
		require.NoError(t, err)
		assert.Equal(t, string(raw), string(files[image].content), image)
	}
	var got []string
	for name, file := range files {
		if file.Typeflag == tar.TypeReg {
			got = append(got, name)
		}
	}
	assert.ElementsMatch(t, want, got)

	pool := x509.NewCertPool()
	assert.True(t, pool.AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"].content))

	sum := sha256.Sum256(files["otelcol-custom"].content)
	sbom := string(files["usr/share/sbom/otelcol-custom.cdx.json"].content)
	assert.Contains(t, sbom, hex.EncodeToString(sum[:]))
	assert.Contains(t, sbom, "pkg:golang/go.opentelemetry.io/collector/otelcol@v0.158.0")
	checkLicenses(t, sbom, string(files["usr/share/doc/otelcol-custom/THIRD-PARTY-LICENSES"].content))
}

// checkLicenses looks for each module of the SBOM above a license.
func checkLicenses(t *testing.T, sbom, licenses string) {
	t.Helper()
	var bom struct {
		Components []struct{ Name, Version, PURL string }
	}
	require.NoError(t, json.Unmarshal([]byte(sbom), &bom))
	modules, missing := 0, []string{}
	for _, c := range bom.Components {
		if c.PURL == "" {
			continue // a binary
		}
		modules++
		if !strings.Contains(licenses, "\n"+c.Name+" "+c.Version+": ") {
			missing = append(missing, c.Name+" "+c.Version)
		}
	}
	assert.Empty(t, missing, "without a license")
	assert.Greater(t, modules, 200)
	assert.Contains(t, licenses, "Copyright 2009 The Go Authors.")
}

// configs returns what a user can name behind --config, relative to configs/.
func configs(t *testing.T) []string {
	t.Helper()
	var found []string
	dir := filepath.Join(harness.Root(t), "configs")
	for _, pattern := range []string{"*.yaml", "backend/*.yaml", "secure/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		require.NoError(t, err)
		for _, file := range files {
			name, err := filepath.Rel(dir, file)
			require.NoError(t, err)
			if name != "kustomization.yaml" {
				found = append(found, name)
			}
		}
	}
	require.Contains(t, found, "gateway.yaml")
	return found
}

type file struct {
	*tar.Header
	content []byte
}

// unpack returns the files of an image by their path in it.
func unpack(t *testing.T, archive string) map[string]file {
	t.Helper()
	raw, err := os.Open(archive)
	require.NoError(t, err)
	defer func() { _ = raw.Close() }()
	outer := untar(t, raw)
	var manifests []struct{ Layers []string }
	require.NoError(t, json.Unmarshal(outer["manifest.json"].content, &manifests))
	require.Len(t, manifests, 1)
	require.Len(t, manifests[0].Layers, 1)
	z, err := gzip.NewReader(bytes.NewReader(outer[manifests[0].Layers[0]].content))
	require.NoError(t, err)
	return untar(t, z)
}

func untar(t *testing.T, r io.Reader) map[string]file {
	t.Helper()
	files := map[string]file{}
	for tr := tar.NewReader(r); ; {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		content, err := io.ReadAll(tr)
		require.NoError(t, err)
		files[header.Name] = file{header, content}
	}
}

func revision(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-C", harness.Root(t), "rev-parse", "HEAD").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// checkLabels holds what the image says of itself. The revision is one of two when
// there was a commit while it was built.
func (p podman) checkLabels(t *testing.T, revisions ...string) {
	var images []struct {
		User   string
		Labels map[string]string
	}
	require.NoError(t, json.Unmarshal([]byte(p.run(t, "image", "inspect", name)), &images))
	require.Len(t, images, 1)
	assert.Equal(t, "10001:10001", images[0].User)
	labels := images[0].Labels
	const prefix = "org.opencontainers.image."
	assert.Equal(t, "test", labels[prefix+"version"])
	assert.Contains(t, revisions, labels[prefix+"revision"])
	assert.Equal(t, "Apache-2.0", labels[prefix+"licenses"])
	assert.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`, labels[prefix+"created"])
	for _, label := range []string{"title", "description", "source", "documentation"} {
		assert.NotEmpty(t, labels[prefix+label], label)
	}
}

// checkLockedDown runs the image as it is, with its own command, and sees that it
// has no rights, and that it works.
func (p podman) checkLockedDown(t *testing.T) {
	c := p.start(t, name, nil)

	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		assert.Equal(t, strings.Repeat("0", 16), c.status(t, set), set)
	}
	assert.Equal(t, "1", c.status(t, "NoNewPrivs"))
	assert.Equal(t, strings.Fields("10001 10001 10001 10001"), strings.Fields(c.status(t, "Uid")))
	assert.Equal(t, strings.Fields("10001 10001 10001 10001"), strings.Fields(c.status(t, "Gid")))
	c.checkReadOnly(t)
	assert.Equal(t, 200*megabyte, c.memoryLimit(t))

	code, out := c.exec(t, "/podhelper", "healthy")
	assert.Equal(t, 0, code, out)
	code, out = c.exec(t, "/podhelper", "healthy", "-endpoint", "http://localhost:13134/")
	assert.Equal(t, 1, code, "no health check is there")
	assert.Contains(t, out, "connection refused")
	code, out = c.exec(t, "/podhelper", "drain", "-settle", "0s", "-timeout", "10s")
	assert.Equal(t, 0, code, out)
	for _, shell := range []string{"/bin/sh", "/bin/bash", "/busybox/sh"} {
		code, out = c.exec(t, shell, "-c", "true")
		assert.NotEqual(t, 0, code, shell)
		assert.Contains(t, out, "no such file or directory", shell)
	}

	for _, sender := range []telemetry.Sender{{Protocol: telemetry.GRPC}, {Protocol: telemetry.HTTPProtobuf}} {
		shop := telemetry.NewShop()
		require.NoError(t, telemetry.Dial(t, sender, c).Traces(t.Context(), shop.Traces))
		harness.Await(t, "the span on the console", func() error {
			if !strings.Contains(c.logs(t), shop.Page.String()) {
				return errors.New("not printed yet")
			}
			return nil
		})
	}

	c.run(t, "stop", "--time", "20", c.id)
	assert.Equal(t, "0", c.run(t, "inspect", "--format", "{{.State.ExitCode}}", c.id), "ends in order on SIGTERM")
}

// checkReadOnly holds the container's mounts: nothing in it can be written but
// what the kernel's own file systems let it.
func (c container) checkReadOnly(t *testing.T, writable ...string) {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", c.pid))
	require.NoError(t, err)
	root := false
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		_, kind, _ := strings.Cut(line, " - ")
		target, options := fields[4], strings.Split(fields[5], ",")
		kernel := slices.Contains([]string{"proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts"}, strings.Fields(kind)[0]) ||
			strings.HasPrefix(target, "/dev") || strings.HasPrefix(target, "/proc/") || strings.HasPrefix(target, "/sys/")
		if !kernel && !slices.Contains(writable, target) && !slices.Contains(options, "ro") {
			// What Podman mounts for itself, of its own files: names and the like.
			assert.Contains(t, []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv"}, target, line)
		}
		root = root || target == "/" && slices.Contains(options, "ro")
	}
	assert.True(t, root, "the root is not read-only")
}

// memoryLimit returns the limit that the kernel enforces.
func (c container) memoryLimit(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(raw)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		file := ""
		switch {
		case slices.Contains(strings.Split(parts[1], ","), "memory"):
			file = filepath.Join("/sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes")
		case parts[0] == "0":
			file = filepath.Join("/sys/fs/cgroup", parts[2], "memory.max")
		}
		if raw, err := os.ReadFile(file); err == nil {
			limit, err := strconv.Atoi(strings.TrimSpace(string(raw)))
			require.NoError(t, err)
			return limit
		}
	}
	t.Fatalf("no memory limit in\n%s", raw)
	return 0
}

// checkQueue runs a mode with its queue on a volume, which begins as the image's
// directory with the image's owner, and takes 200 MB of spans through it.
func (p podman) checkQueue(t *testing.T) {
	c := p.start(t, name, []string{"--volume", "queue:" + stateDir, "--env", "GOMEMLIMIT=160MiB"},
		"--config", configDir+"/sidecar.yaml",
		"--config", "yaml:exporters::debug: {verbosity: basic, sending_queue: {storage: file_storage}}")
	c.checkReadOnly(t, stateDir)

	client := telemetry.Dial(t, telemetry.Sender{Protocol: telemetry.GRPC}, c)
	const calls = 200
	sent, size := 0, 0
	for range calls {
		td := telemetry.NewShop().Traces
		span := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
		span.Attributes().PutStr("padding", strings.Repeat("x", 1<<20))
		sent += td.SpanCount()
		size += 1 << 20
		require.NoError(t, client.Traces(t.Context(), td))
	}
	assert.GreaterOrEqual(t, size, 200*megabyte)
	forwarded := c.forward(t, "127.0.0.1:8888")
	harness.Await(t, "spans at the exporter", func() error {
		metrics, err := harness.Get("http://" + forwarded + "/metrics")
		if err != nil {
			return err
		}
		m := regexp.MustCompile(`(?m)^otelcol_exporter_sent_spans\{.*exporter="debug".*\} (\S+)$`).FindSubmatch(metrics)
		if m == nil || string(m[1]) != strconv.Itoa(sent) {
			return fmt.Errorf("%s sent spans, want %d", m, sent)
		}
		return nil
	})
	queues, err := filepath.Glob(filepath.Join(c.run(t, "volume", "inspect", "--format", "{{.Mountpoint}}", "queue"), "queue", "exporter_debug_*"))
	require.NoError(t, err)
	assert.Len(t, queues, 3, "a queue for each signal")
	for _, queue := range queues {
		info, err := os.Stat(queue)
		require.NoError(t, err)
		assert.Equal(t, uint32(user), info.Sys().(*syscall.Stat_t).Uid)
		assert.Zero(t, info.Mode().Perm()&0o077, "%s is open to others", queue)
	}
	assert.Equal(t, "running", c.run(t, "inspect", "--format", "{{.State.Status}}", c.id))
}

// checkMemory gives the image less than it can live with, to see that a limit
// here is one: the kernel ends it.
func (p podman) checkMemory(t *testing.T) {
	options := append([]string{"run", "--detach"}, lockedDown...)
	id := p.run(t, append(options, "--memory", "8m", "--memory-swap", "8m", name)...)
	harness.Await(t, "the end of a container without memory", func() error {
		if state := p.run(t, "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", id); state != "exited 137" {
			return fmt.Errorf("%s, and not ended by SIGKILL", state)
		}
		return nil
	})
}

// checkValidate lets the image read each config that it holds, as a user would
// name it.
func (p podman) checkValidate(t *testing.T) {
	env := map[string]string{
		"POD_IP": "127.0.0.1", "NODE_NAME": "node-1", "JAEGER_ENDPOINT": "jaeger:4317", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otlp:4317",
		"APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=00000000-0000-0000-0000-000000000000;IngestionEndpoint=https://example.com/",
		"OPENOBSERVE_ENDPOINT":                  "https://openobserve.example", "OPENOBSERVE_USERNAME": "u", "OPENOBSERVE_PASSWORD": "p",
	}
	options := append([]string{"run", "--rm"}, lockedDown...)
	for _, key := range slices.Sorted(maps.Keys(env)) {
		options = append(options, "--env", key+"="+env[key])
	}
	for _, config := range configs(t) {
		if !strings.HasPrefix(config, "backend/") {
			continue
		}
		p.run(t, append(append(slices.Clone(options), "--volume", "queue:"+stateDir, name, "validate"),
			"--config", configDir+"/sidecar.yaml", "--config", path.Join(configDir, config))...)
	}
	p.run(t, append(slices.Clone(options), name, "validate", "--config", configDir+"/console.yaml")...)
}
