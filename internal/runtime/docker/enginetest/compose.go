package enginetest

import (
	"context"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/runtime/docker"
)

// Compose is the Compose library alone, working on a document that a runtime wrote: what the same change costs without
// verification, records, logs, containment and a control plane.
type Compose struct {
	engine  *client.Client
	service api.Compose
	project *types.Project
}

// OpenCompose loads a compose file for the host's engine.
func OpenCompose(tb testing.TB, file string) *Compose {
	tb.Helper()
	engine, err := client.New(client.WithHost(docker.DefaultHost))
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = engine.Close() })
	service, err := docker.NewCompose(engine)
	require.NoError(tb, err)
	project, err := service.LoadProject(tb.Context(), api.ProjectLoadOptions{
		ConfigPaths: []string{file}, Offline: true, ProjectOptionsFns: []cli.ProjectOptionsFn{cli.WithInterpolation(false)},
	})
	require.NoError(tb, err)
	return &Compose{engine: engine, service: service, project: project}
}

// Recreate replaces one container, as `docker compose up --no-deps --force-recreate`.
func (c *Compose) Recreate(ctx context.Context, name string) error {
	return c.up(ctx, name, api.RecreateForce)
}

// Add makes and starts one container that is not there, as `docker compose up --no-deps`.
func (c *Compose) Add(ctx context.Context, name string) error {
	return c.up(ctx, name, api.RecreateNever)
}

// Remove takes a container away.
func (c *Compose) Remove(ctx context.Context, name string) error {
	_, err := c.engine.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true})
	return err
}

func (c *Compose) up(ctx context.Context, name, recreate string) error {
	project, err := c.project.WithSelectedServices([]string{name}, types.IgnoreDependencies)
	if err != nil {
		return err
	}
	return c.service.Up(ctx, project, api.UpOptions{
		Create: api.CreateOptions{Services: []string{name}, Recreate: recreate, RecreateDependencies: api.RecreateNever, IgnoreOrphans: true},
		Start:  api.StartOptions{Project: project, Services: []string{name}},
	})
}
