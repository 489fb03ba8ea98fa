// SPDX-License-Identifier: Apache-2.0

package jaegerreceiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
)

// httpServer takes batches by POST /api/traces.
type httpServer struct {
	config confighttp.ServerConfig
	next   consumer.Traces
	report *receiverhelper.ObsReport
	set    component.TelemetrySettings

	server  *http.Server
	running sync.WaitGroup
}

func (s *httpServer) start(ctx context.Context, host component.Host) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/traces", s.post)
	server, err := s.config.ToServer(ctx, host.GetExtensions(), s.set, mux)
	if err != nil {
		return fmt.Errorf("make HTTP server: %w", err)
	}
	listener, err := s.config.ToListener(ctx)
	if err != nil {
		return fmt.Errorf("listen for HTTP: %w", err)
	}
	s.server = server
	s.running.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			componentstatus.ReportStatus(host, componentstatus.NewFatalErrorEvent(err))
		}
	})
	return nil
}

// shutdown lets requests under way end, for as long as there is time.
func (s *httpServer) shutdown(ctx context.Context) error {
	if s.server == nil {
		return nil
	}
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.server.Close())
	}
	s.running.Wait()
	return err
}

func (s *httpServer) post(w http.ResponseWriter, r *http.Request) {
	ctx := s.report.StartTracesOp(r.Context())
	code, spans, err := s.take(ctx, r)
	s.report.EndTracesOp(ctx, thriftFormat, spans, err)
	if err != nil {
		http.Error(w, err.Error(), code)
		return
	}
	w.WriteHeader(code)
}

func (s *httpServer) take(ctx context.Context, r *http.Request) (code, spans int, err error) {
	switch contentType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); contentType {
	case "application/x-thrift", "application/vnd.apache.thrift.binary":
	default:
		return http.StatusBadRequest, 0, fmt.Errorf("the content type is neither application/x-thrift nor application/vnd.apache.thrift.binary but %q",
			r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(r.Body)
	if large := new(http.MaxBytesError); errors.As(err, &large) {
		return http.StatusRequestEntityTooLarge, 0, fmt.Errorf("the body is larger than %d bytes", large.Limit)
	}
	if err != nil {
		return http.StatusBadRequest, 0, fmt.Errorf("read the body: %w", err)
	}
	td, spans, err := decodeBatch(ctx, body)
	if err != nil {
		return http.StatusBadRequest, 0, fmt.Errorf("decode the batch: %w", err)
	}
	if spans > 0 {
		if err := s.next.ConsumeTraces(ctx, td); err != nil {
			return http.StatusInternalServerError, spans, fmt.Errorf("hand on the batch: %w", err)
		}
	}
	return http.StatusAccepted, spans, nil
}
