package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// ConvergeBackLimit bounds how long an undo may try to bring the decoys back before the operation ends unconverged.
const ConvergeBackLimit = 5 * time.Minute

// TopologyLimit bounds how long the decoys of a whole topology may take to come up, or to go.
const TopologyLimit = 30 * time.Minute

// ImportLimit bounds one attempt at reading a log; the next one goes on where it stopped.
const ImportLimit = 6 * time.Hour

const importHeartbeat = 10 * time.Second

// writeLimit bounds one attempt of a transaction that takes milliseconds. It is also how long a worker that was killed in
// the middle of one goes unnoticed, so it is short: an attempt that outlives it meets its successor at a row lock.
const writeLimit = 4 * time.Second

// TaskTimeout is how long a worker that was killed while it decided goes unnoticed.
const TaskTimeout = 5 * time.Second

// mustWrite is for bookkeeping without which a scope cannot go on: it is tried until Postgres answers.
func mustWrite(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: writeLimit,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: 200 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 5 * time.Second,
		},
		Summary: summary,
	})
}

// touchDecoys is for work on the decoys of one decky, on the queue of its host. within bounds all attempts together.
func touchDecoys(ctx workflow.Context, queue, summary string, within time.Duration) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              queue,
		StartToCloseTimeout:    2 * time.Minute,
		ScheduleToCloseTimeout: within,
		HeartbeatTimeout:       6 * time.Second,
		// A cancelled Converge must have stopped touching decoys before the undo starts.
		WaitForCancellation: true,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: 500 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 5 * time.Second,
		},
		Summary: summary,
	})
}

// TrimLimit bounds a whole pass of retention.
const TrimLimit = 9 * time.Minute

// trim is for removing what is too old, on the queue of who can. It gives up after a while: the next pass comes anyway.
func trim(ctx workflow.Context, queue, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              queue,
		StartToCloseTimeout:    2 * time.Minute,
		ScheduleToCloseTimeout: 3 * time.Minute,
		HeartbeatTimeout:       10 * time.Second,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second,
		},
		Summary: summary,
	})
}

// touchTopology is for work on the decoys of many deckies, on the queue of their host.
func touchTopology(ctx workflow.Context, queue, summary string) workflow.Context {
	o := workflow.GetActivityOptions(touchDecoys(ctx, queue, summary, TopologyLimit))
	o.StartToCloseTimeout = TopologyLimit
	return workflow.WithActivityOptions(ctx, o)
}

// readLog is for reading an import. It goes on for as long as it takes, and a worker that was killed goes unnoticed for the
// heartbeat timeout.
func readLog(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           IntelQueue,
		StartToCloseTimeout: ImportLimit,
		HeartbeatTimeout:    importHeartbeat,
		WaitForCancellation: true,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second,
		},
		Summary: summary,
	})
}
