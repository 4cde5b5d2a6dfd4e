package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/temporalfault"
)

// topologySetup is setup for an operation on a whole topology.
func topologySetup(t *testing.T, kind operation.Kind) *bundle {
	t.Helper()
	b := setupIn(t, theTopology)
	b.begun = activities.BeginResult{
		Outcome: activities.Begun, Kind: kind, HostID: "h1", Actor: "alice", Title: topologyTitle(kind), Topology: true,
	}
	return b
}

func (b *bundle) convergeTopology(undo bool, err error) {
	in := activities.ConvergeTopologyInput{Scope: theTopology, OperationID: b.in.OperationID, Undo: undo}
	b.env.OnActivity(runtime.ConvergeTopology, mock.Anything, in).Return(temporalfault.Wrap(err)).Once()
}

func (b *bundle) activate(err error) {
	b.env.OnActivity(lane.Activate, mock.Anything, activities.OperationInput{OperationID: b.in.OperationID}).Return(temporalfault.Wrap(err)).Once()
}

func TestTopologyMutation_TouchesTheWholeTopology(t *testing.T) {
	t.Parallel()
	for _, kind := range []operation.Kind{operation.Deploy, operation.Teardown, operation.AddDecky} {
		b := topologySetup(t, kind)
		b.begin()
		b.convergeTopology(false, nil)
		b.activate(nil)
		out, err := b.run(t)
		require.NoError(t, err)
		require.Equal(t, operation.Succeeded, out.State)
	}
}

func TestTopologyMutation_WhatConcernsNoDecoyTouchesNone(t *testing.T) {
	t.Parallel()
	b := topologySetup(t, operation.UpdateLAN)
	b.begun.Unaffected = true
	b.begin()
	b.activate(nil)
	_, err := b.run(t)
	require.NoError(t, err)
}

func TestTopologyMutation_FailureIsUndone(t *testing.T) {
	t.Parallel()
	for back, state := range map[*fault.Error]operation.State{nil: operation.Failed, errDecoy: operation.Unconverged} {
		b := topologySetup(t, operation.Deploy)
		b.begin()
		b.convergeTopology(false, errDecoy)
		var err error
		if back != nil {
			err = back
		}
		b.convergeTopology(true, err)
		b.undone(state, "decoy_start_failed")
		_, err = b.run(t)
		var app *temporal.ApplicationError
		require.ErrorAs(t, err, &app)
		require.Equal(t, "decoy_start_failed", app.Type())
	}
}

func TestTopologyMutation_InterruptedIsUndone(t *testing.T) {
	t.Parallel()
	b := topologySetup(t, operation.RemoveDecky)
	b.begun.Outcome = activities.Interrupted
	b.begin()
	b.convergeTopology(true, nil)
	b.undone(operation.Failed, "interrupted")
	_, err := b.run(t)
	require.ErrorContains(t, err, "interrupted")
}

func TestTopologyMutation_CancelDuringDeployIsUndone(t *testing.T) {
	t.Parallel()
	b := topologySetup(t, operation.Deploy)
	b.begin()
	in := activities.ConvergeTopologyInput{Scope: theTopology, OperationID: b.in.OperationID}
	b.env.OnActivity(runtime.ConvergeTopology, mock.Anything, in).After(time.Minute).Return(nil).Maybe()
	b.convergeTopology(true, nil)
	b.undone(operation.Cancelled, "operation_cancelled")
	b.env.RegisterDelayedCallback(b.env.CancelWorkflow, time.Second)
	_, err := b.run(t)
	var cancelled *temporal.CanceledError
	require.ErrorAs(t, err, &cancelled)
}

func TestTopologyMutation_MayTakeLongerThanThatOfOneDecky(t *testing.T) {
	t.Parallel()
	b := topologySetup(t, operation.Deploy)
	b.begin()
	b.env.OnActivity(runtime.ConvergeTopology, mock.Anything, mock.Anything).
		Return(func(ctx context.Context, _ activities.ConvergeTopologyInput) error {
			deadline, ok := ctx.Deadline()
			require.True(t, ok)
			require.Greater(t, time.Until(deadline), 20*time.Minute)
			return nil
		}).Once()
	b.activate(nil)
	_, err := b.run(t)
	require.NoError(t, err)
}
