// SPDX-License-Identifier: Apache-2.0

package podinfo

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// volume is a downwardAPI volume and changes as the kubelet changes it: a new
// folder, a new link to it under another name, a rename onto ..data, and the
// old folder goes.
type volume struct {
	t       *testing.T
	dir     string
	version int
	old     string
}

func newVolume(t *testing.T, files map[string]string) *volume {
	v := &volume{t: t, dir: t.TempDir()}
	v.swap(files)
	for name := range files {
		require.NoError(t, os.Symlink(filepath.Join(dataLink, name), filepath.Join(v.dir, name)))
	}
	return v
}

func (v *volume) swap(files map[string]string) {
	v.version++
	name := "..2026_11_21_07_00_00." + strings.Repeat("1", v.version)
	require.NoError(v.t, os.Mkdir(filepath.Join(v.dir, name), 0o755))
	for file, text := range files {
		require.NoError(v.t, os.WriteFile(filepath.Join(v.dir, name, file), []byte(text), 0o600))
	}
	tmp := filepath.Join(v.dir, "..data_tmp")
	require.NoError(v.t, os.Symlink(name, tmp))
	require.NoError(v.t, os.Rename(tmp, filepath.Join(v.dir, dataLink)))
	if v.old != "" {
		require.NoError(v.t, os.RemoveAll(filepath.Join(v.dir, v.old)))
	}
	v.old = name
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func env(values map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := values[name]
		return v, ok
	}
}

func observed() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.DebugLevel)
	return zap.New(core), logs
}

func TestVariables(t *testing.T) {
	logger, logs := observed()
	s := New(Settings{
		Env: map[string]string{
			"k8s.pod.name":                 "POD_NAME",
			"k8s.pod.uid":                  "POD_UID",
			"k8s.pod.ip":                   "",        // taken off the list
			"k8s.node.name":                "NODE",    // not there
			"team":                         "TEAM",    // empty
			"k8s.container.cpu.limit":      "CPU",     // as resourceFieldRef gives it
			"k8s.container.memory.limit":   "MEMORY",  // the same
			"k8s.container.cpu.request":    "REQUEST", // none
			"k8s.container.memory.request": "WRONG",
		},
		CPUUnit: Auto,
		Logger:  logger,
		LookupEnv: env(map[string]string{
			"POD_NAME": "shop-1", "POD_UID": "1-2-3", "TEAM": "", "CPU": "1500", "MEMORY": "268435456", "REQUEST": "0", "WRONG": "secret",
		}),
	})
	assert.Equal(t, &Description{UID: "1-2-3", Attributes: []Attribute{
		{Key: "k8s.container.cpu.limit", Kind: Double, Double: 1.5},
		{Key: "k8s.container.memory.limit", Kind: Int, Int: 268_435_456},
		{Key: "k8s.pod.name", Str: "shop-1"},
		{Key: "k8s.pod.uid", Str: "1-2-3"},
	}}, s.Description())

	require.Equal(t, 2, logs.Len())
	assert.Equal(t, "WRONG", logs.All()[0].ContextMap()["variable"])
	assert.NotContains(t, logs.All()[0].ContextMap()["error"], "secret", "a value must not get into the log")
	assert.Equal(t, []any{"NODE", "TEAM"}, logs.All()[1].ContextMap()["variables"], "all that are missing, in one line")
}

func TestVolumeChanges(t *testing.T) {
	logger, logs := observed()
	c := &clock{now: time.Unix(0, 0)}
	v := newVolume(t, map[string]string{"labels": `app="shop"` + "\n" + `note="a=\"1\"\n2"`, "annotations": `owner="Jürg"`})
	s := New(Settings{Directory: v.dir, Logger: logger, Now: c.Now})
	first := s.Description()
	want := []Attribute{
		{Key: "k8s.pod.label.app", Str: "shop"},
		{Key: "k8s.pod.label.note", Str: "a=\"1\"\n2"},
		{Key: "k8s.pod.annotation.owner", Str: "Jürg"},
	}
	assert.Equal(t, want, first.Attributes)

	c.pass(time.Hour)
	assert.Same(t, first, s.Description(), "nothing changed, so nothing is read")

	v.swap(map[string]string{"labels": `app="shop"` + "\n" + `tier="1"`, "annotations": ""})
	assert.Same(t, first, s.Description(), "looked at a moment ago")
	c.pass(checkEvery)
	assert.Equal(t, []Attribute{
		{Key: "k8s.pod.label.app", Str: "shop"},
		{Key: "k8s.pod.label.tier", Str: "1"},
	}, s.Description().Attributes, "one label is new, one is gone, and so are the annotations")
	assert.Equal(t, want, first.Attributes, "what was given out does not change")
	assert.Zero(t, logs.Len())
}

func TestPlainFolder(t *testing.T) {
	c := &clock{now: time.Unix(0, 0)}
	dir := t.TempDir()
	labels := filepath.Join(dir, "labels")
	logger, logs := observed()
	s := New(Settings{Directory: dir, Logger: logger, Now: c.Now})
	assert.Empty(t, s.Description().Attributes)
	require.Equal(t, 2, logs.Len(), "labels and annotations are missing")
	assert.Contains(t, logs.All()[0].ContextMap()["error"], labels)

	require.NoError(t, os.WriteFile(labels, []byte(`app="shop"`), 0o600))
	c.pass(checkEvery)
	assert.Equal(t, []Attribute{{Key: "k8s.pod.label.app", Str: "shop"}}, s.Description().Attributes, "a file that comes later is read")

	require.NoError(t, os.WriteFile(labels, []byte("app=\"shop\"\nbad"), 0o600))
	c.pass(checkEvery)
	assert.Len(t, s.Description().Attributes, 1, "good lines of a bad file count")
	require.Equal(t, 3, logs.Len())
	assert.Equal(t, labels, logs.All()[2].ContextMap()["file"])

	require.NoError(t, os.Remove(labels))
	c.pass(checkEvery)
	assert.Empty(t, s.Description().Attributes)
	require.NoError(t, os.WriteFile(labels, []byte("worse"), 0o600))
	c.pass(checkEvery)
	assert.Empty(t, s.Description().Attributes)
	assert.Equal(t, 3, logs.Len(), "what was said once is not said again")
}

func TestVariableBeforeFile(t *testing.T) {
	v := newVolume(t, map[string]string{"labels": `app="file"`, "annotations": ""})
	s := New(Settings{
		Directory: v.dir,
		Env:       map[string]string{"k8s.pod.label.app": "APP"},
		Logger:    zap.NewNop(),
		LookupEnv: env(map[string]string{"APP": "variable"}),
	})
	assert.Equal(t, []Attribute{{Key: "k8s.pod.label.app", Str: "variable"}}, s.Description().Attributes)
}

// While the volume changes all the time, each reader sees labels and
// annotations of one version, and the last version in the end.
func TestVolumeSwapsUnderReaders(t *testing.T) {
	files := func(version string) map[string]string {
		return map[string]string{"labels": `v="` + version + `"`, "annotations": `v="` + version + `"`}
	}
	v := newVolume(t, files("0"))
	c := &clock{now: time.Unix(0, 0)}
	logger, logs := observed()
	s := New(Settings{Directory: v.dir, Logger: logger, Now: c.Now})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c.pass(checkEvery)
				if got := s.Description().Attributes; assert.Len(t, got, 2) {
					assert.Equal(t, got[0].Str, got[1].Str)
				}
			}
		})
	}
	for i := range 200 {
		v.swap(files(strings.Repeat("x", i%7)))
	}
	close(stop)
	wg.Wait()
	v.swap(files("last"))
	c.pass(checkEvery)
	assert.Equal(t, "last", s.Description().Attributes[0].Str)
	assert.Zero(t, logs.Len(), "nothing was ever missing")
}
