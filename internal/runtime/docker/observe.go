package docker

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
	"github.com/decnet/decnet/internal/topology"
)

// view is what disk and engine together say about one service container.
type view struct {
	rec     record
	running bool
	ready   bool
	detail  string
}

// view joins a container with its record. Its base must run, and be the one whose namespace the container is in: the
// services of a base that died go on, in a namespace nobody reaches.
func (r *Runtime) view(ctx context.Context, s container.Summary, baseID string) view {
	id := refOf(s)
	v := view{rec: r.dirs.readRecord(id), running: s.State == container.StateRunning}
	if !v.rec.of(s.ID) {
		v.rec = record{}
	}
	if v.running && v.rec.BootID != uuid.Nil && !v.rec.Ready {
		if out, done, err := r.readOutcome(ctx, s.ID, v.rec.expected(), false); err == nil && done {
			v.rec.Container, v.rec.Ready, v.rec.Endpoints = s.ID, out.Ready, v.rec.located(out.Endpoints)
		}
	}
	switch {
	case !v.running && v.rec.Failure != "":
		v.detail = v.rec.Failure
	case !v.running:
		v.detail = "not running"
	case v.rec.BootID == uuid.Nil:
		v.detail = "unknown decoy"
	case baseID == "":
		v.detail = "its base container does not run"
	case s.HostConfig.NetworkMode != "container:"+baseID:
		v.detail = "it is in the namespace of a former base container"
	case !v.rec.Ready:
		v.detail = "not ready"
	default:
		v.ready = true
		if !v.rec.Verified {
			v.detail = "not verified"
		}
	}
	return v
}

func refOf(s container.Summary) boot.Ref {
	decky, _ := uuid.Parse(s.Labels[compose.LabelDeckyID]) // uuid.Nil for what is no uuid
	return boot.Ref{Decky: decky, Service: s.Labels[compose.LabelService]}
}

// Observe implements runtime.Runtime. It first makes sure that the rules that contain the decoys are in force: while they
// cannot be restored, nothing is reported at all. A decoy with a folder but no container is listed as not running.
func (r *Runtime) Observe(ctx context.Context) (runtime.Observation, error) {
	var seen runtime.Observation
	containers, err := r.containers(ctx, uuid.Nil)
	if err != nil {
		return seen, err
	}
	if err := r.contain(ctx); err != nil {
		return seen, err
	}
	if err := r.endStrays(ctx); err != nil {
		return seen, err
	}
	running, err := r.runningBases(ctx, containers)
	if err != nil {
		return seen, err
	}
	of := basesOf(containers)
	listed := map[boot.Ref]bool{}
	for _, s := range containers {
		id := refOf(s)
		switch s.Labels[compose.LabelRole] {
		case compose.RoleBase:
			seen.Bases = append(seen.Bases, runtime.Base{
				DeckyID: id.Decky, DeckyKey: s.Labels[compose.LabelDeckyKey], Running: s.State == container.StateRunning,
			})
		case compose.RoleService:
			listed[id] = true
			st := status(s, id, r.view(ctx, s, running[id.Decky]))
			r.amend(&st, of[id.Decky])
			seen.Decoys = append(seen.Decoys, st)
		}
	}
	onDisk, err := r.dirs.OnDisk(uuid.Nil)
	if err != nil {
		return runtime.Observation{}, err
	}
	for _, id := range onDisk {
		if rec := r.dirs.readRecord(id); !listed[id] {
			seen.Decoys = append(seen.Decoys, runtime.Status{
				DeckyID: id.Decky, DeckyKey: rec.DeckyKey, Service: id.Service, Revision: rec.Revision, Detail: absent(rec),
			})
		}
	}
	boot.SortStatuses(seen.Decoys)
	slices.SortFunc(seen.Bases, func(a, b runtime.Base) int { return strings.Compare(a.DeckyKey, b.DeckyKey) })
	return seen, nil
}

func absent(rec record) string {
	if rec.Failure != "" {
		return rec.Failure
	}
	return "not running"
}

// runningBases returns the running base of every decky, contained.
func (r *Runtime) runningBases(ctx context.Context, containers []container.Summary) (map[uuid.UUID]string, error) {
	bases := map[uuid.UUID]string{}
	for _, s := range containers {
		if s.Labels[compose.LabelRole] != compose.RoleBase || s.State != container.StateRunning {
			continue
		}
		bases[refOf(s).Decky] = s.ID
		if _, ok := topology.IDFromScope(s.Labels[compose.LabelScope]); ok {
			continue // on bridges of the host, whatever the fleet is on
		}
		restored, err := r.containNamespace(ctx, s.ID)
		if err != nil {
			return nil, err
		}
		if restored {
			r.log.WarnContext(ctx, "containment rules of a decky were missing and are restored", "decky_id", refOf(s).Decky)
		}
	}
	return bases, nil
}

// containNamespace puts the rules of a decky's namespace in force, where the host's do not reach it.
func (r *Runtime) containNamespace(ctx context.Context, baseID string) (restored bool, err error) {
	if r.opts.Network.Driver != compose.Macvlan {
		return false, nil
	}
	path, err := r.namespace(ctx, baseID)
	if err != nil {
		return false, err
	}
	restored, err = r.filter.EnsureNamespace(ctx, path)
	if err != nil {
		return false, fault.New(fault.Unavailable, "containment_unavailable", "the rules of a decky could not be put in force").Wrap(err)
	}
	return restored, nil
}

// namespace returns the path of a base container's network namespace.
func (r *Runtime) namespace(ctx context.Context, baseID string) (string, error) {
	base, err := r.engine.ContainerInspect(ctx, baseID, client.ContainerInspectOptions{})
	if err != nil {
		return "", engineError(ctx, "look at base container", err)
	}
	if base.Container.State.Pid == 0 {
		return "", fault.New(fault.OperationFailed, "container_start_failed", "the base container ended")
	}
	return "/proc/" + strconv.Itoa(base.Container.State.Pid) + "/ns/net", nil
}

func status(s container.Summary, id boot.Ref, v view) runtime.Status {
	revision, _ := strconv.ParseInt(s.Labels[compose.LabelRevision], 10, 64) // 0 for what is no number
	st := runtime.Status{
		DeckyID: id.Decky, DeckyKey: s.Labels[compose.LabelDeckyKey], Service: id.Service, Revision: revision,
		Running: v.running, Ready: v.ready, Detail: v.detail,
	}
	if v.ready {
		st.Endpoints = v.rec.Endpoints
	}
	return st
}

// keepLog copies the log of an ended container to the kept ones, under the boot's id.
func (r *Runtime) keepLog(ctx context.Context, d runtime.Decky, s container.Summary) error {
	id := boot.Ref{Decky: d.ID, Service: s.Labels[compose.LabelService]}
	key := s.Labels[compose.LabelDeckyKey]
	if !boot.ValidSlug(id.Service) || !boot.ValidKey(key) {
		return nil // labels somebody else made up; nothing of ours is in there
	}
	rec := r.dirs.readRecord(id)
	if !rec.of(s.ID) {
		rec.BootID = uuid.New() // whose boot it was is not known: keep the log under a name that is free
	}
	err := r.dirs.KeepLog(id, key, rec.BootID, func(w io.Writer) error { return r.copyLog(ctx, s.ID, w) })
	if errors.Is(err, errNoLog) {
		return nil
	}
	return err
}

func failureOf(cause error) string {
	if f, ok := fault.As(cause); ok {
		return f.Message
	}
	return "cancelled"
}
