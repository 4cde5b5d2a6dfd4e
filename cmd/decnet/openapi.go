package main

import (
	"github.com/spf13/cobra"

	"github.com/decnet/decnet/api"
)

func newOpenAPI(in invocation) *cobra.Command {
	return &cobra.Command{
		Use:   "openapi",
		Short: "Print the OpenAPI document of the REST API",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			document, err := api.OpenAPI()
			if err != nil {
				return err
			}
			_, err = in.stdout.Write(document)
			return err
		},
	}
}
