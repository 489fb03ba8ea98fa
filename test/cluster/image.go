// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
)

// The names end as the kubelet completes them.
const (
	pauseImage = "docker.io/library/pause:test"
	// AppName is the name of the image of the test's app.
	AppName = "docker.io/library/app:test"
	// CollectorName is the name of the image under test, as in deploy/kustomize.
	CollectorName = "docker.io/library/otelcol-custom:dev"
)

// Image is an image from scratch: files and nothing else.
type Image struct {
	Name string
	// Files are paths in the image and the files they are copied from.
	Files      map[string]string
	Entrypoint []string
	User       string // "" is root
	// Own are empty directories that belong to 10001.
	Own []string
}

// Write writes the image as an archive that container runtimes import, and
// returns the file.
func (i Image) Write(tb testing.TB) string {
	tb.Helper()
	var layer bytes.Buffer
	t := tar.NewWriter(&layer)
	folders := map[string]bool{"/": true}
	for _, name := range slices.Sorted(maps.Keys(i.Files)) {
		addFolder(tb, t, folders, path.Dir(name), 0)
		raw, err := os.ReadFile(i.Files[name])
		fatal(tb, err)
		info, err := os.Stat(i.Files[name])
		fatal(tb, err)
		addEntry(tb, t, &tar.Header{Name: name[1:], Mode: int64(info.Mode().Perm() | 0o444)}, raw)
	}
	for _, name := range i.Own {
		addFolder(tb, t, folders, path.Dir(name), 0)
		addFolder(tb, t, folders, name, 10001)
	}
	fatal(tb, t.Close())
	sum := sha256.Sum256(layer.Bytes())
	config := map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": i.Entrypoint, "User": i.User, "WorkingDir": "/"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	}
	manifest := []map[string]any{{"Config": "config.json", "RepoTags": []string{i.Name}, "Layers": []string{"layer.tar"}}}

	file, err := os.Create(filepath.Join(tb.TempDir(), "image.tar"))
	fatal(tb, err)
	archive := tar.NewWriter(file)
	addEntry(tb, archive, &tar.Header{Name: "manifest.json", Mode: 0o644}, marshal(tb, manifest))
	addEntry(tb, archive, &tar.Header{Name: "config.json", Mode: 0o644}, marshal(tb, config))
	addEntry(tb, archive, &tar.Header{Name: "layer.tar", Mode: 0o644}, layer.Bytes())
	fatal(tb, archive.Close())
	fatal(tb, file.Close())
	return file.Name()
}

func addFolder(tb testing.TB, t *tar.Writer, made map[string]bool, name string, owner int) {
	tb.Helper()
	if made[name] {
		return
	}
	addFolder(tb, t, made, path.Dir(name), 0)
	made[name] = true
	fatal(tb, t.WriteHeader(&tar.Header{
		Typeflag: tar.TypeDir, Name: name[1:] + "/", Mode: 0o755, Uid: owner, Gid: owner,
	}))
}

func addEntry(tb testing.TB, t *tar.Writer, header *tar.Header, raw []byte) {
	tb.Helper()
	header.Size = int64(len(raw))
	fatal(tb, t.WriteHeader(header))
	_, err := t.Write(raw)
	fatal(tb, err)
}

func marshal(tb testing.TB, v any) []byte {
	tb.Helper()
	raw, err := json.Marshal(v)
	fatal(tb, err)
	return raw
}

// Import gives the node the image of an archive, under a name and under that
// which the archive has for it.
func (c *Cluster) Import(tb testing.TB, archive, name string) {
	tb.Helper()
	const ctr, space = "ctr", "--namespace=k8s.io"
	before := c.OnNode(tb, ctr, space, "images", "list", "--quiet")
	c.OnNode(tb, ctr, space, "images", "import", archive)
	for line := range strings.Lines(c.OnNode(tb, ctr, space, "images", "list", "--quiet")) {
		imported := strings.TrimSpace(line)
		// The kubelet's side adds each image under its digest, too.
		if imported != name && !strings.HasPrefix(imported, "sha256:") && !strings.Contains(before, imported) {
			c.OnNode(tb, ctr, space, "images", "tag", "--force", imported, name)
		}
	}
}

// AppImage writes the image of the test's app and returns the file.
func AppImage(tb testing.TB) string {
	tb.Helper()
	return Image{
		Name: AppName, Files: map[string]string{"/app": Binary(tb, "./test/cluster/app")},
		Entrypoint: []string{"/app"}, User: "10002:10002",
	}.Write(tb)
}

// CollectorImage returns the file of the image under test: $OTELCOL_IMAGE, or one
// that has in it what that of deploy/Dockerfile has.
func CollectorImage(tb testing.TB) string {
	tb.Helper()
	if file := os.Getenv("OTELCOL_IMAGE"); file != "" {
		return file
	}
	image := Image{
		Name: CollectorName,
		Files: map[string]string{
			"/otelcol-custom": collector.Binary(tb),
			"/podhelper":      Binary(tb, "./cmd/podhelper"),
		},
		Entrypoint: []string{"/otelcol-custom"}, User: "10001:10001",
		Own: []string{"/var/lib/otelcol-custom"},
	}
	configs := collector.Configs(tb)
	for _, pattern := range []string{"*.yaml", "*/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(configs, pattern))
		fatal(tb, err)
		for _, file := range files {
			name, err := filepath.Rel(configs, file)
			fatal(tb, err)
			image.Files["/etc/otelcol-custom/"+filepath.ToSlash(name)] = file
		}
	}
	return image.Write(tb)
}

// Binary builds a static binary of a package of this repository.
func Binary(tb testing.TB, pkg string) string {
	tb.Helper()
	out := filepath.Join(tb.TempDir(), path.Base(pkg))
	cmd := exec.CommandContext(tb.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Dir = harness.Root(tb)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	text := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = text, text
	if err := cmd.Run(); err != nil {
		tb.Fatalf("%s: %v\n%s", cmd, err, text)
	}
	return out
}
