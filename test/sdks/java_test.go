// SPDX-License-Identifier: Apache-2.0

//go:build sdks

package sdks

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Java's SDK takes the name by which source code knows a class.
var noSuchItem = exception{"shop.Shop.NoSuchItem", "gold"}

// Nothing but -javaagent and variables, by both protocols: two shops that are
// each other's back end. The agent names a service without a name after its jar.
func TestJava(t *testing.T) {
	r := newRig(t, "processors::cloudrole::mappings: {shop: shop-java}")
	grpc, http := newApp(t), newApp(t)
	grpc.run(t, underJavaAgent, "", env(r.grpc(t), named("till"), map[string]string{"DATA_URL": http.data()}))
	http.run(t, underJavaAgent, "", env(r.http(t), map[string]string{"DATA_URL": grpc.data()}))
	till := hop{service: "till", role: "till", http: newHTTP, app: grpc}
	shop := hop{service: "shop", role: "shop-java", http: newHTTP, app: http}

	for name, hops := range map[string][]hop{"grpc": {till, shop}, "http": {shop, till}} {
		t.Run(name, func(t *testing.T) {
			front := hops[0].app
			hops[0].path, hops[0].status = "/order", 200
			hops[1].path, hops[1].status = "/data", 200
			tea := front.order(t, "17", "tea", 200)
			r.check(t, tea, outcome{hops: hops})
			r.checkLog(t, tea, hops[0], "order 17: tea", warning)
			r.checkLog(t, tea, hops[1], "price of tea", warning)

			hops[0].status, hops[1].status = 500, 404
			gold := front.order(t, "18", "gold", 500)
			r.check(t, gold, outcome{hops: hops, failure: noSuchItem})
			r.checkLog(t, gold, hops[0], "no gold for order 18", failure)

			front.order(t, "19", "tea", 200)
			r.checkCounter(t, tea, hops[0], 2)
			r.checkCounter(t, gold, hops[0], 1)
		})
	}
	assert.NotContains(t, r.roles(), "shop")
	assert.NotContains(t, r.roles(), "unknown_service:java")
}
