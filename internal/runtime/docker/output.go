package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
)

const (
	// maxRotations is beyond what containers of ours are made with (max-file).
	maxRotations = 8
	maxLooks     = 10
)

// Outputs lists what the service containers of an installation have printed, from the engine's own files: whoever asks must
// be allowed to read them. It needs no Runtime and takes none of its locks. It is safe for concurrent use.
type Outputs struct {
	installation uuid.UUID
	engine       *client.Client
	dirs         layout

	mu    sync.Mutex
	files map[string]string // of a container's log by its id; "" when it has none
}

var _ runtime.Outputs = (*Outputs)(nil)

// NewOutputs returns the outputs of an installation; of the options Installation, Host, DataDir and ArtifactsRoot count. An
// engine that does not answer is no error here.
func NewOutputs(o Options) (*Outputs, error) {
	if o.Installation == uuid.Nil {
		return nil, errors.New("docker outputs need an installation id")
	}
	if o.Host == "" {
		o.Host = DefaultHost
	}
	dirs, err := boot.FindLayout(o.DataDir, o.ArtifactsRoot)
	if err != nil {
		return nil, err
	}
	engine, err := client.New(client.WithHost(o.Host))
	if err != nil {
		return nil, fault.New(fault.Invalid, "docker_host_invalid", "the address of the Docker engine is not valid").Wrap(err)
	}
	return &Outputs{installation: o.Installation, engine: engine, dirs: layout{dirs}, files: map[string]string{}}, nil
}

// Close ends the connections to the engine.
func (o *Outputs) Close() error { return o.engine.Close() }

// Outputs implements runtime.Outputs. An engine that does not answer is an Unavailable fault.
func (o *Outputs) Outputs(ctx context.Context) ([]runtime.Output, error) {
	filters := client.Filters{}.Add("label", compose.LabelInstallation+"="+o.installation.String()).
		Add("label", compose.LabelRole+"="+compose.RoleService)
	list, err := o.engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	if err != nil {
		return nil, engineError(ctx, "list containers", err)
	}
	containers := list.Items
	slices.SortStableFunc(containers, func(a, b container.Summary) int { return int(a.Created - b.Created) })
	var outputs []runtime.Output
	known := make(map[string]bool, len(containers))
	for _, s := range containers {
		known[s.ID] = true
		out, err := o.of(ctx, s)
		if err != nil {
			return nil, err
		}
		if len(out.Files) > 0 {
			outputs = append(outputs, out)
		}
	}
	o.forget(known)
	// Asked for last: the log of a container that went meanwhile is then in both lists, not in none.
	kept, err := o.dirs.KeptLogs()
	return append(kept, outputs...), err
}

// of returns the output of a container; one without files is none.
func (o *Outputs) of(ctx context.Context, s container.Summary) (runtime.Output, error) {
	id := refOf(s)
	out := runtime.Output{
		DeckyID: id.Decky, DeckyKey: s.Labels[compose.LabelDeckyKey], Service: id.Service, Format: runtime.OutputJSONFile,
		Ended: s.State == container.StateExited || s.State == container.StateDead,
	}
	if id.Decky == uuid.Nil || !boot.ValidSlug(id.Service) || !boot.ValidKey(out.DeckyKey) {
		return runtime.Output{}, nil // labels somebody else made up
	}
	path, err := o.file(ctx, s.ID)
	if err != nil || path == "" {
		return runtime.Output{}, err
	}
	out.Files = rotations(path)
	return out, nil
}

// file returns where the engine keeps the log of a container, "" when it keeps none that we can read.
func (o *Outputs) file(ctx context.Context, id string) (string, error) {
	o.mu.Lock()
	path, ok := o.files[id]
	o.mu.Unlock()
	if ok {
		return path, nil
	}
	c, err := o.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", engineError(ctx, "look at container", err)
	}
	if h := c.Container.HostConfig; h != nil && h.LogConfig.Type == "json-file" {
		path = c.Container.LogPath
	}
	if path == "" && c.Container.State != nil && c.Container.State.Status == container.StateCreated {
		return "", nil // it gets its log when it starts
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files[id] = path
	return path, nil
}

// forget drops what is known of containers that are gone.
func (o *Outputs) forget(known map[string]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range o.files {
		if !known[id] {
			delete(o.files, id)
		}
	}
}

// rotations returns the files of a log that exist, the oldest first: `<path>.4` to `<path>.1`, then path. The engine renames
// one after the other; it is looked twice, so that none is missed between its old name and its new one.
func rotations(path string) []string {
	var files []string
	before := snapshot(path)
	for range maxLooks {
		now := snapshot(path)
		if now.settled() && now.same(before) {
			break
		}
		before = now
	}
	for n := len(before) - 1; n > 0; n-- {
		if before[n] != nil {
			files = append(files, fmt.Sprintf("%s.%d", path, n))
		}
	}
	return append(files, path)
}

// look is what is there under the names of a log, by number; nil where nothing is.
type look []os.FileInfo

func snapshot(path string) look {
	l := make(look, maxRotations+1)
	for n := maxRotations; n >= 0; n-- {
		name := path
		if n > 0 {
			name = fmt.Sprintf("%s.%d", path, n)
		}
		if info, err := os.Lstat(name); err == nil {
			l[n] = info
		}
	}
	return l
}

// settled reports whether no number is left out, as one is while the engine renames.
func (l look) settled() bool {
	for n := 1; n < len(l); n++ {
		if l[n] != nil && l[n-1] == nil {
			return false
		}
	}
	return true
}

func (l look) same(m look) bool {
	return slices.EqualFunc(l, m, func(a, b os.FileInfo) bool {
		return (a == nil) == (b == nil) && (a == nil || os.SameFile(a, b))
	})
}
