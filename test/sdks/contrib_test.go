// SPDX-License-Identifier: Apache-2.0

//go:build sdks

package sdks

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// Upstream's exporter, which takes the role from service.name alone: the roles
// that cloudrole gave, and the codes and URLs of the attributes it knows, the
// new ones. It makes nothing of the old ones.
func TestContribExporter(t *testing.T) {
	r := setup{
		mode: "gateway", backend: "azure-contrib",
		overlay: "processors::cloudrole::mappings: {frontend.js: shop-frontend}",
	}.start(t)
	back := start(t, underNode, "backend", env(r.http(t), named("", "k8s.deployment.name=shop-backend")))
	front := start(t, underNode, "frontend", env(r.http(t), named("frontend.js"), map[string]string{"DATA_URL": back.data()}))
	o := front.order(t, "26", "gold", 500)

	want := []string{
		"RequestData shop-frontend 500 " + o.url,
		"RemoteDependencyData shop-frontend 404 " + back.data() + "?item=gold",
		"RequestData shop-backend 404 " + back.data() + "?item=gold",
		"ExceptionData shop-frontend NoSuchItem gold",
	}
	var got []string
	harness.Await(t, "the order in Application Insights", func() error {
		got = nil
		for _, e := range r.ingestion.Accepted() {
			if e.Tags["ai.operation.id"] != o.trace {
				continue
			}
			head := e.Data.BaseType + " " + e.Tags["ai.cloud.role"] + " "
			switch e.Data.BaseType {
			case "RequestData":
				got = append(got, head+e.Text("responseCode")+" "+e.Text("url"))
			case "RemoteDependencyData":
				if e.Text("type") != "InProc" { // Express' handlers
					got = append(got, head+e.Text("resultCode")+" "+e.Text("data"))
				}
			case "ExceptionData":
				details := e.Data.BaseData["exceptions"].([]any)[0].(map[string]any)
				got = append(got, fmt.Sprint(head, details["typeName"], " ", details["message"]))
			}
		}
		if len(got) < len(want) {
			return fmt.Errorf("of %q there is %q", want, got)
		}
		return nil
	})
	assert.ElementsMatch(t, want, got)
	assert.Empty(t, r.ingestion.Rejected())
}
