// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcgzip "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

const (
	mib          = 1 << 20
	messageLimit = 4 * mib // of every receiver in configs/
	bombSize     = 512 * mib
)

// A bad request gets the right status, does the process no harm, and the next
// good request is served.
func TestBadHTTP(t *testing.T) {
	good := ptraceotlp.NewExportRequestFromTraces(telemetry.NewShop().Traces)
	protobuf, err := good.MarshalProto()
	require.NoError(t, err)
	jsonBody, err := good.MarshalJSON()
	require.NoError(t, err)
	const pb, js = "application/x-protobuf", "application/json"

	c := collector.Start(t, collector.Config{Files: []string{"console.yaml"}})
	send(t, c, telemetry.NewShop())
	before := c.PeakMemory(t)
	bomb := bomb(t)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	refused := map[string]int{} // by status
	for name, bad := range map[string]struct {
		method, path, contentType, encoding string
		body                                []byte
		status                              int
		unseen                              bool // refused before the refusals extension sees it
	}{
		"protobuf cut off":         {contentType: pb, body: protobuf[:len(protobuf)-1], status: 400},
		"protobuf that is text":    {contentType: pb, body: []byte("hello"), status: 400},
		"JSON cut off":             {contentType: js, body: jsonBody[:len(jsonBody)-1], status: 400},
		"JSON of a wrong shape":    {contentType: js, body: []byte(`{"resourceSpans":[{"resource":7}]}`), status: 400},
		"JSON of a bad trace id":   {contentType: js, body: []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz"}]}]}]}`), status: 400},
		"deeply nested JSON":       {contentType: js, body: bytes.Repeat([]byte(`{"resourceSpans":[`), 200_000), status: 400},
		"deeply nested protobuf":   {contentType: pb, body: nested(messageLimit), status: 400},
		"small, large decoded":     {contentType: pb, body: spread(messageLimit), status: 413},
		"JSON, large decoded":      {contentType: js, body: spreadJSON(messageLimit), status: 413},
		"content type of text":     {contentType: "text/plain", body: []byte("hello"), status: 415},
		"no content type":          {body: protobuf, status: 415},
		"broken gzip":              {contentType: pb, encoding: "gzip", body: protobuf, status: 400, unseen: true},
		"gzip cut off":             {contentType: pb, encoding: "gzip", body: telemetry.Gzip(protobuf)[:50], status: 400},
		"unknown content encoding": {contentType: pb, encoding: "br", body: protobuf, status: 400, unseen: true},
		"gzip bomb":                {contentType: pb, encoding: "gzip", body: bomb, status: 413},
		"gzip bomb of JSON":        {contentType: js, encoding: "gzip", body: bomb, status: 413},
		"body over the limit":      {contentType: pb, body: make([]byte, messageLimit+1), status: 413},
		"unknown path":             {path: "/v1/nothing", contentType: pb, body: protobuf, status: 404},
		"root":                     {path: "/", contentType: pb, body: protobuf, status: 404},
		"GET":                      {method: http.MethodGet, contentType: pb, status: 405},
		"traces sent as metrics":   {path: "/v1/metrics", contentType: pb, body: protobuf, status: 400},
		"a huge header":            {contentType: pb, encoding: strings.Repeat("x", 2*mib), body: protobuf, status: 431, unseen: true},
	} {
		t.Run(name, func(t *testing.T) {
			if bad.path == "" {
				bad.path = "/v1/traces"
			}
			if bad.method == "" {
				bad.method = http.MethodPost
			}
			req, err := http.NewRequestWithContext(t.Context(), bad.method, "http://"+c.HTTP(t)+bad.path, bytes.NewReader(bad.body))
			require.NoError(t, err)
			if bad.contentType != "" {
				req.Header.Set("Content-Type", bad.contentType)
			}
			if bad.encoding != "" {
				req.Header.Set("Content-Encoding", bad.encoding)
			}
			resp, err := client.Do(req)
			require.NoError(t, err)
			_ = resp.Body.Close()
			assert.Equal(t, bad.status, resp.StatusCode)
			if !bad.unseen {
				refused[strconv.Itoa(bad.status)]++
			}
			send(t, c, telemetry.NewShop())
		})
	}
	// The log is sampled, so that in a flood it has not each of them; the metric has.
	c.Stderr.Await(t, "Request refused")
	for status, n := range refused {
		assert.InDelta(t, n, c.Metric(t, "otelcol_extension_refusals_requests", "transport=http", "status="+status), 0, status)
	}
	assertMemory(t, c, before)
	c.Stop(t)
}

// assertMemory allows a few messages of the largest size, not a bomb.
func assertMemory(t *testing.T, c *collector.Collector, before int) {
	t.Helper()
	peak := c.PeakMemory(t)
	t.Logf("peak memory: %d MiB before, %d MiB after", before/mib, peak/mib)
	assert.Less(t, peak-before, 10*messageLimit)
}

func TestBadGRPC(t *testing.T) {
	c := collector.Start(t, collector.Config{Files: []string{"console.yaml"}})
	send(t, c, telemetry.NewShop())
	before := c.PeakMemory(t)
	for name, bad := range map[string]struct {
		method string
		body   []byte
		gzip   bool
		code   codes.Code
	}{
		"message over the limit": {body: make([]byte, messageLimit+1), code: codes.ResourceExhausted},
		"gzip bomb":              {body: make([]byte, bombSize), gzip: true, code: codes.ResourceExhausted},
		"deeply nested":          {body: nested(messageLimit), code: codes.InvalidArgument},
		"small, large decoded":   {body: spread(messageLimit), code: codes.InvalidArgument},
		"malformed protobuf":     {body: []byte("hello"), code: codes.Internal},
		"unknown method":         {method: "/opentelemetry.proto.collector.trace.v1.TraceService/Import", code: codes.Unimplemented},
		"unknown service":        {method: "/jaeger.api_v2.CollectorService/PostSpans", code: codes.Unimplemented},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := grpc.NewClient("passthrough:"+c.GRPC(t), grpc.WithTransportCredentials(insecure.NewCredentials()))
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			if bad.method == "" {
				bad.method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
			}
			options := []grpc.CallOption{grpc.ForceCodec(raw{})}
			if bad.gzip {
				options = append(options, grpc.UseCompressor(grpcgzip.Name))
			}
			var answer []byte
			err = conn.Invoke(t.Context(), bad.method, bad.body, &answer, options...)
			assert.Equal(t, bad.code, status.Code(err), "%v", err)
			if bad.code != codes.Unimplemented { // refused before any handler is told
				c.AwaitMetric(t, 1, "otelcol_extension_refusals_requests", "transport=grpc", "status="+bad.code.String())
			}
			send(t, c, telemetry.NewShop())
		})
	}
	assertMemory(t, c, before)
	c.Stop(t)
}

// raw sends bytes as they are.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) ([]byte, error) {
	if b, ok := v.([]byte); ok {
		return b, nil
	}
	return nil, errors.New("not bytes")
}

func (raw) Unmarshal(b []byte, v any) error {
	if to, ok := v.(*[]byte); ok {
		*to = b
		return nil
	}
	return errors.New("not bytes")
}

// nested is a request of at most size bytes, whose one attribute is a list in a list in
// a list. Decoding it takes two hundred times its size.
func nested(size int) []byte {
	data := make([]byte, size)
	at := size // what is written begins here: the innermost comes first
	wrap := func(field protowire.Number) {
		header := protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.BytesType), uint64(size-at))
		at -= len(header)
		copy(data[at:], header)
	}
	for at > 64 {
		wrap(1) // an element
		wrap(5) // of a list
	}
	for _, field := range []protowire.Number{2, 9, 2, 2, 1} { // value, attribute, span, scope, resource
		wrap(field)
	}
	return data[at:]
}

// spread is a request of at most size bytes with as many spans as that can have.
// Decoding it takes a hundred times its size.
func spread(size int) []byte {
	spans := bytes.Repeat([]byte{2<<3 | 2, 0}, (size-16)/2)
	for _, field := range []protowire.Number{2, 1} { // scope, resource
		spans = protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), spans)
	}
	return spans
}

// spreadJSON is spread in JSON.
func spreadJSON(size int) []byte {
	const begin, end = `{"resourceSpans":[{"scopeSpans":[{"spans":[{}`, `]}]}]}`
	return []byte(begin + strings.Repeat(",{}", (size-len(begin)-len(end))/3) + end)
}

// bomb is half a gibibyte of zeros in half a mebibyte.
func bomb(t *testing.T) []byte {
	t.Helper()
	b := telemetry.Gzip(make([]byte, bombSize))
	require.Less(t, len(b), mib)
	return b
}
