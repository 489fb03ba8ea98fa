// SPDX-License-Identifier: Apache-2.0

// Program generate writes the collector's configuration into the operator's
// resources. The operator wants it inline, as an object; the one source of it
// is configs/, and the comments come along.
//
// A resource keeps all that stands above its line "From here on written". What
// is changed on the way is what the operator needs:
//
//   - The operator probes by HTTP, so health_check listens on the pod's address.
//     It would write the path, which is the default, by itself.
//   - The collector's own metrics are on the pod's address too.
//   - A component without settings is {} and not null: in a patch, and for
//     kubectl edit, null means that a key goes away.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:generate go run .

const (
	configs   = "../../../configs"
	resources = ".."
)

// modes are the resources with the file that each is written from.
var modes = map[string]string{
	"agent/collector.yaml":   "agent.yaml",
	"gateway/collector.yaml": "gateway.yaml",
	"apps/sidecar.yaml":      "sidecar.yaml",
}

// forOperator is merged over the configuration of a mode.
const forOperator = `
extensions:
  health_check:
    endpoint: ${env:POD_IP}:13133
    path: /
service:
  telemetry:
    metrics:
      readers:
        - pull: {exporter: {prometheus: {host: "${env:POD_IP}", port: 8888}}}
`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run() error {
	var overlay yaml.Node
	if err := yaml.Unmarshal([]byte(forOperator), &overlay); err != nil {
		return err
	}
	for file, source := range modes {
		config, err := read(source)
		if err != nil {
			return err
		}
		merge(config, overlay.Content[0])
		if err := write(filepath.Join(resources, file), config); err != nil {
			return err
		}
	}
	backends, err := filepath.Glob(filepath.Join(resources, "backend", "*", "collector.yaml"))
	if err != nil {
		return err
	}
	for _, file := range backends {
		config, err := read(filepath.Join("backend", filepath.Base(filepath.Dir(file))+".yaml"))
		if err != nil {
			return err
		}
		if err := write(file, config); err != nil {
			return err
		}
	}
	return nil
}

// read returns the top mapping of a file of configs/, without the comment at
// its head, which is about command lines.
func read(file string) (*yaml.Node, error) {
	raw, err := os.ReadFile(filepath.Join(configs, file)) //nolint:gosec // of the repository
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(noNulls(string(raw))), &document); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	document.HeadComment = ""
	top := document.Content[0]
	top.HeadComment, top.Content[0].HeadComment = "", ""
	return top, nil
}

var bareKey = regexp.MustCompile(`^( *)[^ #:][^:]*:( +#.*)?$`)

// noNulls gives {} to keys without a value. It works on the text, since the
// parser loses hold of the comment behind such a key.
func noNulls(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		m := bareKey.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		next := ""
		for _, l := range lines[i+1:] {
			if t := strings.TrimSpace(l); t != "" && !strings.HasPrefix(t, "#") {
				next = l
				break
			}
		}
		if len(next)-len(strings.TrimLeft(next, " ")) <= len(m[1]) {
			lines[i] = strings.TrimSuffix(line, m[2]) + " {}" + m[2]
		}
	}
	return strings.Join(lines, "\n")
}

// merge lays a mapping over another, as the collector merges files: maps key by
// key, all else is replaced.
func merge(into, over *yaml.Node) {
	for i := 0; i < len(over.Content); i += 2 {
		key, value := over.Content[i], over.Content[i+1]
		switch old := get(into, key.Value); {
		case old == nil:
			into.Content = append(into.Content, key, value)
		case old.Kind == yaml.MappingNode && value.Kind == yaml.MappingNode:
			merge(old, value)
		default:
			*old = *value
		}
	}
}

func get(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

var written = regexp.MustCompile(`(?m)^ *# From here on written.*\n`)

func write(file string, config *yaml.Node) error {
	old, err := os.ReadFile(file) //nolint:gosec // of the repository
	if err != nil {
		return err
	}
	line := written.FindIndex(old)
	if line == nil {
		return fmt.Errorf("%s has no line %q", file, written)
	}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(map[string]*yaml.Node{"config": config}); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	out := bytes.NewBuffer(old[:line[1]:line[1]])
	for l := range strings.Lines(text.String()) {
		if strings.TrimSpace(l) != "" {
			out.WriteString("  ") // it stands in "spec"
		}
		out.WriteString(l)
	}
	return os.WriteFile(file, out.Bytes(), 0o644) //nolint:gosec // in the repository, for all to read
}
