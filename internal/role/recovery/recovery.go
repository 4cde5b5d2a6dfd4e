// Package recovery makes Temporal agree with Postgres again after anything was lost: scopes, schedules and search
// attributes that are missing, operations no workflow works on, and workflows that belong to a database that was restored
// since.
package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/clock"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/imports"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/workflows"
)

const (
	every = 30 * time.Second
	// soon is the pause while something is owed: a pass failed, or operations are open that may need another submit.
	soon = 3 * time.Second
	// grace is how long a fresh operation is left to the process that accepted it.
	grace        = 2 * time.Second
	observeEvery = 30 * time.Second
	retainEvery  = 10 * time.Minute
	catchUp      = 10 * time.Second
	maxOpen      = 10_000
	// expiriesAhead is how long before its end a temporary service is sure to have its timer.
	expiriesAhead = 10 * time.Minute
)

// Dispatcher submits operations again and starts scopes.
type Dispatcher interface {
	Submit(ctx context.Context, op operation.Operation) error
	EnsureScope(ctx context.Context, scope string, epoch int, highest int64) error
	EnsureExpiry(ctx context.Context, e decky.Expiry, epoch int, wake bool) error
	EnsureImport(ctx context.Context, im imports.Import) error
}

// Recovery runs in every worker; the holder of a lock works. All fields but StateFile are required.
type Recovery struct {
	Store      *db.Store
	Temporal   client.Client
	Namespace  string
	Dispatcher Dispatcher
	// StateFile keeps the highest operation and the epoch outside the database, so that a restored one is told; "" for none.
	StateFile string
	Log       *slog.Logger
	// Ready is called after every complete pass.
	Ready func()
}

// Run recovers at start, soon while something is owed, and every 30 s, until ctx ends.
func (r *Recovery) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		owed, err := r.turn(ctx)
		if err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "recovery starts again", "err", err)
		}
		if owed || err != nil {
			clock.Sleep(ctx, soon)
		} else {
			r.rest(ctx)
		}
	}
	return nil
}

// rest waits until the next pass is due, or until operations are open: their scope may have been out of reach when they
// were accepted.
func (r *Recovery) rest(ctx context.Context) {
	for waited := time.Duration(0); waited < every && ctx.Err() == nil; waited += soon {
		clock.Sleep(ctx, soon)
		if open, err := r.Store.OpenOperations(ctx, 1); err != nil || len(open) > 0 {
			return
		}
	}
}

func (r *Recovery) turn(ctx context.Context) (owed bool, err error) {
	lock, err := r.Store.TryLock(ctx, "recovery")
	if err != nil {
		return true, err
	}
	if lock == nil { // another worker does it
		r.Ready()
		return true, nil
	}
	defer lock.Release()
	if owed, err = r.Pass(ctx); err == nil {
		r.Ready()
	}
	return owed, err
}

// Pass recovers once. owed reports that operations are open.
func (r *Recovery) Pass(ctx context.Context) (owed bool, err error) {
	if err := r.attributes(ctx); err != nil {
		return true, err
	}
	epoch, highest, err := r.epoch(ctx)
	if err != nil {
		return true, err
	}
	if err := r.endOldEpochs(ctx, epoch); err != nil {
		return true, err
	}
	if err := r.Dispatcher.EnsureScope(ctx, decky.FleetScope, epoch, highest); err != nil {
		return true, err
	}
	if err := r.schedules(ctx); err != nil {
		return true, err
	}
	if err := r.expiries(ctx, epoch); err != nil {
		return true, err
	}
	owed, err = r.resubmit(ctx)
	if err != nil {
		return true, err
	}
	if err := r.imports(ctx); err != nil {
		return true, err
	}
	return owed, r.tidy(ctx)
}

// attributes adds the search attributes the namespace lacks.
func (r *Recovery) attributes(ctx context.Context) error {
	operator := r.Temporal.OperatorService()
	known, err := operator.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: r.Namespace})
	if err != nil {
		return fmt.Errorf("list search attributes: %w", err)
	}
	missing := workflows.SearchAttributes()
	for name := range known.GetCustomAttributes() {
		delete(missing, name)
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = operator.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: r.Namespace, SearchAttributes: missing})
	if err != nil {
		return fmt.Errorf("add search attributes: %w", err)
	}
	return nil
}

// Mark is what is remembered about the database outside of it.
type Mark struct {
	Epoch   int   `json:"epoch"`
	Highest int64 `json:"highest"`
}

// epoch finds out whether the database was restored: somebody remembers a later operation, or a later epoch, than it
// does. Then a new epoch begins.
func (r *Recovery) epoch(ctx context.Context) (epoch int, highest int64, err error) {
	installation, err := r.Store.Installation(ctx)
	if err != nil {
		return 0, 0, err
	}
	if highest, err = r.Store.HighestOperation(ctx); err != nil {
		return 0, 0, err
	}
	now := Mark{Epoch: installation.Epoch, Highest: highest}
	remembered := []Mark{r.readFile(ctx)}
	if m, ok, err := r.readMemo(ctx); err != nil {
		return 0, 0, err
	} else if ok {
		remembered = append(remembered, m)
	}
	if next, restored := NextEpoch(now.Epoch, now.Highest, remembered...); restored {
		r.Log.WarnContext(ctx, "the database is older than what is remembered: a new epoch begins, the relay kill switch is on",
			"epoch", next, "highest_operation", highest)
		if err := r.Store.RaiseEpoch(ctx, next); err != nil {
			return 0, 0, err
		}
		now.Epoch = next
	}
	if err := r.writeFile(now); err != nil {
		// Temporal remembers too: everything else must go on.
		r.Log.WarnContext(ctx, "a restored database may go unnoticed", "err", err)
	}
	return now.Epoch, highest, nil
}

// NextEpoch reports whether one of the marks shows that a database of this epoch and highest operation is a restored
// one, and the epoch that must begin then.
func NextEpoch(epoch int, highest int64, remembered ...Mark) (next int, restored bool) {
	next = epoch
	for _, m := range remembered {
		if m.Epoch > epoch || (m.Epoch == epoch && m.Highest > highest) {
			restored = true
		}
		next = max(next, m.Epoch)
	}
	return next + 1, restored
}

func (r *Recovery) readFile(ctx context.Context) Mark {
	var m Mark
	if r.StateFile == "" {
		return m
	}
	b, err := os.ReadFile(r.StateFile)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.Log.WarnContext(ctx, "the file that tells a restored database cannot be read and is written anew", "err", err)
	}
	return m
}

func (r *Recovery) writeFile(m Mark) error {
	if r.StateFile == "" {
		return nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.StateFile), 0o700); err != nil {
		return fmt.Errorf("remember the highest operation: %w", err)
	}
	temporary := filepath.Join(filepath.Dir(r.StateFile), "."+filepath.Base(r.StateFile)+".new")
	if err := os.WriteFile(temporary, b, 0o600); err != nil {
		return fmt.Errorf("remember the highest operation: %w", err)
	}
	return os.Rename(temporary, r.StateFile)
}

// readMemo reads what the fleet's scope remembers; ok is false when there is none.
func (r *Recovery) readMemo(ctx context.Context) (m Mark, ok bool, err error) {
	d, err := r.Temporal.DescribeWorkflowExecution(ctx, workflows.ScopeID(decky.FleetScope), "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return Mark{}, false, nil
	}
	if err != nil {
		return Mark{}, false, fmt.Errorf("describe the fleet's scope: %w", err)
	}
	info := d.GetWorkflowExecutionInfo()
	if info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return Mark{}, false, nil
	}
	return memoMark(info.GetMemo()), true, nil
}

func memoMark(memo *commonpb.Memo) Mark {
	var m Mark
	for name, into := range map[string]any{workflows.MemoEpoch: &m.Epoch, workflows.MemoHighest: &m.Highest} {
		if payload, ok := memo.GetFields()[name]; ok {
			_ = converter.GetDefaultDataConverter().FromPayload(payload, into) // an unreadable one counts as 0
		}
	}
	return m
}

// endOldEpochs terminates scopes and mutations that were started for an earlier epoch.
func (r *Recovery) endOldEpochs(ctx context.Context, epoch int) error {
	if epoch == 1 {
		return nil
	}
	if err := r.endKnown(ctx, epoch); err != nil {
		return err
	}
	query := fmt.Sprintf("WorkflowType IN ('%s', '%s', '%s') AND ExecutionStatus = 'Running'",
		workflows.ScopeType, workflows.MutationType, workflows.TemporaryServiceType)
	var page []byte
	for {
		list, err := r.Temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: query, NextPageToken: page})
		if err != nil {
			return fmt.Errorf("list workflows: %w", err)
		}
		for _, e := range list.GetExecutions() {
			if m := memoMark(e.GetMemo()); m.Epoch >= epoch {
				continue
			}
			if err := r.end(ctx, e.GetExecution()); err != nil {
				return err
			}
		}
		if page = list.GetNextPageToken(); len(page) == 0 {
			return nil
		}
	}
}

// endKnown ends what can be named: a listing does not show yet what was started a moment ago, before the restore was noticed.
func (r *Recovery) endKnown(ctx context.Context, epoch int) error {
	scopes, err := r.Store.TopologyScopes(ctx)
	if err != nil {
		return err
	}
	ids := []string{workflows.ScopeID(decky.FleetScope)}
	for _, scope := range scopes {
		ids = append(ids, workflows.ScopeID(scope))
	}
	ops, err := r.Store.OpenOperations(ctx, maxOpen)
	if err != nil {
		return err
	}
	for _, op := range ops {
		ids = append(ids, workflows.MutationID(op.ID))
	}
	for _, id := range ids {
		d, err := r.Temporal.DescribeWorkflowExecution(ctx, id, "")
		var missing *serviceerror.NotFound
		switch info := d.GetWorkflowExecutionInfo(); {
		case errors.As(err, &missing):
		case err != nil:
			return fmt.Errorf("describe %s: %w", id, err)
		case info.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING && memoMark(info.GetMemo()).Epoch < epoch:
			if err := r.end(ctx, info.GetExecution()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Recovery) end(ctx context.Context, run *commonpb.WorkflowExecution) error {
	err := r.Temporal.TerminateWorkflow(ctx, run.GetWorkflowId(), run.GetRunId(), "the database was restored: a new epoch began")
	var gone *serviceerror.NotFound
	if err != nil && !errors.As(err, &gone) {
		return fmt.Errorf("terminate %s: %w", run.GetWorkflowId(), err)
	}
	return nil
}

// schedules makes sure that every host with a runtime is looked at, and that what is too old is removed.
func (r *Recovery) schedules(ctx context.Context) error {
	err := r.schedule(ctx, workflows.RetentionScheduleID, retainEvery, &client.ScheduleWorkflowAction{
		Workflow: workflows.RetentionType, WorkflowExecutionTimeout: workflows.TrimLimit,
	})
	if err != nil {
		return err
	}
	roles, err := r.Store.Roles(ctx)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, role := range roles {
		if role.Role != "runtime" || seen[role.HostID] {
			continue
		}
		seen[role.HostID] = true
		err := r.schedule(ctx, workflows.ObserveScheduleID(role.HostID), observeEvery, &client.ScheduleWorkflowAction{
			Workflow: workflows.ObserveType, Args: []any{workflows.ObserveInput{HostID: role.HostID}},
			WorkflowExecutionTimeout: observeEvery,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// schedule makes sure that an action is taken every so often, one at a time, as this release wants it. Whether the schedule is
// paused is left to whoever paused it.
func (r *Recovery) schedule(ctx context.Context, id string, every time.Duration, action *client.ScheduleWorkflowAction) error {
	action.ID, action.TaskQueue = id, workflows.ControlQueue
	spec := client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: every}}}
	handle := r.Temporal.ScheduleClient().GetHandle(ctx, id)
	found, err := handle.Describe(ctx)
	var missing *serviceerror.NotFound
	switch {
	case err == nil && !scheduled(found.Schedule, every, action):
		err = handle.Update(ctx, client.ScheduleUpdateOptions{
			DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
				s := in.Description.Schedule
				s.Spec, s.Action = &spec, action
				s.Policy = &client.SchedulePolicies{Overlap: enums.SCHEDULE_OVERLAP_POLICY_SKIP, CatchupWindow: catchUp}
				return &client.ScheduleUpdate{Schedule: &s}, nil
			},
		})
	case errors.As(err, &missing):
		_, err = r.Temporal.ScheduleClient().Create(ctx, client.ScheduleOptions{
			ID: id, Spec: spec, Action: action, Overlap: enums.SCHEDULE_OVERLAP_POLICY_SKIP, CatchupWindow: catchUp,
		})
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("schedule %s: %w", id, err)
	}
	return err
}

// scheduled reports whether a schedule is as it should be. The arguments are those of its id.
func scheduled(s client.Schedule, every time.Duration, want *client.ScheduleWorkflowAction) bool {
	action, ok := s.Action.(*client.ScheduleWorkflowAction)
	return ok && action.Workflow == want.Workflow && action.TaskQueue == want.TaskQueue &&
		action.WorkflowExecutionTimeout == want.WorkflowExecutionTimeout &&
		s.Spec != nil && len(s.Spec.Intervals) == 1 && s.Spec.Intervals[0].Every == every &&
		s.Policy != nil && s.Policy.Overlap == enums.SCHEDULE_OVERLAP_POLICY_SKIP && s.Policy.CatchupWindow == catchUp
}

// resubmit hands every open operation to its scope that no mutation works on, oldest first.
func (r *Recovery) resubmit(ctx context.Context) (owed bool, err error) {
	ops, err := r.Store.OpenOperations(ctx, maxOpen)
	if err != nil {
		return true, err
	}
	now, err := r.Store.Now(ctx)
	if err != nil {
		return true, err
	}
	for _, op := range ops {
		if now.Sub(op.CreatedAt) < grace {
			continue
		}
		if op.State == operation.Running {
			open, err := activities.Open(ctx, r.Temporal, workflows.MutationID(op.ID))
			if err != nil {
				return true, err
			}
			if open {
				continue
			}
		}
		if err := r.Dispatcher.Submit(ctx, op); err != nil {
			return true, fmt.Errorf("submit operation %s again: %w", op.ID, err)
		}
	}
	return len(ops) > 0, nil
}

// expiries makes sure that services whose end comes before a few more passes have their timers.
func (r *Recovery) expiries(ctx context.Context, epoch int) error {
	now, err := r.Store.Now(ctx)
	if err != nil {
		return err
	}
	due, err := r.Store.Expiries(ctx, now.Add(expiriesAhead), maxOpen)
	if err != nil {
		return err
	}
	for _, e := range due {
		// The last pass before the end wakes a timer that does not know of it, and later ones one that lost it.
		if err := r.Dispatcher.EnsureExpiry(ctx, e, epoch, e.At.Before(now.Add(2*every))); err != nil {
			return fmt.Errorf("start the timer of %s on decky %s: %w", e.Service, e.DeckyID, err)
		}
	}
	return nil
}

// tidy removes what nobody needs any more.
func (r *Recovery) tidy(ctx context.Context) error {
	return r.Store.DeleteOldRoles(ctx)
}
