package activities

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/temporalfault"
)

// Scope holds what a scope's sequencer asks about the world. All fields are required.
type Scope struct {
	Store    *db.Store
	Temporal client.Client
	// MutationID returns the workflow id of an operation's mutation.
	MutationID func(uuid.UUID) string
}

// ConfirmInput names the operations a scope believes to be in flight.
type ConfirmInput struct {
	OperationIDs []uuid.UUID `json:"operation_ids"`
}

// ConfirmResult names those that ended, and those that are open although no mutation works on them.
type ConfirmResult struct {
	Ended     []uuid.UUID `json:"ended,omitempty"`
	Abandoned []uuid.UUID `json:"abandoned,omitempty"`
}

// Confirm compares what a scope believes with the rows of the operations and with Temporal.
//
// Idempotency: it only reads.
func (s *Scope) Confirm(ctx context.Context, in ConfirmInput) (ConfirmResult, error) {
	var out ConfirmResult
	for _, id := range in.OperationIDs {
		op, err := s.Store.Operation(ctx, id)
		switch {
		case fault.KindOf(err) == fault.NotFound, err == nil && !op.State.Open():
			out.Ended = append(out.Ended, id)
			continue
		case err != nil:
			return ConfirmResult{}, temporalfault.Wrap(err)
		}
		open, err := Open(ctx, s.Temporal, s.MutationID(id))
		if err != nil {
			return ConfirmResult{}, temporalfault.Wrap(err)
		}
		if !open {
			out.Abandoned = append(out.Abandoned, id)
		}
	}
	return out, nil
}

// Open reports whether a workflow execution with this id is running.
func Open(ctx context.Context, c client.Client, workflowID string) (bool, error) {
	d, err := c.DescribeWorkflowExecution(ctx, workflowID, "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return false, nil
	}
	if err != nil {
		return false, fault.New(fault.Unavailable, "temporal_unavailable", "Temporal does not answer").Wrap(err)
	}
	return d.GetWorkflowExecutionInfo().GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING, nil
}

// EndCancelled ends an operation that was cancelled while it waited for its turn.
//
// Idempotency: only an operation that no mutation began is ended, under its row lock.
func (s *Scope) EndCancelled(ctx context.Context, in OperationInput) error {
	return temporalfault.Wrap(s.Store.InTx(ctx, func(tx *db.Tx) error {
		op, _, err := tx.LockOperation(ctx, in.OperationID)
		if err != nil || !op.State.Open() || op.State == operation.Running {
			return err
		}
		return cancelled(ctx, tx, op)
	}))
}
