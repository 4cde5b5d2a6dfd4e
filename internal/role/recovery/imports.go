package recovery

import (
	"context"
	"fmt"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/imports"
	"github.com/decnet/decnet/workflows"
)

// imports ends uploads that nobody goes on with, starts the workflows of running imports that have none, and removes the input
// of ended ones. The row of an import is all there is to it, so there is no epoch: after a restore it goes on where the
// database says.
func (r *Recovery) imports(ctx context.Context) error {
	if err := r.Store.EndAbandonedUploads(ctx); err != nil {
		return err
	}
	list, err := r.Store.OpenImports(ctx, maxOpen)
	if err != nil {
		return err
	}
	for _, im := range list {
		if im.State != imports.Running {
			continue
		}
		open, err := activities.Open(ctx, r.Temporal, workflows.ImportID(im.ID))
		if err != nil {
			return err
		}
		if open {
			continue
		}
		if err := r.Dispatcher.EnsureImport(ctx, im); err != nil {
			return fmt.Errorf("start import %s again: %w", im.ID, err)
		}
	}
	return r.importRemains(ctx)
}

func (r *Recovery) importRemains(ctx context.Context) error {
	ids, err := r.Store.ImportsWithRemains(ctx, maxOpen)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := r.Store.RemoveImportInput(ctx, id); err != nil {
			return err
		}
	}
	return nil
}
