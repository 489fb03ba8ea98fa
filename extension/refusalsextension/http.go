// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"go.opentelemetry.io/collector/extension/extensionmiddleware"
)

// GetHTTPHandler implements extensionmiddleware.HTTPServer. The handler stands behind
// the server's limit and decompression, so that it sees both fail.
func (r *refusals) GetHTTPHandler(context.Context) (extensionmiddleware.WrapHTTPHandlerFunc, error) {
	return func(_ context.Context, next http.Handler) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			body := &watchedBody{ReadCloser: req.Body}
			answer := &watchedWriter{ResponseWriter: w, body: body, status: http.StatusOK}
			req.Body = body
			next.ServeHTTP(answer, req)
			if answer.status >= 400 && answer.status < 500 {
				r.refused(req.Context(), "http", strconv.Itoa(answer.status), req.Method+" "+req.URL.Path, req.RemoteAddr)
			}
		}), nil
	}, nil
}

// watchedBody remembers that reading went over the server's limit.
type watchedBody struct {
	io.ReadCloser
	overLimit bool
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && errors.As(err, new(*http.MaxBytesError)) {
		b.overLimit = true
	}
	return n, err
}

// watchedWriter remembers the status, and says 413 where a 400 stands for a body over
// the limit.
type watchedWriter struct {
	http.ResponseWriter
	body   *watchedBody
	status int
}

func (w *watchedWriter) WriteHeader(status int) {
	if status == http.StatusBadRequest && w.body.overLimit {
		status = http.StatusRequestEntityTooLarge
	}
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find what the server's own writer can do.
func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
