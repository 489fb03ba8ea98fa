// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The test binary is a binary too, and `go version -m` reads the same list.
func TestLicenses(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	out, err := release(t, "", "licenses", "-certificates", ".", self, self)
	require.NoError(t, err)
	again, err := release(t, "", "licenses", "-certificates", ".", self)
	require.NoError(t, err)
	assert.Equal(t, out, again)

	count := map[string]int{} // of the headings, by module
	for line := range strings.Lines(out) {
		if module, name, found := strings.Cut(strings.TrimSpace(line), ": "); found && strings.HasPrefix(name, "LICENSE") {
			count[module]++
		}
	}
	listing, err := exec.CommandContext(t.Context(), "go", "version", "-m", self).Output()
	require.NoError(t, err)
	want := map[string]int{}
	for line := range strings.Lines(string(listing)) {
		if fields := strings.Fields(line); fields[0] == "dep" {
			want[fields[1]+" "+fields[2]] = 1
		} else if fields[0] == self+":" {
			want["std "+strings.TrimPrefix(fields[1], "go")] = 1
		}
	}
	require.Len(t, want, 3, "std, the certificates and the library of SBOMs")
	assert.Equal(t, want, count)

	assert.Equal(t, 1, strings.Count(out, "Copyright 2009 The Go Authors."), "of std, as it is of the certificates")
	dirs, err := goCommand(".", "env", "GOROOT", "GOMODCACHE")
	require.NoError(t, err)
	for dir := range strings.FieldsSeq(string(dirs)) {
		assert.NotContains(t, out, dir)
	}
}

// gofmt has nothing in it but Go's library.
func TestLicensesOfCertificates(t *testing.T) {
	gofmt, err := exec.LookPath("gofmt")
	require.NoError(t, err)
	without, err := release(t, "", "licenses", gofmt)
	require.NoError(t, err)
	assert.NotContains(t, without, certificatesModule)
	with, err := release(t, "", "licenses", "-certificates", ".", gofmt)
	require.NoError(t, err)
	version, err := ownDependency(certificatesModule)
	require.NoError(t, err)
	assert.Contains(t, with, "\n"+certificatesModule+" "+version+": LICENSE\nstd ")
}

func TestLicenseTexts(t *testing.T) {
	file := func(content string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(content)} }
	found := licenseTexts{}
	require.NoError(t, found.add("example.com/b v1.2.0", fstest.MapFS{
		"licence.md":              file("\n  Be kind.\r\n\r\nAlways.\r\n"),
		"Notice.txt":              file("Thanks to A.\n"),
		"license.go":              file("package b\n"),
		"sub/copied/LICENSE":      file("Be just.\n"),
		"sub/testdata/LICENSE":    file("not linked"),
		".github/LICENSE":         file("not linked"),
		"sub/NOTICE.txt.tmpl":     file("{{ not a notice }}"),
		"sub/licenses/licenses.x": file("Be brave.\n"),
	}, true))
	require.NoError(t, found.add("example.com/a v0.1.0", fstest.MapFS{
		"COPYING": file("  Be kind.\n\nAlways."),
		"PATENTS": file("None."),
	}, true))
	require.NoError(t, found.add("std 1.26.8", fstest.MapFS{
		"LICENSE":         file("Be just."),
		"src/cmd/LICENSE": file("not linked"),
	}, false))
	var out strings.Builder
	require.NoError(t, found.write(&out))

	line := strings.Repeat("=", 80)
	assert.Equal(t, licensesHeader+`
`+line+`
example.com/a v0.1.0: COPYING
example.com/b v1.2.0: licence.md
`+line+`

  Be kind.

Always.

`+line+`
example.com/a v0.1.0: PATENTS
`+line+`

None.

`+line+`
example.com/b v1.2.0: Notice.txt
`+line+`

Thanks to A.

`+line+`
example.com/b v1.2.0: sub/copied/LICENSE
std 1.26.8: LICENSE
`+line+`

Be just.

`+line+`
example.com/b v1.2.0: sub/licenses/licenses.x
`+line+`

Be brave.
`, out.String())
}

func TestLicensesRefuses(t *testing.T) {
	text := &fstest.MapFile{Data: []byte("Be kind.")}
	for name, files := range map[string]fstest.MapFS{
		"nothing":         {},
		"a notice":        {"NOTICE": text},
		"code":            {"license.go": text},
		"an empty one":    {"LICENSE": &fstest.MapFile{Data: []byte("\n")}},
		"one of a folder": {"copied/LICENSE": text},
	} {
		err := licenseTexts{}.add("example.com/a v0.1.0", files, true)
		assert.EqualError(t, err, "example.com/a v0.1.0: no LICENSE or COPYING in its first folder", name)
	}

	t.Setenv("GOPROXY", "off")
	err := licenseTexts{}.addModules(".", []string{"example.com/absent@v1.0.0"})
	assert.ErrorContains(t, err, "example.com/absent@v1.0.0")

	_, err = release(t, "", "licenses")
	assert.ErrorContains(t, err, "want binaries")
	_, err = release(t, "", "licenses", filepath.Join(t.TempDir(), "absent"))
	assert.ErrorContains(t, err, "no such file")
	notBinary := writeFile(t, 0o600, "text")
	_, err = release(t, "", "licenses", notBinary)
	assert.ErrorContains(t, err, notBinary)
}
