// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

// preface begins HTTP/2: with it, and empty settings, a server has all it waits for.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// newcomer does one thing after another, each by a connection of its own.
type newcomer struct {
	name         string
	done, failed atomic.Int64
	inRow        atomic.Int64 // that failed
	mostInRow    atomic.Int64
	longest      atomic.Int64 // nanoseconds of what succeeded
	ended        chan struct{}
}

func startNewcomer(ctx context.Context, name string, do func(context.Context) error) *newcomer {
	n := &newcomer{name: name, ended: make(chan struct{})}
	pause := time.NewTicker(50 * time.Millisecond)
	go func() {
		defer close(n.ended)
		defer pause.Stop()
		for ctx.Err() == nil {
			start := time.Now()
			switch err := do(ctx); {
			case err == nil:
				n.done.Add(1)
				n.inRow.Store(0)
				n.longest.Store(max(n.longest.Load(), int64(time.Since(start))))
			case ctx.Err() == nil:
				n.failed.Add(1)
				n.mostInRow.Store(max(n.mostInRow.Load(), n.inRow.Add(1)))
			}
			<-pause.C
		}
	}()
	return n
}

func (n *newcomer) String() string {
	return fmt.Sprintf("%s %d done, %d failed, %d in a row, longest %s",
		n.name, n.done.Load(), n.failed.Load(), n.mostInRow.Load(), time.Duration(n.longest.Load()).Round(time.Millisecond))
}

// silent opens connections as fast as it can, with text to begin each, until it has as many
// as it wants, and opens those anew that are ended.
func (f *flooder) silent(from string, addresses []string, text string) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Control: anyPort}
	f.each(wanted, func(i int) error {
		conn, err := dialer.DialContext(f.ctx, "tcp", addresses[i%len(addresses)])
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		defer context.AfterFunc(f.ctx, func() { _ = conn.Close() })()
		_, _ = io.WriteString(conn, text)
		_, _ = io.Copy(io.Discard, conn) // until the collector ends it
		return nil
	})
}

// wanted is less than the descriptors that a process may have, here 20,000 or more.
const wanted = 14_000

// anyPort lets connections to different ports have the same one of their own, which the
// system finds in less time.
func anyPort(_, _ string, raw syscall.RawConn) error {
	var set error
	return errors.Join(raw.Control(func(descriptor uintptr) {
		set = unix.SetsockoptInt(int(descriptor), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}), set)
}

// descriptors returns how many the collector has.
func descriptors(t *testing.T, c *collector.Collector) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.PID()))
	require.NoError(t, err)
	return len(all)
}

// endedOf matches whose connections the log says were ended.
var endedOf = regexp.MustCompile(`Connections ended\t.*"client": "([^"]*)"`)

// While one client opens connections as fast as it can, and does nothing with them, the
// process has not many of them, and others are served: who was there before, who comes
// with a new connection for each request, and the probes. In a sidecar all have the same
// address, so that others are those to other ports, and who was there before.
func TestConnections(t *testing.T) {
	const (
		lasts    = 8 * time.Second
		others   = 100 // descriptors: files, listeners, connections of the others
		atMost   = podMemory / 2
		inAPod   = 4096 / 2
		sidecars = 1024 / 2
	)
	helper := filepath.Join(t.TempDir(), "podhelper")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", helper, "./cmd/podhelper")
	build.Dir = harness.Root(t)
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	const otlpGRPC, otlpHTTP = "receivers::otlp::protocols::grpc", "receivers::otlp::protocols::http"

	for name, tt := range map[string]struct {
		mode
		from, httpFrom string
		ports          []string
		text           string
		allowed        int
	}{
		"gRPC that has begun":    {"agent", "127.0.0.9", "127.0.0.8", []string{otlpGRPC, grpcKey}, preface, inAPod},
		"gRPC that says nothing": {"agent", "127.0.0.9", "127.0.0.8", []string{otlpGRPC, grpcKey}, "", inAPod},
		"half the head of HTTP":  {"agent", "127.0.0.9", "127.0.0.8", []string{otlpHTTP, zipkinKey}, "POST / HTTP/1.1\r\nHost: x\r\n", inAPod},
		"sidecar":                {"sidecar", "127.0.0.1", "127.0.0.1", []string{otlpGRPC}, preface, sidecars},
	} {
		t.Run(name, func(t *testing.T) {
			k := startKeeper(t)
			config := tt.config(t, "otlp", map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + k.address, "GOMEMLIMIT": goMemory,
			})
			config.Overlay += limiter
			c := collector.Start(t, config)
			health := "http://" + c.Endpoint(t, "extensions::health_check")
			message := telemetry.Numbered("newcomer", telemetry.NewTraceID(), 0, 1)
			before := c.OwnMemory(t)
			b := startBystander(t, c, k)
			harness.Await(t, "the first answer", func() error {
				if b.acknowledged.Load() == 0 {
					return errors.New("none")
				}
				return nil
			})

			ctx, end := context.WithTimeout(t.Context(), lasts)
			defer end()
			f := &flooder{c: c, t: t, ctx: ctx}
			var addresses []string
			for _, port := range tt.ports {
				addresses = append(addresses, c.Endpoint(t, port))
			}
			f.silent(tt.from, addresses, tt.text)
			already := b.acknowledged.Load()
			newcomers := []*newcomer{
				startNewcomer(ctx, "gRPC", func(ctx context.Context) error {
					return oneByGRPC(ctx, "127.0.0.8", c.GRPC(t), message)
				}),
				startNewcomer(ctx, "HTTP", func(ctx context.Context) error {
					return oneByHTTP(ctx, tt.httpFrom, c.HTTP(t), message)
				}),
				startNewcomer(ctx, "probe", func(ctx context.Context) error {
					return exec.CommandContext(ctx, helper, "healthy", "-endpoint", health).Run()
				}),
			}
			memory, open := before, []int(nil)
			for look := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-look.C {
				memory, open = max(memory, c.OwnMemory(t)), append(open, descriptors(t, c))
			}
			state, during := b.String(), b.acknowledged.Load()-already
			f.running.Wait()
			for _, n := range newcomers {
				<-n.ended
			}
			slices.Sort(open)
			t.Logf("%d connections opened; memory %d MiB at most, %d before; descriptors %d at most, %d most of the time; bystander: %s, of these %d during it; newcomers: %v, %v; %v",
				f.answered.Load(), memory/mib, before/mib, open[len(open)-1], open[len(open)/2], state, during, newcomers[0], newcomers[1], newcomers[2])

			assert.Less(t, memory, atMost)
			assert.Less(t, open[len(open)/2], tt.allowed+others, "most of the time")
			assert.Positive(t, during, "bystander")
			for _, n := range newcomers {
				assert.Positive(t, n.done.Load(), n.name)
				assert.Less(t, n.mostInRow.Load(), int64(6), n.name) // as the liveness probe has it
			}
			harness.Await(t, "an answer to who flooded", func() error {
				return errors.Join(oneByHTTP(t.Context(), tt.from, c.HTTP(t), message), oneByGRPC(t.Context(), tt.from, c.GRPC(t), message))
			})
			harness.Await(t, "the end of the connections", func() error {
				if n := descriptors(t, c); n > others {
					return fmt.Errorf("%d descriptors", n)
				}
				return nil
			})
			spans := b.end()
			harness.AwaitFor(t, time.Minute, "acknowledged spans", func() error {
				if n := k.missing(spans); n > 0 {
					return fmt.Errorf("%d of %d are missing", n, spans)
				}
				return nil
			})
			assert.Positive(t, c.Metric(t, "otelcol_extension_refusals_connections"))
			c.Stop(t)
			of := map[string]bool{}
			for _, line := range endedOf.FindAllStringSubmatch(c.Stderr.String(), -1) {
				of[line[1]] = true
			}
			assert.Equal(t, map[string]bool{tt.from: true}, of)
		})
	}
}

// dialFrom returns what dials from an address.
func dialFrom(address string) func(ctx context.Context, to string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext(ctx, "tcp", to)
	}
}

func oneByGRPC(ctx context.Context, address, to string, td ptrace.Traces) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // as SDKs do
	defer cancel()
	conn, err := grpc.NewClient("passthrough:"+to, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dialFrom(address)))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = ptraceotlp.NewGRPCClient(conn).Export(ctx, ptraceotlp.NewExportRequestFromTraces(td))
	return err
}

func oneByHTTP(ctx context.Context, address, to string, td ptrace.Traces) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+to+"/v1/traces", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, to string) (net.Conn, error) { return dialFrom(address)(ctx, to) }}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
