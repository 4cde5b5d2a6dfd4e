package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/config"
	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/fault"
)

// newRecover tells a running system that its database was restored from a backup, for restores it cannot notice itself.
func newRecover(in invocation) *cobra.Command {
	var restored bool
	cmd := &cobra.Command{
		Use:   "recover --restored",
		Short: "Declare that the database was restored from a backup",
		Long: "Begins a new epoch: workflows of before end, open operations are looked at again, and the relay kill switch\n" +
			"stays on until an admin clears it. A database that is visibly older than what Temporal or the data directory\n" +
			"remember is noticed without this command.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !restored {
				return fault.New(fault.Invalid, "recover_unconfirmed", "say --restored: this ends all running workflows")
			}
			cfg, err := config.Load(cmd.Flags(), in.environ)
			if err != nil {
				return err
			}
			url := cfg.DatabaseURL
			if url == "" {
				ready, err := embedded.ReadReadyFile(readyPath(cfg))
				if err != nil {
					return err
				}
				url = ready.DatabaseURL
			}
			store, err := db.Open(cmd.Context(), url)
			if err != nil {
				return err
			}
			defer store.Close()
			installation, err := store.Installation(cmd.Context())
			if err != nil {
				return err
			}
			if err := store.RaiseEpoch(cmd.Context(), installation.Epoch+1); err != nil {
				return err
			}
			_, _ = fmt.Fprintf(in.stdout, "epoch %d begins with the next recovery pass, within 30 s; the relay kill switch is on\n", installation.Epoch+1)
			return nil
		},
	}
	cmd.Flags().BoolVar(&restored, "restored", false, "the database was restored from a backup")
	config.AddFlags(cmd.Flags(), config.GroupCommon, config.GroupData, config.GroupExternal)
	return cmd
}
