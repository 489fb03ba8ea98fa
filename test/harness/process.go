// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Spec says what to run.
type Spec struct {
	Path string
	Args []string
	// Env is the whole environment of the process; nothing is inherited.
	Env map[string]string
	// Dir is the working directory; empty is the test's.
	Dir string
}

// Process is a running or ended child process.
type Process struct {
	Stdout, Stderr Output

	name string
	cmd  *exec.Cmd
	done chan struct{} // closed once the process has ended and was waited for
}

// Start runs a process until the test ends. A process that still runs then is
// killed; one that should end in an orderly way is ended by the test itself.
func Start(tb testing.TB, spec Spec) *Process {
	tb.Helper()
	p := &Process{name: filepath.Base(spec.Path), done: make(chan struct{})}
	p.cmd = exec.CommandContext(context.Background(), spec.Path, spec.Args...)
	p.cmd.Dir = spec.Dir
	p.cmd.Env = []string{} // not nil, which would mean the test's own
	for _, name := range slices.Sorted(maps.Keys(spec.Env)) {
		p.cmd.Env = append(p.cmd.Env, name+"="+spec.Env[name])
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.Stdout, &p.Stderr
	p.cmd.SysProcAttr = dieWithParent()
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		_ = p.cmd.Wait() // the exit code is in ProcessState
		close(p.done)
	}()
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("%s\n--- stdout of %s, its end\n%s--- stderr of %s, its end\n%s---", p.cmd,
				p.name, p.Stdout.tail(), p.name, p.Stderr.tail())
		}
	})
	return p
}

// Run runs a process to its end and returns it. It is killed and the test
// ended when that takes more than a minute.
func Run(tb testing.TB, spec Spec) *Process {
	tb.Helper()
	p := Start(tb, spec)
	if !p.wait(time.Minute) {
		tb.Fatalf("%s still runs after a minute", p.cmd)
	}
	return p
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode waits for the end of the process and returns its exit code, -1 when
// a signal ended it.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// AwaitReady waits until probe returns nil. It ends the test early, with the
// output of the process, when the process ends instead of getting ready.
func (p *Process) AwaitReady(tb testing.TB, probe func() error) {
	tb.Helper()
	Await(tb, p.name+" is not ready", func() error {
		err := probe()
		select {
		case <-p.done:
			return GiveUp(fmt.Errorf("the process has ended with code %d", p.ExitCode()))
		default:
			return err
		}
	})
}

// Stop asks the process to end by SIGTERM and ends the test when it has not
// within the limit, or when its exit code is not 0.
func (p *Process) Stop(tb testing.TB, limit time.Duration) {
	tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		tb.Fatalf("stop %s: %v", p.name, err)
	}
	if !p.wait(limit) {
		tb.Fatalf("%s still runs %s after SIGTERM", p.name, limit)
	}
	if code := p.ExitCode(); code != 0 {
		tb.Fatalf("%s ended with code %d after SIGTERM", p.name, code)
	}
}

// Kill ends the process by SIGKILL and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails only when it has ended
	<-p.done
}

func (p *Process) wait(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// Output collects what a process writes. It may be read while it grows.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// String returns everything written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Await waits until text stands in the output.
func (o *Output) Await(tb testing.TB, text string) {
	tb.Helper()
	Await(tb, "output", func() error {
		if strings.Contains(o.String(), text) {
			return nil
		}
		return fmt.Errorf("%q is not there", text)
	})
}

func (o *Output) tail() string {
	const most = 16 << 10
	s := o.String()
	return s[max(0, len(s)-most):]
}
