// SPDX-License-Identifier: Apache-2.0

package ingestion

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// InstrumentationKey is the only one that a Server knows.
const InstrumentationKey = "11111111-2222-4333-8444-555555555555"

// Rejection is an item that was refused.
type Rejection struct {
	Status  int
	Message string
	Raw     json.RawMessage
}

// Server is the stand-in.
type Server struct {
	// Address is host:port.
	Address string

	countOnly bool
	server    *http.Server

	mu       sync.Mutex
	accepted []*Envelope
	ids      map[string]int
	rejected []Rejection
	requests int
	script   []Answer
	always   *Answer
}

// New makes a server that is down. With countOnly it does not keep envelopes
// but only how often it has accepted each id, for tests that send a lot.
func New(address string, countOnly bool) *Server {
	return &Server{Address: address, countOnly: countOnly, ids: map[string]int{}}
}

// Start makes a server on a free port and starts it until the test ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := New("127.0.0.1:0", false)
	s.Start(tb)
	return s
}

// Start listens at the server's address until the test ends or Stop.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", s.Address)
	if err != nil {
		tb.Fatalf("start the ingestion stand-in: %v", err)
	}
	s.Address = l.Addr().String()
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.server.Serve(l) }() // returns when closed
	tb.Cleanup(s.Stop)
}

// Stop closes the port and all connections. What was recorded stays.
func (s *Server) Stop() {
	if s.server != nil {
		_ = s.server.Close() // ends requests that hang as well
	}
}

// ConnectionString is what an exporter is configured with.
func (s *Server) ConnectionString() string {
	return "InstrumentationKey=" + InstrumentationKey + ";IngestionEndpoint=http://" + s.Address + "/"
}

// Accepted returns the envelopes that were accepted, in order.
func (s *Server) Accepted() []*Envelope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Envelope(nil), s.accepted...)
}

// IDs returns how often each id of a request or dependency was accepted.
func (s *Server) IDs() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make(map[string]int, len(s.ids))
	for id, n := range s.ids {
		ids[id] = n
	}
	return ids
}

// Rejected returns what was refused by the rules, in order. What a script
// refused is not among it.
func (s *Server) Rejected() []Rejection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Rejection(nil), s.rejected...)
}

// Requests returns how many requests have come.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := s.next()
	body, err := read(r)
	if err != nil {
		respond(w, http.StatusBadRequest, &Response{Errors: []ItemError{{StatusCode: http.StatusBadRequest, Message: err.Error()}}})
		return
	}
	if answer.Fault == Hang {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	if answer.Fault == Reset {
		reset(w)
		return
	}
	if answer.Status != 0 {
		for key, values := range answer.Header {
			w.Header()[key] = values
		}
		w.WriteHeader(answer.Status)
		_, _ = io.WriteString(w, answer.Body) // the client may be gone
		return
	}
	if status, message := route(r); status != http.StatusOK {
		respond(w, status, &Response{Errors: []ItemError{{StatusCode: status, Message: message}}})
		return
	}
	status, response := s.take(body, answer.Refuse)
	switch answer.Fault {
	case LoseAnswer:
		reset(w)
	case CutAnswer:
		cut(w, status, response)
	default:
		respond(w, status, response)
	}
}

func route(r *http.Request) (int, string) {
	switch {
	case r.URL.Path != "/v2.1/track" && r.URL.Path != "/v2/track":
		return http.StatusNotFound, "no such path: " + r.URL.Path
	case r.Method != http.MethodPost:
		return http.StatusMethodNotAllowed, "only POST is allowed"
	case r.URL.Path == "/v2/track" && r.Header.Get("Authorization") != "":
		return http.StatusBadRequest, "Authentication not supported"
	}
	return http.StatusOK, ""
}

func read(r *http.Request) ([]byte, error) {
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "":
		return io.ReadAll(r.Body)
	case "gzip":
		zr, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, fmt.Errorf("the body is not gzip: %w", err)
		}
		return io.ReadAll(zr)
	default:
		return nil, fmt.Errorf("content encoding %q is not supported", encoding)
	}
}

// Response is the body of an answer.
type Response struct {
	ItemsReceived int         `json:"itemsReceived"`
	ItemsAccepted int         `json:"itemsAccepted"`
	AppID         *string     `json:"appId"`
	Errors        []ItemError `json:"errors"`
}

// ItemError says of one item, by its position, why it was not accepted.
type ItemError struct {
	Index      int    `json:"index"`
	StatusCode int    `json:"statusCode"`
	Message    string `json:"message"`
}

// take checks and records the items of a body.
func (s *Server) take(body []byte, refuse func(int, *Envelope) ItemError) (int, *Response) {
	items, err := split(body)
	if err == nil && len(items) > maxItems {
		err = fmt.Errorf("the batch has %d items, more than %d", len(items), maxItems)
	}
	if err != nil {
		return http.StatusBadRequest, &Response{Errors: []ItemError{{StatusCode: http.StatusBadRequest, Message: err.Error()}}}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	response := &Response{ItemsReceived: len(items), Errors: []ItemError{}}
	for i, item := range items {
		e, err := admit(item)
		if err != nil {
			s.rejected = append(s.rejected, Rejection{http.StatusBadRequest, err.Error(), item})
			response.Errors = append(response.Errors, ItemError{i, http.StatusBadRequest, err.Error()})
			continue
		}
		if refuse != nil {
			if refusal := refuse(i, e); refusal.StatusCode != 0 {
				refusal.Index = i
				response.Errors = append(response.Errors, refusal)
				continue
			}
		}
		response.ItemsAccepted++
		if id := e.Text("id"); id != "" {
			s.ids[id]++
		}
		if !s.countOnly {
			s.accepted = append(s.accepted, e)
		}
	}
	switch {
	case len(response.Errors) == 0:
		return http.StatusOK, response
	case response.ItemsAccepted > 0:
		return http.StatusPartialContent, response
	default:
		return response.Errors[0].StatusCode, response
	}
}

func admit(item json.RawMessage) (*Envelope, error) {
	e, err := decode(item)
	if err != nil {
		return nil, fmt.Errorf("invalid JSON: %w", err)
	}
	if e.IKey == "" {
		return nil, missing("Envelope", "iKey")
	}
	if !strings.EqualFold(e.IKey, InstrumentationKey) {
		return nil, errors.New("invalid instrumentation key")
	}
	return e, e.check(time.Now())
}

func respond(w http.ResponseWriter, status int, response *Response) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(response) // the client may be gone
}
