package cli

import (
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) attackersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "attackers",
		Aliases: []string{"attacker"},
		Short:   "List who was seen, and what is known of them",
	}
	a.clientFlags(c)
	c.AddCommand(
		a.listCommand(listing{
			command: &cobra.Command{
				Use:     "list",
				Short:   "List attackers, those seen last first",
				Example: "  decnet attackers list --sort active --from 24h\n  decnet attackers list --ip 203.0.113.0/24",
			},
			path:  "/attackers",
			times: "when an attacker was seen last",
			filters: []filter{
				{name: "ip", usage: "only this address, or those of this network, such as 203.0.113.0/24"},
				serviceFilter, deckyFilter,
				{name: "sort", usage: "recent (default), active or traversals", choices: []string{"recent", "active", "traversals"}},
			},
			table: func(s *session) func(reply) error { return s.attackerTable },
		}, nil),
		a.showCommand("show ID|IP", "Show what is known of an attacker", "/attackers", (*session).attackerDetails),
	)
	return c
}

// attackerView is an attacker as the API shows it.
type attackerView struct {
	ID          string     `json:"id"`
	IP          string     `json:"ip"`
	FirstSeen   *time.Time `json:"first_seen"`
	LastSeen    *time.Time `json:"last_seen"`
	Events      int64      `json:"event_count"`
	Sessions    int64      `json:"session_count"`
	Commands    int64      `json:"command_count"`
	Bounties    int64      `json:"bounty_count"`
	Credentials int64      `json:"credential_count"`
	Services    []string   `json:"services"`
	Interacted  []string   `json:"interacted"`
	Scanned     []string   `json:"scanned"`
	Deckies     []string   `json:"deckies"`
	Traversal   string     `json:"traversal"`
	Domains     []string   `json:"victim_domains"`
}

func count64(n int64) string { return strconv.FormatInt(n, 10) }

func (s *session) attackerTable(r reply) error {
	var l struct {
		Items []attackerView `json:"items"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Items))
	for i, v := range l.Items {
		rows[i] = []string{
			v.IP, stamp(v.FirstSeen), stamp(v.LastSeen), count64(v.Events), count64(v.Sessions), count64(v.Commands), count64(v.Credentials),
			joined(v.Deckies), joined(v.Services),
		}
	}
	return s.writeFitted([]string{"ip", "first seen", "last seen", "events", "sessions", "commands", "credentials", "deckies", "services"}, rows)
}

func (s *session) attackerDetails(r reply) error {
	var v attackerView
	if err := r.decode(&v); err != nil {
		return err
	}
	return writeWhole(s.env.Stdout, []pair{
		{"ip", v.IP},
		{"id", v.ID},
		{"first seen", exact(v.FirstSeen)},
		{"last seen", exact(v.LastSeen)},
		{"events", count64(v.Events)},
		{"sessions", count64(v.Sessions)},
		{"commands", count64(v.Commands)},
		{"bounties", count64(v.Bounties)},
		{"credentials", count64(v.Credentials)},
		{"services", joined(v.Services)},
		{"interacted", joined(v.Interacted)},
		{"scanned", joined(v.Scanned)},
		{"deckies", joined(v.Deckies)},
		{"traversal", v.Traversal},
		{"mail to", joined(slices.Sorted(slices.Values(v.Domains)))},
	})
}
