// SPDX-License-Identifier: Apache-2.0

//go:build sdks

package sdks

import "testing"

// An order that goes through three languages is one trace in Jaeger and one
// operation of three roles in Application Insights. Each language is once at
// the front, once in the middle, once at the end.
func TestOneTraceThroughThreeLanguages(t *testing.T) {
	r := newRig(t, "processors::cloudrole::mappings: {app.py: shop-python}")
	type language struct {
		service, role string
		launch        launch
		protocol      map[string]string
		inHandler     bool
	}
	python := language{"app.py", "shop-python", underPython(pythonSDK), r.grpc(t), false}
	node := language{"shop-node", "shop-node", underNode, r.http(t), true}
	java := language{"shop-java", "shop-java", underJavaAgent, r.http(t), false}

	for _, languages := range [][3]language{{python, node, java}, {node, java, python}, {java, python, node}} {
		t.Run(languages[0].service, func(t *testing.T) {
			vars := func(l language, next ...string) map[string]string {
				v := env(l.protocol, named(l.service), map[string]string{"OTEL_SEMCONV_STABILITY_OPT_IN": "http"})
				if len(next) > 0 {
					v[next[0]] = next[1]
				}
				return v
			}
			last := start(t, languages[2].launch, "backend", vars(languages[2]))
			middle := start(t, languages[1].launch, "backend", vars(languages[1], "STOCK_URL", last.data()))
			front := start(t, languages[0].launch, "frontend", vars(languages[0], "DATA_URL", middle.data()))

			shop := []hop{
				{http: newHTTP, path: "/order", app: front, status: 200},
				{http: newHTTP, path: "/data", app: middle, status: 200},
				{http: newHTTP, path: "/data", app: last, status: 200},
			}
			for i, l := range languages {
				shop[i].service, shop[i].role = l.service, l.role
			}
			tea := front.order(t, "23", "tea", 200)
			r.check(t, tea, outcome{hops: shop, inHandler: languages[0].inHandler})
			for i, message := range []string{"order 23: tea", "price of tea", "price of tea"} {
				r.checkLog(t, tea, shop[i], message, warning)
			}
		})
	}
}
