package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// session is one execution of a command against the API.
type session struct {
	*app
	cmd    *cobra.Command
	client *client
}

func (a *app) session(c *cobra.Command) (*session, error) {
	if a.flags.timeout <= 0 {
		return nil, usagef("--timeout must be positive")
	}
	if a.flags.wait && a.flags.noWait {
		return nil, usagef("--wait and --no-wait exclude each other")
	}
	t, err := a.findAPI(c)
	if err != nil {
		return nil, err
	}
	token, err := a.findToken(t.base)
	if err != nil {
		return nil, err
	}
	s := &session{app: a, cmd: c, client: newClient(t, token)}
	return s, s.enter()
}

// show fetches one resource and prints it: as it came, or through table.
func (s *session) show(ctx context.Context, path string, table func(reply) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.flags.timeout)
	defer cancel()
	r, err := s.client.get(ctx, path)
	if err != nil {
		return s.refused(late(ctx, err))
	}
	return s.print(r, table)
}

func (s *session) print(r reply, table func(reply) error) error {
	if s.format() == outputJSON {
		return s.writeBody(r.body)
	}
	return table(r)
}

// note tells the person at the terminal something that is no result.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintf(a.env.Stderr, format+"\n", args...)
}

// hint returns a command line to try, as the operator would write it.
func (s *session) hint(words string) string { return s.cmd.Root().Name() + " " + words }

// openEnded is the context of what has no end of its own: --timeout applies only when it was given.
func (a *app) openEnded(c *cobra.Command) (context.Context, context.CancelFunc) {
	if c.Flags().Changed("timeout") {
		return context.WithTimeout(c.Context(), a.flags.timeout)
	}
	return context.WithCancel(c.Context())
}

// shortfall is an error when fewer events came than asked for with --count, unless ctx was ended by the operator.
func (a *app) shortfall(ctx context.Context, seen, count int) error {
	if count == 0 || seen >= count || ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("%d of %d events came in %s", seen, count, a.flags.timeout)
}

// late says in words that the time of --timeout is up.
func late(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &unreachableError{what: "the API in time", cause: err}
	}
	return err
}

// complete returns a completion of the words that list finds in an answer of the API. It is silent about errors and
// quick: somebody waits with a finger on the tab key. Words that would need quoting are left out.
func (a *app) complete(position int, path func(args []string) string, list func(reply) []string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) != position {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(c.Context(), completionTimeout) // set: cobra completes within Execute
		defer cancel()
		s, err := a.session(c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		r, err := s.client.get(ctx, path(args))
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return plainWords(list(r)), cobra.ShellCompDirectiveNoFileComp
	}
}

const completionTimeout = 1500 * time.Millisecond

func plainWords(words []string) []string {
	var plain []string
	for _, w := range words {
		if w != "" && Clean(w) == w && !containsSpace(w) {
			plain = append(plain, w)
		}
	}
	return plain
}

func containsSpace(s string) bool {
	for _, r := range s {
		if r == ' ' {
			return true
		}
	}
	return false
}

// writeLines is for output made of cleaned text.
func writeLines(w io.Writer, lines ...string) error {
	for _, l := range lines {
		if _, err := io.WriteString(w, l+"\n"); err != nil {
			return err
		}
	}
	return nil
}
