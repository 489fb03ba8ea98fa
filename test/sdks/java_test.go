// SPDX-License-Identifier: Apache-2.0

//go:build sdks

package sdks

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Java's SDK takes the name by which source code knows a class.
var noSuchItem = exception{"shop.Shop.NoSuchItem", "gold"}

// Nothing but -javaagent and variables. The agent names a service without a
// name after its jar.
func TestJava(t *testing.T) {
	r := newRig(t, "processors::cloudrole::mappings: {shop: shop-backend}")
	for _, c := range []struct {
		name     string
		protocol map[string]string
	}{
		{"grpc", r.grpc(t)},
		{"http", r.http(t)},
	} {
		t.Run(c.name, func(t *testing.T) {
			back := start(t, underJavaAgent, "", env(c.protocol))
			front := start(t, underJavaAgent, "", env(c.protocol, named("till"), map[string]string{"DATA_URL": back.data()}))
			shop := []hop{
				{service: "till", role: "till", http: newHTTP, path: "/order", app: front, status: 200},
				{service: "shop", role: "shop-backend", http: newHTTP, path: "/data", app: back, status: 200},
			}

			tea := front.order(t, "17", "tea", 200)
			r.check(t, tea, outcome{hops: shop})
			r.checkLog(t, tea, shop[0], "order 17: tea", warning)
			r.checkLog(t, tea, shop[1], "price of tea", warning)

			shop[0].status, shop[1].status = 500, 404
			gold := front.order(t, "18", "gold", 500)
			r.check(t, gold, outcome{hops: shop, failure: noSuchItem})
			r.checkLog(t, gold, shop[0], "no gold for order 18", failure)

			front.order(t, "19", "tea", 200)
			r.checkCounter(t, tea, shop[0], 2)
			r.checkCounter(t, gold, shop[0], 1)
		})
	}
	assert.NotContains(t, r.roles(), "unknown_service:java")
}
