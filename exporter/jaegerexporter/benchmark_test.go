// SPDX-License-Identifier: Apache-2.0

package jaegerexporter

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/jaegertracing/jaeger-idl/proto-gen/api_v2"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"

	samples "github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

type discardOTLP struct {
	ptraceotlp.UnimplementedGRPCServer
}

func (*discardOTLP) Export(context.Context, ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	return ptraceotlp.NewExportResponse(), nil
}

type discardJaeger struct{}

func (discardJaeger) PostSpans(context.Context, *api_v2.PostSpansRequest) (*api_v2.PostSpansResponse, error) {
	return &api_v2.PostSpansResponse{}, nil
}

// BenchmarkSend sends 1,000 spans of 13 attributes over a real connection to a
// server that decodes them and throws them away; the server's share is in the
// figures. The otlp_grpc exporter, which translates nothing, is the mark.
func BenchmarkSend(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	server := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(server, &discardOTLP{})
	api_v2.RegisterCollectorServiceServer(server, discardJaeger{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	b.Cleanup(func() {
		server.Stop()
		<-done
	})

	const spans = 1000
	for _, resources := range []int{1, 100} {
		td := ptrace.NewTraces()
		for i := range resources {
			n := spans / resources
			samples.Numbered("shop", samples.NewTraceID(), i*n, n).ResourceSpans().MoveAndAppendTo(td.ResourceSpans())
		}
		for _, factory := range []exporter.Factory{NewFactory(), otlpexporter.NewFactory()} {
			b.Run(fmt.Sprintf("%s/resources=%d", factory.Type(), resources), func(b *testing.B) {
				cfg := factory.CreateDefaultConfig()
				require.NoError(b, confmap.NewFromStringMap(map[string]any{
					"endpoint":      listener.Addr().String(),
					"compression":   "none",
					"tls":           map[string]any{"insecure": true},
					"sending_queue": map[string]any{"enabled": false},
				}).Unmarshal(cfg))
				e, err := factory.CreateTraces(b.Context(), exportertest.NewNopSettings(factory.Type()), cfg)
				require.NoError(b, err)
				require.NoError(b, e.Start(b.Context(), componenttest.NewNopHost()))
				defer func() { require.NoError(b, e.Shutdown(context.Background())) }()
				b.ReportAllocs()
				for b.Loop() {
					if err := e.ConsumeTraces(b.Context(), td); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/spans, "ns/span")
			})
		}
	}
}
