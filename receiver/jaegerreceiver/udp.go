// SPDX-License-Identifier: Apache-2.0

package jaegerreceiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	upstream "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/jaegerreceiver"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"
)

// thriftFormat is the format in the receiver's spans and metrics.
const thriftFormat = "thrift"

// udpServer takes the datagrams of one port.
type udpServer struct {
	config    upstream.ProtocolUDP
	protocol  protocolOf
	next      consumer.Traces
	report    *receiverhelper.ObsReport
	telemetry *telemetry
	logger    *zap.Logger

	conn    net.PacketConn
	queue   chan datagram
	running sync.WaitGroup
}

type datagram struct {
	data []byte
	from net.Addr
}

func (s *udpServer) start(ctx context.Context) error {
	conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", s.config.Endpoint)
	if err != nil {
		return fmt.Errorf("listen for datagrams: %w", err)
	}
	if size := s.config.ServerConfigUDP.SocketBufferSize; size > 0 {
		if err := conn.(*net.UDPConn).SetReadBuffer(size); err != nil {
			return errors.Join(fmt.Errorf("socket_buffer_size: %w", err), conn.Close())
		}
	}
	s.conn = conn
	s.queue = make(chan datagram, s.config.ServerConfigUDP.QueueSize)
	for range s.config.ServerConfigUDP.Workers {
		s.running.Go(s.work)
	}
	s.running.Go(s.read)
	return nil
}

// shutdown closes the port, and returns when what is in the queue has been handed on.
func (s *udpServer) shutdown() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.running.Wait()
	return err
}

// read empties the socket as fast as it can: what the system has no more room for is
// lost unseen.
func (s *udpServer) read() {
	defer close(s.queue)
	ctx := context.Background()
	most := s.config.ServerConfigUDP.MaxPacketSize
	buffer := make([]byte, most+1) // one more, by which a datagram that is too large is known
	for {
		n, from, err := s.conn.ReadFrom(buffer)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case n > most:
			s.telemetry.drop(ctx, tooLarge, zap.Stringer("from", from))
			continue
		case err != nil:
			s.logger.Warn("Cannot read a datagram", zap.Error(err))
			time.Sleep(10 * time.Millisecond) // the system's trouble is not to be made worse
			continue
		}
		select {
		case s.queue <- datagram{bytes.Clone(buffer[:n]), from}:
		default:
			s.telemetry.drop(ctx, queueFull)
		}
	}
}

func (s *udpServer) work() {
	for d := range s.queue {
		s.take(d)
	}
}

func (s *udpServer) take(d datagram) {
	ctx := client.NewContext(context.Background(), client.Info{Addr: d.from})
	td, spans, err := decodeCall(ctx, s.protocol, d.data)
	if err != nil {
		why := malformed
		if errors.Is(err, errUnsupported) {
			why = unsupported
		}
		s.telemetry.drop(ctx, why, zap.Stringer("from", d.from), zap.Error(err))
		return
	}
	ctx = s.report.StartTracesOp(ctx)
	if spans > 0 {
		err = s.next.ConsumeTraces(ctx, td)
	}
	s.report.EndTracesOp(ctx, thriftFormat, spans, err)
}
