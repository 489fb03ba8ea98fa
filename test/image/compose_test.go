// SPDX-License-Identifier: Apache-2.0

//go:build image && linux

package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/jaeger"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

// service is what the tests look at of a service of a Compose file, in the long
// form of `docker compose config`.
type service struct {
	Image       string             `json:"image"`
	Command     []string           `json:"command"`
	Environment map[string]*string `json:"environment"`
	User        string             `json:"user"`
	ReadOnly    bool               `json:"read_only"`
	CapDrop     []string           `json:"cap_drop"`
	SecurityOpt []string           `json:"security_opt"`
	MemLimit    string             `json:"mem_limit"`
	PidsLimit   int                `json:"pids_limit"`
	Healthcheck struct {
		Test []string `json:"test"`
	} `json:"healthcheck"`
	Ports []struct {
		HostIP    string `json:"host_ip"`
		Target    int    `json:"target"`
		Published string `json:"published"`
	} `json:"ports"`
	Volumes []struct {
		Type   string `json:"type"`
		Source string `json:"source"`
		Target string `json:"target"`
	} `json:"volumes"`
}

// compose reads deploy/compose.yaml by the library that Docker's command uses.
func compose(t *testing.T, env ...string) map[string]service {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "run", ".", filepath.Join(harness.Root(t), "deploy", "compose.yaml"))
	cmd.Dir = filepath.Join(harness.Root(t), "test", "servers", "compose")
	cmd.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	assert.Empty(t, stderr.String(), "docker compose would warn")
	var project struct{ Services map[string]service }
	require.NoError(t, json.Unmarshal(out, &project))
	return project.Services
}

func TestComposeFile(t *testing.T) {
	services := compose(t)
	require.Equal(t, []string{"collector", "jaeger"}, slices.Sorted(maps.Keys(services)))
	for name, s := range services {
		assert.True(t, s.ReadOnly, name)
		assert.Equal(t, []string{"ALL"}, s.CapDrop, name)
		assert.Equal(t, []string{"no-new-privileges:true"}, s.SecurityOpt, name)
		assert.Equal(t, "10001:10001", s.User, name)
		assert.NotEmpty(t, s.MemLimit, name)
		assert.NotZero(t, s.PidsLimit, name)
		assert.NotEmpty(t, s.Ports, name)
		for _, port := range s.Ports {
			assert.Equal(t, "127.0.0.1", port.HostIP, "%s: port %d is open to the network", name, port.Target)
		}
	}

	c := services["collector"]
	assert.Equal(t, "otelcol-custom:dev", c.Image)
	assert.Equal(t, []string{"CMD", "/podhelper", "healthy"}, c.Healthcheck.Test)
	require.Len(t, c.Volumes, 1)
	assert.Equal(t, stateDir, c.Volumes[0].Target)
	limit, err := strconv.Atoi(c.MemLimit)
	require.NoError(t, err)
	assert.Equal(t, 256*megabyte, limit)
	assert.Equal(t, "200MiB", *c.Environment["GOMEMLIMIT"], "about 80 % of the limit")

	required := regexp.MustCompile(`\$\{env:(\w+)\}`)
	for _, config := range configs(t) {
		backend, found := strings.CutPrefix(config, "backend/")
		if !found {
			continue
		}
		files := configFiles(t, compose(t, "OTELCOL_BACKEND="+strings.TrimSuffix(backend, ".yaml"))["collector"].Command)
		require.Equal(t, []string{"sidecar.yaml", config}, files)
		for _, file := range files {
			raw, err := os.ReadFile(filepath.Join(harness.Root(t), "configs", file))
			require.NoError(t, err)
			for _, m := range required.FindAllSubmatch(raw, -1) {
				assert.Contains(t, c.Environment, string(m[1]), "%s needs it", file)
			}
		}
	}
	for name, value := range c.Environment {
		own := name == "GOMEMLIMIT" || name == "JAEGER_ENDPOINT"
		assert.Equal(t, own, value != nil, "%s: only what is no secret and fits this file stands in it", name)
	}
}

// configFiles returns the files of the image that a command line names, relative
// to configs/.
func configFiles(t *testing.T, command []string) []string {
	t.Helper()
	var files []string
	for _, arg := range command {
		config, found := strings.CutPrefix(arg, "--config=")
		require.True(t, found, arg)
		if file, inImage := strings.CutPrefix(config, configDir+"/"); inImage {
			files = append(files, file)
		} else {
			assert.True(t, strings.HasPrefix(config, "yaml:"), arg)
		}
	}
	return files
}

// checkCompose runs the services of the Compose file by Podman, Jaeger's image made
// of the binary that other tests run, on a network of two: what is sent to a port
// that Compose would publish is found in Jaeger.
func (p podman) checkCompose(t *testing.T) {
	services := compose(t)
	p.run(t, "tag", name, services["collector"].Image)
	p.buildJaeger(t, services["jaeger"].Image)

	const address, jaegerAddress = "10.99.0.1", "10.99.0.2"
	c := p.launch(t, append([]string{"--add-host", "jaeger:" + jaegerAddress}, services["collector"].podmanArgs(t)...))
	c.awaitHealthy(t)
	j := p.launch(t, services["jaeger"].podmanArgs(t))
	join(t, c, address, j, jaegerAddress)

	to := composeTarget{c, services["collector"], address}
	for _, sender := range []telemetry.Sender{{Protocol: telemetry.GRPC}, {Protocol: telemetry.HTTPProtobuf}} {
		sent := telemetry.NewShop()
		require.NoError(t, telemetry.Dial(t, sender, to).All(t.Context(), sent))
		api := j.forward(t, fmt.Sprintf("%s:%d", jaegerAddress, services["jaeger"].Ports[0].Target))
		harness.Await(t, "the trace in Jaeger", func() error {
			body, err := harness.Get("http://" + api + "/api/traces/" + sent.TraceID.String())
			if err == nil && !strings.Contains(string(body), sent.Page.String()) {
				err = errors.New("the trace has no such span")
			}
			return err
		})
	}
}

// composeTarget is a collector by the ports that Compose would publish.
type composeTarget struct {
	container
	service service
	address string
}

func (c composeTarget) GRPC(tb testing.TB) string { return c.published(tb, "4317") }
func (c composeTarget) HTTP(tb testing.TB) string { return c.published(tb, "4318") }

func (c composeTarget) published(tb testing.TB, port string) string {
	tb.Helper()
	for _, p := range c.service.Ports {
		if p.Published == port {
			return c.forward(tb, fmt.Sprintf("%s:%d", c.address, p.Target))
		}
	}
	tb.Fatalf("port %s is not published", port)
	return ""
}

// podmanArgs says to podman run what the service says to Compose. It gets no
// network here.
func (s service) podmanArgs(t *testing.T) []string {
	t.Helper()
	args := []string{
		"--network", "none", "--health-interval", "disable", "--read-only-tmpfs=false",
		"--read-only=" + strconv.FormatBool(s.ReadOnly), "--user", s.User, "--memory", s.MemLimit, "--pids-limit", strconv.Itoa(s.PidsLimit),
	}
	for _, capability := range s.CapDrop {
		args = append(args, "--cap-drop", capability)
	}
	for _, option := range s.SecurityOpt {
		args = append(args, "--security-opt", option)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Environment)) {
		if value := s.Environment[key]; value != nil {
			args = append(args, "--env", key+"="+*value)
		}
	}
	for _, volume := range s.Volumes {
		require.Equal(t, "volume", volume.Type)
		args = append(args, "--volume", "compose_"+volume.Source+":"+volume.Target)
	}
	return append(append(args, s.Image), s.Command...)
}

// buildJaeger makes an image under the name that Compose would pull.
func (p podman) buildJaeger(t *testing.T, image string) {
	t.Helper()
	dir := t.TempDir()
	binary, err := os.ReadFile(harness.Build(t, jaeger.V1))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "all-in-one"), binary, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"),
		[]byte("FROM scratch\nCOPY all-in-one /all-in-one\nENTRYPOINT [\"/all-in-one\"]\n"), 0o600))
	p.run(t, "build", "--quiet", "--tag", "docker.io/"+image, dir)
}

// join links the network namespaces of two containers.
func join(t *testing.T, a container, addressA string, b container, addressB string) {
	t.Helper()
	command := func(args ...string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}
	command("ip", "link", "add", "eth0", "netns", strconv.Itoa(a.pid), "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(b.pid))
	for pid, address := range map[int]string{a.pid: addressA, b.pid: addressB} {
		in := []string{"nsenter", "--target", strconv.Itoa(pid), "--net", "ip"}
		command(append(slices.Clone(in), "address", "add", address+"/24", "dev", "eth0")...)
		command(append(slices.Clone(in), "link", "set", "eth0", "up")...)
	}
}
