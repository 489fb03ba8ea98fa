// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// certificates writes Mozilla's root certificates, of the bundle that go.mod
// pins. Roots that Mozilla trusts with a condition are left out: a PEM file
// cannot say the condition, and without it they would be trusted for more.
func certificates(out io.Writer) error {
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		certificate, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "# %s\n", certificate.Subject); err != nil {
			return err
		}
		if err := pem.Encode(out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return err
		}
	}
	return nil
}
