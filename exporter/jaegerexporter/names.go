// SPDX-License-Identifier: Apache-2.0

package jaegerexporter

import (
	"github.com/jaegertracing/jaeger-idl/model/v1"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// The attribute of an HTTP response's status, before and since semantic conventions 1.21.
const (
	attrStatusCode    = "http.status_code"
	attrNewStatusCode = "http.response.status_code"
)

// keepNames gives tags of an HTTP status the name that their attribute has. The
// translator calls both attributes by the old name, so that a span which has both
// would have a tag twice; Jaeger itself, when it takes OTLP, keeps the names.
// The spans are those of rs in order.
func keepNames(rs ptrace.ResourceSpans, spans []*model.Span) {
	i := 0
	for _, ss := range rs.ScopeSpans().All() {
		for _, span := range ss.Spans().All() {
			keepTagNames(span.Attributes(), spans[i].Tags)
			for j, event := range span.Events().All() {
				keepTagNames(event.Attributes(), spans[i].Logs[j].Fields)
			}
			i++
		}
	}
}

func keepTagNames(attrs pcommon.Map, tags []model.KeyValue) {
	if _, found := attrs.Get(attrNewStatusCode); !found {
		return
	}
	names := make([]string, 0, 2)
	for name := range attrs.All() {
		if isStatusCode(name) {
			names = append(names, name)
		}
	}
	places := make([]int, 0, 2)
	for i := range tags {
		if isStatusCode(tags[i].Key) {
			places = append(places, i)
		}
	}
	if len(places) != len(names) {
		return // a feature gate of the translator asks for more names or fewer
	}
	for i, place := range places {
		tags[place].Key = names[i]
	}
}

func isStatusCode(name string) bool { return name == attrStatusCode || name == attrNewStatusCode }
