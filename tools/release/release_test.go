// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const epoch = 1700000000 // 2023-11-14T22:13:20Z

// release runs the program and returns what it prints.
func release(t *testing.T, in string, args ...string) (string, error) {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", fmt.Sprint(epoch))
	var out bytes.Buffer
	err := run(args, strings.NewReader(in), &out)
	return out.String(), err
}

func writeFile(t *testing.T, mode fs.FileMode, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.WriteFile(file, []byte(content), mode))
	return file
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	return raw
}

func TestPackTar(t *testing.T) {
	program, text := writeFile(t, 0o600, "program"), writeFile(t, 0o777, "text")
	file := filepath.Join(t.TempDir(), "a.tar")
	_, err := release(t, "0700 10001 var/state\n0555 0 bin/program "+program+"\n\n0444 0 text "+text+"\n", "pack", file)
	require.NoError(t, err)

	type found struct {
		name    string
		kind    byte
		mode    int64
		owner   int
		content string
	}
	var got []found
	for r := tar.NewReader(bytes.NewReader(read(t, file))); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, int64(epoch), h.ModTime.Unix())
		assert.Equal(t, h.Uid, h.Gid)
		assert.Empty(t, h.Uname+h.Gname)
		got = append(got, found{h.Name, h.Typeflag, h.Mode, h.Uid, string(content)})
	}
	assert.Equal(t, []found{
		{"bin/", tar.TypeDir, 0o755, 0, ""},
		{"bin/program", tar.TypeReg, 0o555, 0, "program"},
		{"text", tar.TypeReg, 0o444, 0, "text"},
		{"var/", tar.TypeDir, 0o755, 0, ""},
		{"var/state/", tar.TypeDir, 0o700, 10001, ""},
	}, got)
}

func TestPackZip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.zip")
	_, err := release(t, "0755 0 top/program.exe "+writeFile(t, 0o600, "program")+"\n", "pack", file)
	require.NoError(t, err)
	z, err := zip.OpenReader(file)
	require.NoError(t, err)
	defer func() { _ = z.Close() }()
	require.Len(t, z.File, 2)
	assert.Equal(t, "top/", z.File[0].Name)
	assert.Equal(t, fs.ModeDir|0o755, z.File[0].Mode())
	assert.Equal(t, "top/program.exe", z.File[1].Name)
	assert.Equal(t, fs.FileMode(0o755), z.File[1].Mode())
	assert.Equal(t, int64(epoch), z.File[1].Modified.Unix())
	content, err := z.Open("top/program.exe")
	require.NoError(t, err)
	raw, err := io.ReadAll(content)
	require.NoError(t, err)
	assert.Equal(t, "program", string(raw))
}

// Another order of lines, other times and modes of the sources: the same bytes.
func TestPackIsReproducible(t *testing.T) {
	for _, format := range []string{".tar", ".tar.gz", ".zip"} {
		pack := func(mode fs.FileMode, age time.Duration, lines ...string) []byte {
			a, b := writeFile(t, mode, "a"), writeFile(t, mode, "b")
			for _, source := range []string{a, b} {
				require.NoError(t, os.Chtimes(source, time.Time{}, time.Now().Add(-age)))
			}
			file := filepath.Join(t.TempDir(), "archive"+format)
			_, err := release(t, strings.NewReplacer("A", a, "B", b).Replace(strings.Join(lines, "\n")), "pack", file)
			require.NoError(t, err)
			return read(t, file)
		}
		first := pack(0o600, time.Hour, "0444 0 x/a A", "0444 0 y/b B")
		second := pack(0o640, 48*time.Hour, "0444 0 y/b B", "0444 0 x/a A")
		assert.Equal(t, first, second, format)
		assert.NotEqual(t, first, pack(0o600, time.Hour, "0444 0 x/a B", "0444 0 y/b A"), format)
	}
}

func TestPackRefuses(t *testing.T) {
	source := writeFile(t, 0o600, "")
	for list, want := range map[string]string{
		"0444 0":                            "want MODE OWNER NAME [SOURCE]",
		"4755 0 setuid " + source:           `mode "4755"`,
		"0888 0 a " + source:                `mode "0888"`,
		"0444 root a " + source:             "owner",
		"0444 0 /a " + source:               "not a relative path",
		"0444 0 ../a " + source:             "not a relative path",
		"0444 0 a " + t.TempDir():           "not a regular file",
		"0444 0 a " + source + ".absent":    "no such file",
		"0444 0 a " + source + "\n0755 0 a": "listed twice",
	} {
		file := filepath.Join(t.TempDir(), "a.tar")
		_, err := release(t, list, "pack", file)
		assert.ErrorContains(t, err, want, list)
		assert.NoFileExists(t, file)
	}
	_, err := release(t, "", "pack", filepath.Join(t.TempDir(), "a.rar"))
	assert.ErrorContains(t, err, ".tar, .tar.gz or .zip")
}

func TestCertificates(t *testing.T) {
	out, err := release(t, "", "certificates")
	require.NoError(t, err)
	subjects := map[string]bool{}
	for rest := []byte(out); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		assert.True(t, certificate.IsCA, certificate.Subject)
		assert.Less(t, time.Now(), certificate.NotAfter, "%s has expired: raise the version of the bundle", certificate.Subject)
		subjects[certificate.Subject.CommonName] = true
	}
	assert.Greater(t, len(subjects), 100)
	assert.Contains(t, subjects, "DigiCert Global Root G2", "Application Insights ingestion is below it")
	assert.Contains(t, subjects, "ISRG Root X1")
}

// The test binary is a binary too, and `go version -m` reads the same list.
func TestSBOM(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	out, err := release(t, "", "sbom", "-certificates", "-name", "product", "-version", "1.2.3", self)
	require.NoError(t, err)
	var bom cdx.BOM
	require.NoError(t, cdx.NewBOMDecoder(strings.NewReader(out), cdx.BOMFileFormatJSON).Decode(&bom))
	assert.Equal(t, "2023-11-14T22:13:20Z", bom.Metadata.Timestamp)
	assert.Equal(t, "product", bom.Metadata.Component.Name)
	assert.Equal(t, "1.2.3", bom.Metadata.Component.Version)

	got := map[string]string{}
	for _, c := range *bom.Components {
		got[c.Name] = c.Version
		if c.PackageURL != "" {
			assert.Equal(t, "pkg:golang/"+c.Name+"@"+strings.ReplaceAll(c.Version, "+", "%2B"), c.PackageURL)
		}
	}
	want := map[string]string{}
	listing, err := exec.CommandContext(t.Context(), "go", "version", "-m", self).Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(listing)) {
		if fields := strings.Fields(line); fields[0] == "dep" {
			want[fields[1]] = fields[2]
		} else if fields[0] == "path" {
			want[filepath.Base(fields[1])] = got[filepath.Base(fields[1])] // its version is the checkout's
		} else if fields[0] == self+":" {
			want["std"] = strings.TrimPrefix(fields[1], "go")
		}
	}
	require.Contains(t, want, "github.com/CycloneDX/cyclonedx-go")
	require.Contains(t, want, certificatesModule)
	assert.Equal(t, want, got)

	sum := sha256.Sum256(read(t, self))
	for _, c := range *bom.Components {
		if c.Hashes != nil {
			assert.Equal(t, []cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}}, *c.Hashes)
			return
		}
	}
	t.Error("no component has a hash")
}

// builder is what differs from one build to the next, or from one builder to another.
type builder struct {
	container, created string
	userName           string // in the layer
	mode               int64  // in the layer, besides the permissions
	workingDir         string
	labels             string // more of them
	zip                bool   // compresses layers
}

var (
	podman = builder{container: "aaaa", created: "2026-01-02T03:04:05Z", mode: 0o100000, labels: `"io.buildah.version":"1.28.2",`}
	docker = builder{container: "bbbb", created: "2026-02-03T04:05:06.789Z", userName: "root", workingDir: "/", zip: true}
)

// save writes an image as the builder would.
func (b builder) save(t *testing.T) string {
	t.Helper()
	created, err := time.Parse(time.RFC3339, b.created)
	require.NoError(t, err)
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	require.NoError(t, w.WriteHeader(&tar.Header{
		Name: "file", Mode: b.mode | 0o444, Uid: 10001, Gid: 10001, Uname: b.userName, ModTime: created, Size: 7,
	}))
	_, err = w.Write([]byte("content"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	layer := packed.Bytes()
	sum := sha256.Sum256(layer)
	if b.zip {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, err := w.Write(layer)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		layer = z.Bytes()
	}
	file := filepath.Join(t.TempDir(), "saved.tar")
	out, err := os.Create(file)
	require.NoError(t, err)
	w = tar.NewWriter(out)
	for name, content := range map[string]string{
		"layer.tar":     string(layer),
		"manifest.json": `[{"Config":"c.json","RepoTags":["localhost/x:1"],"Layers":["layer.tar"]}]`,
		"c.json": `{"created":"` + b.created + `","container":"` + b.container + `","architecture":"arm64","os":"linux",
"container_config":{"Hostname":"` + b.container + `"},"parent":"sha256:` + b.container + `",
"config":{"Hostname":"` + b.container + `","User":"10001:10001","ExposedPorts":{"4317/tcp":{}},"Env":["PATH=/"],
"Cmd":["--config"],"Entrypoint":["/otelcol-custom"],"Healthcheck":{"Test":["CMD","/podhelper"],"Interval":10000000000},
"WorkingDir":"` + b.workingDir + `","Labels":{` + b.labels + `"org.opencontainers.image.title":"x"},"Volumes":{}},
"rootfs":{"type":"layers","diff_ids":["sha256:` + hex.EncodeToString(sum[:]) + `"]},
"history":[{"created":"` + b.created + `","created_by":"ADD","comment":"FROM ` + b.container + `"}]}`,
	} {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o444, Size: int64(len(content))}))
		_, err := w.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, out.Close())
	return file
}

func TestImage(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "1.tar"), filepath.Join(t.TempDir(), "2.tar")
	printed, err := release(t, "", "image", "shop/collector:1.2", podman.save(t), first)
	require.NoError(t, err)
	again, err := release(t, "", "image", "shop/collector:1.2", docker.save(t), second)
	require.NoError(t, err)
	assert.Equal(t, printed, again)
	assert.Equal(t, read(t, first), read(t, second))

	contents, err := readTar(first)
	require.NoError(t, err)
	require.Len(t, contents, 3)
	var manifests []savedManifest
	require.NoError(t, json.Unmarshal(contents["manifest.json"], &manifests))
	require.Len(t, manifests, 1)
	assert.Equal(t, []string{"shop/collector:1.2"}, manifests[0].RepoTags)
	require.Len(t, manifests[0].Layers, 1)
	z, err := gzip.NewReader(bytes.NewReader(contents[manifests[0].Layers[0]]))
	require.NoError(t, err)
	layer := tar.NewReader(z)
	file, err := layer.Next()
	require.NoError(t, err)
	assert.Equal(t, []any{"file", int64(0o444), 10001, 10001, "", int64(epoch)},
		[]any{file.Name, file.Mode, file.Uid, file.Gid, file.Uname, file.ModTime.Unix()})
	content, err := io.ReadAll(layer)
	require.NoError(t, err)
	assert.Equal(t, "content", string(content))
	_, err = layer.Next()
	assert.Equal(t, io.EOF, err)

	raw := contents[manifests[0].Config]
	sum := sha256.Sum256(raw)
	assert.Equal(t, "sha256:"+hex.EncodeToString(sum[:])+"\n", printed)
	assert.NotContains(t, string(raw), "aaaa")
	var config map[string]any
	require.NoError(t, json.Unmarshal(raw, &config))
	want := map[string]any{
		"User": "10001:10001", "ExposedPorts": map[string]any{"4317/tcp": map[string]any{}}, "Env": []any{"PATH=/"},
		"Cmd": []any{"--config"}, "Entrypoint": []any{"/otelcol-custom"}, "WorkingDir": "/",
		"Healthcheck": map[string]any{"Test": []any{"CMD", "/podhelper"}, "Interval": 1e10},
		"Labels":      map[string]any{"org.opencontainers.image.title": "x"},
	}
	assert.Equal(t, want, config["config"])
	assert.Equal(t, want, config["container_config"])
	assert.Equal(t, "2023-11-14T22:13:20Z", config["created"])
	assert.Equal(t, []any{map[string]any{"created": "2023-11-14T22:13:20Z", "created_by": "deploy/Dockerfile"}}, config["history"])
	assert.Equal(t, "arm64", config["architecture"])
}

func TestImageRefusesAnotherLayer(t *testing.T) {
	file := podman.save(t)
	require.NoError(t, os.WriteFile(file, bytes.Replace(read(t, file), []byte("content"), []byte("CONTENT"), 1), 0o600))
	out := filepath.Join(t.TempDir(), "x.tar")
	_, err := release(t, "", "image", "x:1", file, out)
	assert.ErrorContains(t, err, "is not the sha256:")
	assert.NoFileExists(t, out)
}

func TestRunRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"want a command":          {},
		`"pak" is not one of`:     {"pak"},
		"want one file":           {"pack"},
		"want -name, -version":    {"sbom", "-name", "x"},
		"want IMAGE:VERSION, the": {"image", "x:1"},
	} {
		_, err := release(t, "", args...)
		assert.ErrorContains(t, err, want)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	assert.ErrorContains(t, run([]string{"pack", "x.tar"}, nil, nil), "SOURCE_DATE_EPOCH")
}
