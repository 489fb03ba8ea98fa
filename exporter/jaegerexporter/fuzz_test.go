// SPDX-License-Identifier: Apache-2.0

package jaegerexporter

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/jaegertracing/jaeger-idl/proto-gen/api_v2"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/otelcol-custom/otelcol-custom/exporter/jaegerexporter/internal/metadata"
	samples "github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

// scripted is the other side of a push: each byte of its script is an answer, and
// after the script it takes everything.
type scripted struct {
	script  []byte
	settled []string // names of spans that were taken, or refused for good
}

// PostSpans implements api_v2.CollectorServiceClient.
func (s *scripted) PostSpans(_ context.Context, r *api_v2.PostSpansRequest, _ ...grpc.CallOption) (*api_v2.PostSpansResponse, error) {
	answer := byte(0)
	if len(s.script) > 0 {
		answer, s.script = s.script[0], s.script[1:]
	}
	settle := func() {
		for _, span := range r.Batch.Spans {
			s.settled = append(s.settled, span.OperationName)
		}
	}
	switch answer % 4 {
	case 1:
		return nil, status.Error(codes.Unavailable, "away")
	case 2:
		settle()
		return nil, status.Error(codes.InvalidArgument, "never")
	case 3:
		if len(r.Batch.Spans) == 1 {
			settle()
		}
		return nil, status.Error(codes.ResourceExhausted, "grpc: received message larger than max (2 vs. 1)")
	}
	settle()
	return &api_v2.PostSpansResponse{}, nil
}

// Whatever the spans are and whatever Jaeger answers: with retries each span is
// taken or refused exactly once, and in order.
func FuzzPush(f *testing.F) {
	marshaler := ptrace.ProtoMarshaler{}
	for _, seed := range []struct {
		td     ptrace.Traces
		script []byte
	}{
		{numbered(2, 0, 3, 1), nil},
		{numbered(2, 0, 3, 1), []byte{0, 1, 2, 1, 3, 3}},
		{numbered(17), []byte{3, 3, 1, 0, 3, 2, 1}},
		{samples.NewShop().Traces, []byte{2, 2}},
		{samples.NewShop().Traces, []byte{1, 1, 0, 1}},
		{ptrace.NewTraces(), []byte{1}},
	} {
		raw, err := marshaler.MarshalTraces(seed.td)
		require.NoError(f, err)
		f.Add(raw, seed.script)
	}
	unmarshaler := ptrace.ProtoUnmarshaler{}
	f.Fuzz(func(t *testing.T, raw, script []byte) {
		td, err := unmarshaler.UnmarshalTraces(raw)
		if err != nil {
			t.Skip("not OTLP")
		}
		var want []string
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					span.SetName(strconv.Itoa(len(want)))
					want = append(want, span.Name())
				}
			}
		}
		td.MarkReadOnly()

		e, err := newJaeger(createDefaultConfig().(*Config), exportertest.NewNopSettings(metadata.Type))
		require.NoError(t, err)
		client := &scripted{script: script}
		e.client, e.host = client, componenttest.NewNopHost()
		for {
			err := e.pushTraces(t.Context(), td)
			if err == nil || consumererror.IsPermanent(err) {
				break
			}
			if left := (consumererror.Traces{}); errors.As(err, &left) {
				td = left.Data()
			}
		}
		require.NoError(t, e.shutdown(t.Context()))
		require.Equal(t, want, client.settled)
	})
}
