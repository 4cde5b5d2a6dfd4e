package docker

import (
	"context"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/runtime"
)

// PruneImages removes old images whatever their age.
func (r *Runtime) PruneImages(ctx context.Context) error {
	r.prepare.Lock()
	defer r.prepare.Unlock()
	return r.pruneImages(ctx, 0)
}

// Recreate is what the compose library alone takes to replace one service: no verification, no log, no record.
func (r *Runtime) Recreate(ctx context.Context, d runtime.Decky, service string) error {
	c, err := r.render(ctx, d)
	if err != nil {
		return err
	}
	name := compose.ContainerName(d.Key, service)
	project, err := compose.Render(c).WithSelectedServices([]string{name}, types.IgnoreDependencies)
	if err != nil {
		return err
	}
	r.label(project)
	return r.compose.Up(ctx, project, api.UpOptions{
		Create: api.CreateOptions{Services: []string{name}, Recreate: api.RecreateForce, IgnoreOrphans: true},
		Start:  api.StartOptions{Project: project, Services: []string{name}},
	})
}
