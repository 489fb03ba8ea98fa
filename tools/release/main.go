// SPDX-License-Identifier: Apache-2.0

// Program release makes the parts of an image or an archive that must not
// depend on the machine it is made on: what it writes follows from its input and
// from SOURCE_DATE_EPOCH, whatever the time, the umask or the order of a folder.
//
//	release pack FILE.tar|FILE.tar.gz|FILE.zip < LIST   # an archive of listed files
//	release sbom [-certificates] -name N -version V BINARY...   # a CycloneDX SBOM
//	release licenses [-certificates DIR] BINARY...      # the licenses of what is in them
//	release certificates                                # root certificates as PEM
//	release image IMAGE:VERSION SAVED.tar FILE.tar      # what a builder made, without its traces
//
// sbom, licenses and certificates write to standard output, image the digest.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("want a command: pack, sbom, licenses, certificates or image")
	}
	switch command, args := args[0], args[1:]; command {
	case "pack":
		if len(args) != 1 {
			return errors.New("pack: want one file to write")
		}
		epoch, err := sourceDate()
		if err != nil {
			return err
		}
		return packTo(args[0], in, epoch)
	case "sbom":
		epoch, err := sourceDate()
		if err != nil {
			return err
		}
		return sbom(args, epoch, out)
	case "image":
		epoch, err := sourceDate()
		if err != nil {
			return err
		}
		return image(args, epoch, out)
	case "licenses":
		return licenses(args, out)
	case "certificates":
		return certificates(out)
	default:
		return fmt.Errorf("%q is not one of pack, sbom, licenses, certificates, image", command)
	}
}

// sourceDate is the time that everything gets, by the convention of
// reproducible-builds.org.
func sourceDate() (time.Time, error) {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
