package cli

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) servicesCommand() *cobra.Command {
	c := &cobra.Command{Use: "services", Short: "List the services there are and their settings"}
	a.clientFlags(c)
	c.AddCommand(
		&cobra.Command{
			Use:   "list",
			Short: "List the services that can be put on deckies",
			Args:  cobra.NoArgs,
			RunE: a.with(func(s *session, _ []string) error {
				return s.show(s.cmd.Context(), "/deckies/services", s.serviceTable)
			}),
		},
		&cobra.Command{
			Use:   "schema NAME",
			Short: "Show the settings of a service",
			Args:  cobra.ExactArgs(1),
			ValidArgsFunction: cobra.CompletionFunc(func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
				if len(args) > 0 {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				return offeredServices(), cobra.ShellCompDirectiveNoFileComp
			}),
			RunE: a.with(func(s *session, args []string) error {
				return s.show(s.cmd.Context(), "/deckies/services/"+url.PathEscape(args[0])+"/schema", s.schemaTable)
			}),
		},
	)
	return c
}

func (s *session) serviceTable(r reply) error {
	var l struct {
		Services   []string `json:"services"`
		Singletons []string `json:"fleet_singletons"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	var rows [][]string
	for _, name := range l.Services {
		rows = append(rows, []string{name, "on deckies"})
	}
	for _, name := range l.Singletons {
		rows = append(rows, []string{name, "once per installation"})
	}
	return writeTable(s.env.Stdout, []string{"service", "runs"}, rows)
}

func (s *session) schemaTable(r reply) error {
	var v struct {
		Name   string `json:"name"`
		Ports  []int  `json:"ports"`
		Fields []struct {
			Key     string   `json:"key"`
			Type    string   `json:"type"`
			Default any      `json:"default"`
			Secret  bool     `json:"secret"`
			Help    string   `json:"help"`
			Enum    []string `json:"enum"`
		} `json:"fields"`
	}
	if err := r.decode(&v); err != nil {
		return err
	}
	ports := strings.Trim(fmt.Sprint(v.Ports), "[]")
	if err := writePairs(s.env.Stdout, []pair{{"service", v.Name}, {"ports", ports}}); err != nil || len(v.Fields) == 0 {
		return err
	}
	rows := make([][]string, len(v.Fields))
	for i, f := range v.Fields {
		kind := f.Type
		if f.Secret {
			kind += ", secret"
		}
		value := ""
		if f.Default != nil {
			value = fmt.Sprint(f.Default)
		}
		rows[i] = []string{f.Key, kind, value, joined(f.Enum), f.Help}
	}
	if err := writeLines(s.env.Stdout, ""); err != nil {
		return err
	}
	return writeTable(s.env.Stdout, []string{"setting", "type", "default", "choices", "meaning"}, rows)
}

func (a *app) archetypesCommand() *cobra.Command {
	c := &cobra.Command{Use: "archetypes", Short: "List the kinds of machines deckies can resemble"}
	a.clientFlags(c)
	c.AddCommand(&cobra.Command{
		Use:   "list",
		Short: "List archetypes",
		Args:  cobra.NoArgs,
		RunE: a.with(func(s *session, _ []string) error {
			return s.show(s.cmd.Context(), "/deckies/archetypes", s.archetypeTable)
		}),
	})
	return c
}

func (s *session) archetypeTable(r reply) error {
	var l struct {
		Archetypes []struct {
			Slug     string   `json:"slug"`
			Name     string   `json:"display_name"`
			Services []string `json:"services"`
			Distros  []string `json:"preferred_distros"`
			NmapOS   string   `json:"nmap_os"`
		} `json:"archetypes"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Archetypes))
	for i, v := range l.Archetypes {
		rows[i] = []string{v.Slug, v.Name, joined(v.Services), joined(v.Distros), v.NmapOS}
	}
	return writeTable(s.env.Stdout, []string{"archetype", "resembles", "services", "distros", "nmap os"}, rows)
}
