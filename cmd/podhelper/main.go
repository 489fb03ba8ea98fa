// SPDX-License-Identifier: Apache-2.0

// Program podhelper does in a pod what an image without a shell has no command
// for: it asks the collector how it is, gives a directory to the collector's
// user, and waits for the collector's queues to become empty.
//
//	podhelper healthy                     # HEALTHCHECK of the image, exec probes
//	podhelper own /var/lib/otelcol-custom # init container of the agent
//	podhelper drain -timeout 60s          # preStop hook
//
// Each command ends with code 0 when it is done, 1 when it could not be done
// and said why on standard error, 2 when it was called in a wrong way. It reads
// no file but those below the directory it is given and calls no address but
// the endpoint it is given.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const usage = `podhelper does in a pod what an image without a shell has no command for.

  podhelper healthy [-endpoint URL] [-timeout 3s]
      End with code 0 when the collector's health_check extension answers 200.
  podhelper own [-uid 10001] [-gid 10001] DIRECTORY
      Give DIRECTORY and all that is in it to the collector's user.
  podhelper drain [-endpoint URL] [-timeout 60s] [-settle 5s]
      Wait until the queues of all exporters have been empty for the time to settle.

A URL may name environment variables, as in http://${POD_IP}:8888/metrics.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

// errUsage is returned for a wrong call, after the reason was printed.
var errUsage = errors.New("wrong call")

// run is the whole program; what it says, it says to out.
func run(ctx context.Context, args []string, out io.Writer) int {
	commands := map[string]func(context.Context, *flag.FlagSet, []string) error{
		"healthy": healthy,
		"own":     own,
		"drain":   drain,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		_, _ = fmt.Fprint(out, usage)
		return 2
	}
	flags := flag.NewFlagSet("podhelper "+args[0], flag.ContinueOnError)
	flags.SetOutput(out)
	switch err := commands[args[0]](ctx, flags, args[1:]); {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	default:
		_, _ = fmt.Fprintf(out, "%s: %v\n", flags.Name(), err)
		return 1
	}
}

// parse parses the flags and holds the number of arguments behind them.
func parse(flags *flag.FlagSet, args []string, want int) error {
	if err := flags.Parse(args); err != nil { // it has printed why
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if flags.NArg() != want {
		_, _ = fmt.Fprintf(flags.Output(), "%s takes %d arguments, not %d\n", flags.Name(), want, flags.NArg())
		flags.Usage()
		return errUsage
	}
	return nil
}

func healthy(ctx context.Context, flags *flag.FlagSet, args []string) error {
	endpoint := flags.String("endpoint", "http://localhost:13133/", "`URL` of the health_check extension")
	timeout := flags.Duration("timeout", 3*time.Second, "time to wait for the answer")
	if err := parse(flags, args, 0); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	body, err := get(ctx, *endpoint)
	if err != nil {
		return err
	}
	return body.Close()
}

// client calls the collector itself: no proxy that the environment names is
// between, and no answer leads elsewhere.
var client = &http.Client{
	Transport:     &http.Transport{},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// get returns the body of an answer with status 200; the caller closes it.
func get(ctx context.Context, endpoint string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, os.ExpandEnv(endpoint), http.NoBody) //nolint:gosec // whoever calls it names the endpoint
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req) //nolint:gosec // whoever calls it names the endpoint
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close() // nothing was to be read
		return nil, fmt.Errorf("%s: %s", req.URL, resp.Status)
	}
	return resp.Body, nil
}
