// SPDX-License-Identifier: Apache-2.0

package jaegerreceiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/jaegertracing/jaeger-idl/thrift-gen/agent"
	"github.com/jaegertracing/jaeger-idl/thrift-gen/jaeger"
	translator "github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/jaeger"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// protocolOf makes Thrift's decoder of one message. A decoder keeps some state after
// an error, so it is not used again.
type protocolOf func(thrift.TTransport, *thrift.TConfiguration) thrift.TProtocol

func compact(t thrift.TTransport, c *thrift.TConfiguration) thrift.TProtocol {
	return thrift.NewTCompactProtocolConf(t, c)
}

func binary(t thrift.TTransport, c *thrift.TConfiguration) thrift.TProtocol {
	return thrift.NewTBinaryProtocolConf(t, c)
}

// open makes a decoder of data. Thrift's generated code makes room for as many
// elements as a list says it has before it reads any; the limit is that a message
// of n bytes can have no list of more than n elements and no text of more than n bytes.
func (p protocolOf) open(data []byte) thrift.TProtocol {
	buffer := &thrift.TMemoryBuffer{Buffer: bytes.NewBuffer(data)}
	return p(buffer, &thrift.TConfiguration{MaxMessageSize: int32(max(len(data), 1))})
}

var errUnsupported = errors.New("not emitBatch")

// decodeCall reads a call of the agent's method emitBatch.
func decodeCall(ctx context.Context, p protocolOf, data []byte) (td ptrace.Traces, spans int, err error) {
	defer recovered(&err)
	protocol := p.open(data)
	name, _, _, err := protocol.ReadMessageBegin(ctx)
	if err != nil {
		return td, 0, err
	}
	if name != "emitBatch" {
		return td, 0, errUnsupported
	}
	args := agent.NewAgentEmitBatchArgs()
	if err := args.Read(ctx, protocol); err != nil {
		return td, 0, err
	}
	if args.Batch == nil {
		return td, 0, errors.New("no batch")
	}
	return toTraces(args.Batch)
}

// decodeBatch reads a batch in the binary encoding.
func decodeBatch(ctx context.Context, data []byte) (td ptrace.Traces, spans int, err error) {
	defer recovered(&err)
	batch := jaeger.NewBatch()
	if err := batch.Read(ctx, protocolOf(binary).open(data)); err != nil {
		return td, 0, err
	}
	return toTraces(batch)
}

func toTraces(batch *jaeger.Batch) (ptrace.Traces, int, error) {
	td, err := translator.ThriftToTraces(batch)
	return td, len(batch.Spans), err
}

// recovered turns a panic into an error: generated code and translator have never
// seen all that can be sent to a port.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("decode: %v", r)
	}
}
