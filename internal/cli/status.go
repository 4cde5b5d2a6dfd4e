package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const statusEvery = 500 * time.Millisecond

// statusView is the state of an installation as the API shows it.
type statusView struct {
	Quiescent      bool           `json:"quiescent"`
	OpenOperations count          `json:"open_operations"`
	Reconciling    count          `json:"reconciling"`
	LastDisturbed  *time.Time     `json:"last_disturbed"`
	Observer       []observerView `json:"observer"`
	Roles          []roleView     `json:"roles"`
	OutboxBacklog  int            `json:"outbox_backlog"`
	Runtime        string         `json:"runtime"`
	Version        string         `json:"version"`
	InstallationID string         `json:"installation_id"`
	Epoch          int            `json:"epoch"`
}

type observerView struct {
	HostID     string     `json:"host_id"`
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
	Decoys     count      `json:"decoys"`
	Drift      count      `json:"drift"`
}

type roleView struct {
	Role      string     `json:"role"`
	HostID    string     `json:"host_id"`
	PID       int        `json:"pid"`
	StartedAt *time.Time `json:"started_at"`
	SeenAt    *time.Time `json:"seen_at"`
}

// count is a number, or the length of a list: enough for a summary.
type count int

// UnmarshalJSON accepts numbers, lists and null.
func (n *count) UnmarshalJSON(b []byte) error {
	var list []json.RawMessage
	if json.Unmarshal(b, &list) == nil {
		*n = count(len(list))
		return nil
	}
	return json.Unmarshal(b, (*int)(n))
}

func (a *app) statusCommand() *cobra.Command {
	var quiescent bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show whether the installation is at rest, and its roles",
		Long: `Show whether the installation is at rest, and its roles.

It is quiescent when no operation is open, no decky is being reconciled, and every host has been looked over since the
last disturbance: then what is wanted and what runs agree. --wait-quiescent waits for that, through restarts of the API
too, and fails when it does not happen within --timeout.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.session(c)
			if err != nil {
				return err
			}
			if quiescent {
				return s.waitQuiescent(c.Context())
			}
			return s.show(c.Context(), "/status", s.statusTable)
		},
	}
	a.clientFlags(c)
	c.Flags().BoolVar(&quiescent, "wait-quiescent", false, "wait until the installation is quiescent")
	return c
}

// waitQuiescent prints the last status it saw, whether or not it is the one waited for.
func (s *session) waitQuiescent(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, s.flags.timeout)
	defer cancel()
	var last reply
	var trouble error
	for {
		r, err := s.client.get(limited, "/status")
		switch {
		case err == nil:
			last, trouble = r, nil
			var v statusView
			if err := r.decode(&v); err != nil {
				return err
			}
			if v.Quiescent {
				return s.print(r, s.statusTable)
			}
		case limited.Err() == nil && !passing(err):
			return s.refused(err)
		case limited.Err() == nil:
			trouble = err
		}
		if !pause(limited, statusEvery) {
			return s.restless(ctx, last, trouble)
		}
	}
}

// restless explains why waiting has ended.
func (s *session) restless(ctx context.Context, last reply, trouble error) error {
	if last.body != nil {
		if err := s.print(last, s.statusTable); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted before the installation was quiescent")
	case trouble != nil:
		return trouble
	case last.body == nil:
		return &unreachableError{what: s.client.target.String(), cause: errors.New("no answer in time")}
	}
	return fmt.Errorf("the installation is not quiescent after %s", s.flags.timeout)
}

func (s *session) statusTable(r reply) error {
	var v statusView
	if err := r.decode(&v); err != nil {
		return err
	}
	if err := writePairs(s.env.Stdout, v.pairs()); err != nil {
		return err
	}
	if err := v.writeObservers(s); err != nil {
		return err
	}
	return v.writeRoles(s)
}

func (v statusView) pairs() []pair {
	rest := "no"
	if v.Quiescent {
		rest = "yes"
	}
	return []pair{
		{"quiescent", rest},
		{"open operations", strconv.Itoa(int(v.OpenOperations))},
		{"reconciling", strconv.Itoa(int(v.Reconciling))},
		{"last disturbed", stamp(v.LastDisturbed)},
		{"outbox backlog", strconv.Itoa(v.OutboxBacklog)},
		{"runtime", v.Runtime},
		{"version", v.Version},
		{"installation", strings.TrimSpace(v.InstallationID + " (epoch " + strconv.Itoa(v.Epoch) + ")")},
	}
}

func (v statusView) writeObservers(s *session) error {
	if len(v.Observer) == 0 {
		return nil
	}
	rows := make([][]string, len(v.Observer))
	for i, o := range v.Observer {
		rows[i] = []string{o.HostID, strconv.Itoa(int(o.Decoys)), strconv.Itoa(int(o.Drift)), stamp(o.FinishedAt)}
	}
	if err := writeLines(s.env.Stdout, ""); err != nil {
		return err
	}
	return writeTable(s.env.Stdout, []string{"host", "decoys", "drift", "looked over"}, rows)
}

func (v statusView) writeRoles(s *session) error {
	if len(v.Roles) == 0 {
		return nil
	}
	rows := make([][]string, len(v.Roles))
	for i, r := range v.Roles {
		rows[i] = []string{r.Role, r.HostID, strconv.Itoa(r.PID), stamp(r.StartedAt), stamp(r.SeenAt)}
	}
	if err := writeLines(s.env.Stdout, ""); err != nil {
		return err
	}
	return writeTable(s.env.Stdout, []string{"role", "host", "pid", "started", "seen"}, rows)
}
