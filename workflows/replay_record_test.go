package workflows_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	sdkworker "go.temporal.io/sdk/worker"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/temporalfault"
	"github.com/decnet/decnet/worker"
	"github.com/decnet/decnet/workflows"
)

// release is the version whose histories -record writes. Raise it with the release; files of earlier ones stay as they are.
const release = "v0.1"

// maxHistoryBytes keeps the recorded files reviewable.
const maxHistoryBytes = 100 << 10

var record = flag.Bool("record", false, "record the histories of this release for the replay test")

// TestRecord writes the histories of real scenarios on a real server. Run it on the released commit:
//
//	go test ./workflows -run TestRecord -record
//
// A file that is there already is never written again: it is what executions of that release look like.
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("only with -record")
	}
	t.Run("mutation", recordMutations)
	t.Run("lanes", recordLanes)
	t.Run("lost mutation", recordLostMutation)
	t.Run("continue-as-new", recordContinueAsNew)
	t.Run("observe", recordObserve)
	t.Run("configurations", recordConfigurations)
	t.Run("temporary services", recordTemporaryServices)
	t.Run("topologies", recordTopologies)
	t.Run("imports", recordImports)
	t.Run("retention", recordRetention)
}

func recordMutations(t *testing.T) {
	s := newStage(t, sharedServer(t))
	undone := fault.New(fault.OperationFailed, "decoy_start_failed", "service ssh did not start")
	refusal := fault.New(fault.Conflict, "service_exists", "the decky has this service already").Safe()

	s.scenario(1, "succeeded", plan{})
	s.scenario(2, "refused", plan{begin: activities.BeginResult{Outcome: activities.AlreadyEnded, State: operation.Refused, Fault: &refusal}})
	s.scenario(3, "failed-and-undone", plan{forward: undone})
	s.scenario(4, "unconverged", plan{forward: undone, back: undone})
	s.scenario(5, "interrupted", plan{begin: activities.BeginResult{Outcome: activities.Interrupted}})
	s.scenario(6, "repair-failed", plan{forward: undone, begin: activities.BeginResult{Outcome: activities.Begun, Kind: operation.Reconcile}})

	held := s.plan(7, plan{hold: make(chan struct{})})
	s.submit(7, 7)
	s.awaitConverge(held)
	s.cancel(7)
	s.awaitClosed(7)
	s.write("mutation", "cancelled-during-converge", workflows.MutationID(held), "")
}

// recordLanes has one lane whose first operation takes long while others wait, one of which is cancelled, a lane beside
// it, and an operation that waits for all lanes.
func recordLanes(t *testing.T) {
	s := newStage(t, sharedServer(t))
	hold := make(chan struct{})
	first := s.plan(1, plan{hold: hold})
	s.submit(1, 1)
	s.awaitConverge(first)
	s.submit(2, 1)
	s.submit(3, 1)
	s.submit(4, 2)
	s.awaitClosed(4)
	s.submitWhole(5)
	s.submit(6, 2)
	s.cancel(3)
	close(hold)
	s.awaitClosed(1, 2, 5, 6)
	s.awaitIdle()
	s.write("scope", "lanes", workflows.ScopeID("fleet"), "")
}

// recordLostMutation has a mutation that disappears halfway and is started again under the same id.
func recordLostMutation(t *testing.T) {
	s := newStage(t, sharedServer(t))
	id := s.plan(1, plan{hold: make(chan struct{})})
	s.submit(1, 1)
	s.submit(2, 1)
	s.awaitConverge(id)
	s.plan(1, plan{begin: activities.BeginResult{Outcome: activities.Interrupted}})
	require.NoError(t, s.c.TerminateWorkflow(t.Context(), workflows.MutationID(id), "", "lost"))
	s.awaitClosed(2)
	s.awaitIdle()
	s.write("scope", "lost-mutation", workflows.ScopeID("fleet"), "")
}

// recordContinueAsNew has a scope that continues as new while one mutation is open and another waits behind it; both end
// in the next run.
func recordContinueAsNew(t *testing.T) {
	s := newStage(t, serverThatSuggestsEarly(t))
	hold := make(chan struct{})
	first := s.plan(1, plan{hold: hold})
	s.submit(1, 1)
	s.awaitConverge(first)
	s.submit(2, 1)
	before := s.runOfScope()
	next := 3
	for ; s.runOfScope() == before; next++ {
		s.submit(next, 2)
		s.awaitClosed(next)
	}
	s.submit(next, 3)
	close(hold)
	s.awaitClosed(1, 2, next)
	s.awaitIdle()
	s.write("scope", "continue-as-new-before", workflows.ScopeID("fleet"), before)
	s.write("scope", "continue-as-new-after", workflows.ScopeID("fleet"), "")
}

func recordObserve(t *testing.T) {
	s := newStage(t, sharedServer(t))
	run, err := s.c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: workflows.ObserveScheduleID("h1"), TaskQueue: workflows.ControlQueue,
	}, workflows.ObserveType, workflows.ObserveInput{HostID: "h1"})
	require.NoError(t, err)
	require.NoError(t, run.Get(t.Context(), nil))
	s.write("observe", "succeeded", run.GetID(), "")
}

// plan is what happens to one operation; the zero plan succeeds.
type plan struct {
	begin         activities.BeginResult
	forward, back error         // of Converge and of the Converge that undoes
	hold          chan struct{} // the forward Converge works until it is closed
}

// stage is a real server with workers whose activities follow a plan.
type stage struct {
	t *testing.T
	c client.Client

	mu         sync.Mutex
	ends       map[uuid.UUID]time.Time // of temporary services; zero: it stays
	plans      map[uuid.UUID]plan
	ended      map[uuid.UUID]bool
	converging map[uuid.UUID]bool
	trims      int // of rows, so far
	trimPlan   trimPlan
}

func sharedServer(t *testing.T) client.Client {
	t.Helper()
	address, namespace := embeddedtest.Temporal(t)
	c, err := client.Dial(client.Options{
		HostPort: address, Namespace: namespace, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func newStage(t *testing.T, c client.Client) *stage {
	t.Helper()
	s := &stage{t: t, c: c, ends: map[uuid.UUID]time.Time{}, plans: map[uuid.UUID]plan{}, ended: map[uuid.UUID]bool{}, converging: map[uuid.UUID]bool{}}
	control := sdkworker.New(c, workflows.ControlQueue, sdkworker.Options{})
	worker.RegisterWorkflows(control)
	host := sdkworker.New(c, workflows.RuntimeQueue("h1"), sdkworker.Options{
		DisableWorkflowWorker: true, MaxHeartbeatThrottleInterval: 100 * time.Millisecond,
	})
	for name, act := range map[string]any{
		"Begin": s.Begin, "Activate": s.end, "Discard": s.nothing, "Settle": s.Settle, "Confirm": s.Confirm, "EndCancelled": s.end, "Expire": s.Expire,
		"TrimRows": s.TrimRows,
	} {
		control.RegisterActivityWithOptions(act, activity.RegisterOptions{Name: name})
	}
	host.RegisterActivityWithOptions(s.Converge, activity.RegisterOptions{Name: "Converge"})
	host.RegisterActivityWithOptions(s.ConvergeTopology, activity.RegisterOptions{Name: "ConvergeTopology"})
	host.RegisterActivityWithOptions(func(context.Context) error { return nil }, activity.RegisterOptions{Name: "Observe"})
	host.RegisterActivityWithOptions(s.TrimFiles, activity.RegisterOptions{Name: "TrimFiles"})
	for _, w := range []sdkworker.Worker{control, host} {
		require.NoError(t, w.Start())
		t.Cleanup(w.Stop)
	}
	return s
}

func (s *stage) Begin(_ context.Context, in activities.BeginInput) (activities.BeginResult, error) {
	out := s.planOf(in.OperationID).begin
	if out.Outcome == "" {
		out.Outcome = activities.Begun
	}
	if out.Kind == "" {
		out.Kind = operation.AddService
	}
	out.DeckyID, out.HostID, out.Decky, out.Service = number("d", 1), "h1", "web-01", "ssh"
	out.Actor, out.Title = "alice", "add ssh to web-01"
	if out.Topology {
		out.DeckyID, out.Decky, out.Service, out.Title = uuid.Nil, "", "", topologyTitle(out.Kind)
	}
	if out.Outcome == activities.AlreadyEnded {
		s.markEnded(in.OperationID)
	}
	return out, nil
}

func (s *stage) Converge(ctx context.Context, in activities.ConvergeInput) error {
	p := s.planOf(in.OperationID)
	if in.Undo {
		return temporalfault.Wrap(p.back)
	}
	s.mu.Lock()
	s.converging[in.OperationID] = true
	s.mu.Unlock()
	for p.hold != nil {
		activity.RecordHeartbeat(ctx)
		select {
		case <-p.hold:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return temporalfault.Wrap(p.forward)
}

func (s *stage) Confirm(ctx context.Context, in activities.ConfirmInput) (activities.ConfirmResult, error) {
	var out activities.ConfirmResult
	for _, id := range in.OperationIDs {
		if s.hasEnded(id) {
			out.Ended = append(out.Ended, id)
			continue
		}
		open, err := activities.Open(ctx, s.c, workflows.MutationID(id))
		if err != nil {
			return activities.ConfirmResult{}, temporalfault.Wrap(err)
		}
		if !open {
			out.Abandoned = append(out.Abandoned, id)
		}
	}
	return out, nil
}

func (s *stage) Settle(_ context.Context, in activities.SettleInput) error {
	s.markEnded(in.OperationID)
	return nil
}

func (s *stage) end(_ context.Context, in activities.OperationInput) error {
	s.markEnded(in.OperationID)
	return nil
}

func (s *stage) nothing(context.Context, activities.OperationInput) error { return nil }

func (s *stage) markEnded(id uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[id] = true
}

func (s *stage) hasEnded(id uuid.UUID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended[id]
}

func (s *stage) planOf(id uuid.UUID) plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plans[id]
}

// plan says what happens to operation n and returns its id.
func (s *stage) plan(n int, p plan) uuid.UUID {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plans[number("0", n)] = p
	return number("0", n)
}

// scenario records the mutation of one operation in a lane of its own.
func (s *stage) scenario(n int, name string, p plan) {
	s.t.Helper()
	id := s.plan(n, p)
	s.submit(n, n)
	s.awaitClosed(n)
	s.write("mutation", name, workflows.MutationID(id), "")
}

// number returns the same uuid in every recording.
func number(kind string, n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("%s0000000-0000-4000-8000-%012d", kind, n))
}

func (s *stage) submit(n, lane int) {
	submit(s.t, s.c, workflows.Submit{OperationID: number("0", n), Lane: number("a", lane).String(), Seq: int64(n)})
}

func (s *stage) submitWhole(n int) {
	submit(s.t, s.c, workflows.Submit{OperationID: number("0", n), Lane: operation.WholeScope, Seq: int64(n)})
}

func (s *stage) cancel(n int) {
	s.t.Helper()
	handle, err := s.c.UpdateWorkflow(s.t.Context(), client.UpdateWorkflowOptions{
		WorkflowID: workflows.ScopeID("fleet"), UpdateName: workflows.UpdateCancel,
		Args: []any{workflows.Cancel{OperationID: number("0", n)}}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	require.NoError(s.t, err)
	require.NoError(s.t, handle.Get(s.t.Context(), nil))
}

func (s *stage) await(what string, condition func() bool) {
	s.t.Helper()
	require.Eventually(s.t, condition, time.Minute, 20*time.Millisecond, what)
}

func (s *stage) awaitConverge(id uuid.UUID) {
	s.t.Helper()
	s.await("the decoys are being changed", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.converging[id]
	})
}

// awaitClosed waits until the operations ended and their mutations are closed.
func (s *stage) awaitClosed(ops ...int) {
	s.t.Helper()
	for _, n := range ops {
		s.await(fmt.Sprintf("operation %d ends", n), func() bool {
			open, err := activities.Open(s.t.Context(), s.c, workflows.MutationID(number("0", n)))
			return err == nil && !open && s.hasEnded(number("0", n))
		})
	}
}

func (s *stage) runOfScope() string {
	s.t.Helper()
	d, err := s.c.DescribeWorkflowExecution(s.t.Context(), workflows.ScopeID("fleet"), "")
	require.NoError(s.t, err)
	return d.GetWorkflowExecutionInfo().GetExecution().GetRunId()
}

// awaitIdle waits until the scope holds nothing and has looked at everything.
func (s *stage) awaitIdle() {
	s.t.Helper()
	s.await("the scope is idle", func() bool {
		answer, err := s.c.QueryWorkflow(s.t.Context(), workflows.ScopeID("fleet"), "", workflows.QueryLanes)
		var held workflows.ScopeInput
		if err != nil || answer.Get(&held) != nil || len(held.InFlight)+len(held.Queue)+len(held.Cancelled) > 0 {
			return false
		}
		events := s.history(workflows.ScopeID("fleet"), "").GetEvents()
		return events[len(events)-1].GetEventType() == enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
	})
}

func (s *stage) history(id, run string) *historypb.History {
	s.t.Helper()
	var h historypb.History
	it := s.c.GetWorkflowHistory(s.t.Context(), id, run, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for it.HasNext() {
		event, err := it.Next()
		require.NoError(s.t, err)
		h.Events = append(h.Events, event)
	}
	return &h
}

// write stores a history, one event per line, without what tells where it was recorded.
func (s *stage) write(folder, scenario, id, run string) {
	s.t.Helper()
	var b bytes.Buffer
	for i, event := range s.history(id, run).GetEvents() {
		b.WriteString(map[bool]string{true: `{"events":[` + "\n", false: ",\n"}[i == 0])
		b.Write(stableJSON(s.t, event))
	}
	b.WriteString("\n]}\n")
	host, err := os.Hostname()
	require.NoError(s.t, err)
	require.NotContains(s.t, b.String(), "@"+host)
	require.NotContains(s.t, b.String(), `"`+host+":")
	require.Less(s.t, b.Len(), maxHistoryBytes)
	path := filepath.Join(replayDir, folder, release+"-"+scenario+".json")
	require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	require.NoError(s.t, err, "histories of a release are not recorded twice")
	_, err = file.Write(b.Bytes())
	require.NoError(s.t, err)
	require.NoError(s.t, file.Close())
}

func stableJSON(t *testing.T, event *historypb.HistoryEvent) []byte {
	t.Helper()
	raw, err := temporalproto.CustomJSONMarshalOptions{}.Marshal(event)
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var tree map[string]any
	require.NoError(t, decoder.Decode(&tree))
	stabilise(tree)
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	require.NoError(t, encoder.Encode(tree))
	return bytes.TrimSpace(b.Bytes())
}

// stabilise replaces names of machines, processes and namespaces.
func stabilise(tree map[string]any) {
	if tree["kind"] == "TASK_QUEUE_KIND_STICKY" {
		tree["name"] = "sticky"
	}
	for key, value := range tree {
		switch inner := value.(type) {
		case map[string]any:
			stabilise(inner)
		case []any:
			for _, item := range inner {
				if child, ok := item.(map[string]any); ok {
					stabilise(child)
				}
			}
		case string:
			tree[key] = stableText(key, inner)
		}
	}
}

func stableText(key, value string) string {
	lower := strings.ToLower(key)
	switch {
	case lower == "identity", lower == "binarychecksum", lower == "buildid":
		return "recorder"
	case strings.HasSuffix(lower, "namespace"):
		return "decnet"
	case strings.HasSuffix(lower, "namespaceid"):
		return uuid.Nil.String()
	}
	return value
}
