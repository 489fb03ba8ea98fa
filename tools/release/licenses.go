// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	licenseFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying)`)
	// What licences ask to be passed on with them.
	noticeFile = regexp.MustCompile(`(?i)^(notice|patents)`)
	// Files of such a name that are code.
	codeFile = regexp.MustCompile(`(?i)\.(go|tmpl)$`)
)

// licenses writes the licences of what the binaries are linked from: Go's library
// and the modules that the linker lists in them. It finds the modules by the go.mod
// of the working directory, which must be the binaries' own.
func licenses(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("licenses", flag.ContinueOnError)
	pinned := flags.String("certificates", "", "the root certificates are part of it, pinned by the go.mod in this directory")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("licenses: want binaries")
	}
	goroot, err := goCommand(".", "env", "GOROOT")
	if err != nil {
		return err
	}
	found := licenseTexts{}
	versions := map[string]bool{}
	for _, file := range flags.Args() {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		library, modules := linked(info)
		if err := found.add("std "+library, os.DirFS(strings.TrimSpace(string(goroot))), false); err != nil {
			return err
		}
		for _, m := range modules {
			versions[m.Path+"@"+m.Version] = true
		}
	}
	if err := found.addModules(".", slices.Sorted(maps.Keys(versions))); err != nil {
		return err
	}
	if *pinned != "" {
		version, err := ownDependency(certificatesModule)
		if err != nil {
			return err
		}
		if err := found.addModules(*pinned, []string{certificatesModule + "@" + version}); err != nil {
			return err
		}
	}
	return found.write(out)
}

const licensesHeader = `The licenses of what is in here besides the project's own code: Go modules and Go's
library, std. Each text stands once, below all the files that it is from. The source
of a module is what "go mod download MODULE@VERSION" gets.
`

// licenseTexts are texts, each with the files "MODULE VERSION: FILE" that it is in.
type licenseTexts map[string][]string

// addModules adds the texts of modules, "PATH@VERSION", whose files the go command
// holds against the go.sum in dir.
func (l licenseTexts) addModules(dir string, modules []string) error {
	if len(modules) == 0 {
		return nil
	}
	listing, failed := goCommand(dir, append([]string{"mod", "download", "-json"}, modules...)...)
	for decoder := json.NewDecoder(bytes.NewReader(listing)); ; {
		var m struct{ Path, Version, Dir, Error string }
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return failed
		} else if err != nil {
			return cmp.Or(failed, err)
		}
		if m.Error != "" {
			return errors.New(m.Error)
		}
		if err := l.add(m.Path+" "+m.Version, os.DirFS(m.Dir), true); err != nil {
			return err
		}
	}
}

// add adds the texts of a module, of its folders too when it is to be searched deep:
// those of code that it has copied. A module has a license in its first folder. For
// one that is only a part of its repository, and has none of its own there, the go
// command has put the repository's into it.
func (l licenseTexts) add(module string, files fs.FS, deep bool) error {
	licensed := false
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			if name != "." && (!deep || base == "testdata" || base[0] == '.') {
				return fs.SkipDir
			}
			return nil
		}
		isLicense := licenseFile.MatchString(base)
		if codeFile.MatchString(base) || !isLicense && !noticeFile.MatchString(base) {
			return nil
		}
		raw, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		text := strings.Trim(strings.ReplaceAll(string(raw), "\r\n", "\n"), "\n")
		licensed = licensed || isLicense && base == name && text != ""
		l[text] = append(l[text], module+": "+name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", module, err)
	}
	if !licensed {
		return fmt.Errorf("%s: no LICENSE or COPYING in its first folder", module)
	}
	return nil
}

// write writes each text once, below the files that it is in.
func (l licenseTexts) write(out io.Writer) error {
	for text, files := range l {
		slices.Sort(files)
		l[text] = slices.Compact(files)
	}
	if _, err := io.WriteString(out, licensesHeader); err != nil {
		return err
	}
	line := strings.Repeat("=", 80)
	for _, text := range slices.SortedFunc(maps.Keys(l), func(a, b string) int { return slices.Compare(l[a], l[b]) }) {
		if _, err := fmt.Fprintf(out, "\n%s\n%s\n%s\n\n%s\n", line, strings.Join(l[text], "\n"), line, text); err != nil {
			return err
		}
	}
	return nil
}

// goCommand returns what the go command prints in a folder, that too which it
// prints before it fails.
func goCommand(dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(context.Background(), "go", args...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("go %s: %w", strings.Join(args[:2], " "), err)
	}
	return out, err
}
