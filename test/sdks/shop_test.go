// SPDX-License-Identifier: Apache-2.0

//go:build sdks

package sdks

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// launch starts one half of a shop: it gives its language's runtime, the SDK
// and the program ("frontend" or "backend") an environment.
type launch func(t *testing.T, program string, vars map[string]string) *harness.Process

// app is a running half of a shop.
type app struct {
	address string // host:port
}

func (a app) data() string { return "http://" + a.address + "/data" }

// newApp gives an app that does not run yet its address.
func newApp(t *testing.T) app {
	t.Helper()
	return app{address: harness.FreeAddress(t)}
}

// run starts a half of a shop at its address and returns when it takes
// connections.
func (a app) run(t *testing.T, launch launch, program string, vars map[string]string) *harness.Process {
	t.Helper()
	vars = maps.Clone(vars)
	_, vars["PORT"], _ = net.SplitHostPort(a.address)
	return launch(t, program, vars)
}

// start is newApp and run.
func start(t *testing.T, launch launch, program string, vars map[string]string) app {
	t.Helper()
	a := newApp(t)
	a.run(t, launch, program, vars)
	return a
}

// process runs an app until the test ends and returns when it listens at its
// PORT. A JVM with an agent on a busy machine takes its time.
func process(t *testing.T, spec harness.Spec) *harness.Process {
	t.Helper()
	p := harness.Start(t, spec)
	address := net.JoinHostPort("127.0.0.1", spec.Env["PORT"])
	var dialer net.Dialer
	harness.AwaitFor(t, 5*time.Minute, "the app does not listen", func() error {
		select {
		case <-p.Done():
			return harness.GiveUp(fmt.Errorf("it has ended with code %d", p.ExitCode()))
		default:
		}
		// Without a request, so that there is no telemetry of it.
		connection, err := dialer.DialContext(t.Context(), "tcp", address)
		if err != nil {
			return err
		}
		return connection.Close()
	})
	return p
}

// example returns the path of a file of the examples.
func example(t *testing.T, path ...string) string {
	t.Helper()
	return filepath.Join(append([]string{harness.Root(t), "examples"}, path...)...)
}

// underPython runs a program of shop-python by opentelemetry-instrument.
func underPython(s sdk) launch {
	return func(t *testing.T, program string, vars map[string]string) *harness.Process {
		t.Helper()
		bin := filepath.Join(s.folder(t), "venv", "bin")
		return process(t, harness.Spec{
			Path: filepath.Join(bin, "opentelemetry-instrument"),
			Args: []string{filepath.Join(bin, "python"), "app.py"},
			Dir:  example(t, "shop-python", program),
			Env:  vars,
		})
	}
}

// plainPython runs a program of shop-python that sets up the SDK itself.
func plainPython(t *testing.T, program string, vars map[string]string) *harness.Process {
	t.Helper()
	return process(t, harness.Spec{
		Path: filepath.Join(pythonSDK.folder(t), "venv", "bin", "python"),
		Args: []string{"app.py"},
		Dir:  example(t, "shop-python", program),
		Env:  vars,
	})
}

// underNode runs a program of shop-node with all instrumentations.
func underNode(t *testing.T, program string, vars map[string]string) *harness.Process {
	t.Helper()
	installed := nodeSDK.folder(t)
	// The program and its packages in one folder, as npm ci in the example's
	// own would have it.
	dir := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(installed, "node_modules"), filepath.Join(dir, "node_modules")))
	source, err := os.ReadFile(example(t, "shop-node", program+".js"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, program+".js"), source, 0o600))
	vars["NODE_OPTIONS"] = "--require @opentelemetry/auto-instrumentations-node/register"
	return process(t, harness.Spec{Path: "node", Args: []string{program + ".js"}, Dir: dir, Env: vars})
}

// underJavaAgent runs server-java, which is both halves.
func underJavaAgent(t *testing.T, _ string, vars map[string]string) *harness.Process {
	t.Helper()
	target := filepath.Join(javaAgent.folder(t), "target")
	return process(t, harness.Spec{
		Path: "java",
		Args: []string{
			"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", // what lives for seconds pays for no optimising; starts at a third of the cost
			"-javaagent:" + filepath.Join(target, "lib", "opentelemetry-javaagent.jar"), "-jar", filepath.Join(target, "shop.jar"),
		},
		Env: vars,
	})
}

// order is one call of a front end by a client that is traced itself.
type order struct {
	trace, caller string // ids in hex
	id, item      string
	url           string
}

// order places an order and requires the status of the answer.
func (a app) order(t *testing.T, id, item string, status int) order {
	t.Helper()
	o := order{
		trace: newID(16), caller: newID(8), id: id, item: item,
		url: fmt.Sprintf("http://%s/order?order_id=%s&item=%s", a.address, url.QueryEscape(id), url.QueryEscape(item)),
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.url, http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Traceparent", "00-"+o.trace+"-"+o.caller+"-01")
	req.Header.Set("User-Agent", "shopper/1.0")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, status, resp.StatusCode)
	return o
}

// newID returns a random id that does not begin with a zero.
func newID(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	b[0] |= 0x80
	return hex.EncodeToString(b)
}
