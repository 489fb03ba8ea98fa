// SPDX-License-Identifier: Apache-2.0

//go:build sdks

package sdks

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// What an SDK still holds when Kubernetes ends its pod is sent on the way out;
// with these delays nothing of an order has been sent before.
func TestLastOrder(t *testing.T) {
	r := newRig(t, "")
	for name, c := range map[string]struct {
		launch    launch
		vars      map[string]string
		http      conventions
		inHandler bool
	}{
		"python": {underPython(pythonSDK), r.grpc(t), oldHTTP, false},
		"node":   {underNode, r.http(t), newHTTP, true},
		"java":   {underJavaAgent, r.http(t), newHTTP, false},
	} {
		t.Run(name, func(t *testing.T) {
			back, front := newApp(t), newApp(t)
			idle := map[string]string{
				"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_BLRP_SCHEDULE_DELAY": "600000", "OTEL_METRIC_EXPORT_INTERVAL": "600000",
			}
			backend := back.run(t, c.launch, "backend", env(c.vars, idle, named(name+"-back")))
			frontend := front.run(t, c.launch, "frontend", env(c.vars, idle, named(name+"-front"),
				map[string]string{"DATA_URL": back.data()}))
			shop := []hop{
				{service: name + "-front", role: name + "-front", http: c.http, path: "/order", app: front, status: 200},
				{service: name + "-back", role: name + "-back", http: c.http, path: "/data", app: back, status: 200},
			}

			tea := front.order(t, "28", "tea", 200)
			front.order(t, "29", "tea", 200) // once this is answered, the spans of the other have ended too
			for _, p := range []*harness.Process{frontend, backend} {
				require.NoError(t, syscall.Kill(p.PID(), syscall.SIGTERM))
				select {
				case <-p.Done():
				case <-time.After(25 * time.Second): // of the 30 that Kubernetes gives
					t.Fatal("the app still runs")
				}
			}
			r.check(t, tea, outcome{hops: shop, inHandler: c.inHandler})
			r.checkLog(t, tea, shop[0], "order 28: tea", warning)
			r.awaitCounter(t, tea, shop[0], 2, 1)
		})
	}
}
