// Command decoy runs one fake service, or holds a network namespace open for others.
//
//	decoy run --config FILE
//	decoy pause
//
// It starts itself a third way, `decoy gate`, for a decoy that answers datagrams (package gate).
//
// Exit statuses: 0 after SIGTERM, 1 usage, 2 configuration, 3 bind, 4 sandbox.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/decnet/decnet/decoys/gate"
	"github.com/decnet/decnet/decoys/launch"
)

var errUsage = errors.New("usage: decoy run --config FILE | decoy pause [INSTALLATION]")

func main() {
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout)
	stop()
	if err == nil {
		return
	}
	if e, ok := errors.AsType[*launch.Error](err); ok {
		os.Exit(e.Status)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// run is main without the process. The environment is ignored on purpose: a decoy has none.
func run(ctx context.Context, args, _ []string, stdout io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	switch args[0] {
	case "pause":
		<-ctx.Done()
		return nil
	case "gate":
		return gate.Run(args[1:])
	case "run":
		path, err := configPath(args[1:])
		if err != nil {
			return err
		}
		return launch.Run(ctx, path, stdout)
	}
	return errUsage
}

func configPath(args []string) (string, error) {
	switch {
	case len(args) == 2 && args[0] == "--config" && args[1] != "":
		return args[1], nil
	case len(args) == 1 && strings.HasPrefix(args[0], "--config=") && len(args[0]) > len("--config="):
		return strings.TrimPrefix(args[0], "--config="), nil
	}
	return "", errUsage
}
