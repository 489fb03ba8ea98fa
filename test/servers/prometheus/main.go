// SPDX-License-Identifier: Apache-2.0

// Program selectors reads PromQL expressions, a JSON array of strings, from
// standard input and writes what each asks for to standard output, a JSON array:
// the metrics with the matchers of their labels, and the labels that it groups
// or matches by. It is Prometheus' own parser, in a module where its
// dependencies bother nobody.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Expression is what one expression asks for.
type Expression struct {
	Error   string   `json:"error,omitempty"`
	Metrics []Metric `json:"metrics"`
	// Groups are labels, each with the metrics of which one at least must have it.
	Groups []Group `json:"groups"`
}

// Metric is one selector.
type Metric struct {
	Name     string    `json:"name"`
	Matchers []Matcher `json:"matchers"`
}

// Matcher is what a selector wants of a label.
type Matcher struct {
	Label string `json:"label"`
	Op    string `json:"op"` // =, !=, =~ or !~
	Value string `json:"value"`
}

// Group is a label that is grouped or matched by.
type Group struct {
	Label   string   `json:"label"`
	Metrics []string `json:"metrics"`
}

func main() {
	var texts []string
	if err := json.NewDecoder(os.Stdin).Decode(&texts); err != nil {
		fmt.Fprintln(os.Stderr, "selectors:", err)
		os.Exit(1)
	}
	out := make([]Expression, len(texts))
	for i, text := range texts {
		out[i] = read(text)
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		fmt.Fprintln(os.Stderr, "selectors:", err)
		os.Exit(1)
	}
}

func read(text string) Expression {
	expr, err := parser.ParseExpr(text)
	if err != nil {
		return Expression{Error: err.Error()}
	}
	e := Expression{Metrics: metrics(expr)}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.AggregateExpr:
			if !n.Without {
				e.group(n.Grouping, n.Expr)
			}
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				e.group(n.VectorMatching.MatchingLabels, n.LHS)
				e.group(n.VectorMatching.MatchingLabels, n.RHS)
			}
		}
		return nil
	})
	return e
}

func (e *Expression) group(by []string, of parser.Node) {
	var names []string
	for _, m := range metrics(of) {
		names = append(names, m.Name)
	}
	for _, label := range by {
		e.Groups = append(e.Groups, Group{Label: label, Metrics: names})
	}
}

func metrics(node parser.Node) []Metric {
	var found []Metric
	parser.Inspect(node, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		m := Metric{Name: selector.Name}
		for _, matcher := range selector.LabelMatchers {
			if matcher.Name != labels.MetricName {
				m.Matchers = append(m.Matchers, Matcher{matcher.Name, matcher.Type.String(), matcher.Value})
			}
		}
		found = append(found, m)
		return nil
	})
	return found
}
