package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/decnet/decnet/internal/operation"
)

func (a *app) operationsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "operations",
		Aliases: []string{"operation", "ops"},
		Short:   "Look at changes, running and past, and cancel them",
	}
	a.clientFlags(c)
	c.AddCommand(a.operationsListCommand(), a.operationsShowCommand(), a.operationsCancelCommand())
	return c
}

func (a *app) operationsListCommand() *cobra.Command {
	var p page
	filters := map[string]*string{}
	c := &cobra.Command{
		Use:     "list",
		Short:   "List operations, newest first",
		Example: "  decnet operations list --decky web-01 --state failed",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.session(c)
			if err != nil {
				return err
			}
			return s.list(c.Context(), "/operations", chosen(filters), p, s.operationTable)
		},
	}
	for _, name := range []string{"decky", "service", "kind", "state", "actor"} {
		filters[name] = c.Flags().String(name, "", "only those with this "+name)
	}
	p.flags(c)
	return c
}

func chosen(filters map[string]*string) url.Values {
	q := url.Values{}
	for name, value := range filters {
		if *value != "" {
			q.Set(name, *value)
		}
	}
	return q
}

func (a *app) operationsShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "show ID",
		Short:             "Show an operation and its steps",
		Long:              "Show an operation and its steps.\n\nWith --wait, follow it until it has ended; the exit code then says whether it succeeded.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeOperations(""),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.session(c)
			if err != nil {
				return err
			}
			if !s.flags.wait {
				return s.show(c.Context(), operationPath(args[0]), s.operationDetails)
			}
			op, err := s.watch(c.Context(), args[0])
			if err != nil {
				return err
			}
			return op.failure()
		},
	}
	a.waitFlags(c)
	return c
}

// watch follows an operation and prints what became of it.
func (s *session) watch(ctx context.Context, id string) (operationView, error) {
	op, err := s.follow(ctx, id)
	if err == nil {
		err = s.show(ctx, operationPath(id), s.operationDetails)
	}
	return op, err
}

func (a *app) operationsCancelCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "cancel ID",
		Short: "Cancel an operation that is not active yet",
		Long: "Cancel an operation. What it did is undone; once it has become active it can no longer be cancelled.\n\n" +
			"Unless --no-wait is given, the command waits for the end and fails when the operation ended otherwise.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeOperations("open"),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.session(c)
			if err != nil {
				return err
			}
			return s.cancel(c.Context(), args[0])
		},
	}
	a.waitFlags(c)
	return c
}

func (s *session) cancel(ctx context.Context, id string) error {
	r, err := s.submit(ctx, call{method: http.MethodPost, path: operationPath(id) + "/cancel", key: uuid.NewString()})
	if err != nil {
		return err
	}
	if err := r.err(); err != nil {
		return s.refused(err)
	}
	if s.flags.noWait {
		return s.print(r, s.say("cancelling operation "+Clean(id)))
	}
	op, err := s.watch(ctx, id)
	if err != nil {
		return err
	}
	if op.State != string(operation.Cancelled) {
		return fmt.Errorf("operation %s could not be cancelled: it %s", Clean(id), ending(op.State))
	}
	return nil
}

type operationList struct {
	Items []operationView `json:"items"`
}

func (s *session) operationTable(r reply) error {
	var l operationList
	if err := r.decode(&l); err != nil {
		return err
	}
	now := time.Now()
	rows := make([][]string, len(l.Items))
	for i, o := range l.Items {
		rows[i] = []string{o.ID, o.Kind, o.Decky, o.Service, o.State, o.Actor, stamp(&o.CreatedAt), elapsed(&o.CreatedAt, o.EndedAt, now)}
	}
	return writeTable(s.env.Stdout, []string{"id", "kind", "decky", "service", "state", "actor", "created", "took"}, rows)
}

func (s *session) operationDetails(r reply) error {
	var o operationView
	if err := r.decode(&o); err != nil {
		return err
	}
	if err := writePairs(s.env.Stdout, o.pairs()); err != nil {
		return err
	}
	if len(o.Steps) == 0 {
		return nil
	}
	now := time.Now()
	rows := make([][]string, len(o.Steps))
	for i, st := range o.Steps {
		rows[i] = []string{st.Name, st.State, fmt.Sprint(st.Attempt), stamp(st.StartedAt), elapsed(st.StartedAt, st.EndedAt, now), st.Detail}
	}
	if err := writeLines(s.env.Stdout, ""); err != nil {
		return err
	}
	return writeTable(s.env.Stdout, []string{"step", "state", "attempt", "started", "took", "detail"}, rows)
}

func (o operationView) pairs() []pair {
	var reason []string
	if o.Fault != nil {
		reason = append(reason, o.Fault.Code+": "+o.Fault.Message)
		for _, f := range o.Fault.Errors {
			reason = append(reason, f.Location+": "+f.Message)
		}
	}
	revisions := strings.Trim(number(o.RevisionBefore)+" to "+number(o.RevisionAfter), " ")
	switch {
	case o.RevisionBefore == nil && o.RevisionAfter == nil:
		revisions = ""
	case number(o.RevisionBefore) == number(o.RevisionAfter): // a repair aims at what is
		revisions = number(o.RevisionAfter)
	}
	return []pair{
		{"id", o.ID},
		{"kind", o.Kind},
		{"scope", o.Scope},
		{"decky", o.Decky},
		{"service", o.Service},
		{"actor", o.Actor},
		{"state", o.State},
		{"fault", strings.Join(reason, "; ")},
		{"revision", revisions},
		{"created", stamp(&o.CreatedAt)},
		{"ended", stamp(o.EndedAt)},
		{"took", elapsed(&o.CreatedAt, o.EndedAt, time.Now())},
		{"workflow", o.WorkflowID},
		{"see", o.WorkflowURL},
	}
}

// completeOperations offers the newest operations, with what they do as a description; which "open" leaves out those
// that have ended.
func (a *app) completeOperations(which string) cobra.CompletionFunc {
	return a.complete(0, func([]string) string { return "/operations?limit=50" }, func(r reply) []string {
		var l operationList
		_ = r.decode(&l) // without it, offer none
		var ids []string
		for _, o := range l.Items {
			if which == "" || o.open() {
				ids = append(ids, o.ID)
			}
		}
		return ids
	})
}
