// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
)

// maxAnswerBytes bounds how much of an answer is read; the longest sensible one lists every item of a request.
const maxAnswerBytes = 16 << 20

// tokenSource signs in to Microsoft Entra ID.
type tokenSource interface {
	// token returns a valid token, from a cache as a rule.
	token(ctx context.Context) (string, error)
	// reject says that ingestion did not take the token.
	reject()
}

// sender posts requests. It knows HTTP and redirects, and nothing of envelopes. Safe for concurrent use.
type sender struct {
	client    *http.Client
	route     *route
	tokens    tokenSource // nil without Entra ID
	gzip      *gzipPool   // nil without compression
	bodies    freeList[[]byte]
	now       func() time.Time
	life      context.Context // ends when shutdown can wait no longer
	answers   atomic.Int64
	notBefore atomic.Int64 // Unix nanoseconds until which ingestion wants to be left alone
}

// sendError is a request without an answer.
type sendError struct {
	err error
	// written is set when the request had gone out whole, so that its items may have been stored.
	written bool
	// credential is set when there was no token to send it with.
	credential bool
}

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

var errShutdown = errors.New("shutting down: ingestion does not answer")

// throttled returns how long ingestion still wants to be left alone.
func (s *sender) throttled() time.Duration {
	until := s.notBefore.Load()
	if until == 0 {
		return 0
	}
	return max(time.Unix(0, until).Sub(s.now()), 0)
}

// throttle starts a wait for all requests. A later end wins over an earlier one.
func (s *sender) throttle(wait time.Duration) {
	until := s.now().Add(wait).UnixNano()
	for {
		old := s.notBefore.Load()
		if old >= until || s.notBefore.CompareAndSwap(old, until) {
			return
		}
	}
}

// traffic is what a request took.
type traffic struct {
	sent      int // bytes of the body as sent, of the last attempt
	redirects int
}

// post sends body, following redirects, and returns the answer of the place that took it in. Every error is a
// *sendError.
func (s *sender) post(ctx context.Context, body []byte) (answer, traffic, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.life, func() { cancel(errShutdown) })() //nolint:contextcheck // the end of the exporter ends every request

	payload, encoding, err := s.encode(body)
	if err != nil {
		return answer{}, traffic{}, &sendError{err: err}
	}
	t := traffic{sent: len(*payload)}
	to, moved := s.route.current()
	for {
		a, location, reuse, err := s.once(ctx, to, *payload, encoding)
		if err != nil {
			if moved {
				s.route.forget(to)
			}
			if cause := context.Cause(ctx); errors.Is(cause, errShutdown) {
				err.err = cause
			}
			return answer{}, t, err
		}
		s.answers.Add(1)
		if a.status != http.StatusTemporaryRedirect && a.status != http.StatusPermanentRedirect {
			if moved && !tookPart(a.status) {
				s.route.forget(to)
			}
			if reuse {
				s.bodies.put(payload)
			}
			return a, t, nil
		}
		next, follow := s.route.follow(to, location.Get("Location"))
		if follow == nil && t.redirects == maxRedirects {
			follow = fmt.Errorf("more than %d redirects in a row", maxRedirects)
		}
		if follow != nil {
			if moved {
				s.route.forget(to)
			}
			return answer{}, t, &sendError{err: follow}
		}
		t.redirects++
		s.route.remember(next, location)
		to, moved = next, true
	}
}

// tookPart tells whether a status shows that the place is one that takes telemetry in.
func tookPart(status int) bool {
	switch status {
	case http.StatusOK, http.StatusPartialContent, http.StatusBadRequest, http.StatusPaymentRequired, http.StatusRequestTimeout,
		http.StatusRequestEntityTooLarge, http.StatusTooManyRequests, statusDailyQuota:
		return true
	default:
		return false
	}
}

// once sends one request. reuse tells whether the transport is done with payload.
func (s *sender) once(ctx context.Context, to *url.URL, payload []byte, encoding string) (a answer, header http.Header, reuse bool, failed *sendError) {
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) { written.Store(info.Err == nil) },
	})
	body := &requestBody{Reader: bytes.NewReader(payload)}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), body)
	if err != nil {
		return a, nil, false, &sendError{err: errors.New("build request")}
	}
	req.ContentLength = int64(len(payload))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(payload)), nil }
	req.Header["Content-Type"] = []string{"application/x-json-stream"}
	if encoding != "" {
		req.Header["Content-Encoding"] = []string{encoding}
	}
	// Without this, Go's own name would become the browser of every item that has none.
	req.Header["User-Agent"] = []string{""}
	if s.tokens != nil {
		token, err := s.tokens.token(ctx)
		if err != nil {
			return a, nil, false, &sendError{err: fmt.Errorf("sign in to Microsoft Entra ID: %w", err), credential: true}
		}
		req.Header["Authorization"] = []string{"Bearer " + token}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return a, nil, false, &sendError{err: fmt.Errorf("post to %s: %w", to.Host, withoutURL(err)), written: written.Load()}
	}
	a.status = resp.StatusCode
	a.body, a.broken = io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	_ = resp.Body.Close()
	a.wait = retryAfter(resp.Header, s.now())
	if a.status == http.StatusUnauthorized && s.tokens != nil {
		s.tokens.reject()
	}
	return a, resp.Header, body.closed.Load() && a.broken == nil, nil
}

// withoutURL takes the URL out of an error of net/http: it is part of the connection string.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// encode compresses body into a buffer that may go back to the pool once the transport is done with it. Where
// compression does not make it smaller it goes as it is, so that a request is never larger than its body.
func (s *sender) encode(body []byte) (payload *[]byte, encoding string, err error) {
	if payload = s.bodies.get(); payload == nil {
		payload = new([]byte)
	}
	if s.gzip != nil {
		if *payload, err = s.gzip.compress((*payload)[:0], body); err != nil {
			return nil, "", fmt.Errorf("compress request: %w", err)
		}
		if len(*payload) < len(body) {
			return payload, "gzip", nil
		}
	}
	*payload = append((*payload)[:0], body...)
	return payload, "", nil
}

// requestBody tells when the transport has closed it, after which it reads no more.
type requestBody struct {
	*bytes.Reader
	closed atomic.Bool
}

func (b *requestBody) Close() error {
	b.closed.Store(true)
	return nil
}

// gzipPool holds compressors, which are large.
type gzipPool struct {
	level int
	pool  freeList[gzipWriter]
}

type gzipWriter struct {
	*gzip.Writer
	out sliceWriter
}

type sliceWriter struct{ b []byte }

func (w *sliceWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

func (p *gzipPool) compress(dst, src []byte) ([]byte, error) {
	w := p.pool.get()
	if w == nil {
		w = &gzipWriter{}
		var err error
		if w.Writer, err = gzip.NewWriterLevel(io.Discard, p.level); err != nil {
			return dst, err
		}
	}
	w.out.b = dst
	w.Reset(&w.out)
	_, err := w.Write(src)
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	dst = w.out.b
	w.out.b = nil
	p.pool.put(w)
	return dst, err
}
