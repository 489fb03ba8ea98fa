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
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"
)

// image rewrites the archive of one image that `docker save` or `podman save`
// made into one that depends on what is in the image alone, and prints the
// image's id, the digest of its configuration.
//
// Builders write into an image, besides what the Dockerfile says, the time, the
// name of the container that they built it in, their own version and wording. None
// of it is kept, so that the id is the same whichever of them has built it. The
// format is Docker's: the OCI's has no health check, and Podman drops it where it
// stands nevertheless.
func image(args []string, created time.Time, out io.Writer) error {
	if len(args) != 3 {
		return fmt.Errorf("image: want IMAGE:VERSION, the archive to read and the one to write, not %q", args)
	}
	saved, err := readSaved(args[1])
	if err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	if err := saved.normalize(created); err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	config, err := json.Marshal(saved.config)
	if err != nil {
		return err
	}
	id := digest(config)
	m := savedManifest{Config: id + ".json", RepoTags: []string{args[0]}}
	files := map[string][]byte{m.Config: config}
	for _, layer := range saved.layers {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		if _, err := w.Write(layer); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		name := digest(layer) + ".tar.gz"
		m.Layers = append(m.Layers, name)
		files[name] = z.Bytes()
	}
	if files["manifest.json"], err = json.Marshal([]savedManifest{m}); err != nil {
		return err
	}
	if err := writeTar(args[2], files, created); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "sha256:"+id)
	return err
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// configuration is what is kept of an image's configuration.
type configuration struct {
	Created         time.Time `json:"created"`
	Architecture    string    `json:"architecture"`
	OS              string    `json:"os"`
	Config          settings  `json:"config"`
	ContainerConfig settings  `json:"container_config"` // the same; Podman takes the health check from here
	RootFS          struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []step `json:"history"` // one of each layer
}

type step struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

// settings are what a container of the image starts with.
type settings struct {
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
		if s.config.RootFS.DiffIDs[i] != "sha256:"+digest(layer) {
			return saved{}, fmt.Errorf("layer %s is not the %s that the configuration names", name, s.config.RootFS.DiffIDs[i])
		}
		s.layers = append(s.layers, layer)
	}
	return s, nil
}

// normalize removes what is of the builder and of the build.
func (s *saved) normalize(created time.Time) error {
	s.config.Created = created
	delete(s.config.Config.Labels, "io.buildah.version")
	s.config.Config.WorkingDir = cmp.Or(s.config.Config.WorkingDir, "/") // which is what it means
	s.config.ContainerConfig = s.config.Config
	s.config.History = nil
	for i, layer := range s.layers {
		s.config.History = append(s.config.History, step{created, "deploy/Dockerfile"})
		var err error
		if s.layers[i], err = normalizeLayer(layer, created); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		s.config.RootFS.DiffIDs[i] = "sha256:" + digest(s.layers[i])
	}
	return nil
}

// normalizeLayer writes the directories and files of a layer again; an image of
// ours has nothing else.
func normalizeLayer(layer []byte, modified time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeDir {
			return nil, fmt.Errorf("%s is neither a file nor a directory", header.Name)
		}
		err = w.WriteHeader(&tar.Header{
			Typeflag: header.Typeflag, Name: header.Name, Mode: header.Mode & 0o7777, Size: header.Size,
			Uid: header.Uid, Gid: header.Gid, ModTime: modified, Format: tar.FormatUSTAR,
		})
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(w, r); err != nil { //nolint:gosec // as large as the image that was just built
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
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
		if errors.Is(err, io.EOF) {
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

func writeTar(file string, contents map[string][]byte, modified time.Time) (err error) {
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
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(contents[name])), ModTime: modified, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(contents[name]); err != nil {
			return err
		}
	}
	return w.Close()
}
