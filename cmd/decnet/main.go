// Command decnet is the control plane of a deception network and its client: "decnet up" runs everything, the other
// commands run one role or talk to the API.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/decnet/decnet/internal/cli"
	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/fault"
)

// version is set by the linker.
var version = "dev"

func main() {
	embedded.RunShim(os.Args)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(cli.ExitCode(err))
}

func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) error {
	root := newRoot(environ, stdin, stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "decnet:", message(err))
	}
	return err
}

// message tells a person what is wrong: the safe text of a fault, with its cause when that is not the same again.
func message(err error) string {
	f, ok := fault.As(err)
	if !ok {
		return err.Error()
	}
	text := f.Message
	for _, field := range f.Fields {
		text += "\n  " + field.Location + ": " + field.Message
	}
	if cause := errors.Unwrap(f); cause != nil {
		text += "\n  " + cli.Clean(cause.Error())
	}
	return text
}

// invocation is what a command may know of the world outside.
type invocation struct {
	environ        []string
	stdout, stderr io.Writer
}

func newRoot(environ []string, stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "decnet",
		Short:         "Run and use a deception network",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	in := invocation{environ: environ, stdout: stdout, stderr: stderr}
	root.AddCommand(newUp(in), newConfig(in), newOpenAPI(in), newRecover(in), newCompose(in))
	root.AddCommand(newRoles(in)...)
	root.AddCommand(cli.Commands(cli.Env{Stdin: stdin, Stdout: stdout, Stderr: stderr, Environ: environ})...)
	cli.UsageErrors(root)
	return root
}
