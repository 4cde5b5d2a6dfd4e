package workflows_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/worker"
	"github.com/decnet/decnet/workflows"
)

var (
	trimmer *activities.Retention
	cleaner *activities.Files
)

func retentionEnv(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	worker.RegisterWorkflows(env)
	env.RegisterActivity(trimmer)
	env.RegisterActivity(cleaner)
	return env
}

func TestRetention_GoesOnWhileThereIsMore(t *testing.T) {
	t.Parallel()
	env := retentionEnv(t)
	hosts := []string{"h1", "h2"}
	more := env.OnActivity(trimmer.TrimRows, mock.Anything).Return(activities.TrimRowsResult{Removed: 100, More: true, Hosts: hosts}, nil).Times(3)
	env.OnActivity(trimmer.TrimRows, mock.Anything).Return(activities.TrimRowsResult{Removed: 7, Hosts: hosts}, nil).Once().NotBefore(more)
	env.OnActivity(cleaner.TrimFiles, mock.Anything).Return(activities.TrimFilesResult{Removed: 2}, nil).Times(2)
	env.ExecuteWorkflow(workflows.RetentionType)
	require.NoError(t, env.GetWorkflowError())
	var out workflows.RetentionResult
	require.NoError(t, env.GetWorkflowResult(&out))
	require.Equal(t, workflows.RetentionResult{Rows: 307, Files: 4}, out, "files of a host are looked through once when nothing is left")
	env.AssertExpectations(t)
}

func TestRetention_LeavesTheRestToTheNextPass(t *testing.T) {
	t.Parallel()
	env := retentionEnv(t)
	env.OnActivity(trimmer.TrimRows, mock.Anything).Return(activities.TrimRowsResult{Removed: 1, More: true, Hosts: []string{"h1"}}, nil)
	env.OnActivity(cleaner.TrimFiles, mock.Anything).Return(activities.TrimFilesResult{Removed: 1, More: true}, nil)
	env.ExecuteWorkflow(workflows.RetentionType)
	require.NoError(t, env.GetWorkflowError())
	env.AssertNumberOfCalls(t, "TrimRows", 6)
	env.AssertNumberOfCalls(t, "TrimFiles", 6)
}

func TestRetention_AHostThatFailsStopsNobody(t *testing.T) {
	t.Parallel()
	env := retentionEnv(t)
	env.OnActivity(trimmer.TrimRows, mock.Anything).Return(activities.TrimRowsResult{Removed: 1, Hosts: []string{"h1", "h2"}}, nil).Once()
	gone := temporal.NewNonRetryableApplicationError("the disk is gone", "internal", nil)
	env.OnActivity(cleaner.TrimFiles, mock.Anything).Return(activities.TrimFilesResult{}, gone).Once()
	env.OnActivity(cleaner.TrimFiles, mock.Anything).Return(activities.TrimFilesResult{Removed: 3}, nil).Once()
	env.ExecuteWorkflow(workflows.RetentionType)
	require.NoError(t, env.GetWorkflowError())
	var out workflows.RetentionResult
	require.NoError(t, env.GetWorkflowResult(&out))
	require.Equal(t, workflows.RetentionResult{Rows: 1, Files: 3}, out)
	env.AssertExpectations(t)
}

func TestRetention_FailsWhenTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	env := retentionEnv(t)
	began := env.Now()
	env.OnActivity(trimmer.TrimRows, mock.Anything).Return(activities.TrimRowsResult{}, errors.New("away"))
	env.ExecuteWorkflow(workflows.RetentionType)
	require.Error(t, env.GetWorkflowError())
	require.LessOrEqual(t, env.Now().Sub(began), 4*time.Minute, "it gives up: the next pass comes anyway")
}
