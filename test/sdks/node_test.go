// SPDX-License-Identifier: Apache-2.0

//go:build sdks

package sdks

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Nothing but variables, by both protocols. The current span of an Express
// handler is Express' own; where the instrumentations of Express are off, it is
// the request's.
func TestNode(t *testing.T) {
	r := newRig(t, "processors::cloudrole::mappings: {frontend.js: shop-frontend}")
	for _, c := range []struct {
		name      string
		protocol  map[string]string
		vars      map[string]string
		span      string
		inHandler bool
	}{
		{"grpc", r.grpc(t), nil, "", true},
		{"http", r.http(t), nil, "", true},
		{
			"without-express", r.grpc(t),
			map[string]string{"OTEL_NODE_DISABLED_INSTRUMENTATIONS": "express,router"},
			"GET", false, // there is no route without Express
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			backend := "backend-" + c.name
			back := start(t, underNode, "backend", env(c.protocol, c.vars, named("", "k8s.deployment.name="+backend)))
			front := start(t, underNode, "frontend", env(c.protocol, c.vars, named("frontend.js"),
				map[string]string{"DATA_URL": back.data()}))
			shop := []hop{
				{service: "frontend.js", role: "shop-frontend", http: newHTTP, path: "/order", app: front, status: 200, span: c.span},
				{service: "unknown_service:node", role: backend, http: newHTTP, path: "/data", app: back, status: 200, span: c.span},
			}

			tea := front.order(t, "17", "tea", 200)
			r.check(t, tea, outcome{hops: shop, inHandler: c.inHandler})
			r.checkLog(t, tea, shop[0], "order 17: tea", warning)
			r.checkLog(t, tea, shop[1], "price of tea", warning)

			shop[0].status, shop[1].status = 500, 404
			gold := front.order(t, "18", "gold", 500)
			r.check(t, gold, outcome{hops: shop, inHandler: c.inHandler, failure: exception{"NoSuchItem", "gold"}})
			r.checkLog(t, gold, shop[0], "no gold for order 18", failure)

			front.order(t, "19", "tea", 200)
			r.checkCounter(t, tea, shop[0], 2)
			r.checkCounter(t, gold, shop[0], 1)
		})
	}
	assert.NotContains(t, r.roles(), "frontend.js")
	assert.NotContains(t, r.roles(), "unknown_service:node")
}

// An app that still sends Zipkin's format, which keeps of an exception its time
// only: no order that fails.
func TestNodeZipkin(t *testing.T) {
	r := newRig(t, "")
	zipkin := map[string]string{
		"OTEL_TRACES_EXPORTER":          "zipkin",
		"OTEL_METRICS_EXPORTER":         "none",
		"OTEL_LOGS_EXPORTER":            "none",
		"OTEL_EXPORTER_ZIPKIN_ENDPOINT": "http://" + r.collector.Endpoint(t, "receivers::zipkin") + "/api/v2/spans",
	}
	back := start(t, underNode, "backend", env(zipkin, named("stock")))
	front := start(t, underNode, "frontend", env(zipkin, named("till"), map[string]string{"DATA_URL": back.data()}))
	shop := []hop{
		{service: "till", role: "till", http: newHTTP, path: "/order", app: front, status: 200},
		{service: "stock", role: "stock", http: newHTTP, path: "/data", app: back, status: 200},
	}
	r.check(t, front.order(t, "24", "tea", 200), outcome{hops: shop, inHandler: true})
}
