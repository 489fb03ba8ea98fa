// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// entry is a file or, without a source, a directory of an archive.
type entry struct {
	name   string // relative, with slashes
	mode   fs.FileMode
	owner  int // user and group
	source string
}

func (e entry) directory() bool { return e.source == "" }

// readList reads lines "MODE OWNER NAME [SOURCE]", a directory's without source,
// and returns them sorted, with the directories above them that no line names.
func readList(in io.Reader) ([]entry, error) {
	byName := map[string]entry{}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 && len(fields) != 4 {
			return nil, fmt.Errorf("%q: want MODE OWNER NAME [SOURCE]", lines.Text())
		}
		mode, err := strconv.ParseUint(fields[0], 8, 12)
		if err != nil || mode > 0o777 {
			return nil, fmt.Errorf("%q: mode %q is not one of 0000 to 0777", lines.Text(), fields[0])
		}
		owner, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, fmt.Errorf("%q: owner: %w", lines.Text(), err)
		}
		e := entry{name: fields[2], mode: fs.FileMode(mode), owner: owner}
		if !fs.ValidPath(e.name) || e.name == "." {
			return nil, fmt.Errorf("%q: name is not a relative path", lines.Text())
		}
		if len(fields) == 4 {
			e.source = fields[3]
		}
		if _, twice := byName[e.name]; twice {
			return nil, fmt.Errorf("%s is listed twice", e.name)
		}
		byName[e.name] = e
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	var entries []entry
	for _, e := range byName {
		entries = append(entries, e)
	}
	for _, e := range entries {
		for dir := path.Dir(e.name); dir != "."; dir = path.Dir(dir) {
			if _, listed := byName[dir]; !listed {
				byName[dir] = entry{name: dir, mode: 0o755}
				entries = append(entries, byName[dir])
			}
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	return entries, nil
}

// packTo writes an archive in the format of its name. A file that could not be
// written whole is removed.
func packTo(file string, list io.Reader, modified time.Time) (err error) {
	entries, err := readList(list)
	if err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if err = cmp.Or(err, out.Close()); err != nil {
			_ = os.Remove(file) // the first error is the one to tell
		}
	}()
	switch {
	case strings.HasSuffix(file, ".tar"):
		return packTar(out, entries, modified)
	case strings.HasSuffix(file, ".tar.gz"):
		z := gzip.NewWriter(out)
		if err := packTar(z, entries, modified); err != nil {
			return err
		}
		return z.Close()
	case strings.HasSuffix(file, ".zip"):
		return packZip(out, entries, modified)
	default:
		return fmt.Errorf("%s: want a name that ends in .tar, .tar.gz or .zip", file)
	}
}

func packTar(out io.Writer, entries []entry, modified time.Time) error {
	w := tar.NewWriter(out)
	for _, e := range entries {
		header := &tar.Header{
			Typeflag: tar.TypeDir, Name: e.name + "/", Mode: int64(e.mode),
			Uid: e.owner, Gid: e.owner, ModTime: modified, Format: tar.FormatUSTAR,
		}
		if !e.directory() {
			header.Typeflag, header.Name = tar.TypeReg, e.name
		}
		err := e.copyTo(func(size int64) (io.Writer, error) {
			header.Size = size
			return w, w.WriteHeader(header)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return w.Close()
}

func packZip(out io.Writer, entries []entry, modified time.Time) error {
	w := zip.NewWriter(out)
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: modified}
		if e.directory() {
			header.Name, header.Method = e.name+"/", zip.Store
			header.SetMode(e.mode | fs.ModeDir)
		} else {
			header.SetMode(e.mode)
		}
		if err := e.copyTo(func(int64) (io.Writer, error) { return w.CreateHeader(header) }); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return w.Close()
}

// copyTo copies the content to the writer that begin returns for its size.
func (e entry) copyTo(begin func(size int64) (io.Writer, error)) error {
	if e.directory() {
		_, err := begin(0)
		return err
	}
	in, err := os.Open(e.source)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", e.source)
	}
	w, err := begin(info.Size())
	if err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}
