package cli

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/decnet/decnet/internal/imports"
)

// importView is an import as the API shows it.
type importView struct {
	ID         string     `json:"id"`
	Format     string     `json:"format"`
	Name       string     `json:"name"`
	Actor      string     `json:"actor"`
	State      string     `json:"state"`
	Fault      *faultView `json:"fault"`
	BytesTotal int64      `json:"bytes_total"`
	BytesRead  int64      `json:"bytes_read"`
	Lines      struct {
		Read    int64            `json:"read"`
		Kept    int64            `json:"kept"`
		Skipped int64            `json:"skipped"`
		Reasons map[string]int64 `json:"reasons"`
		Kinds   map[string]int64 `json:"kinds"`
	} `json:"lines"`
	Stored      int64      `json:"stored"`
	Duplicates  int64      `json:"duplicates"`
	WorkflowID  string     `json:"workflow_id"`
	WorkflowURL string     `json:"workflow_url"`
	CreatedAt   time.Time  `json:"created_at"`
	StartedAt   *time.Time `json:"started_at"`
	EndedAt     *time.Time `json:"ended_at"`
}

func (i importView) open() bool { return imports.State(i.State).Open() }

// failure returns nil for an import that succeeded or has not ended.
func (i importView) failure() error {
	if i.open() || i.State == string(imports.Succeeded) {
		return nil
	}
	text := fmt.Sprintf("the import of %s %s (import %s)", cell(i.Name), cell(i.State), cell(i.ID))
	if i.Fault != nil {
		text += ": " + Clean(i.Fault.Code) + ": " + Clean(i.Fault.Message)
	}
	return &operationError{text: text}
}

// skipped tells how many lines were skipped, and why.
func (i importView) skipped() string {
	if i.Lines.Skipped == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", i.Lines.Skipped, counts(i.Lines.Reasons))
}

// counts lists names with their numbers, the most frequent first.
func counts(of map[string]int64) string {
	names := slices.SortedFunc(maps.Keys(of), func(a, b string) int {
		if of[a] != of[b] {
			return int(min(max(of[b]-of[a], -1), 1))
		}
		return strings.Compare(a, b)
	})
	for n, name := range names {
		names[n] = fmt.Sprintf("%s %d", name, of[name])
	}
	return joined(names)
}

func (i importView) pairs() []pair {
	var reason string
	if i.Fault != nil {
		reason = i.Fault.Code + ": " + i.Fault.Message
	}
	return []pair{
		{"id", i.ID},
		{"log", i.Name},
		{"format", i.Format},
		{"actor", i.Actor},
		{"state", i.State},
		{"fault", reason},
		{"bytes", fmt.Sprintf("%s of %s read", size(i.BytesRead), size(i.BytesTotal))},
		{"lines read", strconv.FormatInt(i.Lines.Read, 10)},
		{"  kept", strconv.FormatInt(i.Lines.Kept, 10)},
		{"  skipped", i.skipped()},
		{"stored", strconv.FormatInt(i.Stored, 10)},
		{"duplicates", strconv.FormatInt(i.Duplicates, 10)},
		{"created", stamp(&i.CreatedAt)},
		{"started", stamp(i.StartedAt)},
		{"ended", stamp(i.EndedAt)},
		{"took", elapsed(i.StartedAt, i.EndedAt, time.Now())},
		{"workflow", i.WorkflowID},
		{"see", i.WorkflowURL},
	}
}

func importPath(id string) string { return "/imports/" + url.PathEscape(id) }

func (a *app) importsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "imports",
		Short: "Look at imports of other honeypots' logs, and cancel them",
	}
	a.clientFlags(c)
	c.AddCommand(a.importsListCommand(), a.importsShowCommand(), a.importsCancelCommand())
	return c
}

func (a *app) importsListCommand() *cobra.Command {
	var p page
	c := &cobra.Command{
		Use:   "list",
		Short: "List imports, newest first",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.session(c)
			if err != nil {
				return err
			}
			return s.list(c.Context(), "/imports", url.Values{}, p, s.importTable)
		},
	}
	p.flags(c)
	return c
}

func (s *session) importTable(r reply) error {
	var l struct {
		Items []importView `json:"items"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	return s.importRows(l.Items, func(i importView) []string { return []string{i.ID, i.Actor, stamp(&i.CreatedAt)} }, "id", "actor", "created")
}

// importRows writes a table of imports with more columns in front of the report.
func (s *session) importRows(list []importView, more func(importView) []string, names ...string) error {
	rows := make([][]string, len(list))
	now := time.Now()
	for n, i := range list {
		rows[n] = append(more(i), i.Name, i.State, strconv.FormatInt(i.Lines.Read, 10), strconv.FormatInt(i.Lines.Kept, 10), i.skipped(),
			strconv.FormatInt(i.Stored, 10), strconv.FormatInt(i.Duplicates, 10), elapsed(i.StartedAt, i.EndedAt, now))
	}
	return writeTable(s.env.Stdout, append(names, "log", "state", "read", "kept", "skipped", "stored", "duplicates", "took"), rows)
}

func (s *session) importDetails(r reply) error {
	var i importView
	if err := r.decode(&i); err != nil {
		return err
	}
	if err := writePairs(s.env.Stdout, i.pairs()); err != nil || len(i.Lines.Kinds) == 0 {
		return err
	}
	rows := [][]string{}
	for _, kind := range slices.Sorted(maps.Keys(i.Lines.Kinds)) {
		rows = append(rows, []string{kind, strconv.FormatInt(i.Lines.Kinds[kind], 10)})
	}
	if err := writeLines(s.env.Stdout, ""); err != nil {
		return err
	}
	return writeTable(s.env.Stdout, []string{"kind of line", "lines"}, rows)
}

func (a *app) importsShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "show ID",
		Short:             "Show an import: how far it is, and every line accounted for",
		Long:              "Show an import: how far it is, and every line accounted for.\n\nWith --wait, follow it until it has ended; the exit code then says whether it succeeded.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeImports(""),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.session(c)
			if err != nil {
				return err
			}
			if !s.flags.wait {
				return s.show(c.Context(), importPath(args[0]), s.importDetails)
			}
			view, r, err := s.followImport(c, args[0], nil)
			if err != nil {
				return err
			}
			if err := s.print(r, s.importDetails); err != nil {
				return err
			}
			return view.failure()
		},
	}
	neverLate(c, a)
	c.Flags().BoolVar(&a.flags.wait, "wait", false, "wait until the import has ended")
	return c
}

func (a *app) importsCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "cancel ID",
		Short:             "End an import; what it has stored stays",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeImports("open"),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.session(c)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), s.flags.timeout)
			defer cancel()
			r, err := s.client.ask(ctx, call{method: http.MethodPost, path: importPath(args[0]) + "/cancel"})
			if err != nil {
				return s.refused(late(ctx, err))
			}
			return s.print(r, s.importDetails)
		},
	}
}

// completeImports offers the newest imports; which "open" leaves out those that have ended.
func (a *app) completeImports(which string) cobra.CompletionFunc {
	return a.complete(0, func([]string) string { return "/imports?limit=50" }, func(r reply) []string {
		var l struct {
			Items []importView `json:"items"`
		}
		_ = r.decode(&l) // without it, offer none
		var ids []string
		for _, i := range l.Items {
			if which == "" || i.open() {
				ids = append(ids, i.ID)
			}
		}
		return ids
	})
}
