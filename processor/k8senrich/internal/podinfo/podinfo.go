// SPDX-License-Identifier: Apache-2.0

// Package podinfo reads what the Downward API tells a pod about itself:
// environment variables, which never change, and the files labels and
// annotations of a downwardAPI volume, which do.
//
// The kubelet replaces the files of such a volume all at once: it writes them
// to a new folder and points the link ..data there. A [Source] looks at that
// link, at most every tenth of a second and only when it is asked, so it needs
// no goroutine, an idle collector does no work, and what is asked after a
// change has the change. A plain folder works as well, by the time and size of
// the files.
//
// A Source is safe for concurrent use.
package podinfo

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	labelPrefix      = "k8s.pod.label."
	annotationPrefix = "k8s.pod.annotation."
	uidAttribute     = "k8s.pod.uid"

	// checkEvery bounds how often the volume is looked at. A look is one system
	// call into a file system in memory.
	checkEvery = 100 * time.Millisecond
)

// Unit is the unit of a bare whole number that stands for CPU.
type Unit string

// The units.
const (
	Auto       Unit = "auto"
	Cores      Unit = "cores"
	Millicores Unit = "millicores"
)

// Kind tells which field of an Attribute holds its value.
type Kind uint8

// The kinds.
const (
	String Kind = iota
	Double
	Int
)

// Attribute is a resource attribute.
type Attribute struct {
	Key    string
	Kind   Kind
	Str    string
	Double float64
	Int    int64
}

// Description is what is known about the pod. It does not change.
type Description struct {
	// UID is the pod's, empty if no variable gives it.
	UID string
	// Attributes have no key twice.
	Attributes []Attribute
}

// Settings of a Source.
type Settings struct {
	Directory string            // empty: no volume
	Env       map[string]string // attribute to variable; an empty variable means none
	CPUUnit   Unit
	Logger    *zap.Logger

	LookupEnv func(string) (string, bool) // nil: the process's
	Now       func() time.Time            // nil: the clock
}

// Source gives the current Description.
type Source struct {
	set     Settings
	env     []Attribute
	uid     string
	current atomic.Pointer[Description]
	next    atomic.Int64 // when to look at the volume again, in ns since the first look
	start   time.Time

	mu    sync.Mutex // held while looking at the volume
	seen  string     // the state of the volume that current was made from
	files [2]file
}

type file struct {
	name, prefix string
	pairs        []Attribute

	unread, bad         error // of the last reading
	saidUnread, saidBad bool
}

// New reads the environment and the volume. What is missing is named in the
// log.
func New(set Settings) *Source {
	if set.LookupEnv == nil {
		set.LookupEnv = os.LookupEnv
	}
	if set.Now == nil {
		set.Now = time.Now
	}
	s := &Source{
		set:   set,
		start: set.Now(),
		files: [2]file{{name: "labels", prefix: labelPrefix}, {name: "annotations", prefix: annotationPrefix}},
	}
	s.readEnv()
	s.current.Store(&Description{UID: s.uid, Attributes: s.env})
	if set.Directory != "" {
		s.mu.Lock()
		s.look()
		s.mu.Unlock()
	}
	return s
}

// Description returns what is known now.
func (s *Source) Description() *Description {
	if s.set.Directory != "" {
		now := int64(s.set.Now().Sub(s.start))
		// Whoever is first after the time looks; others take what there is.
		if now >= s.next.Load() && s.mu.TryLock() {
			s.look()
			s.next.Store(now + int64(checkEvery))
			s.mu.Unlock()
		}
	}
	return s.current.Load()
}

func (s *Source) readEnv() {
	var missing []string
	for _, attribute := range slices.Sorted(maps.Keys(s.set.Env)) {
		variable := s.set.Env[attribute]
		if variable == "" {
			continue
		}
		value, _ := s.set.LookupEnv(variable)
		if value == "" {
			missing = append(missing, variable)
			continue
		}
		a, err := s.parse(attribute, value)
		if err != nil {
			s.set.Logger.Warn("downward_api: a variable has no quantity; its attribute is not set",
				zap.String("variable", variable), zap.String("attribute", attribute), zap.Error(err))
			continue
		}
		if a.Kind != String && a.Double == 0 && a.Int == 0 {
			continue // nothing requested, or no limit
		}
		s.env = append(s.env, a)
	}
	if missing != nil {
		s.set.Logger.Warn("downward_api: variables are not set; their attributes are not either", zap.Strings("variables", missing))
	}
	for _, a := range s.env {
		if a.Key == uidAttribute {
			s.uid = a.Str
		}
	}
}

// parse turns the value of a variable into the attribute's type.
func (s *Source) parse(attribute, value string) (Attribute, error) {
	switch attribute {
	case "k8s.container.cpu.limit", "k8s.container.cpu.request", "k8s.pod.cpu.limit", "k8s.pod.cpu.request":
		milli, err := ParseCPU(value, s.set.CPUUnit)
		return Attribute{Key: attribute, Kind: Double, Double: float64(milli) / 1000}, err
	case "k8s.container.memory.limit", "k8s.container.memory.request", "k8s.pod.memory.limit", "k8s.pod.memory.request":
		bytes, err := ParseMemory(value)
		return Attribute{Key: attribute, Kind: Int, Int: bytes}, err
	default:
		return Attribute{Key: attribute, Str: value}, nil
	}
}

// look brings current up to date with the volume. The caller holds mu.
func (s *Source) look() {
	// The kubelet may swap the folders while the files are read. What was read
	// counts only if nothing has changed meanwhile; if that never is so, the
	// next look tries again.
	for range 3 {
		state := s.state()
		if state == s.seen {
			return
		}
		for i := range s.files {
			s.read(&s.files[i])
		}
		if s.state() == state {
			s.seen = state
			s.complain()
			s.publish()
			return
		}
	}
}

const dataLink = "..data"

// state returns something that changes whenever the files do.
func (s *Source) state() string {
	if target, err := os.Readlink(filepath.Join(s.set.Directory, dataLink)); err == nil {
		return "link " + target
	}
	var b strings.Builder
	b.WriteString("files")
	for i := range s.files {
		if info, err := os.Stat(s.path(&s.files[i])); err == nil {
			b.WriteString(" " + info.ModTime().Format(time.RFC3339Nano) + " " + info.Mode().String())
			b.WriteString(" " + time.Duration(info.Size()).String())
		} else {
			b.WriteString(" none")
		}
	}
	return b.String()
}

func (s *Source) path(f *file) string { return filepath.Join(s.set.Directory, f.name) }

func (s *Source) read(f *file) {
	f.pairs = nil
	text, err := os.ReadFile(s.path(f))
	if f.unread = err; err != nil {
		return
	}
	pairs, err := ParsePairs(string(text))
	f.bad = err
	for _, p := range pairs {
		f.pairs = append(f.pairs, Attribute{Key: f.prefix + p.Key, Str: p.Value})
	}
}

// complain names what is wrong with each file, once.
func (s *Source) complain() {
	for i := range s.files {
		f := &s.files[i]
		if f.unread != nil && !f.saidUnread {
			f.saidUnread = true
			s.set.Logger.Warn("downward_api: a file cannot be read; its attributes are not set", zap.Error(f.unread))
		}
		if f.bad != nil && !f.saidBad {
			f.saidBad = true
			s.set.Logger.Warn("downward_api: lines of a file are left out", zap.String("file", s.path(f)), zap.Error(f.bad))
		}
	}
}

// publish makes the Description of what has been read. Where a variable and a
// file give the same attribute, the variable wins: it was asked for by name.
func (s *Source) publish() {
	d := &Description{UID: s.uid}
	have := map[string]bool{}
	for _, list := range [][]Attribute{s.env, s.files[0].pairs, s.files[1].pairs} {
		for _, a := range list {
			if !have[a.Key] {
				have[a.Key] = true
				d.Attributes = append(d.Attributes, a)
			}
		}
	}
	s.current.Store(d)
}
