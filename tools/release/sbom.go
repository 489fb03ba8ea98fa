// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

const certificatesModule = "golang.org/x/crypto/x509roots/fallback"

// sbom writes what the binaries say of themselves: the linker puts the list of
// the modules that went into a binary, and no other, in it.
func sbom(args []string, created time.Time, out io.Writer) error {
	flags := flag.NewFlagSet("sbom", flag.ContinueOnError)
	name := flags.String("name", "", "what the binaries belong to")
	version := flags.String("version", "", "its version")
	withCertificates := flags.Bool("certificates", false, "the root certificates are part of it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *name == "" || *version == "" || flags.NArg() == 0 {
		return errors.New("sbom: want -name, -version and binaries")
	}
	product := cdx.Component{
		Type: cdx.ComponentTypeApplication, BOMRef: *name, Name: *name, Version: *version,
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}
	parts := map[string]cdx.Component{} // by reference
	dependencies := []cdx.Dependency{}
	var binaries []string
	for _, file := range flags.Args() {
		binary, modules, err := inspect(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		parts[binary.BOMRef] = binary
		binaries = append(binaries, binary.BOMRef)
		var uses []string
		for _, m := range modules {
			parts[m.BOMRef] = m
			uses = append(uses, m.BOMRef)
		}
		slices.Sort(uses)
		dependencies = append(dependencies, cdx.Dependency{Ref: binary.BOMRef, Dependencies: &uses})
	}
	if *withCertificates {
		version, err := ownDependency(certificatesModule)
		if err != nil {
			return err
		}
		certificates := module(certificatesModule, version)
		certificates.Type = cdx.ComponentTypeData
		parts[certificates.BOMRef] = certificates
		binaries = append(binaries, certificates.BOMRef)
	}
	dependencies = append(dependencies, cdx.Dependency{Ref: product.BOMRef, Dependencies: &binaries})
	slices.SortFunc(dependencies, func(a, b cdx.Dependency) int { return cmp.Compare(a.Ref, b.Ref) })
	components := make([]cdx.Component, 0, len(parts))
	for _, c := range parts {
		components = append(components, c)
	}
	slices.SortFunc(components, func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })

	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Timestamp: created.Format(time.RFC3339), Component: &product}
	bom.Components = &components
	bom.Dependencies = &dependencies
	return cdx.NewBOMEncoder(out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_5)
}

// inspect returns a binary as a component, and the modules in it.
func inspect(file string) (cdx.Component, []cdx.Component, error) {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return cdx.Component{}, nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return cdx.Component{}, nil, err
	}
	defer func() { _ = f.Close() }() // only read
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return cdx.Component{}, nil, err
	}
	name := path.Base(info.Path)
	binary := cdx.Component{
		Type: cdx.ComponentTypeApplication, BOMRef: "binary:" + name, Name: name, Version: info.Main.Version,
		Hashes:   &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum.Sum(nil))}},
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}
	properties := []cdx.Property{}
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS", "GOARCH", "vcs.revision", "vcs.time", "vcs.modified":
			properties = append(properties, cdx.Property{Name: "go:" + s.Key, Value: s.Value})
		}
	}
	binary.Properties = &properties

	library, deps := linked(info)
	modules := []cdx.Component{module("std", library)}
	for _, m := range deps {
		modules = append(modules, module(m.Path, m.Version))
	}
	return binary, modules, nil
}

// linked returns the version of Go's library in a binary, and the modules, a
// replaced one as what replaces it.
func linked(info *buildinfo.BuildInfo) (library string, modules []*debug.Module) {
	// "go1.26.8", or "go1.26.8 X:experiment".
	library, _, _ = strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ")
	for _, m := range info.Deps {
		modules = append(modules, cmp.Or(m.Replace, m))
	}
	return library, modules
}

// module is a Go module as vulnerability scanners look it up: by package URL.
func module(name, version string) cdx.Component {
	url := "pkg:golang/" + name + "@" + strings.ReplaceAll(version, "+", "%2B")
	return cdx.Component{Type: cdx.ComponentTypeLibrary, BOMRef: url, Name: name, Version: version, PackageURL: url}
}

// ownDependency returns the version of a module that this program was built with.
func ownDependency(name string) (string, error) {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == name {
			return m.Version, nil
		}
	}
	return "", fmt.Errorf("built without %s", name)
}
