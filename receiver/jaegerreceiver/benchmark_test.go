// SPDX-License-Identifier: Apache-2.0

package jaegerreceiver

import (
	"strconv"
	"testing"

	"github.com/jaegertracing/jaeger-idl/thrift-gen/jaeger"
)

// BenchmarkDecode decodes and translates a datagram of 20 spans with 8 tags each,
// which is about what a client sends.
func BenchmarkDecode(b *testing.B) {
	names := make([]string, 20)
	for i := range names {
		names[i] = "GET /items/" + strconv.Itoa(i)
	}
	full := batch(names...)
	for _, span := range full.Spans {
		for i := range 8 {
			text := "value " + strconv.Itoa(i)
			span.Tags = append(span.Tags, &jaeger.Tag{Key: "key." + strconv.Itoa(i), VType: jaeger.TagType_STRING, VStr: &text})
		}
	}
	protocols := map[string]protocolOf{"thrift_compact": compact, "thrift_binary": binary}
	for _, e := range encodings() {
		data := e.datagram(b, full)
		b.Run(e.key, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, spans, err := decodeCall(b.Context(), protocols[e.key], data); err != nil || spans != 20 {
					b.Fatal(spans, err)
				}
			}
		})
	}
}
