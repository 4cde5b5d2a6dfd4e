package docker

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/compose/v5/pkg/api"
	composelib "github.com/docker/compose/v5/pkg/compose"
	"github.com/google/uuid"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/fault"
)

// engineError turns an error of the engine into a fault. An engine that cannot be reached is Unavailable, and an end of ctx
// stays what it is; everything else keeps its cause and is Internal.
func engineError(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	case client.IsErrConnectionFailed(err), errdefs.IsUnavailable(err), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return unreachable(err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func unreachable(err error) *fault.Error {
	return fault.New(fault.Unavailable, "engine_unreachable", "the Docker engine does not answer").Wrap(err)
}

// cli is Docker's command line as far as Compose asks for it. Nothing of the operator's own client configuration
// (proxies, credentials) may reach a decoy.
type cli struct {
	command.Cli
	engine *client.Client
	config *configfile.ConfigFile
}

// Client returns the runtime's own connection.
func (c *cli) Client() client.APIClient { return c.engine }

// CurrentContext names no context of the operator's.
func (*cli) CurrentContext() string { return "" }

// ConfigFile returns an empty configuration.
func (c *cli) ConfigFile() *configfile.ConfigFile { return c.config }

// NewCompose returns the Compose library on an engine, told nothing of the operator's own configuration.
func NewCompose(engine *client.Client) (api.Compose, error) {
	base, err := command.NewDockerCli(command.WithAPIClient(engine), command.WithCombinedStreams(io.Discard))
	if err != nil {
		return nil, fmt.Errorf("prepare compose: %w", err)
	}
	svc, err := composelib.NewComposeService(&cli{Cli: base, engine: engine, config: configfile.New("")},
		composelib.WithPrompt(func(string, bool) (bool, error) { return false, nil }))
	if err != nil {
		return nil, fmt.Errorf("prepare compose: %w", err)
	}
	return svc, nil
}

// containers lists what this installation has on the engine, running or not: of one decky, or of all for uuid.Nil.
func (r *Runtime) containers(ctx context.Context, decky uuid.UUID) ([]container.Summary, error) {
	filters := client.Filters{}.Add("label", compose.LabelInstallation+"="+r.opts.Installation.String())
	if decky != uuid.Nil {
		filters.Add("label", compose.LabelDeckyID+"="+decky.String())
	}
	list, err := r.engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	if err != nil {
		return nil, engineError(ctx, "list containers", err)
	}
	return list.Items, nil
}

// stop ends a container, kindly first; one that is gone is fine. It waits until it ended.
func (r *Runtime) stop(ctx context.Context, id string) error {
	r.ending.Store(id, struct{}{})
	_, err := r.engine.ContainerStop(ctx, id, client.ContainerStopOptions{})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return engineError(ctx, "stop container", err)
}

// remove deletes an ended container; one that is gone is fine.
func (r *Runtime) remove(ctx context.Context, id string) error {
	r.ending.Store(id, struct{}{})
	_, err := r.engine.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) { // a removal that is under way is a conflict
		err = r.awaitGone(ctx, id)
	} else {
		err = engineError(ctx, "remove container", err)
	}
	if err == nil {
		r.endRemains(ctx, id)
	}
	return err
}

func (r *Runtime) awaitGone(ctx context.Context, id string) error {
	wait := r.engine.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
	select {
	case <-wait.Result:
		return nil
	case err := <-wait.Error:
		if errdefs.IsNotFound(err) {
			return nil
		}
		return engineError(ctx, "remove container", err)
	}
}

// errNoLog says that the engine has no log of a container: it is gone, or an engine that was killed had begun to remove it,
// which we ask for only after its log was kept.
var errNoLog = errors.New("the container has no log any more")

// copyLog writes what a container has printed on its standard output.
func (r *Runtime) copyLog(ctx context.Context, id string, w io.Writer) error {
	logs, err := r.engine.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return errNoLog
	}
	if err != nil {
		return engineError(ctx, "read log of container", err)
	}
	defer func() { _ = logs.Close() }()
	_, err = stdcopy.StdCopy(w, io.Discard, logs)
	return engineError(ctx, "read log of container", err)
}
