package cli

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) bountiesCommand() *cobra.Command {
	c := a.listCommand(listing{
		command: &cobra.Command{
			Use:     "bounties",
			Aliases: []string{"bounty"},
			Short:   "List what was found out about attackers: fingerprints, leaked addresses, artifacts",
			Example: "  decnet bounties --type fingerprint --kind ja3",
		},
		path:  "/bounties",
		times: "when it was found first",
		filters: []filter{
			{name: "type", usage: "only fingerprint, ip_leak, artifact or probe_relay", choices: []string{"fingerprint", "ip_leak", "artifact", "probe_relay"}},
			{name: "kind", usage: "only this kind of fingerprint or artifact"},
			attackerFilter, deckyFilter, serviceFilter,
		},
		table: func(s *session) func(reply) error { return s.bountyTable },
	}, nil)
	a.clientFlags(c)
	return c
}

func (s *session) bountyTable(r reply) error {
	var l struct {
		Items []struct {
			Type       string         `json:"type"`
			Kind       string         `json:"kind"`
			Time       *time.Time     `json:"time"`
			AttackerIP string         `json:"attacker_ip"`
			Payload    map[string]any `json:"payload"`
			origin
		} `json:"items"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Items))
	for i, v := range l.Items {
		rows[i] = []string{stamp(v.Time), v.Type, v.Kind, v.place(), v.Service, v.AttackerIP, configText(v.Payload)}
	}
	return s.writeFitted([]string{"time", "type", "kind", "decky", "service", "attacker", "what"}, rows)
}

func (a *app) capturedCredentialsCommand() *cobra.Command {
	c := a.listCommand(listing{
		command: &cobra.Command{
			Use:   "credentials",
			Short: "List the credentials that attackers tried, those tried last first",
			Long: "List the credentials that attackers tried, those tried last first. Secrets are shown to operators.\n\n" +
				"A --secret finds who tried it; as -, it is read from standard input, for a command line is visible to others.",
			Example: "  decnet credentials --principal root --from 24h\n  echo -n hunter2 | decnet credentials --secret -",
		},
		path:  "/credentials",
		times: "when it was tried last",
		filters: []filter{
			attackerFilter, deckyFilter, serviceFilter,
			{name: "principal", usage: "only of this user"},
			{name: "secret-kind", usage: "only plaintext, http_bearer and so on"},
			{name: "outcome", usage: "only with this outcome"},
			{name: "secret", usage: "only with exactly this secret, or -", hidden: true},
		},
		table: func(s *session) func(reply) error { return s.capturedCredentialTable },
	}, nil)
	a.clientFlags(c)
	return c
}

// secretView is a captured secret, masked for viewers.
type secretView struct {
	Principal *string `json:"principal"`
	Kind      string  `json:"secret_kind"`
	Printable string  `json:"secret_printable"`
	Base64    string  `json:"secret_b64"`
	SHA256    string  `json:"secret_sha256"`
}

// principal tells no user from one without a name.
func (v secretView) principal() string {
	switch {
	case v.Principal == nil:
		return "(none)"
	case *v.Principal == "":
		return `""`
	}
	return *v.Principal
}

func (s *session) capturedCredentialTable(r reply) error {
	var l struct {
		Items []struct {
			AttackerIP string     `json:"attacker_ip"`
			Outcome    string     `json:"outcome"`
			Attempts   int64      `json:"attempt_count"`
			LastSeen   *time.Time `json:"last_seen"`
			secretView
			origin
		} `json:"items"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Items))
	for i, v := range l.Items {
		rows[i] = []string{
			stamp(v.LastSeen), v.place(), v.Service, v.AttackerIP, v.principal(), v.Kind, v.Outcome, count64(v.Attempts), v.Printable,
		}
	}
	return s.writeFitted([]string{"last seen", "decky", "service", "attacker", "principal", "kind", "outcome", "attempts", "secret"}, rows)
}

func (a *app) reuseCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "reuse",
		Short: "List the credentials that were tried in several places",
	}
	a.clientFlags(c)
	c.AddCommand(
		a.listCommand(listing{
			command: &cobra.Command{
				Use:   "list",
				Short: "List the credentials that were tried in several places, those tried in most first",
			},
			path: "/credential-reuse",
			filters: []filter{
				{name: "min-targets", usage: "only those tried in this many places or more (default: 2)"},
				{name: "secret-kind", usage: "only plaintext, http_bearer and so on"},
			},
			table: func(s *session) func(reply) error { return s.reuseTable },
		}, nil),
		a.showCommand("show ID", "Show who tried a credential, and where", "/credential-reuse", (*session).reuseDetails),
	)
	return c
}

// reuseView is a credential that was tried in several places as the API shows it.
type reuseView struct {
	ID        string     `json:"id"`
	Targets   int64      `json:"target_count"`
	Attempts  int64      `json:"attempt_count"`
	IPs       []string   `json:"attacker_ips"`
	Deckies   []string   `json:"deckies"`
	Services  []string   `json:"services"`
	FirstSeen *time.Time `json:"first_seen"`
	LastSeen  *time.Time `json:"last_seen"`
	secretView
}

func (s *session) reuseTable(r reply) error {
	var l struct {
		Items []reuseView `json:"items"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Items))
	for i, v := range l.Items {
		rows[i] = []string{
			v.ID, count64(v.Targets), count64(v.Attempts), fmt.Sprint(len(v.IPs)), stamp(v.LastSeen), joined(v.Services), v.principal(), v.Kind, v.Printable,
		}
	}
	return s.writeFitted([]string{"id", "targets", "attempts", "attackers", "last seen", "services", "principal", "kind", "secret"}, rows)
}

func (s *session) reuseDetails(r reply) error {
	var v reuseView
	if err := r.decode(&v); err != nil {
		return err
	}
	return writeWhole(s.env.Stdout, []pair{
		{"id", v.ID},
		{"principal", v.principal()},
		{"kind", v.Kind},
		{"secret", v.Printable},
		{"in base64", v.Base64},
		{"sha256", v.SHA256},
		{"targets", count64(v.Targets)},
		{"attempts", count64(v.Attempts)},
		{"attackers", joined(v.IPs)},
		{"deckies", joined(v.Deckies)},
		{"services", joined(v.Services)},
		{"first seen", exact(v.FirstSeen)},
		{"last seen", exact(v.LastSeen)},
	})
}

func (a *app) ingestStatusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "ingest-status",
		Short: "Show what became of the lines of decoys",
		Args:  cobra.NoArgs,
		RunE: a.with(func(s *session, _ []string) error {
			return s.show(s.cmd.Context(), "/ingest", s.ingestTable)
		}),
	}
	a.clientFlags(c)
	return c
}

func (s *session) ingestTable(r reply) error {
	var l struct {
		Items []struct {
			DeckyKey string         `json:"decky_key"`
			Service  string         `json:"service"`
			Outcomes map[string]any `json:"outcomes"`
		} `json:"items"`
		Last *time.Time `json:"last_received_at"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Items))
	for i, v := range l.Items {
		rows[i] = []string{v.DeckyKey, v.Service, configText(v.Outcomes)}
	}
	if err := s.writeFitted([]string{"decky", "service", "lines"}, rows); err != nil {
		return err
	}
	return writeLines(s.env.Stdout, "", "last received  "+cmp.Or(exact(l.Last), "never"))
}
