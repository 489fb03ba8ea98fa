// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	grpcgzip "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
)

// Sender is a way to send OTLP.
type Sender struct {
	Protocol Protocol
	Gzip     bool
}

// Protocol is one of OTLP's three, by its name in OTEL_EXPORTER_OTLP_PROTOCOL.
type Protocol string

// The protocols of OTLP.
const (
	GRPC         Protocol = "grpc"
	HTTPProtobuf Protocol = "http/protobuf"
	HTTPJSON     Protocol = "http/json"
)

// Senders returns all ways.
func Senders() []Sender {
	return []Sender{
		{GRPC, false},
		{GRPC, true},
		{HTTPProtobuf, false},
		{HTTPProtobuf, true},
		{HTTPJSON, false},
		{HTTPJSON, true},
	}
}

// String names the way.
func (s Sender) String() string {
	if s.Gzip {
		return string(s.Protocol) + " gzip"
	}
	return string(s.Protocol) + " plain"
}

// Target is where a client sends: host:port of each protocol.
type Target interface {
	GRPC(tb testing.TB) string
	HTTP(tb testing.TB) string
}

// Client sends to one target. Its methods return nil only when everything was
// acknowledged. It may be used by several goroutines.
type Client struct {
	sender Sender
	header map[string]string
	conn   *grpc.ClientConn
	http   *http.Client
	url    string
}

// Access is what a client has to be let in.
type Access struct {
	// TLS is nil for plain text.
	TLS *tls.Config
	// Header goes with each request, as metadata by gRPC.
	Header map[string]string
}

// Scheme returns what a URL begins with.
func (a Access) Scheme() string {
	if a.TLS == nil {
		return "http://"
	}
	return "https://"
}

// HTTPClient returns a client that keeps its connections until the test ends.
// It does not set the header.
func (a Access) HTTPClient(tb testing.TB) *http.Client {
	tb.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: a.TLS}}
	tb.Cleanup(client.CloseIdleConnections)
	return client
}

// Conn returns a connection that is kept until the test ends.
func (a Access) Conn(tb testing.TB, address string, options ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	creds := insecure.NewCredentials()
	if a.TLS != nil {
		creds = credentials.NewTLS(a.TLS)
	}
	conn, err := grpc.NewClient("passthrough:"+address, append(options, grpc.WithTransportCredentials(creds))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Context returns a context of gRPC calls that carry the header.
func (a Access) Context(ctx context.Context) context.Context {
	return metadata.NewOutgoingContext(ctx, metadata.New(a.Header))
}

// Dial makes a client, which keeps its connection until the test ends.
func Dial(tb testing.TB, s Sender, to Target) *Client {
	tb.Helper()
	return DialWith(tb, s, to, Access{})
}

// DialWith is [Dial] for a target that does not let everybody in.
func DialWith(tb testing.TB, s Sender, to Target, access Access) *Client {
	tb.Helper()
	c := &Client{sender: s, header: access.Header}
	if s.Protocol != GRPC {
		c.http = access.HTTPClient(tb)
		c.url = access.Scheme() + to.HTTP(tb)
		return c
	}
	var options []grpc.DialOption
	if s.Gzip {
		options = append(options, grpc.WithDefaultCallOptions(grpc.UseCompressor(grpcgzip.Name)))
	}
	c.conn = access.Conn(tb, to.GRPC(tb), options...)
	return c
}

// outgoing adds the header to the context of a call.
func (c *Client) outgoing(ctx context.Context) context.Context {
	return Access{Header: c.header}.Context(ctx)
}

// Traces sends spans.
func (c *Client) Traces(ctx context.Context, td ptrace.Traces) error {
	request := ptraceotlp.NewExportRequestFromTraces(td)
	response := ptraceotlp.NewExportResponse()
	if c.conn != nil {
		var err error
		if response, err = ptraceotlp.NewGRPCClient(c.conn).Export(c.outgoing(ctx), request); err != nil {
			return err
		}
	} else if err := c.post(ctx, "/v1/traces", request, response); err != nil {
		return err
	}
	return partial(response.PartialSuccess().RejectedSpans(), response.PartialSuccess().ErrorMessage())
}

// Metrics sends metrics.
func (c *Client) Metrics(ctx context.Context, md pmetric.Metrics) error {
	request := pmetricotlp.NewExportRequestFromMetrics(md)
	response := pmetricotlp.NewExportResponse()
	if c.conn != nil {
		var err error
		if response, err = pmetricotlp.NewGRPCClient(c.conn).Export(c.outgoing(ctx), request); err != nil {
			return err
		}
	} else if err := c.post(ctx, "/v1/metrics", request, response); err != nil {
		return err
	}
	return partial(response.PartialSuccess().RejectedDataPoints(), response.PartialSuccess().ErrorMessage())
}

// Logs sends log records.
func (c *Client) Logs(ctx context.Context, ld plog.Logs) error {
	request := plogotlp.NewExportRequestFromLogs(ld)
	response := plogotlp.NewExportResponse()
	if c.conn != nil {
		var err error
		if response, err = plogotlp.NewGRPCClient(c.conn).Export(c.outgoing(ctx), request); err != nil {
			return err
		}
	} else if err := c.post(ctx, "/v1/logs", request, response); err != nil {
		return err
	}
	return partial(response.PartialSuccess().RejectedLogRecords(), response.PartialSuccess().ErrorMessage())
}

// All sends the three signals of a visit.
func (c *Client) All(ctx context.Context, s *Shop) error {
	if err := c.Traces(ctx, s.Traces); err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	if err := c.Metrics(ctx, s.Metrics); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if err := c.Logs(ctx, s.Logs); err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	return nil
}

func partial(rejected int64, message string) error {
	if rejected == 0 && message == "" {
		return nil
	}
	return fmt.Errorf("%d items were rejected: %s", rejected, message)
}

// HTTPError is an answer other than 200.
type HTTPError struct {
	Status int
	Header http.Header
	Body   []byte
}

// Error implements error.
func (e *HTTPError) Error() string {
	return fmt.Sprintf("HTTP status %d: %s", e.Status, e.Body)
}

type message interface {
	MarshalProto() ([]byte, error)
	MarshalJSON() ([]byte, error)
}

type answer interface {
	UnmarshalProto([]byte) error
	json.Unmarshaler
}

func (c *Client) post(ctx context.Context, path string, request message, response answer) error {
	contentType, marshal, unmarshal := "application/x-protobuf", request.MarshalProto, response.UnmarshalProto
	if c.sender.Protocol == HTTPJSON {
		contentType, marshal, unmarshal = "application/json", request.MarshalJSON, response.UnmarshalJSON
	}
	body, err := marshal()
	if err != nil {
		return err
	}
	header := http.Header{"Content-Type": {contentType}}
	for name, value := range c.header {
		header.Set(name, value)
	}
	if c.sender.Gzip {
		header.Set("Content-Encoding", "gzip")
		body = Gzip(body)
	}
	raw, err := Post(ctx, c.http, c.url+path, header, body)
	if err != nil {
		return err
	}
	return unmarshal(raw)
}

// Post sends any body and returns the answer; the error is an [HTTPError] when
// the status is not 200.
func Post(ctx context.Context, client *http.Client, url string, header http.Header, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &HTTPError{Status: resp.StatusCode, Header: resp.Header, Body: raw}
	}
	return raw, nil
}

// Gzip compresses a body.
func Gzip(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(body) // a buffer takes everything
	_ = w.Close()
	return b.Bytes()
}
