// SPDX-License-Identifier: Apache-2.0

package jaegerreceiver

import (
	"runtime"
	"testing"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/stretchr/testify/require"
)

// FuzzDecode: whatever the bytes are, decoding them ends, takes no more memory than
// they can account for, and gives as many spans as it says.
func FuzzDecode(f *testing.F) {
	for _, e := range encodings() {
		for _, b := range [][]byte{
			e.datagram(f, batch()),
			e.datagram(f, batch("one", "two")),
			e.datagram(f, batch("one"))[:20],
		} {
			f.Add(b)
		}
	}
	// emitBatch, whose batch says that it has 100 million spans.
	f.Add([]byte("\x82\x81\x01\x09emitBatch\x1c\x1c\x29\xfc\xff\xff\xff\x31"))
	f.Add([]byte("\x80\x01\x00\x04\x00\x00\x00\x09emitBatch\x00\x00\x00\x01\x0c\x00\x01\x0f\x00\x02\x0c\x06\x3f\xff\xff"))
	f.Add([]byte("\x0f\x00\x02\x0c\x06\x3f\xff\xff"))
	body, err := thrift.NewTSerializer().Write(f.Context(), batch("one"))
	require.NoError(f, err)
	f.Add(body)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxDatagram {
			t.Skip("more than a datagram")
		}
		for _, p := range []protocolOf{compact, binary} {
			check(t, data, func() (int, int, error) {
				td, spans, err := decodeCall(t.Context(), p, data)
				if err != nil {
					return 0, 0, err
				}
				return td.SpanCount(), spans, nil
			})
		}
		check(t, data, func() (int, int, error) {
			td, spans, err := decodeBatch(t.Context(), data)
			if err != nil {
				return 0, 0, err
			}
			return td.SpanCount(), spans, nil
		})
	})
}

func check(t *testing.T, data []byte, decode func() (translated, claimed int, err error)) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	translated, claimed, err := decode()
	runtime.ReadMemStats(&after)
	// A byte can be a span of its own (240 bytes and its translation), and on each of
	// the four levels down to a tag a list can claim a pointer for each byte.
	if most := uint64(1<<20 + 2000*len(data)); after.TotalAlloc-before.TotalAlloc > most {
		t.Errorf("%d bytes took %d bytes of memory", len(data), after.TotalAlloc-before.TotalAlloc)
	}
	if err == nil && translated > claimed {
		t.Errorf("%d spans of %d", translated, claimed)
	}
}
