// Package worker assembles the Temporal workers: which task queue serves which workflows and activities.
package worker

import (
	"context"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/workflows"
)

// stopTimeout is how long running activities may go on after a stop before they are cancelled.
const stopTimeout = 5 * time.Second

// maxConverges bounds how many deckies of a host change at once; each holds a database connection.
const maxConverges = 12

// maxImports bounds how many logs one worker reads at once; each keeps a processor and the database busy.
const maxImports = 2

// stickyTimeout is how long the server keeps workflow tasks for a worker that may be dead.
const stickyTimeout = time.Second

// Worker is a Temporal worker that has not been started. It runs once.
type Worker struct {
	w      worker.Worker
	failed chan error
}

// Run polls until ctx ends and then drains. ready is called once it polls. The error says why polling could not go on;
// a new Worker may then be tried.
func (w Worker) Run(ctx context.Context, ready func()) error {
	if err := w.w.Start(); err != nil {
		return err
	}
	ready()
	var err error
	select {
	case <-ctx.Done():
	case err = <-w.failed: // the SDK stopped the worker itself
	}
	w.w.Stop()
	return err
}

// build makes a worker that reports a fatal error instead of dying silently.
func build(c client.Client, queue string, o worker.Options) Worker {
	failed := make(chan error, 1)
	o.WorkerStopTimeout = stopTimeout
	o.OnFatalError = func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	return Worker{w: worker.New(c, queue, o), failed: failed}
}

// ControlActivities are what workflows do on the control queue. All are required.
type ControlActivities struct {
	Mutation  *activities.Mutation
	Scope     *activities.Scope
	Expiry    *activities.Expiry
	Import    *activities.Import
	Retention *activities.Retention
}

// Control returns a worker for the control queue. Any number may run.
func Control(c client.Client, a ControlActivities) Worker {
	w := build(c, workflows.ControlQueue, worker.Options{
		StickyScheduleToStartTimeout:     stickyTimeout,
		MaxConcurrentWorkflowTaskPollers: 4,
	})
	RegisterWorkflows(w.w)
	w.w.RegisterActivity(a.Mutation)
	w.w.RegisterActivity(a.Scope)
	w.w.RegisterActivity(a.Expiry)
	w.w.RegisterActivity(a.Import.EndImport)
	w.w.RegisterActivity(a.Retention)
	return w
}

// RegisterWorkflows registers every workflow under its name; replays and tests use it too.
func RegisterWorkflows(r interface {
	RegisterWorkflowWithOptions(w any, options workflow.RegisterOptions)
},
) {
	r.RegisterWorkflowWithOptions(workflows.Scope, workflow.RegisterOptions{Name: workflows.ScopeType})
	r.RegisterWorkflowWithOptions(workflows.Mutation, workflow.RegisterOptions{Name: workflows.MutationType})
	r.RegisterWorkflowWithOptions(workflows.TemporaryService, workflow.RegisterOptions{Name: workflows.TemporaryServiceType})
	r.RegisterWorkflowWithOptions(workflows.Retention, workflow.RegisterOptions{Name: workflows.RetentionType})
	r.RegisterWorkflowWithOptions(workflows.Observe, workflow.RegisterOptions{Name: workflows.ObserveType})
	r.RegisterWorkflowWithOptions(workflows.Import, workflow.RegisterOptions{Name: workflows.ImportType})
}

// Runtime returns the worker of a host's decoys. Exactly one may run per host.
func Runtime(c client.Client, hostID string, r *activities.Runtime, f *activities.Files) Worker {
	w := build(c, workflows.RuntimeQueue(hostID), worker.Options{
		DisableWorkflowWorker:              true,
		MaxConcurrentActivityExecutionSize: maxConverges,
		MaxHeartbeatThrottleInterval:       time.Second,
	})
	w.w.RegisterActivity(r)
	w.w.RegisterActivity(f)
	return w
}

// Intel returns a worker for the intel queue. Any number may run.
func Intel(c client.Client, i *activities.Import) Worker {
	w := build(c, workflows.IntelQueue, worker.Options{
		DisableWorkflowWorker:              true,
		MaxConcurrentActivityExecutionSize: maxImports,
		MaxHeartbeatThrottleInterval:       time.Second,
	})
	w.w.RegisterActivity(i.ReadImport)
	return w
}
