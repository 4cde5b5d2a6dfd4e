package main

import (
	"context"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/config"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	dockerruntime "github.com/decnet/decnet/internal/runtime/docker"
	"github.com/decnet/decnet/internal/runtime/docker/containment"
	processruntime "github.com/decnet/decnet/internal/runtime/process"
)

// Names of runtimes, as settings and in the database.
const (
	runtimeAuto    = "auto"
	runtimeDocker  = "docker"
	runtimeProcess = "process"
)

// openRuntime chooses what runs the decoys, stores the choice and makes the pool of addresses follow it.
func (p *process) openRuntime(ctx context.Context) (runtime.Runtime, error) {
	before, err := p.store.Installation(ctx)
	if err != nil {
		return nil, err
	}
	name, err := p.chooseRuntime(ctx, before.Runtime)
	if err != nil {
		return nil, err
	}
	p.pool = poolOf(p.cfg, name)
	decoy, err := p.cfg.DecoyPath()
	if err != nil {
		return nil, err
	}
	var rt runtime.Runtime
	if name == runtimeDocker {
		rt, err = p.newDocker(before.ID, decoy)
	} else {
		rt, err = processruntime.New(processruntime.Options{
			DataDir: filepath.Join(p.cfg.DataDir, "decoys"), ArtifactsRoot: p.cfg.ArtifactsRoot, DecoyBinary: decoy,
			PortOffset: uint16(p.cfg.PortOffset), Unsafe: p.cfg.UnsafeProcessRuntime, Logger: p.log,
		})
	}
	if err != nil {
		return nil, err
	}
	if err := rt.Prepare(ctx); err != nil {
		if name == before.Runtime && fault.KindOf(err) == fault.Unavailable {
			p.log.ErrorContext(ctx, "decoys cannot be changed now", "runtime", name, "err", err)
			return rt, nil // what runs goes on, and is looked at again when the engine is back
		}
		_ = rt.Close()
		return nil, err
	}
	return rt, nil
}

// chooseRuntime settles what `auto` means: Docker when an engine answers and this process may contain what it runs, else
// processes; but what deckies exist on already wins.
func (p *process) chooseRuntime(ctx context.Context, before string) (string, error) {
	name := p.cfg.Runtime
	if name != runtimeAuto {
		return name, p.store.ChooseRuntime(ctx, name)
	}
	name = runtimeProcess
	if containment.Permitted() && dockerruntime.Answers(ctx, p.cfg.DockerHost) {
		name = runtimeDocker
	}
	err := p.store.ChooseRuntime(ctx, name)
	if fault.KindOf(err) == fault.Conflict && before != "" {
		p.log.WarnContext(ctx, "deckies exist on another runtime, which is kept", "runtime", before, "found", name)
		return before, nil
	}
	return name, err
}

func (p *process) newDocker(installation uuid.UUID, decoy string) (runtime.Runtime, error) {
	return dockerruntime.New(dockerruntime.Options{
		Installation: installation, Host: p.cfg.DockerHost, DataDir: filepath.Join(p.cfg.DataDir, "decoys"),
		ArtifactsRoot: p.cfg.ArtifactsRoot, DecoyBinary: decoy, Network: composeNetwork(p.cfg), Deckies: p.desired, Logger: p.log,
		PortOffset: uint16(p.cfg.PortOffset),
	})
}

func composeNetwork(cfg config.Config) compose.Network {
	net := cfg.DockerNet()
	return compose.Network{Driver: cfg.DockerNetwork, Subnet: net.Subnet, Gateway: net.Gateway, Parent: cfg.DockerParent}
}

// desired lists what should run of a scope: the active revisions of its deckies.
func (p *process) desired(ctx context.Context, scope string) ([]runtime.Decky, error) {
	return activities.DesiredScope(ctx, p.store, scope)
}

// poolOf is where a runtime's deckies get their addresses.
func poolOf(cfg config.Config, name string) decky.Pool {
	if name == runtimeDocker {
		return decky.Pool{Prefix: cfg.DockerNet().Pool}
	}
	return decky.Pool{Prefix: decky.LoopbackPool}
}

// learnPool makes a process without a runtime of its own use the pool of the one that was chosen. Before the first start
// of a runtime the setting decides, and `auto` counts as processes.
func (p *process) learnPool(ctx context.Context) error {
	in, err := p.store.Installation(ctx)
	if err != nil {
		return err
	}
	name := in.Runtime
	if name == "" {
		name = p.cfg.Runtime
	}
	p.pool = poolOf(p.cfg, name)
	return nil
}
