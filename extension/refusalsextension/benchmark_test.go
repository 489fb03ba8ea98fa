// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkGoodRequest is what the middleware adds to a request that it has nothing to
// say about.
func BenchmarkGoodRequest(b *testing.B) {
	ext, _, _ := start(b)
	wrap, err := ext.(*refusals).GetHTTPHandler(b.Context())
	require.NoError(b, err)
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	wrapped, err := wrap(b.Context(), next)
	require.NoError(b, err)
	for name, handler := range map[string]http.Handler{"without": next, "with": wrapped} {
		b.Run(name, func(b *testing.B) {
			req := httptest.NewRequest(http.MethodPost, "/v1/traces", http.NoBody)
			w := httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				handler.ServeHTTP(w, req)
			}
		})
	}
}
