package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

func (a *app) planLANsCommand() *cobra.Command {
	c := &cobra.Command{Use: "lans", Aliases: []string{"lan"}, Short: "Add, change and remove LANs of a plan"}
	c.AddCommand(a.lansAddCommand(), a.lansUpdateCommand(), a.lansRemoveCommand())
	return c
}

func (a *app) planDeckiesCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "deckies", Aliases: []string{"decky"}, Short: "Add, change and remove deckies of a plan",
		Long: "Add, change and remove deckies of a plan. Their services are changed with 'deckies' and --topology, in a plan and while it runs.",
	}
	c.AddCommand(a.planDeckiesAddCommand(), a.planDeckiesUpdateCommand(), a.planDeckiesRemoveCommand())
	return c
}

func (a *app) planEdgesCommand() *cobra.Command {
	c := &cobra.Command{Use: "edges", Aliases: []string{"edge"}, Short: "Put deckies of a plan into LANs, and take them out"}
	c.AddCommand(a.edgesAddCommand(), a.edgesRemoveCommand())
	return c
}

// graph fetches a topology to find what its parts are called.
func (s *session) graph(ctx context.Context, path string) (topologyBody, error) {
	ctx, cancel := context.WithTimeout(ctx, s.flags.timeout)
	defer cancel()
	r, err := s.client.get(ctx, path)
	if err != nil {
		return topologyBody{}, s.refused(late(ctx, err))
	}
	var t topologyBody
	return t, r.decode(&t)
}

// lanPath returns the path of a LAN given by its name or its id.
func (s *session) lanPath(ctx context.Context, path, ref string) (string, error) {
	t, err := s.graph(ctx, path)
	if err != nil {
		return "", err
	}
	l, ok := t.lan(ref)
	if !ok {
		return "", fmt.Errorf("the topology has no LAN %s", cell(ref))
	}
	return path + "/lans/" + url.PathEscape(l.ID), nil
}

func (a *app) lansAddCommand() *cobra.Command {
	var subnet string
	var dmz bool
	var v version
	c := &cobra.Command{
		Use:               "add TOPOLOGY NAME",
		Short:             "Add a LAN",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeTopologies(),
		RunE: a.within(func(_ context.Context, s *session, path string, args []string) error {
			body := v.in(map[string]any{"name": args[0], "is_dmz": dmz})
			if subnet != "" {
				body["subnet"] = subnet
			}
			return s.change(http.MethodPost, path+"/lans", body, s.lanLine)
		}),
	}
	c.Flags().StringVar(&subnet, "subnet", "", "subnet in CIDR form (default: a free one)")
	c.Flags().BoolVar(&dmz, "dmz", false, "make it the DMZ")
	v.flag(c)
	return c
}

func (a *app) lansUpdateCommand() *cobra.Command {
	var name, subnet string
	var dmz bool
	var v version
	c := &cobra.Command{
		Use:               "update TOPOLOGY LAN",
		Short:             "Change the name or subnet of a LAN, or whether it is the DMZ",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeInTopology(topologyBody.lanNames),
	}
	c.Flags().StringVar(&name, "name", "", "new name")
	c.Flags().StringVar(&subnet, "subnet", "", "new subnet in CIDR form")
	c.Flags().BoolVar(&dmz, "dmz", false, "whether it is the DMZ")
	v.flag(c)
	c.RunE = a.within(func(ctx context.Context, s *session, path string, args []string) error {
		body := changed(c, map[string]any{"name": name, "subnet": subnet, "dmz": dmz}, map[string]string{"dmz": "is_dmz"})
		at, err := s.lanPath(ctx, path, args[0])
		if err != nil {
			return err
		}
		return s.change(http.MethodPatch, at, v.in(body), s.lanLine)
	})
	return c
}

// changed returns the values of those flags that were given, by the names they have in the API.
func changed(c *cobra.Command, flags map[string]any, names map[string]string) map[string]any {
	body := map[string]any{}
	for flag, value := range flags {
		if !c.Flags().Changed(flag) {
			continue
		}
		name := names[flag]
		if name == "" {
			name = strings.ReplaceAll(flag, "-", "_")
		}
		body[name] = value
	}
	return body
}

func (a *app) lansRemoveCommand() *cobra.Command {
	var v version
	c := &cobra.Command{
		Use:               "remove TOPOLOGY LAN",
		Short:             "Remove a LAN; deckies that are in others too leave it",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeInTopology(topologyBody.lanNames),
		RunE: a.within(func(ctx context.Context, s *session, path string, args []string) error {
			at, err := s.lanPath(ctx, path, args[0])
			if err != nil {
				return err
			}
			return s.change(http.MethodDelete, at+v.query(), nil, s.say("LAN "+cell(args[0])+" is removed"))
		}),
	}
	v.flag(c)
	return c
}

// planDecky is what the flags of a decky of a plan say.
type planDecky struct {
	version
	name, lan, archetype, ip string
	services, settings       []string
	noServices, forwards     bool
	configFile               string
}

func (d *planDecky) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&d.archetype, "archetype", "", "kind of machine to resemble")
	f.StringArrayVar(&d.services, "service", nil, "service to offer; may be repeated")
	f.BoolVar(&d.noServices, "no-services", false, "offer none")
	f.BoolVar(&d.forwards, "forwards-l3", false, "route between its LANs")
	f.StringArrayVar(&d.settings, "config", nil, "service.key=value, see above; may be repeated")
	f.StringVar(&d.configFile, "config-file", "", "JSON file {service: {key: value}}, - for standard input")
	d.flag(c)
	completeServices(c)
}

// body returns the request with what was given.
func (d *planDecky) body(c *cobra.Command, a *app) (map[string]any, error) {
	body := changed(c, map[string]any{"archetype": d.archetype, "forwards-l3": d.forwards}, nil)
	switch {
	case d.noServices && len(d.services) > 0:
		return nil, usagef("--service and --no-services exclude each other")
	case d.noServices:
		body["services"] = []string{}
	case len(d.services) > 0:
		body["services"] = d.services
	}
	config, err := (&values{app: a}).serviceConfigs(d.configFile, d.settings)
	if err == nil && len(config) > 0 {
		body["service_config"] = config
	}
	return d.in(body), err
}

func (a *app) planDeckiesAddCommand() *cobra.Command {
	var d planDecky
	c := &cobra.Command{
		Use:               "add TOPOLOGY NAME",
		Short:             "Add a decky",
		Long:              "Add a decky.\n\n" + valueHelp,
		Example:           "  decnet topologies deckies add lab pc-01 --lan office --service ssh --config ssh.password=-",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeTopologies(),
	}
	c.Flags().StringVar(&d.lan, "lan", "", "LAN it is at home in; without one, put it into one with edges add")
	c.Flags().StringVar(&d.ip, "ip", "", "address in that LAN (default: a free one)")
	d.flags(c)
	c.RunE = a.within(func(_ context.Context, s *session, path string, args []string) error {
		body, err := d.body(c, a)
		if err != nil {
			return err
		}
		body["name"] = args[0]
		if d.lan != "" {
			body["lan"] = d.lan
		}
		if d.ip != "" {
			body["ip"] = d.ip
		}
		return s.change(http.MethodPost, path+"/deckies", body, s.planDeckyLine)
	})
	return c
}

func (a *app) planDeckiesUpdateCommand() *cobra.Command {
	var d planDecky
	var addresses []string
	c := &cobra.Command{
		Use:               "update TOPOLOGY DECKY",
		Short:             "Change a decky; lists and configurations replace those it has",
		Long:              "Change a decky; lists and configurations replace those it has.\n\n" + valueHelp,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeInTopology(topologyBody.deckyNames),
	}
	c.Flags().StringVar(&d.name, "name", "", "new name")
	c.Flags().StringArrayVar(&addresses, "ip", nil, "LAN=address; may be repeated, LANs that are left out get a free one")
	d.flags(c)
	c.RunE = a.within(func(_ context.Context, s *session, path string, args []string) error {
		body, err := d.body(c, a)
		if err != nil {
			return err
		}
		if d.name != "" {
			body["name"] = d.name
		}
		if len(addresses) > 0 {
			byLAN := map[string]string{}
			for _, text := range addresses {
				lan, ip, ok := strings.Cut(text, "=")
				if !ok {
					return usagef("--ip must be LAN=address")
				}
				byLAN[lan] = ip
			}
			body["ips_by_lan"] = byLAN
		}
		return s.change(http.MethodPatch, path+deckyPath(args[0]), body, s.planDeckyLine)
	})
	return c
}

func (a *app) planDeckiesRemoveCommand() *cobra.Command {
	var v version
	c := &cobra.Command{
		Use:               "remove TOPOLOGY DECKY",
		Short:             "Remove a decky",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeInTopology(topologyBody.deckyNames),
		RunE: a.within(func(_ context.Context, s *session, path string, args []string) error {
			return s.change(http.MethodDelete, path+deckyPath(args[0])+v.query(), nil, s.say("decky "+cell(args[0])+" is removed"))
		}),
	}
	v.flag(c)
	return c
}

func (a *app) edgesAddCommand() *cobra.Command {
	var ip string
	var bridge, forwards bool
	var v version
	c := &cobra.Command{
		Use:               "add TOPOLOGY DECKY LAN",
		Short:             "Put a decky into a LAN",
		Args:              cobra.ExactArgs(3),
		ValidArgsFunction: a.completeInTopology(topologyBody.deckyNames, topologyBody.lanNames),
	}
	c.Flags().StringVar(&ip, "ip", "", "its address there (default: a free one)")
	c.Flags().BoolVar(&bridge, "bridge", false, "whether it only visits the LAN (default: unless it is its first)")
	c.Flags().BoolVar(&forwards, "forwards-l3", false, "note that the membership is there to route")
	v.flag(c)
	c.RunE = a.within(func(_ context.Context, s *session, path string, args []string) error {
		body := changed(c, map[string]any{"ip": ip, "bridge": bridge, "forwards-l3": forwards}, map[string]string{"bridge": "is_bridge"})
		body["decky_uuid"], body["lan_id"] = args[0], args[1]
		return s.change(http.MethodPost, path+"/edges", v.in(body), s.say(cell(args[0])+" is in "+cell(args[1])))
	})
	return c
}

func (a *app) edgesRemoveCommand() *cobra.Command {
	var v version
	c := &cobra.Command{
		Use:               "remove TOPOLOGY DECKY LAN",
		Short:             "Take a decky out of a LAN",
		Args:              cobra.ExactArgs(3),
		ValidArgsFunction: a.completeInTopology(topologyBody.deckyNames, topologyBody.lanNames),
		RunE: a.within(func(ctx context.Context, s *session, path string, args []string) error {
			t, err := s.graph(ctx, path)
			if err != nil {
				return err
			}
			id, ok := t.edge(args[0], args[1])
			if !ok {
				return fmt.Errorf("decky %s is not in LAN %s", cell(args[0]), cell(args[1]))
			}
			return s.change(http.MethodDelete, path+"/edges/"+url.PathEscape(id)+v.query(), nil, s.say(cell(args[0])+" is not in "+cell(args[1])+" any more"))
		}),
	}
	v.flag(c)
	return c
}

func completeServices(c *cobra.Command) {
	_ = c.RegisterFlagCompletionFunc("service", cobra.CompletionFunc(func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return offeredServices(), cobra.ShellCompDirectiveNoFileComp
	}))
}

// deckiesOfTopologies lets the commands of deckies that work there too take --topology. What makes, lists or deletes deckies
// of a topology has commands of its own.
func (a *app) deckiesOfTopologies(deckies *cobra.Command) *cobra.Command {
	elsewhere := []string{"list", "create", "delete", "unquarantine", "watch"}
	for _, c := range deckies.Commands() {
		if slices.Contains(elsewhere, c.Name()) {
			continue
		}
		c.Flags().StringVar(&a.flags.topology, "topology", "", "the decky is one of this topology, given by name or id")
		_ = c.RegisterFlagCompletionFunc("topology", func(c *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			return a.completeTopologies()(c, nil, word)
		})
	}
	return deckies
}

// enter makes paths of deckies mean those of the topology that --topology names.
func (s *session) enter() error {
	if s.flags.topology == "" {
		return nil
	}
	id, err := s.topologyID(s.cmd.Context(), s.flags.topology)
	if err == nil {
		s.client.topology = topologyPath(id)
	}
	return err
}

// place puts a path of a decky below the topology the client is in. The list of its deckies is the topology itself.
func (c *client) place(path string) string {
	switch {
	case c.topology == "":
	case strings.HasPrefix(path, "/deckies/"):
		return c.topology + path
	case strings.HasPrefix(path, "/deckies?"):
		return c.topology
	}
	return path
}

// meant reports whether a part of a topology with that id and name is meant.
func meant(ref, id, name string) bool {
	if name == ref {
		return true
	}
	a, errA := uuid.Parse(ref)
	b, errB := uuid.Parse(id)
	return errA == nil && errB == nil && a == b
}
