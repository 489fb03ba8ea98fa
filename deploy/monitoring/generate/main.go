// SPDX-License-Identifier: Apache-2.0

// Program generate writes alerts.yaml as a resource of the Prometheus Operator.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

//go:generate go run .

const head = `# Written from alerts.yaml by "make generate"; change that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: otelcol-custom
  labels:
    app.kubernetes.io/name: otelcol-custom
spec:
`

func main() {
	rules, err := os.ReadFile("../alerts.yaml")
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
	out := bytes.NewBufferString(head)
	comment := true // at the head, which is about the other file
	for line := range strings.Lines(string(rules)) {
		comment = comment && strings.HasPrefix(line, "#")
		if comment {
			continue
		}
		if strings.TrimSpace(line) != "" {
			out.WriteString("  ")
		}
		out.WriteString(line)
	}
	if err := os.WriteFile("../prometheusrule.yaml", out.Bytes(), 0o644); err != nil { //nolint:gosec // for all to read
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}
