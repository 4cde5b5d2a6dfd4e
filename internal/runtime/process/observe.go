package process

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
)

// view is what disk and kernel together say about one decoy.
type view struct {
	rec        record // adopted: names main, and is ready when main is
	main       *proc  // nil when nothing runs
	duplicates []*proc
	ready      bool
}

// view joins the record of a decoy with its processes. A decoy whose record was not finished (the control plane was
// killed between fork and write) is judged by its log: the lock on it guarantees that the record's boot is the one
// that runs.
func (r *Runtime) view(id boot.Ref, procs []*proc) view {
	v := view{rec: r.dirs.readRecord(id)}
	slices.SortFunc(procs, func(a, b *proc) int { return int(int64(a.start) - int64(b.start)) })
	for _, p := range procs {
		if v.main == nil && v.rec.matches(r.kernel, p) {
			v.main = p
			continue
		}
		v.duplicates = append(v.duplicates, p)
	}
	if v.main == nil && len(v.duplicates) > 0 {
		v.main, v.duplicates = v.duplicates[0], v.duplicates[1:]
		v.rec.PID, v.rec.Start, v.rec.KernelBoot = v.main.pid, v.main.start, r.kernel
		v.rec.Ready, v.rec.Verified, v.rec.Stopping = false, false, false
	}
	if v.main == nil || v.rec.Revision == 0 && v.rec.BootID == uuid.Nil {
		return v
	}
	if !v.rec.Ready {
		out := r.dirs.reported(id, v.rec)
		v.rec.Ready, v.rec.Endpoints = out.Ready, out.Endpoints
	}
	v.ready = v.rec.Ready
	return v
}

// Observe implements runtime.Runtime. A decoy without a folder, or without a readable record, is listed with revision
// zero; every process beyond the first of a service is listed on its own as a duplicate. Sorted by decky key, then
// decky id, then service.
func (r *Runtime) Observe(context.Context) (runtime.Observation, error) {
	live, err := r.scan()
	if err != nil {
		return runtime.Observation{}, err
	}
	onDisk, err := r.dirs.OnDisk(uuid.Nil)
	if err != nil {
		return runtime.Observation{}, err
	}
	for _, id := range onDisk {
		if _, running := live[id]; !running {
			live[id] = nil // listed all the same
		}
	}
	list := []runtime.Status{}
	for id, procs := range live {
		list = append(list, statuses(id, r.view(id, procs))...)
	}
	boot.SortStatuses(list)
	return runtime.Observation{Decoys: list, Baseless: true}, nil
}

func statuses(id boot.Ref, v view) []runtime.Status {
	first := runtime.Status{
		DeckyID: id.Decky, DeckyKey: v.rec.DeckyKey, Service: id.Service, Revision: v.rec.Revision,
		Running: v.main != nil, Ready: v.ready, Detail: v.detail(),
	}
	if v.ready {
		first.Endpoints = v.rec.Endpoints
	}
	list := []runtime.Status{first}
	for range v.duplicates {
		list = append(list, runtime.Status{
			DeckyID: id.Decky, DeckyKey: v.rec.DeckyKey, Service: id.Service, Running: true, Detail: "duplicate decoy",
		})
	}
	return list
}

// stopping reports whether main was told to end, by this Runtime or one before it.
func (v view) stopping() bool { return v.rec.Stopping || v.main.ending.Load() }

func (v view) detail() string {
	switch {
	case v.main != nil && v.rec.BootID == uuid.Nil:
		return "unknown decoy"
	case v.main == nil && v.rec.Failure != "":
		return v.rec.Failure
	case v.main == nil:
		return "not running"
	case v.stopping():
		return "stopping"
	case !v.ready:
		return "not ready"
	case !v.rec.Verified:
		return "not verified"
	}
	return ""
}
