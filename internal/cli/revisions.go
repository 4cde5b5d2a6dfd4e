package cli

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) revisionsCommand() *cobra.Command {
	var p page
	c := &cobra.Command{
		Use:               "revisions NAME",
		Short:             "List the states a decky was wanted in, newest first",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeDeckies(),
		RunE: a.with(func(s *session, args []string) error {
			return s.list(s.cmd.Context(), deckyPath(args[0])+"/revisions", url.Values{}, p, s.revisionTable)
		}),
	}
	p.flags(c)
	return c
}

func (s *session) revisionTable(r reply) error {
	var l struct {
		Items []struct {
			Number    int           `json:"number"`
			State     string        `json:"state"`
			Kind      string        `json:"kind"`
			Actor     string        `json:"actor"`
			Services  []serviceView `json:"services"`
			Activated *time.Time    `json:"activated_at"`
		} `json:"items"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Items))
	for i, v := range l.Items {
		names := deckyView{Services: v.Services}.serviceNames()
		rows[i] = []string{strconv.Itoa(v.Number), v.State, stamp(v.Activated), v.Kind, v.Actor, joined(names)}
	}
	return writeTable(s.env.Stdout, []string{"revision", "state", "since", "change", "actor", "services"}, rows)
}

func (a *app) rollbackCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rollback NAME REVISION",
		Short: "Bring back the services of an earlier revision",
		Long: "Bring back the services and configurations of an earlier revision, as a new one. Services that are the same in\n" +
			"both are not touched; a service that is there keeps the end it has.",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeDeckies(),
		RunE: a.with(func(s *session, args []string) error {
			number, err := strconv.Atoi(args[1])
			if err != nil || number < 1 {
				return usagef("REVISION must be a number, see %s", s.hint("deckies revisions NAME"))
			}
			return s.change(http.MethodPost, deckyPath(args[0])+"/rollback", map[string]any{"revision": number}, s.servicesLine)
		}),
	}
	a.waitFlags(c)
	return c
}
