// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/modfile"
)

const (
	root    = "../.."
	module  = "github.com/otelcol-custom/otelcol-custom"
	core    = "go.opentelemetry.io/collector/"
	contrib = "github.com/open-telemetry/opentelemetry-collector-contrib/"
)

// The collector's release that everything is aligned at: core's unstable modules
// and contrib's share one version, core's stable modules have the other.
const (
	beta   = "v0.158.0"
	stable = "v1.64.0"
)

// Components of contrib that cannot be had at the release, and the nearest
// version that builds and runs with it.
var exceptions = map[string]string{
	contrib + "exporter/azuremonitorexporter": "v0.156.0",
	contrib + "extension/oidcauthextension":   "v0.156.0",
	contrib + "extension/pprofextension":      "v0.157.0",
}

// component is an entry of the manifest.
type component struct {
	GoMod  string `yaml:"gomod"`
	Import string `yaml:"import"`
}

func (c component) module() string  { m, _, _ := strings.Cut(c.GoMod, " "); return m }
func (c component) version() string { _, v, _ := strings.Cut(c.GoMod, " "); return v }

// importPath is the package that the generated code imports.
func (c component) importPath() string {
	if c.Import != "" {
		return c.Import
	}
	return c.module()
}

// manifest is builder-config.yaml without its dist section: component lists by kind.
func manifest(t *testing.T) map[string][]component {
	t.Helper()
	var file struct {
		Dist  map[string]string      `yaml:"dist"`
		Kinds map[string][]component `yaml:",inline"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "builder-config.yaml")), &file))
	for _, kind := range []string{"receivers", "processors", "exporters", "connectors", "extensions", "providers"} {
		require.NotEmpty(t, file.Kinds[kind], kind)
	}
	return file.Kinds
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(data)
}

func goMod(t *testing.T, dir string) *modfile.File {
	t.Helper()
	name := path.Join(dir, "go.mod")
	file, err := modfile.Parse(name, []byte(read(t, name)), nil)
	require.NoError(t, err)
	return file
}

func required(t *testing.T, dir string) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for _, r := range goMod(t, dir).Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	return versions
}

func TestManifestAgreesWithGoMod(t *testing.T) {
	versions := required(t, ".")
	for kind, components := range manifest(t) {
		for _, c := range components {
			if c.module() == module {
				assert.DirExists(t, filepath.Join(root, strings.TrimPrefix(c.Import, module)), kind)
				continue
			}
			assert.Equal(t, versions[c.module()], c.version(), "%s: go.mod has %s at %q", kind, c.module(), versions[c.module()])
		}
	}
}

func TestManifestAgreesWithGeneratedCode(t *testing.T) {
	generated := read(t, "cmd/otelcol-custom/components.go") + read(t, "cmd/otelcol-custom/main.go")
	for kind, components := range manifest(t) {
		for _, c := range components {
			assert.Contains(t, generated, `"`+c.importPath()+`"`, kind)
			assert.Contains(t, generated, `"`+c.GoMod+`"`, kind)
		}
	}
}

// Every collector module that is required directly or listed in the manifest is
// of one release; what must differ says so above, and goes from there once it
// need not.
func TestOneRelease(t *testing.T) {
	versions := required(t, ".")
	listed := map[string]bool{}
	for _, components := range manifest(t) {
		for _, c := range components {
			listed[c.module()] = true
		}
	}
	for mod := range listed {
		version := versions[mod]
		switch {
		case mod == module:
		case exceptions[mod] != "":
			assert.Equal(t, exceptions[mod], version, mod)
		case strings.HasPrefix(mod, core):
			assert.Contains(t, []string{beta, stable}, version, mod)
		default:
			assert.Equal(t, beta, version, mod)
		}
	}
	for mod := range exceptions {
		assert.True(t, listed[mod], "%s is no longer in the manifest", mod)
	}
	tools := required(t, "tools")
	assert.Equal(t, beta, tools[core+"cmd/builder"])
	assert.Equal(t, beta, tools[core+"cmd/mdatagen"])
}

func TestNoReplace(t *testing.T) {
	for _, dir := range []string{".", "tools"} {
		assert.Empty(t, goMod(t, dir).Replace, "%s: replaced modules are not what users get who import ours", dir)
	}
}

// docs/components.md says of each component why it is in; it lists what the
// manifest lists.
func TestComponentsDocumented(t *testing.T) {
	want := map[string]bool{}
	for _, components := range manifest(t) {
		for _, c := range components {
			want[c.importPath()] = true
		}
	}
	row := regexp.MustCompile("(?m)^\\| `[^`]+` \\| \\[?`?([a-z0-9]+)`?\\]?(?:\\([^)]*\\))? \\| \\S.*\\|$")
	got := map[string]bool{}
	for _, match := range row.FindAllStringSubmatch(read(t, "docs/components.md"), -1) {
		got[match[1]] = true
	}
	names := map[string]bool{}
	for importPath := range want {
		names[path.Base(importPath)] = true
	}
	assert.Equal(t, slices.Sorted(maps.Keys(names)), slices.Sorted(maps.Keys(got)))
}

// Cloud SDKs are large and come in unseen, through a resolver or a scraper that
// nobody asked for. Each that is in the binary is here, with who needs it.
func TestNoCloudSDKByAccident(t *testing.T) {
	allowed := map[string]string{
		"github.com/Azure/azure-sdk-for-go/sdk/azcore":     "applicationinsights, for Entra ID",
		"github.com/Azure/azure-sdk-for-go/sdk/azidentity": "applicationinsights, for Entra ID",
		"github.com/Azure/azure-sdk-for-go/sdk/internal":   "applicationinsights, for Entra ID",
		"github.com/aws/aws-sdk-go-v2":                     "load_balancing finds backends by AWS Cloud Map among others",
	}
	sdk := regexp.MustCompile(`^(github\.com/aws/aws-sdk-go(-v2)?|github\.com/Azure/azure-sdk-for-go/sdk/[a-z]+|cloud\.google\.com/go|google\.golang\.org/api|github\.com/DataDog|github\.com/aliyun|github\.com/tencentcloud|github\.com/huaweicloud)`)

	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", module+"/cmd/otelcol-custom").Output()
	require.NoError(t, err)
	found := map[string]bool{}
	for mod := range strings.Lines(string(out)) {
		if name := sdk.FindString(mod); name != "" {
			found[name] = true
		}
	}
	assert.Equal(t, slices.Sorted(maps.Keys(allowed)), slices.Sorted(maps.Keys(found)))
}
