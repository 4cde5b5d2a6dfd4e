package workflows_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/worker"
	"github.com/decnet/decnet/workflows"
)

// replayDir holds one folder per workflow type with the histories of released versions: <release>-<scenario>.json.
const replayDir = "testdata/replay"

var typeOfFolder = map[string]string{
	"mutation": workflows.MutationType, "scope": workflows.ScopeType, "observe": workflows.ObserveType,
	"expiry": workflows.TemporaryServiceType, "import": workflows.ImportType, "retention": workflows.RetentionType,
}

// TestReplay_ReleasedHistoriesStillReplay is what allows an upgrade with open executions: the present code makes of every
// history of a release exactly the decisions that were recorded.
func TestReplay_ReleasedHistoriesStillReplay(t *testing.T) {
	t.Parallel()
	for _, path := range histories(t) {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(path, replayDir+"/"), ".json"), func(t *testing.T) {
			t.Parallel()
			require.Equal(t, typeOfFolder[filepath.Base(filepath.Dir(path))], recordedType(t, path))
			replayer := sdkworker.NewWorkflowReplayer()
			worker.RegisterWorkflows(replayer)
			require.NoError(t, replay(replayer, path))
		})
	}
}

// TestReplay_ChangedWorkflowIsFound keeps the test above honest: workflows that begin with one more command break every
// recorded history, so none of them is too short to tell, and the replayer does look.
func TestReplay_ChangedWorkflowIsFound(t *testing.T) {
	t.Parallel()
	for _, path := range histories(t) {
		replayer := sdkworker.NewWorkflowReplayer()
		registerChanged(replayer)
		requireNondeterminism(t, replay(replayer, path), path)
	}
}

// TestReplay_DroppedLastStepIsFound changes not the beginning but the very end: a mutation that does not tell its scope.
func TestReplay_DroppedLastStepIsFound(t *testing.T) {
	t.Parallel()
	for _, path := range histories(t) {
		if recordedType(t, path) != workflows.MutationType {
			continue
		}
		replayer := sdkworker.NewWorkflowReplayer()
		register(replayer, workflows.MutationType, func(ctx workflow.Context, in workflows.MutationInput) (workflows.MutationResult, error) {
			in.Scope = "" // the signal goes elsewhere
			return workflows.Mutation(ctx, in)
		})
		requireNondeterminism(t, replay(replayer, path), path)
	}
}

func requireNondeterminism(t *testing.T, err error, path string) {
	t.Helper()
	require.Error(t, err, path)
	require.Contains(t, err.Error(), "TMPRL1100", "%s: not the SDK's code of a non-determinism error", path)
}

func registerChanged(r sdkworker.WorkflowReplayer) {
	const more = time.Second
	register(r, workflows.MutationType, func(ctx workflow.Context, in workflows.MutationInput) (workflows.MutationResult, error) {
		_ = workflow.Sleep(ctx, more)
		return workflows.Mutation(ctx, in)
	})
	register(r, workflows.ScopeType, func(ctx workflow.Context, in workflows.ScopeInput) error {
		_ = workflow.Sleep(ctx, more)
		return workflows.Scope(ctx, in)
	})
	register(r, workflows.TemporaryServiceType, func(ctx workflow.Context, in activities.ExpireInput) error {
		_ = workflow.UpsertMemo(ctx, map[string]any{"more": true}) // it begins with a timer anyway
		return workflows.TemporaryService(ctx, in)
	})
	register(r, workflows.ImportType, func(ctx workflow.Context, in activities.ImportInput) (activities.ImportResult, error) {
		_ = workflow.Sleep(ctx, more)
		return workflows.Import(ctx, in)
	})
	register(r, workflows.RetentionType, func(ctx workflow.Context) (workflows.RetentionResult, error) {
		_ = workflow.Sleep(ctx, more)
		return workflows.Retention(ctx)
	})
	register(r, workflows.ObserveType, func(ctx workflow.Context, in workflows.ObserveInput) error {
		_ = workflow.Sleep(ctx, more)
		return workflows.Observe(ctx, in)
	})
}

func register(r sdkworker.WorkflowReplayer, name string, changed any) {
	r.RegisterWorkflowWithOptions(changed, workflow.RegisterOptions{Name: name})
}

func replay(r sdkworker.WorkflowReplayer, path string) error {
	return r.ReplayWorkflowHistoryFromJSONFile(log.NewStructuredLogger(slog.New(slog.DiscardHandler)), path)
}

// histories returns the recorded files; every workflow type has at least one.
func histories(t *testing.T) []string {
	t.Helper()
	var all []string
	for folder := range typeOfFolder {
		found, err := filepath.Glob(filepath.Join(replayDir, folder, "*-*.json"))
		require.NoError(t, err)
		require.NotEmpty(t, found, "no history of %s was recorded", folder)
		all = append(all, found...)
	}
	every, err := filepath.Glob(filepath.Join(replayDir, "*", "*"))
	require.NoError(t, err)
	require.ElementsMatch(t, every, all, "a file lies where it is not replayed")
	return all
}

func recordedType(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	history, err := client.HistoryFromJSON(file, client.HistoryJSONOptions{})
	require.NoError(t, err)
	require.NotEmpty(t, history.GetEvents())
	return history.GetEvents()[0].GetWorkflowExecutionStartedEventAttributes().GetWorkflowType().GetName()
}
