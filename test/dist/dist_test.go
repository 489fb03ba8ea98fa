// SPDX-License-Identifier: Apache-2.0

//go:build e2e && linux && amd64

package dist

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

const name = "otelcol-custom_test_linux_amd64"

// build runs what `make dist` runs, in a clone of the last commit, and returns the
// folder it wrote to.
func build(t *testing.T) string {
	t.Helper()
	clone, dist := filepath.Join(t.TempDir(), "clone"), t.TempDir()
	out, err := exec.CommandContext(t.Context(), "git", "clone", "--quiet", harness.Root(t), clone).CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.CommandContext(t.Context(), filepath.Join(clone, "tools", "dist.sh"))
	cmd.Env = append(os.Environ(), "VERSION=test", "PLATFORMS=linux/amd64", "DIST="+dist, "BUILD="+t.TempDir())
	out, err = cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return dist
}

func TestArchive(t *testing.T) {
	dist := build(t)
	old := syscall.Umask(0o077)
	again := build(t)
	syscall.Umask(old)
	sums := checkSums(t, dist)
	assert.Equal(t, sums, checkSums(t, again), "two builds differ")

	unpacked := unpack(t, filepath.Join(dist, name+".tar.gz"))
	t.Run("runs", func(t *testing.T) { checkRuns(t, unpacked) })
	t.Run("unit", func(t *testing.T) { checkUnit(t, unpacked) })
	t.Run("sbom", func(t *testing.T) { checkSBOM(t, dist, unpacked) })
	t.Run("licenses", func(t *testing.T) { checkLicenses(t, dist, unpacked) })
}

// checkSums holds SHA256SUMS against the files beside it and returns it.
func checkSums(t *testing.T, dist string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dist, "SHA256SUMS"))
	require.NoError(t, err)
	sums := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		require.Len(t, fields, 2)
		assert.Equal(t, sum(t, filepath.Join(dist, fields[1])), fields[0], fields[1])
		sums[fields[1]] = fields[0]
	}
	files, err := os.ReadDir(dist)
	require.NoError(t, err)
	assert.Len(t, sums, len(files)-1, "a file is not in SHA256SUMS")
	assert.Contains(t, sums, name+".tar.gz")
	assert.Contains(t, sums, name+".cdx.json")
	return sums
}

func sum(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	digest := sha256.Sum256(raw)
	return hex.EncodeToString(digest[:])
}

// unpack returns the one folder of an archive.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	f, err := os.Open(archive)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	top := t.TempDir()
	for r := tar.NewReader(z); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return filepath.Join(top, name)
		}
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(header.Name, name+"/"), header.Name)
		assert.Zero(t, header.Mode&0o7022, "%s: mode %o", header.Name, header.Mode)
		assert.Zero(t, header.Uid+header.Gid, header.Name)
		file := filepath.Join(top, filepath.FromSlash(header.Name))
		if header.Typeflag == tar.TypeDir {
			require.NoError(t, os.Mkdir(file, 0o755))
			continue
		}
		require.Equal(t, byte(tar.TypeReg), header.Typeflag, header.Name)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, content, os.FileMode(header.Mode)))
	}
}

// checkRuns runs the unpacked binary with the unpacked configs.
func checkRuns(t *testing.T, unpacked string) {
	for _, file := range []string{"LICENSE", "README.md", "CHANGELOG.md", "configs/backend/azure.yaml", "configs/secure/tls.yaml"} {
		assert.FileExists(t, filepath.Join(unpacked, file))
	}
	t.Setenv("OTELCOL_BIN", filepath.Join(unpacked, "otelcol-custom"))
	t.Setenv("OTELCOL_CONFIGS", filepath.Join(unpacked, "configs"))
	c := collector.Start(t, collector.Config{Files: []string{"console.yaml"}})
	shop := telemetry.NewShop()
	require.NoError(t, telemetry.Dial(t, telemetry.Sender{Protocol: telemetry.GRPC}, c).Traces(t.Context(), shop.Traces))
	harness.Await(t, "the span on the console", func() error {
		if !strings.Contains(c.Stdout.String(), shop.Page.String()) {
			return errors.New("not printed yet")
		}
		return nil
	})
	c.Stop(t)
}

// checkUnit holds the systemd unit: systemd can read it, finds little that the
// service could do to the machine, and what it runs is a valid configuration.
func checkUnit(t *testing.T, unpacked string) {
	raw, err := os.ReadFile(filepath.Join(unpacked, "systemd", "otelcol-custom.service"))
	require.NoError(t, err)
	env, err := os.ReadFile(filepath.Join(unpacked, "systemd", "otelcol-custom.env"))
	require.NoError(t, err)

	options := regexp.MustCompile(`(?m)^OTELCOL_OPTIONS=(.+)$`).FindSubmatch(env)
	require.NotNil(t, options)
	args := []string{"validate"}
	for _, arg := range strings.Fields(string(options[1])) {
		args = append(args, strings.ReplaceAll(arg, "/etc/otelcol-custom/", filepath.Join(unpacked, "configs")+"/"))
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(unpacked, "otelcol-custom"), args...).CombinedOutput()
	require.NoError(t, err, string(out))
	for _, named := range regexp.MustCompile(`(sidecar|backend/\w+)\.yaml`).FindAllString(string(env), -1) {
		assert.FileExists(t, filepath.Join(unpacked, "configs", named))
	}

	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("no systemd-analyze here; the unit was not checked by systemd")
	}
	// Under a folder of its own: the commands of a unit must exist.
	unit := filepath.Join(t.TempDir(), "otelcol-custom.service")
	text := strings.ReplaceAll(string(raw), "/usr/bin/otelcol-custom", filepath.Join(unpacked, "otelcol-custom"))
	require.NoError(t, os.WriteFile(unit, []byte(text), 0o644))
	out, err = exec.CommandContext(t.Context(), "systemd-analyze", "verify", unit).CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Empty(t, string(out), "an unknown key is a warning, and no error")

	out, err = exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--json=short", unit).Output()
	require.NoError(t, err, string(out))
	var rows []struct {
		Set      bool   `json:"set"`
		Field    string `json:"json_field"`
		Exposure string `json:"exposure"`
	}
	require.NoError(t, json.Unmarshal(out, &rows))
	total := 0.0
	for _, row := range rows {
		if exposure, err := strconv.ParseFloat(row.Exposure, 64); err == nil && !row.Set {
			total += exposure
			assert.LessOrEqual(t, exposure, 0.5, "%s is left open", row.Field)
		}
	}
	assert.Positive(t, total, "it uses the network, which systemd counts")
	assert.Less(t, total, 2.5, "systemd finds more exposure than the service needs")
}

func checkSBOM(t *testing.T, dist, unpacked string) {
	raw, err := os.ReadFile(filepath.Join(dist, name+".cdx.json"))
	require.NoError(t, err)
	assert.Contains(t, string(raw), sum(t, filepath.Join(unpacked, "otelcol-custom")))
	assert.Contains(t, string(raw), `"pkg:golang/go.opentelemetry.io/collector/otelcol@v0.158.0"`)
}

// checkLicenses looks for each module of the SBOM above a license.
func checkLicenses(t *testing.T, dist, unpacked string) {
	raw, err := os.ReadFile(filepath.Join(dist, name+".cdx.json"))
	require.NoError(t, err)
	var sbom struct {
		Components []struct{ Name, Version, PURL string }
	}
	require.NoError(t, json.Unmarshal(raw, &sbom))
	licenses, err := os.ReadFile(filepath.Join(unpacked, "THIRD-PARTY-LICENSES"))
	require.NoError(t, err)
	modules, missing := 0, []string{}
	for _, c := range sbom.Components {
		if c.PURL == "" {
			continue // the binary
		}
		modules++
		if !strings.Contains(string(licenses), "\n"+c.Name+" "+c.Version+": ") {
			missing = append(missing, c.Name+" "+c.Version)
		}
	}
	assert.Empty(t, missing, "without a license")
	assert.Greater(t, modules, 200)
	assert.Contains(t, string(licenses), "Copyright 2009 The Go Authors.")
}
