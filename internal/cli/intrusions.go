package cli

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) sessionsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "sessions",
		Short: "List the sessions of attackers, and show and replay them",
	}
	a.clientFlags(c)
	c.AddCommand(
		a.listCommand(listing{
			command: &cobra.Command{
				Use:     "list",
				Short:   "List sessions, the newest first",
				Example: "  decnet sessions list --recorded --attacker 203.0.113.7",
			},
			path:  "/sessions",
			times: "when a session began",
			filters: []filter{
				attackerFilter, deckyFilter, serviceFilter,
				{name: "open", usage: "only those that have not ended (=false: that have)", choices: yesOrNo},
				{name: "recorded", usage: "only those with a recording (=false: without)", choices: yesOrNo},
			},
			table: func(s *session) func(reply) error { return s.intrusionTable },
		}, nil),
		a.sessionsShowCommand(), a.replayCommand(),
	)
	return c
}

// yesOrNo are the choices of a filter that means true when it has no value.
var yesOrNo = []string{"true", "false"}

func (a *app) sessionsShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show ID",
		Short:             "Show a session and the commands that were given",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			path := sessionPath(args[0])
			if err := s.show(ctx, path, s.intrusionDetails); err != nil || s.format() == outputJSON {
				return err
			}
			return s.show(ctx, path+"/commands?limit=500", s.commandLines)
		}),
	}
}

func sessionPath(id string) string { return "/sessions/" + url.PathEscape(id) }

// intrusionView is a session of an attacker as the API shows it.
type intrusionView struct {
	ID         string     `json:"id"`
	Session    string     `json:"session"`
	AttackerID string     `json:"attacker_id"`
	AttackerIP string     `json:"attacker_ip"`
	StartedAt  *time.Time `json:"started_at"`
	LastSeen   *time.Time `json:"last_seen"`
	EndedAt    *time.Time `json:"ended_at"`
	Duration   *float64   `json:"duration_s"`
	Commands   int64      `json:"command_count"`
	Recorded   bool       `json:"has_recording"`
	Removed    bool       `json:"recording_removed"`
	origin
}

func (v intrusionView) took() string {
	if v.EndedAt == nil {
		return "open"
	}
	if v.Duration == nil {
		return ""
	}
	return strconv.FormatFloat(*v.Duration, 'f', 1, 64) + "s"
}

func (v intrusionView) recording() string {
	switch {
	case v.Removed:
		return "removed"
	case v.Recorded:
		return "yes"
	}
	return "no"
}

func (s *session) intrusionTable(r reply) error {
	var l struct {
		Items []intrusionView `json:"items"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Items))
	for i, v := range l.Items {
		rows[i] = []string{v.ID, stamp(v.StartedAt), v.took(), v.place(), v.Service, v.AttackerIP, count64(v.Commands), v.recording()}
	}
	return s.writeFitted([]string{"id", "started", "took", "decky", "service", "attacker", "commands", "recorded"}, rows)
}

func (s *session) intrusionDetails(r reply) error {
	var v intrusionView
	if err := r.decode(&v); err != nil {
		return err
	}
	return writeWhole(s.env.Stdout, slices.Concat(
		[]pair{{"id", v.ID}, {"session", v.Session}}, v.origin.pairs(),
		[]pair{
			{"attacker", v.AttackerIP},
			{"attacker id", v.AttackerID},
			{"started", exact(v.StartedAt)},
			{"last seen", exact(v.LastSeen)},
			{"ended", exact(v.EndedAt)},
			{"took", v.took()},
			{"commands", count64(v.Commands)},
			{"recorded", v.recording()},
		}))
}

func (a *app) capturedCommandsCommand() *cobra.Command {
	c := a.listCommand(listing{
		command: &cobra.Command{
			Use:     "commands [SEARCH...]",
			Short:   "List the commands that attackers gave, the newest first",
			Example: "  decnet commands wget --from 24h\n  decnet commands --attacker 203.0.113.7",
		},
		path:    "/commands",
		search:  true,
		times:   "when a command was given",
		filters: []filter{attackerFilter, deckyFilter, serviceFilter, {name: "session", usage: "only of this session, by its id"}},
		table:   func(s *session) func(reply) error { return s.commandTable },
	}, nil)
	a.clientFlags(c)
	return c
}

// commandView is a command of an attacker as the API shows it.
type commandView struct {
	Time       *time.Time `json:"time"`
	AttackerIP string     `json:"attacker_ip"`
	Session    string     `json:"session"`
	Text       string     `json:"text"`
	User       string     `json:"username"`
	Directory  string     `json:"directory"`
	origin
}

func (s *session) commandTable(r reply) error {
	var l struct {
		Items []commandView `json:"items"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Items))
	for i, v := range l.Items {
		rows[i] = []string{precise(v.Time), v.place(), v.Service, v.AttackerIP, v.User, v.Directory, v.Text}
	}
	return s.writeFitted([]string{"time", "decky", "service", "attacker", "user", "directory", "command"}, rows)
}

// commandLines prints the commands of one session below it, whole.
func (s *session) commandLines(r reply) error {
	var l struct {
		Items []commandView `json:"items"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	if len(l.Items) > 0 {
		if err := writeLines(s.env.Stdout, ""); err != nil {
			return err
		}
	}
	for _, v := range l.Items {
		line := strings.Join([]string{precise(v.Time), cell(v.User + ":" + v.Directory), Clean(v.Text)}, "  ")
		if err := writeLines(s.env.Stdout, line); err != nil {
			return err
		}
	}
	if nextCursor(r) != "" {
		s.note("there are more commands: %s", s.hint("commands --all --session "+cell(s.cmd.Flags().Arg(0))))
	}
	return nil
}
