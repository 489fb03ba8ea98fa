// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"context"
	"errors"
	"os"
	"sync"

	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"

	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/podinfo"
	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/podwatch"
)

// shared is what the processors of one configuration have in common.
type shared struct {
	cfg     *Config
	logger  *zap.Logger
	forget  func() // takes this off the factory's list
	watches []*sharedWatch

	association *association
	info        *podinfo.Source // nil until start, or if not in use
	limits      *limits
	aliases     *aliaser

	mu    sync.Mutex
	users map[*enrichProcessor]struct{} // those started
}

// start starts what is shared with the first of its users.
func (s *shared) start(p *enrichProcessor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.cfg.DownwardAPI.Get(); c != nil && len(s.users) == 0 {
		s.info = podinfo.New(podinfo.Settings{
			Directory: c.Directory,
			Env:       c.Env,
			CPUUnit:   podinfo.Unit(c.CPUUnit),
			Logger:    s.logger,
		})
	}
	for _, w := range s.watches {
		if err := w.start(p); err != nil {
			return err
		}
	}
	s.users[p] = struct{}{}
	return nil
}

// shutdown ends what is shared with the last of its users.
func (s *shared) shutdown(ctx context.Context, p *enrichProcessor) error {
	s.mu.Lock()
	delete(s.users, p)
	last := len(s.users) == 0
	s.mu.Unlock()
	if last {
		s.forget()
	}
	var errs []error
	for _, w := range s.watches {
		errs = append(errs, w.shutdown(ctx, p))
	}
	return errors.Join(errs...)
}

func (s *shared) batch(ctx context.Context) batch {
	b := batch{limits: s.limits, aliases: s.aliases}
	if s.association != nil {
		b.sender = s.association.sender(ctx)
	}
	if s.limits != nil {
		if s.association != nil && s.association.watcher.Pods == s.limits.pods {
			b.pods = b.sender.pods
		} else {
			b.pods = s.limits.pods.View()
		}
	}
	if s.info != nil {
		b.description = s.info.Description()
	}
	return b
}

// sharedWatch is a watch of the API server that several processors use.
type sharedWatch struct {
	watcher   *podwatch.Watcher
	telemetry *telemetry // belongs to no pipeline
	forget    func()     // takes this off the factory's list

	mu    sync.Mutex
	users map[*enrichProcessor]struct{} // those started
	lost  error                         // why the watch is lost, nil if it is not
}

func newSharedWatch(key string, from api, logger *zap.Logger, t *telemetry, forget func()) *sharedWatch {
	w := &sharedWatch{telemetry: t, forget: forget, users: map[*enrichProcessor]struct{}{}}
	w.watcher = podwatch.New(podwatch.Settings{
		Key:        key,
		Auth:       podwatch.Auth(from.authType),
		NodeEnvVar: from.nodeFromEnvVar,
		Logger:     logger,
		Lost:       func(err error) { w.report(err, componentstatus.NewRecoverableErrorEvent(err)) },
		Back:       func() { w.report(nil, componentstatus.NewEvent(componentstatus.StatusOK)) },
		Restarted:  t.watchRestarted,
		LookupEnv:  os.Getenv,
	})
	return w
}

func (w *sharedWatch) start(p *enrichProcessor) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.users) == 0 {
		if err := w.telemetry.observe(w.watcher); err != nil {
			return err
		}
		if err := w.watcher.Start(); err != nil {
			w.telemetry.shutdown()
			return err
		}
	}
	w.users[p] = struct{}{}
	if w.lost != nil {
		componentstatus.ReportStatus(p.host, componentstatus.NewRecoverableErrorEvent(w.lost))
	}
	return nil
}

func (w *sharedWatch) shutdown(ctx context.Context, p *enrichProcessor) error {
	w.mu.Lock()
	delete(w.users, p)
	last := len(w.users) == 0
	w.mu.Unlock()
	if !last {
		return nil
	}
	w.forget()
	w.telemetry.shutdown()
	return w.watcher.Shutdown(ctx)
}

func (w *sharedWatch) report(lost error, event *componentstatus.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = lost
	for p := range w.users {
		componentstatus.ReportStatus(p.host, event)
	}
}
