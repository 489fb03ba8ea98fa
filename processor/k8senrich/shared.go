// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"context"
	"os"
	"sync"

	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"

	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/podinfo"
	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/podwatch"
)

// shared is what the processors of one configuration have in common: one
// description of the pod, one watch of the API server.
type shared struct {
	cfg       *Config
	logger    *zap.Logger
	telemetry *telemetry // of the watch, which belongs to no pipeline
	aliases   *aliaser
	forget    func() // takes this off the factory's list

	info    *podinfo.Source // nil until start, or if not in use
	watcher *podwatch.Watcher
	limits  *limits

	mu    sync.Mutex
	users map[*enrichProcessor]struct{} // those started
	lost  error                         // why the watch is lost, nil if it is not
}

func newShared(cfg *Config, logger *zap.Logger, t *telemetry, forget func()) *shared {
	s := &shared{
		cfg:       cfg,
		logger:    logger,
		telemetry: t,
		aliases:   newAliaser(cfg.Aliases),
		forget:    forget,
		users:     map[*enrichProcessor]struct{}{},
	}
	if c := cfg.ContainerResources.Get(); c != nil {
		s.watcher = podwatch.New(podwatch.Settings{
			Auth:       podwatch.Auth(c.AuthType),
			NodeEnvVar: c.NodeFromEnvVar,
			Logger:     logger,
			Lost:       s.watchLost,
			Back:       s.watchBack,
			Restarted:  t.watchRestarted,
			LookupEnv:  os.Getenv,
		})
		s.limits = newLimits(s.watcher.Pods, c.Attributes)
	}
	return s
}

// start starts what is shared with the first of its users.
func (s *shared) start(p *enrichProcessor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.users) == 0 {
		if err := s.startSources(); err != nil {
			return err
		}
	}
	s.users[p] = struct{}{}
	if s.lost != nil {
		componentstatus.ReportStatus(p.host, componentstatus.NewRecoverableErrorEvent(s.lost))
	}
	return nil
}

func (s *shared) startSources() error {
	if c := s.cfg.DownwardAPI.Get(); c != nil {
		s.info = podinfo.New(podinfo.Settings{
			Directory: c.Directory,
			Env:       c.Env,
			CPUUnit:   podinfo.Unit(c.CPUUnit),
			Logger:    s.logger,
		})
	}
	if s.watcher == nil {
		return nil
	}
	if err := s.telemetry.observePods(s.watcher.Pods.Len); err != nil {
		return err
	}
	if err := s.watcher.Start(); err != nil {
		s.telemetry.shutdown()
		return err
	}
	return nil
}

// shutdown ends what is shared with the last of its users.
func (s *shared) shutdown(ctx context.Context, p *enrichProcessor) error {
	s.mu.Lock()
	delete(s.users, p)
	last := len(s.users) == 0
	s.mu.Unlock()
	if !last {
		return nil
	}
	s.forget()
	s.telemetry.shutdown()
	if s.watcher == nil {
		return nil
	}
	return s.watcher.Shutdown(ctx)
}

func (s *shared) batch() batch {
	b := batch{limits: s.limits, aliases: s.aliases}
	if s.info != nil {
		b.description = s.info.Description()
	}
	return b
}

func (s *shared) watchLost(err error) {
	s.report(err, componentstatus.NewRecoverableErrorEvent(err))
}

func (s *shared) watchBack() {
	s.report(nil, componentstatus.NewEvent(componentstatus.StatusOK))
}

func (s *shared) report(lost error, event *componentstatus.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = lost
	for p := range s.users {
		componentstatus.ReportStatus(p.host, event)
	}
}
