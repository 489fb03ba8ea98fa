// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// call runs the program and returns its code and what it said.
func call(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := run(t.Context(), args, &out)
	return code, out.String()
}

func answering(t *testing.T, status int, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestWrongCalls(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"heal"},
		{"healthy", "now"},
		{"healthy", "-endpoit", "http://localhost:1/"},
		{"own"},
		{"own", "a", "b"},
		{"own", "-uid", "nobody", "a"},
		{"drain", "-timeout", "60"}, // no unit
	} {
		code, said := call(t, args...)
		assert.Equal(t, 2, code, args)
		assert.NotEmpty(t, said, args)
	}
	code, said := call(t, "drain", "-h")
	assert.Equal(t, 0, code)
	assert.Contains(t, said, "-settle")
}

func TestHealthy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:3128") // must not be asked
	code, said := call(t, "healthy", "-endpoint", answering(t, http.StatusOK, "{}"))
	assert.Equal(t, 0, code)
	assert.Empty(t, said)

	for status, want := range map[int]string{
		http.StatusServiceUnavailable: "503 Service Unavailable",
		http.StatusNoContent:          "204 No Content",
		http.StatusFound:              "302 Found", // not followed
	} {
		code, said = call(t, "healthy", "-endpoint", answering(t, status, ""))
		assert.Equal(t, 1, code, status)
		assert.Contains(t, said, "podhelper healthy: http://127.0.0.1:", status)
		assert.Contains(t, said, want, status)
	}

	server := httptest.NewServer(nil)
	server.Close()
	code, said = call(t, "healthy", "-endpoint", server.URL)
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "connection refused")
}

func TestHealthyWaitsNoLongerThanItsTimeout(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(func() { close(release); server.Close() })
	code, said := call(t, "healthy", "-endpoint", server.URL, "-timeout", "50ms")
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "deadline exceeded")
}

// Kubernetes expands no variables in a probe's or a hook's command.
func TestEndpointNamesVariables(t *testing.T) {
	host, port, found := strings.Cut(strings.TrimPrefix(answering(t, http.StatusOK, queueSize+" 0\n"), "http://"), ":")
	require.True(t, found)
	t.Setenv("POD_IP", host)
	for _, command := range [][]string{{"healthy"}, {"drain", "-settle", "0s", "-timeout", time.Minute.String()}} {
		code, said := call(t, append(command, "-endpoint", "http://${POD_IP}:"+port+"/metrics")...)
		assert.Equal(t, 0, code, command)
		assert.Empty(t, said, command)
	}
}
