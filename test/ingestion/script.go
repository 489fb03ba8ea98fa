// SPDX-License-Identifier: Apache-2.0

package ingestion

import (
	"encoding/json"
	"net"
	"net/http"
	"strconv"
)

// Answer is a scripted answer. The zero Answer is the ordinary one.
type Answer struct {
	// Status, unless 0, is answered with Header and Body to a request that is
	// not looked at.
	Status int
	Header http.Header
	Body   string
	// Refuse, unless nil, may refuse an item that the rules accept by returning
	// an error with a status code; its index is filled in.
	Refuse func(index int, e *Envelope) ItemError
	Fault  Fault
}

// Fault is what happens to the connection.
type Fault int

// The faults. With Hang and Reset nothing is recorded; with LoseAnswer and
// CutAnswer the items are accepted, and the client does not get to know.
const (
	None       Fault = iota
	Hang             // no answer until the client or the server goes
	Reset            // the connection is reset
	LoseAnswer       // the connection is reset instead of an answer
	CutAnswer        // the answer ends in its middle
)

// Next scripts the answers to the next requests, one each.
func (s *Server) Next(answers ...Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, answers...)
}

// Always scripts the answer to every request that Next has none for; nil ends
// that.
func (s *Server) Always(answer *Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.always = answer
}

func (s *Server) next() Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if len(s.script) > 0 {
		answer := s.script[0]
		s.script = s.script[1:]
		return answer
	}
	if s.always != nil {
		return *s.always
	}
	return Answer{}
}

// reset ends the connection in a way that the client sees as an error.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // closes it as well
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a reset, not an orderly end
	}
	_ = conn.Close()
}

// cut announces an answer of full length and sends half of it.
func cut(w http.ResponseWriter, status int, response *Response) {
	body, _ := json.Marshal(response) // has only plain fields
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}
