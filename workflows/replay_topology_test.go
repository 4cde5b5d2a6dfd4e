package workflows_test

import (
	"context"
	"strings"
	"testing"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/workflows"
)

// theTopology is the scope of the recorded operations on a topology.
const theTopology = "topology/70000000-0000-4000-8000-000000000001"

func topologyTitle(kind operation.Kind) string {
	return strings.ReplaceAll(string(kind), "_", " ") + " in " + theTopology
}

// recordTopologies has operations on a whole topology, one after the other in its one lane.
func recordTopologies(t *testing.T) {
	s := newStage(t, sharedServer(t))
	undone := fault.New(fault.OperationFailed, "decoy_start_failed", "pc-01: service ssh did not start")
	on := func(kind operation.Kind) activities.BeginResult {
		return activities.BeginResult{Outcome: activities.Begun, Kind: kind, Topology: true}
	}
	interrupted := on(operation.UpdateDecky)
	interrupted.Outcome = activities.Interrupted
	canvas := on(operation.UpdateLAN)
	canvas.Unaffected = true

	s.onTopology(101, "deploy", plan{begin: on(operation.Deploy)})
	s.onTopology(102, "add-decky", plan{begin: on(operation.AddDecky)})
	s.onTopology(103, "edit-undone", plan{begin: on(operation.UpdateDecky), forward: undone})
	s.onTopology(104, "edit-unconverged", plan{begin: on(operation.AddDecky), forward: undone, back: undone})
	s.onTopology(105, "edit-interrupted", plan{begin: interrupted})
	s.onTopology(106, "edit-without-decoys", plan{begin: canvas})
	s.onTopology(107, "teardown", plan{begin: on(operation.Teardown)})
	s.onTopology(108, "deploy-undone", plan{begin: on(operation.Deploy), forward: undone})
}

// ConvergeTopology follows the same plan as Converge.
func (s *stage) ConvergeTopology(ctx context.Context, in activities.ConvergeTopologyInput) error {
	return s.Converge(ctx, activities.ConvergeInput{OperationID: in.OperationID, Undo: in.Undo})
}

// onTopology records the mutation of one operation on the whole topology.
func (s *stage) onTopology(n int, name string, p plan) {
	s.t.Helper()
	id := s.plan(n, p)
	submitTo(s.t, s.c, theTopology, workflows.Submit{OperationID: id, Lane: operation.WholeScope, Seq: int64(n)})
	s.awaitClosed(n)
	s.write("mutation", "topology-"+name, workflows.MutationID(id), "")
}
