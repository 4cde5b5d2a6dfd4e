package dispatch

import (
	"context"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/imports"
	"github.com/decnet/decnet/workflows"
)

// StartImport lets an uploaded log be read. That Temporal does not answer is no error: recovery starts it.
func (d *Dispatcher) StartImport(ctx context.Context, im imports.Import) {
	ctx, cancel := context.WithTimeout(ctx, submitLimit)
	defer cancel()
	if err := d.EnsureImport(ctx, im); err != nil {
		d.log.WarnContext(ctx, "an import waits for recovery", "workflow_id", workflows.ImportID(im.ID), "err", err)
	}
}

// EnsureImport starts the workflow of a running import unless it is open.
func (d *Dispatcher) EnsureImport(ctx context.Context, im imports.Import) error {
	_, err := d.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       workflows.ImportID(im.ID),
		TaskQueue:                workflows.ControlQueue,
		WorkflowTaskTimeout:      workflows.TaskTimeout,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		TypedSearchAttributes:    workflows.ImportAttributes(im),
		StaticSummary:            workflows.ImportSummary(im),
		StaticDetails:            "`decnet imports show " + im.ID.String() + "` tells how far it is, and so do the activity's heartbeats.",
	}, workflows.Import, activities.ImportInput{ImportID: im.ID})
	return unavailable(err)
}
