// SPDX-License-Identifier: Apache-2.0

package jaegerreceiver

import (
	"context"
	"errors"
	"fmt"
	"sync"

	upstream "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/jaegerreceiver"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"

	"github.com/otelcol-custom/otelcol-custom/receiver/jaegerreceiver/internal/metadata"
)

// The transports in metrics, as upstream calls them.
const (
	transportCompact = "udp_thrift_compact"
	transportBinary  = "udp_thrift_binary"
	transportHTTP    = "collector_http"
)

// jaegerReceiver is the servers of the protocols that are on.
type jaegerReceiver struct {
	builder *metadata.TelemetryBuilder
	udp     []*udpServer
	http    *httpServer     // nil when off
	grpc    receiver.Traces // upstream's; nil when off

	stop sync.Once
	err  error // of the shutdown
}

func newReceiver(ctx context.Context, cfg *Config, set receiver.Settings, next consumer.Traces) (*jaegerReceiver, error) {
	builder, err := newBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	r := &jaegerReceiver{builder: builder}
	report := func(transport string) (*receiverhelper.ObsReport, error) {
		return receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
			ReceiverID: set.ID, Transport: transport, ReceiverCreateSettings: set,
		})
	}
	protocols := cfg.Upstream.Protocols
	for _, udp := range []struct {
		config    configoptional.Optional[upstream.ProtocolUDP]
		protocol  protocolOf
		transport string
	}{
		{protocols.ThriftCompactUDP, compact, transportCompact},
		{protocols.ThriftBinaryUDP, binary, transportBinary},
	} {
		if !udp.config.HasValue() {
			continue
		}
		obs, err := report(udp.transport)
		if err != nil {
			return nil, err
		}
		r.udp = append(r.udp, &udpServer{
			config:    *udp.config.Get(),
			protocol:  udp.protocol,
			next:      next,
			report:    obs,
			telemetry: newTelemetry(builder, set.TelemetrySettings, udp.transport),
			logger:    set.Logger,
		})
	}
	if protocols.ThriftHTTP.HasValue() {
		obs, err := report(transportHTTP)
		if err != nil {
			return nil, err
		}
		r.http = &httpServer{config: *protocols.ThriftHTTP.Get(), next: next, report: obs, set: set.TelemetrySettings}
	}
	if protocols.GRPC.HasValue() {
		alone := &upstream.Config{Protocols: upstream.Protocols{GRPC: protocols.GRPC}}
		if r.grpc, err = upstream.NewFactory().CreateTraces(ctx, set, alone, next); err != nil {
			return nil, fmt.Errorf("make gRPC server: %w", err)
		}
	}
	return r, nil
}

// Start implements component.Component.
func (r *jaegerReceiver) Start(ctx context.Context, host component.Host) error {
	for _, udp := range r.udp {
		if err := udp.start(ctx); err != nil {
			return err
		}
	}
	if r.http != nil {
		if err := r.http.start(ctx, host); err != nil {
			return err
		}
	}
	if r.grpc != nil {
		return r.grpc.Start(ctx, host)
	}
	return nil
}

// Shutdown implements component.Component.
func (r *jaegerReceiver) Shutdown(ctx context.Context) error {
	r.stop.Do(func() {
		var errs []error
		for _, udp := range r.udp {
			errs = append(errs, udp.shutdown())
		}
		if r.http != nil {
			errs = append(errs, r.http.shutdown(ctx))
		}
		if r.grpc != nil {
			errs = append(errs, r.grpc.Shutdown(ctx))
		}
		r.builder.Shutdown()
		r.err = errors.Join(errs...)
	})
	return r.err
}
