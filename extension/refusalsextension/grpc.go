// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// GetGRPCServerOptions implements extensionmiddleware.GRPCServer. A stats handler is
// told of requests that fail before any interceptor sees them: too large, or not
// protobuf.
func (r *refusals) GetGRPCServerOptions(context.Context) ([]grpc.ServerOption, error) {
	return []grpc.ServerOption{grpc.StatsHandler(statsHandler{r})}, nil
}

type statsHandler struct{ *refusals }

var _ stats.Handler = statsHandler{}

type methodKey struct{}

// TagRPC implements stats.Handler.
func (statsHandler) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, methodKey{}, info)
}

// HandleRPC implements stats.Handler.
func (h statsHandler) HandleRPC(ctx context.Context, event stats.RPCStats) {
	end, ok := event.(*stats.End)
	if !ok || end.Error == nil {
		return
	}
	switch code := status.Code(end.Error); code {
	case codes.InvalidArgument, codes.ResourceExhausted, codes.Internal, codes.Unimplemented:
		method, client := "", ""
		if info, ok := ctx.Value(methodKey{}).(*stats.RPCTagInfo); ok {
			method = info.FullMethodName
		}
		if p, ok := peer.FromContext(ctx); ok {
			client = p.Addr.String()
		}
		h.refused(ctx, "grpc", code.String(), method, client)
	default: // not a bad request
	}
}

// TagConn implements stats.Handler.
func (statsHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (statsHandler) HandleConn(context.Context, stats.ConnStats) {}
