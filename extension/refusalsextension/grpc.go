// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"context"
	"errors"
	"reflect"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// GetGRPCServerOptions implements extensionmiddleware.GRPCServer. A stats handler is
// told of requests that fail before any interceptor sees them: too large, or not
// protobuf. The codec sees a request before it is decoded, but cannot answer it as it
// should be: it leaves that to the interceptor.
func (r *refusals) GetGRPCServerOptions(context.Context) ([]grpc.ServerOption, error) {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(&codec{CodecV2: encoding.GetCodecV2(proto.Name), refusals: r}),
		grpc.StatsHandler(statsHandler{r}),
		grpc.ChainUnaryInterceptor(intercept),
	}, nil
}

// requestTypes are the Go types of OTLP's requests, which are not exported.
var requestTypes = map[string]*message{
	"ExportTraceServiceRequest":   traces,
	"ExportMetricsServiceRequest": metrics,
	"ExportLogsServiceRequest":    logs,
}

// codec decodes requests that there is room for.
type codec struct {
	encoding.CodecV2
	refusals *refusals
}

// Unmarshal implements encoding.CodecV2. A request for which there is no room is left
// empty.
func (c *codec) Unmarshal(data mem.BufferSlice, request any) error {
	known, ok := requestTypes[typeName(request)]
	if !ok {
		return c.CodecV2.Unmarshal(data, request)
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	size, err := known.decodedSize(whole.ReadOnlyData())
	err = c.refusals.limits.check(size, err)
	if err == nil && !c.refusals.limits.take(size) {
		err = errFull
	}
	if err != nil {
		c.refusals.decoded.Store(request, reservation{refused: err})
		return nil
	}
	if err := c.CodecV2.Unmarshal(mem.BufferSlice{whole}, request); err != nil {
		c.refusals.limits.release(size)
		return err
	}
	c.refusals.decoded.Store(request, reservation{size: size})
	return nil
}

func typeName(v any) string {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer {
		return ""
	}
	return t.Elem().Name()
}

// reservation is what the codec found: the bytes that it reserved, or why it did not.
type reservation struct {
	size    int
	refused error
}

// call is a request from its begin to its end.
type call struct {
	method string
	reservation
}

type callKey struct{}

func intercept(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if c, ok := ctx.Value(callKey{}).(*call); ok && c.refused != nil {
		code := codes.InvalidArgument
		if errors.Is(c.refused, errFull) {
			code = codes.Unavailable
		}
		return nil, status.Error(code, c.refused.Error())
	}
	return next(ctx, request)
}

type statsHandler struct{ *refusals }

var _ stats.Handler = statsHandler{}

// TagRPC implements stats.Handler.
func (statsHandler) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, callKey{}, &call{method: info.FullMethodName})
}

// HandleRPC implements stats.Handler.
func (h statsHandler) HandleRPC(ctx context.Context, event stats.RPCStats) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return
	}
	switch event := event.(type) {
	case *stats.InPayload: // the codec was here just before
		if found, ok := h.decoded.LoadAndDelete(event.Payload); ok {
			c.reservation = found.(reservation)
		}
	case *stats.End:
		h.limits.release(c.size)
		h.ended(ctx, c, status.Code(event.Error))
	default: // says nothing of a request's end
	}
}

// ended reports a call that was refused.
func (h statsHandler) ended(ctx context.Context, c *call, code codes.Code) {
	switch code {
	case codes.InvalidArgument, codes.ResourceExhausted, codes.Internal, codes.Unimplemented:
	default:
		if c.refused == nil {
			return
		}
	}
	client := ""
	if p, ok := peer.FromContext(ctx); ok {
		client = p.Addr.String()
	}
	h.refused(ctx, refusal{transport: "grpc", status: code.String(), reason: c.refused, target: c.method, client: client})
}

// TagConn implements stats.Handler.
func (statsHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (statsHandler) HandleConn(context.Context, stats.ConnStats) {}
