package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
)

// retentionView is what is kept of a class, and what there is of it.
type retentionView struct {
	Class string `json:"class"`
	retentionLimits
	Rows       *int64     `json:"rows"`
	Bytes      *int64     `json:"bytes"`
	Oldest     *time.Time `json:"oldest"`
	Removed    int64      `json:"removed"`
	MeasuredAt *time.Time `json:"measured_at"`
}

// retentionLimits is the body of a change; null is no limit.
type retentionLimits struct {
	MaxAgeDays *int64 `json:"max_age_days"`
	MaxBytes   *int64 `json:"max_bytes"`
	MaxRows    *int64 `json:"max_rows"`
}

const retentionPath = "/retention"

func (a *app) retentionCommand() *cobra.Command {
	c := &cobra.Command{Use: "retention", Short: "Show and set what is kept for how long"}
	a.clientFlags(c)
	c.AddCommand(
		&cobra.Command{
			Use:   "show",
			Short: "Show what is kept for how long, and how much there is",
			Args:  cobra.NoArgs,
			RunE: a.with(func(s *session, _ []string) error {
				return s.show(s.cmd.Context(), retentionPath, s.retentionTable)
			}),
		},
		a.setRetentionCommand(),
		&cobra.Command{
			Use:   "run",
			Short: "Have a pass begin now instead of within ten minutes",
			Args:  cobra.NoArgs,
			RunE: a.with(func(s *session, _ []string) error {
				r, err := s.submit(s.cmd.Context(), call{method: http.MethodPost, path: retentionPath + "/run"})
				if err != nil {
					return err
				}
				return s.finish(r, func(reply) error { return writeLines(s.env.Stdout, "a pass begins") })
			}),
		},
	)
	return c
}

func (a *app) setRetentionCommand() *cobra.Command {
	var age, bytes, rows string
	var noLimit bool
	c := &cobra.Command{
		Use:   "set CLASS",
		Short: "Set what is kept of a class",
		Long: `Set what is kept of a class, from the next pass on. Limits that are not given stay as they are; --no-limit takes away
those that are not given. Ages are counted from when something came in, not from when it happened.`,
		Example: `  decnet retention set events --max-age 30d --max-rows 5000000
  decnet retention set recordings --max-bytes 10G
  decnet retention set bounties --no-limit`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.complete(0, func([]string) string { return retentionPath }, func(r reply) []string {
			var names []string
			for _, v := range retentions(r) {
				names = append(names, v.Class)
			}
			return names
		}),
		RunE: a.with(func(s *session, args []string) error {
			set := map[string]string{}
			for name, value := range map[string]string{"max-age": age, "max-bytes": bytes, "max-rows": rows} {
				if s.cmd.Flags().Changed(name) {
					set[name] = value
				}
			}
			if len(set) == 0 && !noLimit {
				return usagef("give --max-age, --max-bytes, --max-rows or --no-limit")
			}
			return s.setRetention(s.cmd.Context(), args[0], set, noLimit)
		}),
	}
	f := c.Flags()
	f.StringVar(&age, "max-age", "", "days, such as 90d, or none")
	f.StringVar(&bytes, "max-bytes", "", "room, such as 500M or 10G (powers of 1024), or none")
	f.StringVar(&rows, "max-rows", "", "how many rows, or files, or none")
	f.BoolVar(&noLimit, "no-limit", false, "no limits but those given")
	return c
}

// setRetention changes the given limits over those there are.
func (s *session) setRetention(ctx context.Context, class string, set map[string]string, noLimit bool) error {
	limits := retentionLimits{}
	if !noLimit {
		present, err := s.presentLimits(ctx, class)
		if err != nil {
			return err
		}
		limits = present
	}
	for name, into := range map[string]struct {
		limit **int64
		parse func(string) (int64, error)
	}{
		"max-age": {&limits.MaxAgeDays, parseDays}, "max-bytes": {&limits.MaxBytes, parseBytes}, "max-rows": {&limits.MaxRows, parseRows},
	} {
		text, given := set[name]
		if !given {
			continue
		}
		if *into.limit = nil; text == "none" {
			continue
		}
		n, err := into.parse(text)
		if err != nil {
			return usagef("--%s %w", name, err)
		}
		*into.limit = &n
	}
	body, err := json.Marshal(limits)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	return s.mutate(ctx, call{method: http.MethodPut, path: retentionPath + "/" + url.PathEscape(class), body: body}, func(r reply) error {
		var v retentionView
		if err := r.decode(&v); err != nil {
			return err
		}
		return s.writeRetention([]retentionView{v})
	})
}

// presentLimits returns the limits of a class; those of one that does not exist are none, and the API says so then.
func (s *session) presentLimits(ctx context.Context, class string) (retentionLimits, error) {
	ctx, cancel := context.WithTimeout(ctx, s.flags.timeout)
	defer cancel()
	r, err := s.client.get(ctx, retentionPath)
	if err != nil {
		return retentionLimits{}, s.refused(late(ctx, err))
	}
	for _, v := range retentions(r) {
		if v.Class == class {
			return v.retentionLimits, nil
		}
	}
	return retentionLimits{}, nil
}

func retentions(r reply) []retentionView {
	var l struct {
		Items []retentionView `json:"items"`
	}
	if r.decode(&l) != nil {
		return nil
	}
	return l.Items
}

func (s *session) retentionTable(r reply) error { return s.writeRetention(retentions(r)) }

func (s *session) writeRetention(list []retentionView) error {
	rows := make([][]string, len(list))
	for i, v := range list {
		rows[i] = []string{v.Class, v.limits(), digits(v.Rows), bytesOf(v.Bytes), stamp(v.Oldest), strconv.FormatInt(v.Removed, 10), stamp(v.MeasuredAt)}
	}
	return writeTable(s.env.Stdout, []string{"class", "limits", "rows", "size", "oldest", "removed", "measured"}, rows)
}

func (l retentionLimits) limits() string {
	var all []string
	if l.MaxAgeDays != nil {
		all = append(all, digits(l.MaxAgeDays)+"d")
	}
	if l.MaxBytes != nil {
		all = append(all, bytesOf(l.MaxBytes))
	}
	if l.MaxRows != nil {
		all = append(all, digits(l.MaxRows)+" rows")
	}
	if len(all) == 0 {
		return "none"
	}
	return joined(all)
}

func bytesOf(n *int64) string {
	if n == nil {
		return ""
	}
	return size(*n)
}

func digits(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

var dayPattern = regexp.MustCompile(`^([0-9]{1,9})d?$`)

func parseDays(text string) (int64, error) {
	m := dayPattern.FindStringSubmatch(text)
	if m == nil {
		return 0, errors.New("must be a number of days such as 90d, or none")
	}
	return strconv.ParseInt(m[1], 10, 64)
}

func parseBytes(text string) (int64, error) {
	n, err := units.RAMInBytes(text)
	if err != nil || n <= 0 {
		return 0, errors.New("must be a number of bytes such as 500M or 10G, or none")
	}
	return n, nil
}

func parseRows(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, errors.New("must be a number, or none")
	}
	return n, nil
}
