// SPDX-License-Identifier: Apache-2.0

//go:build sdks

package sdks

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// sdk is a set of packages that files of an example pin.
type sdk struct {
	name    string
	example string   // folder below examples/
	pins    []string // files of the example; they are copied, and any change of them is a new installation
	tools   []tool
	install [][]string // commands, run in the installation's folder
}

// tool is a program that must be on the machine.
type tool struct {
	check  []string // a command that succeeds where it is; what it prints is part of the hash
	advice string
}

var (
	python = tool{[]string{"python3", "-c", "import ensurepip, sys, venv; print(sys.version)"}, "Python 3.10 or newer with venv (Debian: python3-venv)"}
	node   = tool{[]string{"node", "--version"}, "Node.js 20 or newer"}
	npm    = tool{[]string{"npm", "--version"}, "npm, which comes with Node.js"}
	jdk    = tool{[]string{"javac", "-version"}, "a JDK of Java 17 or newer (Debian: openjdk-17-jdk-headless)"}
	maven  = tool{[]string{"mvn", "--version"}, "Apache Maven 3.8 or newer (Debian: maven)"}
)

var (
	pythonSDK = sdk{
		name: "python", example: "shop-python", pins: []string{"requirements.txt"}, tools: []tool{python},
		install: venv("requirements.txt"),
	}
	pythonJaegerClient = sdk{
		name: "python-jaeger", example: "shop-python", pins: []string{"requirements-jaeger.txt"}, tools: []tool{python},
		install: venv("requirements-jaeger.txt"),
	}
	nodeSDK = sdk{
		name: "node", example: "shop-node", pins: []string{".npmrc", "package-lock.json", "package.json"}, tools: []tool{node, npm},
		install: [][]string{{"npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"}},
	}
	javaAgent = sdk{
		name: "java", example: "server-java", pins: []string{"pom.xml", "src/main/java/shop/Shop.java"}, tools: []tool{jdk, maven},
		install: [][]string{{"mvn", "--batch-mode", "--no-transfer-progress", "--quiet", "package"}},
	}
)

func venv(requirements string) [][]string {
	return [][]string{
		{"python3", "-m", "venv", "venv"},
		{"venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements},
	}
}

// folder returns where the packages are, which are installed if they are not
// there yet. Test processes that do so at the same time wait for one another.
func (s sdk) folder(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("find the cache for SDKs: %v", err)
	}
	path := filepath.Join(cache, "otelcol-custom", "sdks", s.name+"-"+s.hash(t))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(path + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }() // unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	complete := filepath.Join(path, ".complete")
	if _, err := os.Stat(complete); err == nil {
		return path
	}

	start := time.Now()
	if err := os.RemoveAll(path); err != nil { // what an installation that broke off has left
		t.Fatal(err)
	}
	for _, pin := range s.pins {
		to := filepath.Join(path, pin)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, s.read(t, pin), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range s.install {
		run(t, path, command)
	}
	if err := os.WriteFile(complete, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("installed %s in %s, once", s.name, time.Since(start).Round(time.Second))
	return path
}

// hash names the content of the pins and the versions of the tools.
func (s sdk) hash(t *testing.T) string {
	t.Helper()
	var parts []string
	for _, tool := range s.tools {
		out, err := exec.CommandContext(t.Context(), tool.check[0], tool.check[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("this test needs %s: %s: %v\n%s", tool.advice, strings.Join(tool.check, " "), err, out)
		}
		parts = append(parts, string(out))
	}
	for _, command := range s.install {
		parts = append(parts, strings.Join(command, " "))
	}
	for _, pin := range s.pins {
		parts = append(parts, pin, string(s.read(t, pin)))
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:6])
}

func (s sdk) read(t *testing.T, pin string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(harness.Root(t), "examples", s.example, pin))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// run runs a step of an installation with the environment of the test, which
// has the user's settings for package registries.
func run(t *testing.T, dir string, command []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
}
