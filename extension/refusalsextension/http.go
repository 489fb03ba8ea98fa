// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/extension/extensionmiddleware"
)

// GetHTTPHandler implements extensionmiddleware.HTTPServer. The handler stands behind
// the server's limit and decompression, so that it sees both fail.
func (r *refusals) GetHTTPHandler(context.Context) (extensionmiddleware.WrapHTTPHandlerFunc, error) {
	return func(_ context.Context, next http.Handler) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			answer := &watchedWriter{ResponseWriter: w, status: http.StatusOK}
			reason := r.serveHTTP(answer, req, next)
			if reason != nil || answer.status >= 400 && answer.status < 500 {
				r.refused(req.Context(), refusal{
					transport: "http", status: strconv.Itoa(answer.status), reason: reason,
					target: req.Method + " " + req.URL.Path, client: req.RemoteAddr,
				})
			}
		}), nil
	}, nil
}

// serveHTTP passes the request on, or answers it and returns why it did not.
func (r *refusals) serveHTTP(w *watchedWriter, req *http.Request, next http.Handler) (reason error) {
	body := reservedBody{limits: &r.limits, client: addressOf(req.RemoteAddr)}
	defer body.release()
	data, err := body.read(req.Body)
	var size int
	switch {
	case errors.Is(err, errFull):
		return w.full()
	case err != nil: // the receiver's to answer
		w.overLimit = errors.As(err, new(*http.MaxBytesError))
		req.Body = struct {
			io.Reader
			io.Closer
		}{failed{err}, req.Body}
		next.ServeHTTP(w, req)
		return nil
	}
	size, err = decodedSizeOf(req, data)
	if err = r.limits.check(size, err); err != nil {
		status := http.StatusRequestEntityTooLarge
		if errors.Is(err, errNesting) || errors.Is(err, errJSON) {
			status = http.StatusBadRequest
		}
		http.Error(w, err.Error(), status)
		return err
	}
	// No more than one address may have: a request that is within max_decoded_mib is taken
	// when it is alone.
	if !body.grow(max(body.taken, min(body.taken+size, r.limits.inFlight/2))) {
		return w.full()
	}
	req.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(data), req.Body}
	next.ServeHTTP(w, req)
	return nil
}

// decodedSizeOf returns what a body takes decoded, as far as it is known to.
func decodedSizeOf(req *http.Request, data []byte) (int, error) {
	header := req.Header.Get("Content-Type")
	kind, _, _ := mime.ParseMediaType(header)
	// Zipkin's receiver takes JSON by any path and by all types but its others, as they
	// are written here.
	if kind == "application/json" || header != "application/x-protobuf" && json.Valid(data) {
		return decodedSizeOfJSON(data)
	}
	if strings.HasSuffix(kind, "thrift") || strings.HasSuffix(kind, "thrift.binary") {
		return thriftFactor * len(data), nil
	}
	size, err := zipkin.decodedSize(data)
	if err != nil {
		return size, err
	}
	otlp := 0
	switch path := req.URL.Path; {
	case strings.HasSuffix(path, "/v1/traces"):
		otlp, err = traces.decodedSize(data)
	case strings.HasSuffix(path, "/v1/metrics"):
		otlp, err = metrics.decodedSize(data)
	case strings.HasSuffix(path, "/v1/logs"):
		otlp, err = logs.decodedSize(data)
	}
	return max(size, otlp), err
}

// thriftFactor is what Thrift takes decoded, as a multiple of its bytes: Jaeger's and
// Zipkin's receivers bound what lists may say of their lengths.
const thriftFactor = 12

// reservedBody reads a body into memory that it has reserved.
type reservedBody struct {
	limits *limits
	client netip.Addr
	taken  int
}

// grow reserves up to n bytes in all.
func (b *reservedBody) grow(n int) bool {
	if n <= b.taken {
		return true
	}
	if !b.limits.take(b.client, n-b.taken) {
		return false
	}
	b.taken = n
	return true
}

func (b *reservedBody) release() { b.limits.release(b.client, b.taken) }

// read returns all of the body. What comes slowly is given memory as it comes.
func (b *reservedBody) read(body io.Reader) ([]byte, error) {
	const atFirst = 4 << 10
	data := []byte(nil)
	for {
		if len(data) == cap(data) {
			more := max(atFirst, 2*cap(data))
			if !b.grow(more) {
				return nil, errFull
			}
			data = append(make([]byte, 0, more), data...)
		}
		n, err := body.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// failed is a body that could not be read.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// watchedWriter remembers the status, and says 413 where a 400 stands for a body over
// the limit.
type watchedWriter struct {
	http.ResponseWriter
	overLimit bool
	status    int
}

func (w *watchedWriter) WriteHeader(status int) {
	if status == http.StatusBadRequest && w.overLimit {
		status = http.StatusRequestEntityTooLarge
	}
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// full answers that there is no room now.
func (w *watchedWriter) full() error {
	w.Header().Set("Retry-After", "1")
	http.Error(w, errFull.Error(), http.StatusServiceUnavailable)
	return errFull
}

// Unwrap lets http.ResponseController find what the server's own writer can do.
func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
