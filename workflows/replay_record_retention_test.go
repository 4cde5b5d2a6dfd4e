package workflows_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/workflows"
)

// trimPlan is what happens in one pass of retention.
type trimPlan struct {
	rounds  int // executions of TrimRows that have more to do
	hosts   []string
	failing bool // TrimFiles
}

// recordRetention has a pass with nothing to do, one that goes on because there is more, and one with a host that fails.
func recordRetention(t *testing.T) {
	s := newStage(t, sharedServer(t))
	for name, p := range map[string]trimPlan{
		"nothing-to-do": {hosts: []string{"h1"}}, "more": {rounds: 2, hosts: []string{"h1"}},
		"failing-host": {rounds: 1, hosts: []string{"h1"}, failing: true}, "no-host": {},
	} {
		s.mu.Lock()
		s.trims, s.trimPlan = 0, p
		s.mu.Unlock()
		run, err := s.c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
			ID: "retention-" + name, TaskQueue: workflows.ControlQueue,
		}, workflows.RetentionType)
		require.NoError(t, err)
		require.NoError(t, run.Get(t.Context(), nil))
		s.write("retention", name, run.GetID(), "")
	}
}

func (s *stage) TrimRows(context.Context) (activities.TrimRowsResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trims++
	return activities.TrimRowsResult{Removed: 10, More: s.trims <= s.trimPlan.rounds, Hosts: s.trimPlan.hosts}, nil
}

func (s *stage) TrimFiles(context.Context) (activities.TrimFilesResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trimPlan.failing {
		return activities.TrimFilesResult{}, temporal.NewNonRetryableApplicationError("the disk is gone", "internal", nil)
	}
	return activities.TrimFilesResult{Removed: 1, More: s.trims < s.trimPlan.rounds}, nil
}
