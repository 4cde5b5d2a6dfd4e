package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/decnet/decnet/internal/fault"
)

// The exit codes of the decnet command.
const (
	ExitOK          = 0
	ExitFailed      = 1 // refused, failed, or not finished in time
	ExitUsage       = 2 // the command line or the configuration makes no sense
	ExitUnreachable = 3 // the API or the bus does not answer
)

// usageError is a command line that cannot be carried out as written.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// Usage marks err as a mistake in the command line; nil stays nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err: err}
}

func usagef(format string, args ...any) error { return Usage(fmt.Errorf(format, args...)) }

// ExitCode returns the exit code for what a command returned: ExitOK for nil, ExitFailed for anything unknown. Faults
// of other packages count too: Invalid as a usage error, Unavailable as unreachable.
func ExitCode(err error) int {
	var usage *usageError
	var away *unreachableError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &away):
		return ExitUnreachable
	}
	switch fault.KindOf(err) {
	case fault.Invalid:
		return ExitUsage
	case fault.Unavailable:
		return ExitUnreachable
	default:
		return ExitFailed
	}
}

// UsageErrors makes c and its subcommands return usage errors (see [ExitCode]) for flags, arguments and subcommands
// they do not know. A command without a Run of its own shows its help. Commands does it for what it returns; the
// root needs it for unknown commands.
func UsageErrors(c *cobra.Command) {
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return withHint(c, err) })
	refuseUnknown(c)
}

func refuseUnknown(c *cobra.Command) {
	if c.RunE == nil && c.Run == nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return withHint(c, fmt.Errorf("unknown command %q for %q", Clean(args[0]), c.CommandPath()))
			}
			return nil
		}
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	} else if c.Args != nil {
		check := c.Args
		c.Args = func(c *cobra.Command, args []string) error { return withHint(c, check(c, args)) }
	}
	for _, sub := range c.Commands() {
		refuseUnknown(sub)
	}
}

func withHint(c *cobra.Command, err error) error {
	var marked *usageError // twice, when both the subcommands and the root were prepared
	if err == nil || errors.As(err, &marked) {
		return err
	}
	return usagef("%w\nrun '%s --help' for usage", err, c.CommandPath())
}
