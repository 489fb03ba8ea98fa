// SPDX-License-Identifier: Apache-2.0

// Package collector runs the distribution's built binary as a process.
//
// The configuration files are used as they are. What a test must change, the
// ports, is changed by one more configuration in front of which the files
// stand: each endpoint of a receiver or an extension keeps its host and gets a
// free port, and the collector's own metrics are served on a free port too.
// The process sees only the environment that the test gives it.
package collector

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/confmap"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// shutdownLimit is shorter than the 30 seconds that Kubernetes gives a pod.
const shutdownLimit = 25 * time.Second

// Binary returns the path of the binary under test, $OTELCOL_BIN or
// bin/otelcol-custom, and ends the test when there is none.
func Binary(tb testing.TB) string {
	tb.Helper()
	path := os.Getenv("OTELCOL_BIN")
	if path == "" {
		path = filepath.Join(harness.Root(tb), "bin", "otelcol-custom")
	}
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("no binary to test, build it with `make build` or name one in OTELCOL_BIN: %v", err)
	}
	return path
}

// Configs returns the folder of the configuration files under test,
// $OTELCOL_CONFIGS or configs/.
func Configs(tb testing.TB) string {
	tb.Helper()
	if path := os.Getenv("OTELCOL_CONFIGS"); path != "" {
		return path
	}
	return filepath.Join(harness.Root(tb), "configs")
}

// Config is what a collector is started with.
type Config struct {
	// Files are configuration files, from [Configs] when not absolute.
	Files []string
	// Overlay is YAML merged over the files.
	Overlay string
	// Env is the whole environment of the process.
	Env map[string]string
}

// With returns a copy of the configuration with more environment variables.
func (c Config) With(env map[string]string) Config {
	merged := maps.Clone(c.Env)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, env)
	c.Env = merged
	return c
}

// Args returns the command line that stands for the configuration.
func (c Config) Args(tb testing.TB) []string {
	tb.Helper()
	var args []string
	for _, file := range c.paths(tb) {
		args = append(args, "--config", file)
	}
	if c.Overlay != "" {
		args = append(args, "--config", "yaml:"+c.Overlay)
	}
	return args
}

func (c Config) paths(tb testing.TB) []string {
	tb.Helper()
	var paths []string
	for _, file := range c.Files {
		if !filepath.IsAbs(file) {
			file = filepath.Join(Configs(tb), file)
		}
		paths = append(paths, file)
	}
	return paths
}

// Collector is a collector process.
type Collector struct {
	*harness.Process

	// Endpoints are the addresses that were moved, by the path of their key,
	// as in "receivers::otlp::protocols::grpc".
	Endpoints map[string]string
	// MetricsAddress is where its own metrics are served.
	MetricsAddress string
}

// Start runs a collector until the test ends and returns when it is healthy.
func Start(tb testing.TB, config Config) *Collector {
	tb.Helper()
	c := &Collector{Endpoints: map[string]string{}, MetricsAddress: harness.FreeAddress(tb)}
	args := append(config.Args(tb), "--config", "yaml:"+c.move(tb, config))
	c.Process = harness.Start(tb, harness.Spec{Path: Binary(tb), Args: args, Env: config.Env})
	health := "http://" + c.Endpoint(tb, "extensions::health_check")
	c.AwaitReady(tb, func() error {
		_, err := harness.Get(health)
		return err
	})
	return c
}

// Run runs the binary to its end with a command (such as "validate", or none)
// and a configuration that is not changed at all.
func Run(tb testing.TB, command string, config Config) *harness.Process {
	tb.Helper()
	args := config.Args(tb)
	if command != "" {
		args = append([]string{command}, args...)
	}
	return harness.Run(tb, harness.Spec{Path: Binary(tb), Args: args, Env: config.Env})
}

// Stop ends the collector by SIGTERM, as Kubernetes does.
func (c *Collector) Stop(tb testing.TB) {
	tb.Helper()
	c.Process.Stop(tb, shutdownLimit)
}

// Endpoint returns an address that was moved.
func (c *Collector) Endpoint(tb testing.TB, key string) string {
	tb.Helper()
	address, ok := c.Endpoints[key]
	if !ok {
		tb.Fatalf("no endpoint %s among %v", key, c.Endpoints)
	}
	return address
}

// GRPC returns the address of OTLP over gRPC.
func (c *Collector) GRPC(tb testing.TB) string {
	tb.Helper()
	return c.Endpoint(tb, "receivers::otlp::protocols::grpc")
}

// HTTP returns the address of OTLP over HTTP.
func (c *Collector) HTTP(tb testing.TB) string {
	tb.Helper()
	return c.Endpoint(tb, "receivers::otlp::protocols::http")
}

// listens matches a component that would listen and has no settings.
var listens = regexp.MustCompile(`^(receivers::[^:]+(::protocols::[^:]+)?|extensions::(health_check|pprof|zpages)[^:]*)$`)

// move finds the endpoints, gives each a free port and returns the
// configuration that does so.
func (c *Collector) move(tb testing.TB, config Config) string {
	tb.Helper()
	conf := confmap.New()
	for _, path := range config.paths(tb) {
		raw, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		merge(tb, conf, path, raw)
	}
	merge(tb, conf, "overlay", []byte(config.Overlay))

	overlay := &strings.Builder{}
	for _, key := range conf.AllKeys() {
		if listens.MatchString(key) {
			tb.Fatalf("%s listens on a default endpoint; name it, so that it can be moved", key)
		}
		owner, found := strings.CutSuffix(key, confmap.KeyDelimiter+"endpoint")
		if !found || !strings.HasPrefix(key, "receivers::") && !strings.HasPrefix(key, "extensions::") {
			continue
		}
		old, _ := conf.Get(key).(string)
		host, _, err := net.SplitHostPort(expand(old, config.Env))
		if err != nil {
			tb.Fatalf("%s: %v", key, err)
		}
		address := net.JoinHostPort(host, strconv.Itoa(harness.FreePort(tb)))
		c.Endpoints[owner] = address
		fmt.Fprintf(overlay, "%s: %q\n", key, address)
	}
	host, port, _ := net.SplitHostPort(c.MetricsAddress)
	fmt.Fprintf(overlay, "service::telemetry::metrics::readers: "+
		"[{pull: {exporter: {prometheus: {host: %s, port: %s}}}}]\n", host, port)
	return overlay.String()
}

func merge(tb testing.TB, into *confmap.Conf, name string, raw []byte) {
	tb.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML(raw)
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	conf, err := retrieved.AsConf()
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	if err := into.Merge(conf); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
}

var variable = regexp.MustCompile(`\$\{env:(\w+)(?::-([^}]*))?\}`)

// expand puts environment variables into a value, as the collector does.
func expand(value string, env map[string]string) string {
	return variable.ReplaceAllStringFunc(value, func(s string) string {
		m := variable.FindStringSubmatch(s)
		if v, ok := env[m[1]]; ok {
			return v
		}
		return m[2]
	})
}
