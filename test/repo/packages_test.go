// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goFiles parses every Go file of the repository, by folder.
func goFiles(t *testing.T) map[string]map[string]*ast.File {
	t.Helper()
	folders := map[string]map[string]*ast.File{}
	require.NoError(t, filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			switch base := entry.Name(); {
			case base == "testdata", base == "node_modules", name != root && strings.HasPrefix(base, "."):
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.Dir(name)
		if folders[dir] == nil {
			folders[dir] = map[string]*ast.File{}
		}
		folders[dir][name] = file
		return nil
	}))
	require.Greater(t, len(folders), 5, "the walk has not found the repository")
	return folders
}

func generated(file *ast.File) bool { return ast.IsGenerated(file) }

// A package says once, in one place, what lives there.
func TestPackageComments(t *testing.T) {
	for dir, files := range goFiles(t) {
		var comments []string
		handWritten := false
		for name, file := range files {
			if generated(file) {
				continue
			}
			handWritten = true
			if file.Doc != nil && !strings.HasSuffix(file.Name.Name, "_test") {
				comments = append(comments, name)
			}
		}
		if handWritten {
			assert.Len(t, comments, 1, "%s: want one package comment", dir)
		}
	}
}

func TestLicenseHeaders(t *testing.T) {
	for _, files := range goFiles(t) {
		for name, file := range files {
			if generated(file) {
				continue
			}
			if assert.NotEmpty(t, file.Comments, name) {
				assert.Equal(t, "// SPDX-License-Identifier: Apache-2.0", file.Comments[0].List[0].Text, name)
			}
		}
	}
}

// A component's folder has all that the others have.
func TestComponentFolders(t *testing.T) {
	found := 0
	files := goFiles(t)
	for kind, components := range manifest(t) {
		if kind == "providers" {
			continue
		}
		for _, c := range components {
			if c.module() != module {
				continue
			}
			found++
			dir := filepath.Join(root, strings.TrimPrefix(c.Import, module))
			for _, name := range []string{
				"README.md", "config.go", "doc.go", "documentation.md", "factory.go", "metadata.yaml", "telemetry.go",
				"testdata/config.yaml", "config_test.go", "benchmark_test.go",
				"generated_component_test.go", "generated_package_test.go",
			} {
				assert.FileExists(t, filepath.Join(dir, name))
			}
			if kind != "extensions" { // the others read what somebody else wrote
				assert.True(t, hasFuzzTest(files, dir), "%s: no fuzz test", dir)
			}
		}
	}
	assert.NotZero(t, found)
}

// hasFuzzTest looks in dir and below it.
func hasFuzzTest(folders map[string]map[string]*ast.File, dir string) bool {
	for folder, files := range folders {
		if folder != dir && !strings.HasPrefix(folder, dir+string(filepath.Separator)) {
			continue
		}
		for _, file := range files {
			for name := range file.Scope.Objects {
				if strings.HasPrefix(name, "Fuzz") {
					return true
				}
			}
		}
	}
	return false
}
