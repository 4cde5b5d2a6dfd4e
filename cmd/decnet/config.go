package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/decnet/decnet/internal/config"
)

func newConfig(in invocation) *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	show := &cobra.Command{
		Use:   "show",
		Short: "Print the configuration that results from flags, environment, file and defaults, without secrets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(cmd.Flags(), in.environ)
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				_, _ = fmt.Fprintln(in.stderr, "warning:", w)
			}
			_, err = fmt.Fprint(in.stdout, cfg.Redacted())
			return err
		},
	}
	config.AddFlags(show.Flags())
	parent.AddCommand(show)
	return parent
}
