// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// image rewrites the archive of one image that `docker save` or `podman save`
// made into one that depends on what is in the image alone, and prints the
// digest by which a registry would know it.
//
// Builders write into an image's configuration, besides what the Dockerfile
// says, the name of the container that they built it in and their own version;
// in the format of OCI Podman leaves out the health check instead. What is
// written here is an OCI layout, its configuration that of the OCI with Docker's
// health check, beside the index that `docker load` has always read.
func image(args []string, created time.Time, out io.Writer) error {
	if len(args) != 3 {
		return fmt.Errorf("image: want IMAGE:VERSION, the archive to read and the one to write, not %q", args)
	}
	saved, err := readSaved(args[1])
	if err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	blobs := map[string][]byte{} // by name in the archive
	add := func(mediaType string, content []byte) descriptor {
		sum := sha256.Sum256(content)
		hash := hex.EncodeToString(sum[:])
		blobs["blobs/sha256/"+hash] = content
		return descriptor{MediaType: mediaType, Digest: "sha256:" + hash, Size: len(content)}
	}

	m := manifest{SchemaVersion: 2, MediaType: ociManifest}
	compat := savedManifest{RepoTags: []string{args[0]}}
	for _, layer := range saved.layers {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		if _, err := w.Write(layer); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		d := add(ociLayer, z.Bytes())
		m.Layers = append(m.Layers, d)
		compat.Layers = append(compat.Layers, d.blob())
	}
	config, err := json.Marshal(saved.config)
	if err != nil {
		return err
	}
	m.Config = add(ociConfig, config)
	compat.Config = m.Config.blob()
	encoded, err := json.Marshal(m)
	if err != nil {
		return err
	}
	top := add(ociManifest, encoded)
	digest := top.Digest
	name, version, _ := strings.Cut(args[0], ":")
	top.Platform = &platform{OS: saved.config.OS, Architecture: saved.config.Architecture}
	top.Annotations = map[string]string{
		"io.containerd.image.name":          canonical(name) + ":" + version, // ctr images import
		"org.opencontainers.image.ref.name": version,
	}

	for file, content := range map[string]any{
		"oci-layout":    map[string]string{"imageLayoutVersion": "1.0.0"},
		"index.json":    index{SchemaVersion: 2, MediaType: ociIndex, Manifests: []descriptor{top}},
		"manifest.json": []savedManifest{compat},
	} {
		if blobs[file], err = json.Marshal(content); err != nil {
			return err
		}
	}
	if err := writeBlobs(args[2], blobs, created); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, digest)
	return err
}

// canonical is a name with its registry, Docker's when it names none.
func canonical(name string) string {
	host, _, found := strings.Cut(name, "/")
	switch {
	case !found:
		return "docker.io/library/" + name
	case strings.ContainsAny(host, ".:") || host == "localhost":
		return name
	default:
		return "docker.io/" + name
	}
}

// The parts of an OCI image that are written, see
// https://github.com/opencontainers/image-spec.
const (
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociConfig   = "application/vnd.oci.image.config.v1+json"
	ociLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func (d descriptor) blob() string { return "blobs/" + strings.Replace(d.Digest, ":", "/", 1) }

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// configuration is what is kept of an image's configuration.
type configuration struct {
	Created      time.Time `json:"created"`
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Config       struct {
		User         string              `json:",omitempty"`
		ExposedPorts map[string]struct{} `json:",omitempty"`
		Env          []string            `json:",omitempty"`
		Entrypoint   []string            `json:",omitempty"`
		Cmd          []string            `json:",omitempty"`
		WorkingDir   string              `json:",omitempty"`
		Labels       map[string]string   `json:",omitempty"`
		Healthcheck  *struct {
			Test          []string      `json:",omitempty"`
			Interval      time.Duration `json:",omitempty"`
			Timeout       time.Duration `json:",omitempty"`
			StartPeriod   time.Duration `json:",omitempty"`
			StartInterval time.Duration `json:",omitempty"`
			Retries       int           `json:",omitempty"`
		} `json:",omitempty"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []struct {
		Created    time.Time `json:"created"`
		CreatedBy  string    `json:"created_by,omitempty"`
		EmptyLayer bool      `json:"empty_layer,omitempty"`
	} `json:"history"`
}

// savedManifest is an entry of manifest.json, the index of `docker save`.
type savedManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

type saved struct {
	config configuration
	layers [][]byte // uncompressed
}

func readSaved(file string) (saved, error) {
	contents, err := readTar(file)
	if err != nil {
		return saved{}, err
	}
	var manifests []savedManifest
	if err := json.Unmarshal(contents["manifest.json"], &manifests); err != nil {
		return saved{}, fmt.Errorf("manifest.json: %w", err)
	}
	if len(manifests) != 1 {
		return saved{}, fmt.Errorf("%d images, want one", len(manifests))
	}
	var s saved
	if err := json.Unmarshal(contents[manifests[0].Config], &s.config); err != nil {
		return saved{}, fmt.Errorf("configuration: %w", err)
	}
	delete(s.config.Config.Labels, "io.buildah.version")
	if len(manifests[0].Layers) != len(s.config.RootFS.DiffIDs) {
		return saved{}, fmt.Errorf("%d layers, want %d", len(manifests[0].Layers), len(s.config.RootFS.DiffIDs))
	}
	for i, name := range manifests[0].Layers {
		layer := contents[name]
		if bytes.HasPrefix(layer, []byte{0x1f, 0x8b}) { // gzip
			z, err := gzip.NewReader(bytes.NewReader(layer))
			if err != nil {
				return saved{}, fmt.Errorf("layer %s: %w", name, err)
			}
			if layer, err = io.ReadAll(z); err != nil {
				return saved{}, fmt.Errorf("layer %s: %w", name, err)
			}
		}
		if sum := sha256.Sum256(layer); s.config.RootFS.DiffIDs[i] != "sha256:"+hex.EncodeToString(sum[:]) {
			return saved{}, fmt.Errorf("layer %s is not the %s that the configuration names", name, s.config.RootFS.DiffIDs[i])
		}
		s.layers = append(s.layers, layer)
	}
	return s, nil
}

func readTar(file string) (map[string][]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	contents := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if err == io.EOF {
			return contents, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if contents[header.Name], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
}

func writeBlobs(file string, blobs map[string][]byte, modified time.Time) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if err = cmp.Or(err, f.Close()); err != nil {
			_ = os.Remove(file) // the first error is the one to tell
		}
	}()
	w := tar.NewWriter(f)
	for _, name := range slices.Sorted(maps.Keys(blobs)) {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(blobs[name])), ModTime: modified, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(blobs[name]); err != nil {
			return err
		}
	}
	return w.Close()
}
