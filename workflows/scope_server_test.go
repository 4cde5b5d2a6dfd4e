package workflows_test

import (
	"context"
	"log/slog"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	sdkworker "go.temporal.io/sdk/worker"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/worker"
	"github.com/decnet/decnet/workflows"
)

// ledger stands in for the database: which operations ran, and which at the same time on one lane.
type ledger struct {
	mu      sync.Mutex
	lanes   map[uuid.UUID]string
	running map[string]uuid.UUID
	ended   map[uuid.UUID]bool
	order   map[string][]uuid.UUID
	overlap bool
}

func (l *ledger) Begin(_ context.Context, in activities.BeginInput) (activities.BeginResult, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane := l.lanes[in.OperationID]
	if other, busy := l.running[lane]; busy && other != in.OperationID {
		l.overlap = true
	}
	if _, again := l.running[lane]; !again {
		l.order[lane] = append(l.order[lane], in.OperationID)
	}
	l.running[lane] = in.OperationID
	return activities.BeginResult{Outcome: activities.Begun, Kind: operation.AddService, HostID: "h1", Decky: "d", Actor: "a", Title: "t"}, nil
}

func (l *ledger) Activate(_ context.Context, in activities.OperationInput) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended[in.OperationID] = true
	delete(l.running, l.lanes[in.OperationID])
	return nil
}

func (l *ledger) Confirm(_ context.Context, in activities.ConfirmInput) (activities.ConfirmResult, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out activities.ConfirmResult
	for _, id := range in.OperationIDs {
		if l.ended[id] {
			out.Ended = append(out.Ended, id)
		}
	}
	return out, nil
}

// TestScope_ContinuesAsNewUnderLoad runs enough operations through a real server that the scope continues as new several
// times, with children open and updates arriving all the while: none is lost, none runs twice, no lane overlaps, and
// every lane keeps its order.
func TestScope_ContinuesAsNewUnderLoad(t *testing.T) {
	t.Parallel()
	c := serverThatSuggestsEarly(t)
	l := &ledger{lanes: map[uuid.UUID]string{}, running: map[string]uuid.UUID{}, ended: map[uuid.UUID]bool{}, order: map[string][]uuid.UUID{}}
	startWorkers(t, c, l)

	const lanes, perLane = 8, 12
	want := map[string][]uuid.UUID{}
	for range lanes {
		lane := uuid.NewString()
		for range perLane {
			id := uuid.New()
			l.lanes[id] = lane
			want[lane] = append(want[lane], id)
		}
	}
	var wg sync.WaitGroup
	for lane, ids := range want {
		wg.Go(func() {
			for _, id := range ids {
				submit(t, c, workflows.Submit{OperationID: id, Lane: lane})
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.ended) == lanes*perLane
	}, 2*time.Minute, 50*time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	require.False(t, l.overlap, "two operations of one lane ran at once")
	require.Equal(t, want, l.order)
	require.Greater(t, runsOfScope(t, c), 2, "the scope continued as new")
}

// serverThatSuggestsEarly starts a dev server that suggests continue-as-new after a short history.
func serverThatSuggestsEarly(t *testing.T) client.Client {
	t.Helper()
	port := freePort(t)
	args := []string{
		"server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", port, "--log-level", "never",
		"--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=200",
	}
	for name := range workflows.SearchAttributes() {
		args = append(args, "--search-attribute", name+"=Keyword")
	}
	server := exec.CommandContext(t.Context(), embeddedtest.TemporalBinary(t), args...)
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	var c client.Client
	require.Eventually(t, func() (up bool) {
		var err error
		c, err = client.Dial(client.Options{HostPort: "127.0.0.1:" + port, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
		return err == nil
	}, time.Minute, 100*time.Millisecond)
	t.Cleanup(c.Close)
	return c
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

func startWorkers(t *testing.T, c client.Client, l *ledger) {
	t.Helper()
	control := sdkworker.New(c, workflows.ControlQueue, sdkworker.Options{})
	worker.RegisterWorkflows(control)
	control.RegisterActivityWithOptions(l.Begin, activity.RegisterOptions{Name: "Begin"})
	control.RegisterActivityWithOptions(l.Activate, activity.RegisterOptions{Name: "Activate"})
	control.RegisterActivityWithOptions(l.Confirm, activity.RegisterOptions{Name: "Confirm"})
	host := sdkworker.New(c, workflows.RuntimeQueue("h1"), sdkworker.Options{})
	host.RegisterActivityWithOptions(func(context.Context, activities.ConvergeInput) error { return nil }, activity.RegisterOptions{Name: "Converge"})
	for _, w := range []sdkworker.Worker{control, host} {
		require.NoError(t, w.Start())
		t.Cleanup(w.Stop)
	}
}

// submit is what the dispatcher does: it tries again while the scope continues as new.
func submit(t *testing.T, c client.Client, in workflows.Submit) { submitTo(t, c, "fleet", in) }

func submitTo(t *testing.T, c client.Client, scope string, in workflows.Submit) {
	for {
		handle, err := c.UpdateWithStartWorkflow(t.Context(), client.UpdateWithStartWorkflowOptions{
			StartWorkflowOperation: c.NewWithStartWorkflowOperation(client.StartWorkflowOptions{
				ID: workflows.ScopeID(scope), TaskQueue: workflows.ControlQueue,
				WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
			}, workflows.Scope, workflows.ScopeInput{Scope: scope, Epoch: 1}),
			UpdateOptions: client.UpdateWorkflowOptions{
				UpdateName: workflows.UpdateSubmit, Args: []any{in}, WaitForStage: client.WorkflowUpdateStageCompleted,
			},
		})
		if err == nil {
			err = handle.Get(t.Context(), nil)
		}
		if err == nil || t.Context().Err() != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func runsOfScope(t *testing.T, c client.Client) int {
	t.Helper()
	count := 0
	require.Eventually(t, func() bool {
		list, err := c.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{Query: "WorkflowType = 'Scope'"})
		count = len(list.GetExecutions())
		return err == nil && count > 2
	}, 10*time.Second, 100*time.Millisecond)
	return count
}
