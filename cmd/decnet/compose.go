package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/config"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/runtime"
	dockerruntime "github.com/decnet/decnet/internal/runtime/docker"
	"github.com/decnet/decnet/internal/topology"
)

func newCompose(in invocation) *cobra.Command {
	parent := &cobra.Command{Use: "compose", Short: "Look at what the container engine is asked to run"}
	var scope string
	render := &cobra.Command{
		Use:   "render",
		Short: "Print the compose file of a scope, as the active revisions of its deckies want it",
		Long: "Prints what the docker runtime keeps in decoys/compose of the data directory, rendered afresh from the database.\n" +
			"The database is that of a running `decnet up` of this data directory, or the one of --database-url.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(cmd.Flags(), in.environ)
			if err != nil {
				return err
			}
			doc, err := renderCompose(cmd.Context(), cfg, scope)
			if err != nil {
				return err
			}
			_, err = in.stdout.Write(doc)
			return err
		},
	}
	config.AddFlags(render.Flags(), config.GroupData, config.GroupExternal, config.GroupRuntime)
	render.Flags().StringVar(&scope, "scope", decky.FleetScope, "fleet, or topology/<uuid>")
	parent.AddCommand(render)
	return parent
}

func renderCompose(ctx context.Context, cfg config.Config, scope string) ([]byte, error) {
	url := cfg.DatabaseURL
	if url == "" {
		ready, err := embedded.ReadReadyFile(readyPath(cfg))
		if err != nil {
			return nil, err
		}
		url = ready.DatabaseURL
	}
	store, err := db.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	p := &process{cfg: cfg, store: store}
	return p.compose(ctx, scope, nil)
}

// composeWith renders the compose file of a decky's scope with the decky as given.
func (p *process) composeWith(ctx context.Context, d decky.Decky) ([]byte, error) {
	return p.compose(ctx, d.Scope, &d)
}

// composeTopology renders the compose file that a deploy of a pending topology would bring up.
func (p *process) composeTopology(ctx context.Context, t topology.Topology, g topology.Graph) ([]byte, error) {
	rows, err := p.store.TopologyDeckies(ctx, t)
	if err != nil {
		return nil, err
	}
	desired := make([]runtime.Decky, 0, len(rows))
	for _, d := range rows {
		want, err := activities.InTopology(d, t.ID, g)
		if err != nil {
			return nil, err
		}
		desired = append(desired, want)
	}
	return p.render(ctx, topology.ScopeName(t.ID), desired)
}

// compose renders the compose file of a scope from the active revisions, one decky replaced when with is given.
func (p *process) compose(ctx context.Context, scope string, with *decky.Decky) ([]byte, error) {
	desired, err := p.desired(ctx, scope)
	if err != nil {
		return nil, err
	}
	for i, d := range desired {
		if with != nil && d.ID == with.ID {
			changed := activities.Desired(*with)
			desired[i].Services = changed.Services
		}
	}
	return p.render(ctx, scope, desired)
}

func (p *process) render(ctx context.Context, scope string, desired []runtime.Decky) ([]byte, error) {
	installation, err := p.store.Installation(ctx)
	if err != nil {
		return nil, err
	}
	decoy, err := p.cfg.DecoyPath()
	if err != nil {
		return nil, err
	}
	image, err := dockerruntime.ImageOf(decoy)
	if err != nil {
		return nil, err
	}
	files, err := dockerruntime.NewFiles(filepath.Join(p.cfg.DataDir, "decoys"), p.cfg.ArtifactsRoot)
	if err != nil {
		return nil, err
	}
	s := compose.Scope{Installation: installation.ID, Name: scope, Image: image, Network: composeNetwork(p.cfg)}
	for _, d := range desired {
		s.Deckies = append(s.Deckies, files.Decky(d))
	}
	slices.SortFunc(s.Deckies, func(a, b compose.Decky) int { return strings.Compare(a.Key, b.Key) })
	return compose.YAML(s)
}
