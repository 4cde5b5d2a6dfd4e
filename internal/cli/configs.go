package cli

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// configHelp explains from what a configuration is made.
const configHelp = `A configuration is changed as a form is: it starts from what is saved, else from what is applied, and secrets that are
shown masked keep their values. --replace starts from nothing: what is not given has its default.

`

// configChange is what the flags of save-config and apply say.
type configChange struct {
	settings, unset []string
	file            string
	replace, dryRun bool
}

func (n *configChange) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&n.settings, "config", nil, "key=value, see above; may be repeated")
	f.StringVar(&n.file, "config-file", "", "JSON file {key: value}, - for standard input")
	f.StringArrayVar(&n.unset, "unset", nil, "key that gets its default again; may be repeated")
	f.BoolVar(&n.replace, "replace", false, "start from nothing")
	f.BoolVar(&n.dryRun, "dry-run", false, "change nothing, show what would change")
}

func (n *configChange) empty() bool {
	return len(n.settings)+len(n.unset) == 0 && n.file == "" && !n.replace
}

// config returns the whole configuration to send.
func (n *configChange) config(s *session, args []string) (map[string]any, error) {
	v := &values{app: s.app}
	given, err := v.file(n.file)
	if err == nil {
		err = v.apply(given, n.settings)
	}
	if err != nil {
		return nil, err
	}
	config := map[string]any{}
	if !n.replace {
		if config, err = s.present(args); err != nil {
			return nil, err
		}
	}
	maps.Copy(config, given)
	for _, key := range n.unset {
		if _, both := given[key]; both {
			return nil, usagef("%s is set and unset", Clean(key))
		}
		delete(config, key)
	}
	return config, nil
}

// present returns the configuration a form starts from. A service that is not on the decky has none: the API says so.
func (s *session) present(args []string) (map[string]any, error) {
	r, err := s.client.get(s.cmd.Context(), deckyPath(args[0]))
	if err != nil {
		return nil, s.refused(err)
	}
	var d deckyView
	if err := r.decode(&d); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(d.Services, func(v serviceView) bool { return v.Name == args[1] })
	config := map[string]any{}
	switch {
	case i < 0:
	case d.Services[i].SavedConfig != nil:
		config = d.Services[i].SavedConfig
	case d.Services[i].Config != nil:
		config = d.Services[i].Config
	}
	return config, nil
}

func (a *app) saveConfigCommand() *cobra.Command {
	var n configChange
	c := &cobra.Command{
		Use:   "save-config NAME SERVICE",
		Short: "Save a configuration for the next apply",
		Long:  "Save a configuration for the next apply; the running service keeps the one it has.\n\n" + configHelp + valueHelp,
		Example: `  decnet deckies save-config web-01 ssh --config user=deploy --unset hostname
  decnet deckies save-config web-01 ssh --replace`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeRemoveService(),
		RunE: a.with(func(s *session, args []string) error {
			if n.empty() {
				return usagef("say what to save: --config, --config-file, --unset or --replace")
			}
			return s.configure(args, n, http.MethodPut, "/config", s.savedLine)
		}),
	}
	n.flags(c)
	a.waitFlags(c)
	return c
}

func (a *app) applyCommand() *cobra.Command {
	var n configChange
	c := &cobra.Command{
		Use:   "apply NAME SERVICE",
		Short: "Start a service anew with a configuration",
		Long: "Start a service anew with a configuration, the saved one when none is given; the decky's other services are not\n" +
			"touched. When it does not come up, the one it had is put back.\n\n" + configHelp + valueHelp,
		Example: `  decnet deckies apply web-01 ssh --dry-run
  decnet deckies apply web-01 ssh --config password=-`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeRemoveService(),
		RunE: a.with(func(s *session, args []string) error {
			return s.configure(args, n, http.MethodPost, "/apply", s.appliedLine)
		}),
	}
	n.flags(c)
	a.waitFlags(c)
	return c
}

func (s *session) configure(args []string, n configChange, method, verb string, table func(reply) error) error {
	body := map[string]any{}
	if !n.empty() {
		config, err := n.config(s, args)
		if err != nil {
			return err
		}
		body["config"] = config
	}
	path := servicePath(args) + verb
	if n.dryRun {
		path, table = path+"?dry_run=true", s.dryRunText
	}
	return s.change(method, path, body, table)
}

// configView is the answer to a change of a configuration, and to its dry run.
type configView struct {
	Decky         string         `json:"decky_name"`
	Service       string         `json:"service_name"`
	Config        map[string]any `json:"config"`
	Recreated     bool           `json:"recreated"`
	RestartNeeded bool           `json:"restart_needed"`
	ComposeDiff   string         `json:"compose_diff"`
	Diff          []struct {
		Key    string `json:"key"`
		Before any    `json:"before"`
		After  any    `json:"after"`
		Secret bool   `json:"secret"`
	} `json:"config_diff"`
}

func (v configView) settings() string {
	if len(v.Config) == 0 {
		return "defaults only"
	}
	return configText(v.Config)
}

func (s *session) savedLine(r reply) error {
	var v configView
	if err := r.decode(&v); err != nil {
		return err
	}
	if err := writeLines(s.env.Stdout, cell(v.Service)+" on "+cell(v.Decky)+" is saved: "+cell(v.settings())); err != nil || !v.RestartNeeded {
		return err
	}
	s.note("it is not applied yet: %s", s.hint("deckies apply "+cell(v.Decky)+" "+cell(v.Service)))
	return nil
}

func (s *session) appliedLine(r reply) error {
	var v configView
	if err := r.decode(&v); err != nil {
		return err
	}
	return writeLines(s.env.Stdout, cell(v.Service)+" on "+cell(v.Decky)+" was started anew: "+cell(v.settings()))
}

// dryRunText prints differences for people.
func (s *session) dryRunText(r reply) error {
	var v configView
	if err := r.decode(&v); err != nil {
		return err
	}
	what := "would be saved; its decoy would stay"
	if v.Recreated {
		what = "would be started anew"
	}
	lines := []string{"nothing was changed; " + cell(v.Service) + " on " + cell(v.Decky) + " " + what}
	if len(v.Diff) == 0 {
		lines = append(lines, "no setting differs from what it has")
	}
	if err := writeLines(s.env.Stdout, lines...); err != nil {
		return err
	}
	if len(v.Diff) > 0 {
		rows := make([][]string, len(v.Diff))
		for i, d := range v.Diff {
			rows[i] = []string{d.Key, settingText(d.Before), settingText(d.After)}
		}
		if err := writeTable(s.env.Stdout, []string{"setting", "has", "would have"}, rows); err != nil {
			return err
		}
	}
	if v.ComposeDiff == "" {
		return nil
	}
	lines = []string{""}
	for line := range strings.Lines(v.ComposeDiff) {
		lines = append(lines, Clean(strings.TrimSuffix(line, "\n")))
	}
	return writeLines(s.env.Stdout, lines...)
}

func settingText(v any) string {
	if v == nil {
		return "(default)"
	}
	return fmt.Sprint(v)
}

func (a *app) setExpiryCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "set-expiry NAME SERVICE TIME|DURATION|never",
		Short: "Set when a service is removed",
		Long:  "Set when a service is removed, or that it stays.\n\n" + timeHelp,
		Example: `  decnet deckies set-expiry web-01 redis 2h
  decnet deckies set-expiry web-01 redis never`,
		Args:              cobra.ExactArgs(3),
		ValidArgsFunction: a.completeRemoveService(),
		RunE: a.with(func(s *session, args []string) error {
			body := map[string]any{"expires_at": nil}
			if args[2] != "never" {
				at, err := parseTime(args[2], time.Now(), 1)
				if err != nil {
					return usagef("the time %w, or never", err)
				}
				body["expires_at"] = at
			}
			return s.change(http.MethodPut, servicePath(args)+"/expiry", body, s.expiryLine)
		}),
	}
	a.waitFlags(c)
	return c
}

func (s *session) expiryLine(r reply) error {
	var v struct {
		Decky   string     `json:"decky_name"`
		Service string     `json:"service_name"`
		At      *time.Time `json:"expires_at"`
	}
	if err := r.decode(&v); err != nil {
		return err
	}
	until := "stays"
	if v.At != nil {
		until = "is removed at " + stamp(v.At)
	}
	return writeLines(s.env.Stdout, cell(v.Service)+" on "+cell(v.Decky)+" "+until)
}
