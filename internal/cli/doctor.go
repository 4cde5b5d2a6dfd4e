package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/decnet/decnet/internal/config"
	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/fault"
)

// verdict is what a check found.
type verdict string

const (
	fine   verdict = "ok"
	warned verdict = "warn"
	failed verdict = "fail"
)

// finding is one line of the doctor. Fix is empty when there is nothing to do.
type finding struct {
	Check  string  `json:"check"`
	State  verdict `json:"state"`
	Detail string  `json:"detail"`
	Fix    string  `json:"fix,omitempty"`
}

// doctor examines the machine for `decnet up` with one configuration. It changes nothing.
type doctor struct {
	env Env
	cfg config.Config
	// running is the live decnet of the data directory, nil when there is none.
	running *embedded.ReadyFile
}

func (a *app) doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check what decnet needs on this machine, and say how to fix it",
		Long: `Check what 'decnet up' needs on this machine, with the same flags, variables and file, and say how to fix what is
missing. Each line is ok, warn (decnet runs, with a limit) or fail. Nothing is changed.

The exit code is 1 when a check fails.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.examine(c) },
	}
	a.outputFlag(c)
	config.AddFlags(c.Flags(), config.GroupData, config.GroupExternal, config.GroupEmbedded, config.GroupAPI, config.GroupRuntime)
	return c
}

func (a *app) examine(c *cobra.Command) error {
	d := doctor{env: a.env}
	findings := []finding{d.configuration(c)}
	if ready, err := embedded.ReadReadyFile(d.readyPath()); err == nil {
		d.running = &ready
	}
	for _, check := range d.checks() {
		findings = append(findings, check(c.Context()))
	}
	if err := a.writeFindings(findings); err != nil {
		return err
	}
	bad := 0
	for _, f := range findings {
		if f.State == failed {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checks failed", bad, len(findings))
	}
	return nil
}

func (d *doctor) checks() []func(context.Context) finding {
	return []func(context.Context) finding{
		d.postgres, d.postgresAccount, d.temporal, d.decoy, d.docker, d.seccomp, d.landlock, d.decoyPorts,
		d.dataDir, d.traversal, d.secrets, d.disk, d.apiPort,
	}
}

// configuration also decides what the other checks go by: the defaults where the operator's settings are invalid.
func (d *doctor) configuration(c *cobra.Command) finding {
	const name = "configuration"
	var err error
	if d.cfg, err = config.Load(c.Flags(), d.settings()); err == nil {
		if len(d.cfg.Warnings) > 0 {
			return finding{name, warned, strings.Join(d.cfg.Warnings, "; "), "correct or unset them"}
		}
		return finding{name, fine, "valid", ""}
	}
	d.cfg, _ = config.Load(nil, []string{"PATH=" + d.env.lookup("PATH")}) // defaults are valid
	detail := err.Error()
	if f, ok := fault.As(err); ok {
		detail = f.Message
		for _, field := range f.Fields {
			detail += "; " + field.Location + ": " + field.Message
		}
	}
	return finding{name, failed, detail, "correct the setting; the checks below go by the defaults"}
}

// settings returns the environment without what only the client reads: it is no setting of a role.
func (d *doctor) settings() []string {
	return slices.DeleteFunc(slices.Clone(d.env.Environ), func(entry string) bool {
		return strings.HasPrefix(entry, "DECNET_API_URL=") || strings.HasPrefix(entry, "DECNET_TOKEN=")
	})
}

// writeFindings prints whole sentences, which a table would cut.
func (a *app) writeFindings(findings []finding) error {
	if a.format() == outputJSON {
		body, err := json.MarshalIndent(map[string]any{"checks": findings}, "", "  ")
		if err != nil {
			return err
		}
		return a.writeBody(body)
	}
	for _, f := range findings {
		line := fmt.Sprintf("%-4s  %-18s %s", f.State, Clean(f.Check), Clean(f.Detail))
		if err := writeLines(a.env.Stdout, line); err != nil {
			return err
		}
		if f.Fix == "" {
			continue
		}
		if err := writeLines(a.env.Stdout, fmt.Sprintf("%-4s  %-18s fix: %s", "", "", Clean(f.Fix))); err != nil {
			return err
		}
	}
	return nil
}
