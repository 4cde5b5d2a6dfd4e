package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

// topologyTimeout is how long what changes a whole topology is followed unless --timeout says otherwise.
const topologyTimeout = 10 * time.Minute

func (a *app) topologiesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "topologies",
		Aliases: []string{"topology"},
		Short:   "Plan, deploy, edit and tear down topologies",
		Long: "Plan, deploy, edit and tear down topologies: LANs behind a DMZ, joined by deckies.\n\n" +
			"A TOPOLOGY is given by its name or its id. While it is pending it is a plan: lans, deckies and edges change it. While it " +
			"runs, edit changes it. The services of its deckies are changed with 'deckies' and --topology.",
	}
	a.clientFlags(c)
	c.AddCommand(
		a.topologiesListCommand(), a.topologiesShowCommand(), a.topologiesGenerateCommand(), a.topologiesBlankCommand(),
		a.topologiesDeleteCommand(), a.topologiesDeployCommand(), a.topologiesTeardownCommand(), a.topologiesIssuesCommand(),
		a.topologiesStatusEventsCommand(), a.topologiesWatchCommand(), a.topologiesNextSubnetCommand(), a.topologiesEditCommand(), a.topologiesEditsCommand(),
		a.planLANsCommand(), a.planDeckiesCommand(), a.planEdgesCommand(),
	)
	return c
}

// run makes the function of a command out of one that gets its session.
func (a *app) run(f func(ctx context.Context, s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		s, err := a.session(c)
		if err != nil {
			return err
		}
		return f(c.Context(), s, args)
	}
}

// within is run for commands whose first argument is a topology: f gets the path of that.
func (a *app) within(f func(ctx context.Context, s *session, path string, args []string) error) func(*cobra.Command, []string) error {
	return a.run(func(ctx context.Context, s *session, args []string) error {
		id, err := s.topologyID(ctx, args[0])
		if err != nil {
			return err
		}
		return f(ctx, s, topologyPath(id), args[1:])
	})
}

func topologyPath(id string) string { return "/topologies/" + id }

// topologyID finds a topology by its id or its name, which only one has.
func (s *session) topologyID(ctx context.Context, ref string) (string, error) {
	if id, err := uuid.Parse(ref); err == nil {
		return id.String(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.flags.timeout)
	defer cancel()
	cursor := ""
	for {
		q := url.Values{"limit": {"500"}}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		r, err := s.client.get(ctx, "/topologies?"+q.Encode())
		if err != nil {
			return "", s.refused(late(ctx, err))
		}
		var l topologyList
		if err := r.decode(&l); err != nil {
			return "", err
		}
		for _, t := range l.Items {
			if id, err := uuid.Parse(t.ID); err == nil && t.Name == ref { // the id becomes part of a path
				return id.String(), nil
			}
		}
		next := nextCursor(r)
		if next == "" || next == cursor {
			return "", fmt.Errorf("there is no topology %s; see '%s'", cell(ref), s.hint("topologies list"))
		}
		cursor = next
	}
}

func (a *app) topologiesListCommand() *cobra.Command {
	var p page
	var status string
	c := &cobra.Command{
		Use:   "list",
		Short: "List topologies, newest first",
		Args:  cobra.NoArgs,
		RunE: a.run(func(ctx context.Context, s *session, _ []string) error {
			return s.list(ctx, "/topologies", chosen(map[string]*string{"status": &status}), p, s.topologyTable)
		}),
	}
	c.Flags().StringVar(&status, "status", "", "only those with this status")
	_ = c.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(topologyStatuses(), cobra.ShellCompDirectiveNoFileComp))
	p.flags(c)
	return c
}

func (a *app) topologiesShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show TOPOLOGY",
		Short:             "Show the LANs of a topology with their deckies, and what is wrong",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTopologies(),
		RunE: a.within(func(ctx context.Context, s *session, path string, _ []string) error {
			if err := s.show(ctx, path, s.topologyTree); err != nil || s.format() == outputJSON {
				return err
			}
			return s.show(ctx, path+"/issues", s.issueLines)
		}),
	}
}

// plan is what the flags of generate say.
type plan struct {
	depth, branching, deckiesMin, deckiesMax int
	forward, cross                           float64
	services                                 []string
	seed                                     int64
}

func (a *app) topologiesGenerateCommand() *cobra.Command {
	var p plan
	c := &cobra.Command{
		Use:               "generate NAME",
		Short:             "Make up a plan: a tree of LANs behind a DMZ",
		Example:           "  decnet topologies generate lab --depth 2 --branching 2 --seed 7",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := c.Flags()
	f.IntVar(&p.depth, "depth", 2, "levels of LANs below the DMZ, 1 to 16")
	f.IntVar(&p.branching, "branching", 2, "LANs below each LAN at most, 1 to 8")
	f.IntVar(&p.deckiesMin, "deckies-min", 1, "deckies of a LAN at least")
	f.IntVar(&p.deckiesMax, "deckies-max", 3, "deckies of a LAN at most")
	f.Float64Var(&p.forward, "forward-probability", 1, "how likely a decky between two LANs routes")
	f.Float64Var(&p.cross, "cross-probability", 0, "how likely LANs are joined across the tree")
	f.StringArrayVar(&p.services, "service", nil, "service of every decky; may be repeated (default: drawn)")
	f.Int64Var(&p.seed, "seed", 0, "the same seed gives the same plan (default: another each time)")
	completeServices(c)
	c.RunE = a.run(func(_ context.Context, s *session, args []string) error {
		body := map[string]any{
			"name": args[0], "depth": p.depth, "branching_factor": p.branching, "deckies_per_lan_min": p.deckiesMin, "deckies_per_lan_max": p.deckiesMax,
			"bridge_forward_probability": p.forward, "cross_edge_probability": p.cross,
		}
		if len(p.services) > 0 {
			body["services_explicit"], body["randomize_services"] = p.services, false
		}
		if c.Flags().Changed("seed") {
			body["seed"] = p.seed
		}
		return s.change(http.MethodPost, "/topologies", body, s.topologyLine)
	})
	return c
}

func (a *app) topologiesBlankCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "blank NAME",
		Short:             "Begin a plan with a DMZ and its gateway",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.run(func(_ context.Context, s *session, args []string) error {
			return s.change(http.MethodPost, "/topologies/blank", map[string]any{"name": args[0]}, s.topologyLine)
		}),
	}
}

func (a *app) topologiesDeleteCommand() *cobra.Command {
	var v version
	c := &cobra.Command{
		Use:               "delete TOPOLOGY",
		Short:             "Delete a topology of which nothing runs",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTopologies(),
		RunE: a.within(func(_ context.Context, s *session, path string, _ []string) error {
			return s.change(http.MethodDelete, path+v.query(), nil, s.say("the topology is deleted"))
		}),
	}
	v.flag(c)
	return c
}

// version is what --expected-version says.
type version struct{ expected int64 }

func (v *version) flag(c *cobra.Command) {
	c.Flags().Int64Var(&v.expected, "expected-version", 0, "refuse the change when the topology has another version")
}

func (v *version) query() string {
	if v.expected == 0 {
		return ""
	}
	return "?expected_version=" + strconv.FormatInt(v.expected, 10)
}

func (v *version) in(body map[string]any) map[string]any {
	if v.expected != 0 {
		body["expected_version"] = v.expected
	}
	return body
}

func (a *app) topologiesDeployCommand() *cobra.Command {
	var dryRun bool
	c := &cobra.Command{
		Use:   "deploy TOPOLOGY",
		Short: "Bring a topology up and follow how far it is",
		Long: "Bring a topology up and follow how far it is, for ten minutes unless --timeout says otherwise. What cannot come up " +
			"completely is undone.\n\nWith --dry-run nothing is changed: the compose file that would be used is printed.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTopologies(),
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would be done")
	a.waitFlags(c)
	c.RunE = a.within(func(ctx context.Context, s *session, path string, _ []string) error {
		if dryRun {
			return s.change(http.MethodPost, path+"/deploy?dry_run=true", nil, s.deployPlan)
		}
		return s.follows(ctx, call{method: http.MethodPost, path: path + "/deploy"}, path, s.topologyTree)
	})
	return c
}

func (a *app) topologiesTeardownCommand() *cobra.Command {
	var v version
	c := &cobra.Command{
		Use:               "teardown TOPOLOGY",
		Short:             "Take a topology down for good and follow how far it is",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTopologies(),
		RunE: a.within(func(ctx context.Context, s *session, path string, _ []string) error {
			k := call{method: http.MethodPost, path: path + "/teardown" + v.query()}
			return s.follows(ctx, k, path, s.say("the topology is torn down"))
		}),
	}
	v.flag(c)
	a.waitFlags(c)
	return c
}

// follows asks for a change that is answered at once, follows it to its end, and shows what is at path then.
func (s *session) follows(ctx context.Context, k call, path string, table func(reply) error) error {
	if !s.cmd.Flags().Changed("timeout") {
		s.flags.timeout = topologyTimeout
	}
	k.key = uuid.NewString()
	r, err := s.submit(ctx, k)
	if err != nil {
		return err
	}
	if err := r.err(); err != nil {
		return s.refused(err)
	}
	id, err := operationID(r)
	if err != nil {
		return err
	}
	if s.flags.noWait {
		return s.print(r, s.acceptedTable)
	}
	op, err := s.follow(ctx, id)
	if err == nil {
		err = op.failure()
	}
	if err != nil {
		return err
	}
	if path == "" {
		path = operationPath(id)
	}
	return s.show(ctx, path, table)
}

func (a *app) topologiesIssuesCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "issues TOPOLOGY",
		Short:             "Show what is wrong with a topology",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTopologies(),
		RunE: a.within(func(ctx context.Context, s *session, path string, _ []string) error {
			return s.show(ctx, path+"/issues", s.issueTable)
		}),
	}
}

func (a *app) topologiesStatusEventsCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:               "status-events TOPOLOGY",
		Short:             "Show the steps of a topology's status, newest first",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTopologies(),
		RunE: a.within(func(ctx context.Context, s *session, path string, _ []string) error {
			return s.show(ctx, path+"/status-events"+limited(limit), s.statusEventTable)
		}),
	}
	c.Flags().IntVar(&limit, "limit", 0, "how many, 1 to 1000 (default: the API's, 100)")
	return c
}

func limited(n int) string {
	if n == 0 {
		return ""
	}
	return "?limit=" + strconv.Itoa(n)
}

func (a *app) topologiesNextSubnetCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "next-subnet [BASE]",
		Short:             "Show a subnet that no topology has",
		Example:           "  decnet topologies next-subnet 10.20",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			q := url.Values{}
			if len(args) > 0 {
				q.Set("base", args[0])
			}
			return s.show(ctx, "/topologies/next-subnet?"+q.Encode(), s.subnetLine)
		}),
	}
}

func (a *app) topologiesEditCommand() *cobra.Command {
	var payload string
	var v version
	c := &cobra.Command{
		Use:   "edit TOPOLOGY OP",
		Short: "Edit a running topology and follow how it goes",
		Long: "Edit a running topology and follow how it goes. An edit that fails is undone.\n\n" +
			"OP is add_lan, remove_lan, update_lan, add_decky, attach_decky, detach_decky, remove_decky or update_decky. The payload is a " +
			"JSON object: given as such, as @file, or as - for standard input. Passwords belong into the last two: a command line is " +
			"visible to others.",
		Example: `  decnet topologies edit lab add_lan --payload '{"name":"office"}'
  decnet topologies edit lab add_decky --payload @pc.json`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeEdit(),
	}
	c.Flags().StringVar(&payload, "payload", "{}", "JSON, @file or -")
	v.flag(c)
	a.waitFlags(c)
	c.RunE = a.within(func(ctx context.Context, s *session, path string, args []string) error {
		object, err := s.payload(payload)
		if err != nil {
			return err
		}
		body, err := json.Marshal(v.in(map[string]any{"op": args[0], "payload": object}))
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		return s.follows(ctx, call{method: http.MethodPost, path: path + "/mutations", body: body}, "", s.say(cell(args[0])+" is applied"))
	})
	return c
}

// payload reads the JSON object of an edit. What is wrong with it is not repeated: it may hold passwords.
func (a *app) payload(text string) (map[string]any, error) {
	content := []byte(text)
	if text == "-" || text != "" && text[0] == '@' {
		name := text
		if text != "-" {
			name = text[1:]
		}
		var err error
		if content, err = a.readInput(name); err != nil {
			return nil, usagef("--payload: %w", err)
		}
	}
	var object map[string]any
	if err := decodeJSON(content, &object); err != nil || object == nil {
		return nil, usagef("--payload must be one JSON object, @file or -")
	}
	return object, nil
}

func (a *app) topologiesEditsCommand() *cobra.Command {
	var state string
	var limit int
	c := &cobra.Command{
		Use:               "edits TOPOLOGY",
		Short:             "List the edits of a running topology, newest first",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTopologies(),
		RunE: a.within(func(ctx context.Context, s *session, path string, _ []string) error {
			q := chosen(map[string]*string{"state": &state})
			if limit != 0 {
				q.Set("limit", strconv.Itoa(limit))
			}
			return s.show(ctx, path+"/mutations?"+q.Encode(), s.editTable)
		}),
	}
	c.Flags().StringVar(&state, "state", "", "only those pending, applying, applied or failed")
	_ = c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"pending", "applying", "applied", "failed"}, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().IntVar(&limit, "limit", 0, "how many, 1 to 500 (default: the API's, 100)")
	return c
}
