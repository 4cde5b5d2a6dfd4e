package docker

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
)

// A start is tried upAttempts times, upPause apart, each bounded by upLimit.
const (
	upAttempts = 5
	upPause    = 400 * time.Millisecond
	upLimit    = time.Minute
)

// scopes remembers what is desired of every scope: what the store said at first, and since then what was converged.
type scopes struct {
	mu     sync.Mutex
	image  string
	loaded map[string]bool
	known  map[uuid.UUID]runtime.Decky
	ports  map[uuid.UUID]hostPorts // under which ports of the host deckies are published
	names  map[string]string       // that the engine has networks of topologies under, by bridge
}

func (s *scopes) noteNetworks(list []runtime.Attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names == nil {
		s.names = map[string]string{}
	}
	for _, a := range list {
		s.names[a.Bridge] = a.Name
	}
}

// place adds what the engine made of a topology's wishes. The caller holds mu.
func (s *scopes) place(d compose.Decky) compose.Decky {
	d.Networks = slices.Clone(d.Networks)
	for i, a := range d.Networks {
		if name, ok := s.names[a.Bridge]; ok {
			d.Networks[i].Name = name
		}
	}
	d.HostPorts = s.ports[d.ID]
	return d
}

func (s *scopes) setImage(image string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.image = image
}

func scopeOf(d runtime.Decky) string {
	if d.Scope == "" {
		return decky.FleetScope
	}
	return d.Scope
}

// render notes what is desired of d, renders the project of its scope and replaces the compose file.
func (r *Runtime) render(ctx context.Context, d runtime.Decky) (compose.Scope, error) {
	s := &r.scopes
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known, s.loaded = map[uuid.UUID]runtime.Decky{}, map[string]bool{}
	}
	if before, ok := s.known[d.ID]; ok && d.Removed {
		d.Scope = before.Scope // a decky nobody knows any more comes without one
	}
	s.known[d.ID] = d
	scope := scopeOf(d)
	if err := r.load(ctx, scope); err != nil {
		return compose.Scope{}, err
	}
	c := compose.Scope{Installation: r.opts.Installation, Name: scope, Image: s.image, Network: r.opts.Network}
	for _, k := range s.known {
		if scopeOf(k) == scope && !k.Removed && boot.ValidKey(k.Key) {
			c.Deckies = append(c.Deckies, s.place((Files{r.dirs, r.users}).Decky(k)))
		}
	}
	slices.SortFunc(c.Deckies, func(a, b compose.Decky) int { return strings.Compare(a.Key, b.Key) })
	return c, r.writeCompose(c)
}

// load asks once for what the store wants of a scope. What was converged meanwhile is newer and stays.
func (r *Runtime) load(ctx context.Context, scope string) error {
	s := &r.scopes
	if s.loaded[scope] || r.opts.Deckies == nil {
		return nil
	}
	list, err := r.opts.Deckies(ctx, scope)
	if err != nil {
		return fmt.Errorf("list deckies of scope %s: %w", scope, err)
	}
	for _, d := range list {
		if _, newer := s.known[d.ID]; !newer {
			s.known[d.ID] = d
		}
	}
	s.loaded[scope] = true
	return nil
}

// Files knows where the files of decoys lie on the host and who they run as. It makes nothing.
type Files struct {
	dirs  layout
	users boot.UserRange
}

// NewFiles returns the files of a runtime with these folders and the default range of users.
func NewFiles(decoys, artifacts string) (Files, error) {
	var f Files
	var err error
	if f.users, err = f.users.OrDefault(); err != nil {
		return f, err
	}
	f.dirs.Layout, err = boot.FindLayout(decoys, artifacts)
	return f, err
}

// Decky returns a desired decky as the renderer takes it.
func (r Files) Decky(d runtime.Decky) compose.Decky {
	c := compose.Decky{ID: d.ID, Key: d.Key, Name: d.Name, Hostname: d.Hostname, NmapOS: d.NmapOS, IP: d.IP}
	c.Networks, c.ForwardsL3, c.Publish = d.Networks, d.ForwardsL3, d.Publish
	uid, gid := r.users.Owner(d.ID)
	for _, s := range d.Services {
		id := boot.Ref{Decky: d.ID, Service: s.Name}
		c.Services = append(c.Services, compose.Service{
			Name: s.Name, Revision: s.Revision, UID: uid, GID: gid,
			ConfigFile: r.dirs.Config(id), SpoolDir: r.dirs.Spool(d.Key, s.Name), StateDir: r.dirs.State(id),
		})
	}
	return c
}

func (r *Runtime) writeCompose(c compose.Scope) error {
	doc, err := compose.YAML(c)
	if err != nil {
		return err
	}
	path := r.dirs.composeFile(c.Name)
	if before, err := os.ReadFile(path); err == nil && bytes.Equal(before, doc) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make compose folder: %w", err)
	}
	if err := boot.WriteAtomic(path, doc, 0o600); err != nil {
		return fmt.Errorf("write compose file of scope %s: %w", c.Name, err)
	}
	return nil
}

// label adds what Compose recognises its containers by; it does so itself only to a project that it loads from a file.
func (r *Runtime) label(p *types.Project) {
	for name, s := range p.Services {
		s.CustomLabels = types.Labels{
			api.ProjectLabel: p.Name, api.ServiceLabel: name, api.VersionLabel: api.ComposeVersion, api.OneoffLabel: "False",
			api.WorkingDirLabel: r.dirs.Root, api.ConfigFilesLabel: r.dirs.composeFile(s.Labels[compose.LabelScope]),
		}
		p.Services[name] = s
	}
}

// sweep removes containers of these names that were made but never started: leftovers of a Converge that was cut short.
func (r *Runtime) sweep(ctx context.Context, d runtime.Decky, names []string) error {
	list, err := r.containers(ctx, d.ID)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.State != container.StateCreated || !slices.ContainsFunc(s.Names, func(n string) bool {
			return slices.Contains(names, strings.TrimPrefix(n, "/"))
		}) {
			continue
		}
		if err := r.remove(ctx, s.ID); err != nil {
			return err
		}
	}
	return nil
}

// up makes and starts the named containers of a scope and touches no other: what they depend on is left alone
// (`--no-deps`) and nothing is recreated, because what had to go was removed before.
func (r *Runtime) up(ctx context.Context, c compose.Scope, d runtime.Decky, names []string) error {
	one := c
	one.Deckies = slices.DeleteFunc(slices.Clone(c.Deckies), func(k compose.Decky) bool { return k.ID != d.ID })
	project, err := compose.Render(one).WithSelectedServices(names, types.IgnoreDependencies)
	if err != nil {
		return fmt.Errorf("select containers: %w", err)
	}
	r.label(project)
	err = r.persist(ctx, d, project, names)
	if err == nil || fault.KindOf(err) == fault.Unavailable || ctx.Err() != nil {
		return err
	}
	return fault.New(fault.OperationFailed, "container_start_failed",
		"the Docker engine could not start the containers of %s", d.Key).Wrap(err)
}

// persist tries a few times. An engine that goes down still answers for a moment, and fails in ways that must not be
// blamed on the decky; and one that a former control plane asked for containers may be making them only now. The
// request itself is not cut short with ctx, because the engine would go on with it unseen.
func (r *Runtime) persist(ctx context.Context, d runtime.Decky, project *types.Project, names []string) error {
	for attempt := 1; ; attempt++ {
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), upLimit)
		err := r.compose.Up(whole, project, api.UpOptions{
			Create: api.CreateOptions{
				Services: names, Recreate: api.RecreateNever, RecreateDependencies: api.RecreateNever, IgnoreOrphans: true,
			},
			Start: api.StartOptions{Project: project, Services: names},
		})
		cancel()
		if ctx.Err() != nil {
			return fmt.Errorf("start containers: %w", context.Cause(ctx))
		}
		if err = engineError(ctx, "start containers", err); err == nil || fault.KindOf(err) == fault.Unavailable || attempt == upAttempts {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(upPause):
		}
		if err := r.restoreImage(ctx, project.Services[names[0]].Image); err != nil {
			return err
		}
		if err := r.sweep(ctx, d, names); err != nil {
			return err
		}
	}
}
