// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

func own(_ context.Context, flags *flag.FlagSet, args []string) error {
	uid := flags.Int("uid", 10001, "user who is to own the directory")
	gid := flags.Int("gid", 10001, "group that is to own the directory")
	if err := parse(flags, args, 1); err != nil {
		return err
	}
	directory, err := filepath.Abs(flags.Arg(0))
	if err != nil {
		return err
	}
	if info, err := os.Lstat(directory); err != nil { //nolint:gosec // whoever calls it names the directory
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", directory)
	}
	if filepath.Dir(directory) == directory {
		return fmt.Errorf("%s is a whole file system; name a directory in it", directory)
	}
	parent, err := os.OpenRoot(filepath.Dir(directory))
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }() // nothing was written through it
	return owner{*uid, *gid}.take(parent, filepath.Base(directory))
}

// owner is to own what it takes.
type owner struct{ uid, gid int }

// take gives an entry of a directory, and all below it, to the owner. It needs
// CAP_CHOWN alone: a directory that the process may not read becomes its own
// for as long as it is read. Who writes to the directory meanwhile cannot lead
// it out of it, since each step is by the handle of the parent and links are not
// followed. The first error ends it; run again, it does the rest.
func (o owner) take(parent *os.Root, name string) error {
	info, err := parent.Lstat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		if err := o.takeEntries(parent, name); err != nil {
			return err
		}
	}
	return parent.Lchown(name, o.uid, o.gid)
}

func (o owner) takeEntries(parent *os.Root, name string) error {
	directory, entries, err := open(parent, name)
	if errors.Is(err, fs.ErrPermission) {
		if err := parent.Lchown(name, os.Geteuid(), -1); err != nil {
			return err
		}
		directory, entries, err = open(parent, name)
	}
	if err != nil {
		return err
	}
	defer func() { _ = directory.Close() }() // nothing was written through it
	for _, entry := range entries {
		if err := o.take(directory, entry.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) { // gone meanwhile
			return err
		}
	}
	return nil
}

func open(parent *os.Root, name string) (*os.Root, []fs.DirEntry, error) {
	directory, err := parent.OpenRoot(name)
	if err != nil {
		return nil, nil, err
	}
	entries, err := fs.ReadDir(directory.FS(), ".")
	if err != nil {
		_ = directory.Close() // nothing was written through it
		return nil, nil, err
	}
	return directory, entries, nil
}
