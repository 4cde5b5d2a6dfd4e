package dispatch

import (
	"context"
	"errors"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/workflows"
)

// RunRetention has a pass of retention begin now, or right after the one that is under way: settings that were just changed
// take effect in it. Where the schedule is not there yet, the fault is Unavailable (retention_not_scheduled).
func (d *Dispatcher) RunRetention(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, submitLimit)
	defer cancel()
	err := d.temporal.ScheduleClient().GetHandle(ctx, workflows.RetentionScheduleID).
		Trigger(ctx, client.ScheduleTriggerOptions{Overlap: enums.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE})
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return fault.New(fault.Unavailable, "retention_not_scheduled", "retention is not scheduled yet, try again").Wrap(err)
	}
	return unavailable(err)
}
