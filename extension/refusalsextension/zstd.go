// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"io"

	"github.com/klauspost/compress/zstd"
	_ "go.opentelemetry.io/collector/config/configgrpc" // registers what is wrapped here
	"google.golang.org/grpc/encoding"
)

// zstdWindow is the largest window that a sender may ask for, in bytes, which is what
// encoders use at their default level. The format lets ten bytes ask for 512 MiB.
const zstdWindow = 8 << 20

func init() {
	encoding.RegisterCompressor(boundedZstd{encoding.GetCompressor("zstd")})
}

// boundedZstd is gRPC's zstd with a bound to what decompressing takes.
type boundedZstd struct{ encoding.Compressor }

// Decompress implements encoding.Compressor.
func (boundedZstd) Decompress(r io.Reader) (io.Reader, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
}
