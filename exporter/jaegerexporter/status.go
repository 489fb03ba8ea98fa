// SPDX-License-Identifier: Apache-2.0

package jaegerexporter

import (
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// verdict is what an answer of the other side means for the spans of a call.
type verdict uint8

const (
	taken    verdict = iota
	again            // may be taken later
	refused          // will never be taken
	tooLarge         // will never be taken in one message
)

// refusals are the codes after which the same request is never sent again, with
// their names in gRPC's specification. They are OTLP/gRPC's:
// https://opentelemetry.io/docs/specs/otlp/#failures
//
// Two differ from OTLP's list, which belongs to servers that know it:
//
//   - RESOURCE_EXHAUSTED is retried without RetryInfo too, since Jaeger says so
//     when its queue is full ("server busy", cmd/collector/app/handler/grpc_handler.go)
//     and never sends RetryInfo. It is not when the message was too large.
//   - UNKNOWN is retried: a gRPC server gives it to every error that has no code,
//     which for the jaeger receiver of a collector is memory_limiter or a full
//     queue, and a gRPC client gives it to HTTP 500. A code that gRPC does not
//     define counts as UNKNOWN.
var refusals = map[codes.Code]string{
	codes.InvalidArgument:    "INVALID_ARGUMENT",
	codes.NotFound:           "NOT_FOUND",
	codes.AlreadyExists:      "ALREADY_EXISTS",
	codes.PermissionDenied:   "PERMISSION_DENIED",
	codes.FailedPrecondition: "FAILED_PRECONDITION",
	codes.Unimplemented:      "UNIMPLEMENTED",
	codes.Internal:           "INTERNAL",
	codes.Unauthenticated:    "UNAUTHENTICATED",
}

// nameTooLarge is the code of a single span that is larger than the server takes.
const nameTooLarge = "RESOURCE_EXHAUSTED"

// judge reads the error of a call.
func judge(err error) verdict {
	if err == nil {
		return taken
	}
	s := status.Convert(err)
	if _, never := refusals[s.Code()]; never {
		return refused
	}
	// grpc-go's words, in every version, for a message over the server's limit.
	// Jaeger is written in Go.
	if s.Code() == codes.ResourceExhausted && strings.Contains(s.Message(), "larger than max") {
		return tooLarge
	}
	return again
}

// retryDelay is how long the server asks to wait, 0 when it does not.
func retryDelay(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}
