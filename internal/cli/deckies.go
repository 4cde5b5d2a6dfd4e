package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) deckiesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "deckies",
		Aliases: []string{"decky"},
		Short:   "List, create, delete and watch deckies and change their services",
	}
	a.clientFlags(c)
	c.AddCommand(
		a.deckiesListCommand(), a.deckiesShowCommand(), a.deckiesCreateCommand(), a.deckiesDeleteCommand(), a.deckiesUnquarantineCommand(),
		a.addServiceCommand(), a.removeServiceCommand(), a.saveConfigCommand(), a.applyCommand(), a.setExpiryCommand(),
		a.revisionsCommand(), a.rollbackCommand(), a.deckiesWatchCommand(),
	)
	return c
}

func (a *app) deckiesListCommand() *cobra.Command {
	var p page
	c := &cobra.Command{
		Use:   "list",
		Short: "List deckies",
		Args:  cobra.NoArgs,
		RunE: a.with(func(s *session, _ []string) error {
			return s.list(s.cmd.Context(), "/deckies", url.Values{}, p, s.deckyTable)
		}),
	}
	p.flags(c)
	return c
}

func (a *app) deckiesShowCommand() *cobra.Command {
	var at string
	c := &cobra.Command{
		Use:               "show NAME",
		Short:             "Show a decky with its services and where they are reached",
		Long:              "Show a decky with its services and where they are reached; with --at, as it was wanted then, also one that is gone.\n\n" + timeHelp,
		Example:           "  decnet deckies show web-01 --at 2h",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeDeckies(),
		RunE: a.with(func(s *session, args []string) error {
			path := deckyPath(args[0])
			if at != "" {
				then, err := parseTime(at, time.Now(), -1)
				if err != nil {
					return usagef("--at %w", err)
				}
				path += "?" + url.Values{"at": {then.Format(time.RFC3339Nano)}}.Encode()
			}
			return s.show(s.cmd.Context(), path, s.deckyDetails)
		}),
	}
	c.Flags().StringVar(&at, "at", "", "a time in the past, or how long ago")
	return c
}

// newDecky is what the flags of create say.
type newDecky struct {
	archetype, distro, ip, nmapOS, hostname string
	services, settings                      []string
	noServices                              bool
	configFile                              string
}

func (n *newDecky) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&n.archetype, "archetype", "", "kind of machine to resemble; it decides what is not given")
	f.StringVar(&n.distro, "distro", "", "distribution the decky claims to run")
	f.StringArrayVar(&n.services, "service", nil, "service to offer; may be repeated (default: those of the archetype)")
	f.BoolVar(&n.noServices, "no-services", false, "start without any service")
	f.StringVar(&n.ip, "ip", "", "address (default: a free one)")
	f.StringVar(&n.nmapOS, "nmap-os", "", "operating system to show to network scanners")
	f.StringVar(&n.hostname, "hostname", "", "host name the services show")
	f.StringArrayVar(&n.settings, "config", nil, "service.key=value, see above; may be repeated")
	f.StringVar(&n.configFile, "config-file", "", "JSON file {service: {key: value}}, - for standard input")
	_ = c.RegisterFlagCompletionFunc("service", cobra.CompletionFunc(func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return offeredServices(), cobra.ShellCompDirectiveNoFileComp
	}))
}

// body returns the request. Services are absent, not empty, when the archetype is to decide.
func (n *newDecky) body(a *app, name string) (map[string]any, error) {
	body := map[string]any{"name": name}
	for key, value := range map[string]string{
		"archetype": n.archetype, "distro": n.distro, "ip": n.ip, "nmap_os": n.nmapOS, "hostname": n.hostname,
	} {
		if value != "" {
			body[key] = value
		}
	}
	switch {
	case n.noServices && len(n.services) > 0:
		return nil, usagef("--service and --no-services exclude each other")
	case n.noServices:
		body["services"] = []string{}
	case len(n.services) > 0:
		body["services"] = n.services
	}
	config, err := (&values{app: a}).serviceConfigs(n.configFile, n.settings)
	if err == nil && len(config) > 0 {
		body["service_config"] = config
	}
	return body, err
}

func (a *app) deckiesCreateCommand() *cobra.Command {
	var n newDecky
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a decky",
		Long:  "Create a decky and start its services.\n\n" + valueHelp,
		Example: `  decnet deckies create web-01 --archetype linux-server
  decnet deckies create bastion --service ssh --config ssh.user=deploy --config ssh.password=-`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.with(func(s *session, args []string) error {
			body, err := n.body(a, args[0])
			if err != nil {
				return err
			}
			return s.change(http.MethodPost, "/deckies", body, s.deckyDetails)
		}),
	}
	n.flags(c)
	a.waitFlags(c)
	return c
}

func (a *app) deckiesDeleteCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "delete NAME",
		Short:             "Stop a decky and delete it",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeDeckies(),
		RunE: a.with(func(s *session, args []string) error {
			return s.change(http.MethodDelete, deckyPath(args[0]), nil, s.say("decky "+Clean(args[0])+" is deleted"))
		}),
	}
	a.waitFlags(c)
	return c
}

func (a *app) deckiesUnquarantineCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "unquarantine NAME",
		Short:             "Repair a decky whose repairs kept failing",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeDeckies(),
		RunE: a.with(func(s *session, args []string) error {
			return s.change(http.MethodPost, deckyPath(args[0])+"/unquarantine", nil, s.say("decky "+Clean(args[0])+" runs again"))
		}),
	}
	a.waitFlags(c)
	return c
}

func (a *app) addServiceCommand() *cobra.Command {
	var settings []string
	var file string
	var end lifetime
	c := &cobra.Command{
		Use:   "add-service NAME SERVICE",
		Short: "Add a service to a running decky",
		Long:  "Add a service to a running decky; its other services are not touched.\n\n" + valueHelp,
		Example: `  decnet deckies add-service web-01 ssh --config user=deploy --config password=@pw.txt
  decnet deckies add-service web-01 redis --expires-in 2h`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeAddService(),
		RunE: a.with(func(s *session, args []string) error {
			v := &values{app: a}
			config, err := v.file(file)
			if err == nil {
				err = v.apply(config, settings)
			}
			if err != nil {
				return err
			}
			body := map[string]any{"name": args[1]}
			if len(config) > 0 {
				body["config"] = config
			}
			if err := end.set(body, time.Now()); err != nil {
				return err
			}
			return s.change(http.MethodPost, deckyPath(args[0])+"/services", body, s.servicesLine)
		}),
	}
	c.Flags().StringArrayVar(&settings, "config", nil, "key=value, see above; may be repeated")
	c.Flags().StringVar(&file, "config-file", "", "JSON file {key: value}, - for standard input")
	end.flags(c)
	a.waitFlags(c)
	return c
}

func (a *app) removeServiceCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "remove-service NAME SERVICE",
		Short:             "Remove a service from a running decky",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeRemoveService(),
		RunE: a.with(func(s *session, args []string) error {
			return s.change(http.MethodDelete, servicePath(args), nil, s.servicesLine)
		}),
	}
	a.waitFlags(c)
	return c
}

// with returns a command's body that gets its session.
func (a *app) with(body func(s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		s, err := a.session(c)
		if err != nil {
			return err
		}
		return body(s, args)
	}
}

// change encodes body, nil for none, and sends the mutation.
func (s *session) change(method, path string, body map[string]any, table func(reply) error) error {
	k := call{method: method, path: path}
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		k.body = encoded
	}
	return s.mutate(s.cmd.Context(), k, table)
}

func deckyPath(name string) string { return "/deckies/" + url.PathEscape(name) }

// servicePath is that of the arguments NAME SERVICE.
func servicePath(args []string) string {
	return deckyPath(args[0]) + "/services/" + url.PathEscape(args[1])
}

// page is which part of a list to fetch.
type page struct {
	limit  int
	cursor string
	all    bool
}

func (p *page) flags(c *cobra.Command) {
	c.Flags().IntVar(&p.limit, "limit", 0, "items of one page, 1 to 500 (default: the API's, 50)")
	c.Flags().StringVar(&p.cursor, "cursor", "", "next_cursor of the page before")
	c.Flags().BoolVar(&p.all, "all", false, "all pages; in JSON, one body after the other")
}

func (p *page) query(q url.Values) (string, error) {
	if p.limit < 0 || p.limit > 500 {
		return "", usagef("--limit must be 1 to 500")
	}
	if p.limit > 0 {
		q.Set("limit", strconv.Itoa(p.limit))
	}
	if p.cursor != "" {
		q.Set("cursor", p.cursor)
	}
	if len(q) == 0 {
		return "", nil
	}
	return "?" + q.Encode(), nil
}
