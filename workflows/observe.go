package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"
)

// ObserveInput names the host to look at.
type ObserveInput struct {
	HostID string `json:"host_id"`
}

// Observe lets a host's observer compare everything that runs with what should. A schedule starts it; the observer asks
// for repairs by ordinary operations.
func Observe(ctx workflow.Context, in ObserveInput) error {
	options := touchDecoys(ctx, RuntimeQueue(in.HostID), "look at every decoy", 20*time.Second)
	return workflow.ExecuteActivity(options, runtime.Observe).Get(ctx, nil)
}
