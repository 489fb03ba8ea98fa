// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"context"
	"net/netip"
	"reflect"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// handshakeLimit is for a new connection to speak HTTP/2; gRPC's default is two minutes.
const handshakeLimit = 10 * time.Second

// headerLimit is for a call's headers, in bytes; gRPC's default is 16 MiB.
const headerLimit = 64 << 10

// GetGRPCServerOptions implements extensionmiddleware.GRPCServer. A stats handler is
// told of requests that fail before any interceptor sees them: too large, or not
// protobuf. The interceptor stands behind the server's own, so that only who is let in
// has a request decoded: the codec keeps it for that.
func (r *refusals) GetGRPCServerOptions(context.Context) ([]grpc.ServerOption, error) {
	decoder := encoding.GetCodecV2(proto.Name)
	return []grpc.ServerOption{
		grpc.ConnectionTimeout(handshakeLimit),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.MaxHeaderListSize(headerLimit),
		grpc.InTapHandle(r.tap),
		grpc.ForceServerCodecV2(&codec{CodecV2: decoder, refusals: r}),
		grpc.StatsHandler(statsHandler{r}),
		grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			c, ok := ctx.Value(callKey{}).(*call)
			if !ok || c.body == nil {
				if ok {
					c.free() // its place, which other calls wait for
				}
				return next(ctx, request)
			}
			size, err := r.decode(c, request, decoder)
			if err != nil {
				return nil, err
			}
			defer r.limits.release(c.client, size)
			return next(ctx, request)
		}),
	}, nil
}

// decode reserves what a request takes, which it returns, and decodes it.
func (r *refusals) decode(c *call, request any, decoder encoding.CodecV2) (int, error) {
	defer c.free()
	size, err := requestTypes[typeName(request)].decodedSize(c.body.ReadOnlyData())
	if c.refused = r.limits.check(size, err); c.refused != nil {
		return 0, status.Error(codes.InvalidArgument, c.refused.Error())
	}
	if !r.limits.take(c.client, size) {
		c.refused = errFull
		return 0, full
	}
	if err := decoder.Unmarshal(mem.BufferSlice{c.body}, request); err != nil {
		r.limits.release(c.client, size)
		return 0, status.Errorf(codes.Internal, "unmarshal the request: %v", err)
	}
	return size, nil
}

// full is errFull with the delay that OTLP's clients look for.
var full = func() error {
	s, err := status.New(codes.Unavailable, errFull.Error()).WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	if err != nil { // the detail is a constant
		panic(err)
	}
	return s.Err()
}()

// requestTypes are the Go types of OTLP's requests, which are not exported.
var requestTypes = map[string]*message{
	"ExportTraceServiceRequest":   traces,
	"ExportMetricsServiceRequest": metrics,
	"ExportLogsServiceRequest":    logs,
	"PostSpansRequest":            jaeger,
}

func typeName(v any) string {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer {
		return ""
	}
	return t.Elem().Name()
}

// codec leaves OTLP's requests empty, and what they are decoded from to the interceptor.
type codec struct {
	encoding.CodecV2
	refusals *refusals
}

// Unmarshal implements encoding.CodecV2.
func (c *codec) Unmarshal(data mem.BufferSlice, request any) error {
	if _, ok := requestTypes[typeName(request)]; !ok {
		return c.CodecV2.Unmarshal(data, request)
	}
	c.refusals.encoded.Store(request, data.MaterializeToBuffer(mem.DefaultBufferPool()))
	return nil
}

// call is a request from its begin to its end.
type call struct {
	method  string
	client  netip.Addr
	leave   func()     // its place, until it is decoded; nil when it has none
	body    mem.Buffer // of a request of OTLP until it is decoded
	refused error
}

// free may be called more than once.
func (c *call) free() {
	if c.body != nil {
		c.body.Free()
		c.body = nil
	}
	if c.leave != nil {
		c.leave()
		c.leave = nil
	}
}

type callKey struct{}

type statsHandler struct{ *refusals }

var _ stats.Handler = statsHandler{}

// TagRPC implements stats.Handler.
func (statsHandler) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	client, _ := clientOf(ctx)
	return context.WithValue(ctx, callKey{}, &call{method: info.FullMethodName, client: client})
}

// HandleRPC implements stats.Handler.
func (h statsHandler) HandleRPC(ctx context.Context, event stats.RPCStats) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return
	}
	switch event := event.(type) {
	case *stats.Begin: // nothing of the message has been read
		// Who gets no place has run out of time, and reading fails at once.
		c.leave, _ = h.places.wait(ctx, c.client)
	case *stats.InPayload: // the codec was called just before
		if u, ok := ctx.Value(uploadKey{}).(*upload); ok {
			u.whole()
		}
		if body, ok := h.encoded.LoadAndDelete(event.Payload); ok {
			c.body = body.(mem.Buffer)
		}
	case *stats.End:
		c.free()
		h.ended(ctx, c, status.Code(event.Error))
	default: // says nothing of a request's end
	}
}

// ended reports a call that was refused.
func (h statsHandler) ended(ctx context.Context, c *call, code codes.Code) {
	switch code {
	case codes.InvalidArgument, codes.ResourceExhausted, codes.Internal, codes.Unimplemented,
		codes.Unauthenticated, codes.PermissionDenied:
	default:
		if u, ok := ctx.Value(uploadKey{}).(*upload); ok && c.refused == nil {
			c.refused = u.err()
		}
		if c.refused == nil {
			return
		}
	}
	_, client := clientOf(ctx)
	h.refused(ctx, refusal{transport: "grpc", status: code.String(), reason: c.refused, target: c.method, client: client})
}

// clientOf returns the address that a call is from, and the same with its port.
func clientOf(ctx context.Context) (netip.Addr, string) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return netip.Addr{}, ""
	}
	if address, ok := p.Addr.(interface{ AddrPort() netip.AddrPort }); ok {
		return address.AddrPort().Addr().Unmap(), p.Addr.String()
	}
	return netip.Addr{}, p.Addr.String()
}

// TagConn implements stats.Handler.
func (statsHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (statsHandler) HandleConn(context.Context, stats.ConnStats) {}
