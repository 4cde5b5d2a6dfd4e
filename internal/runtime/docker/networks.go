package docker

import (
	"context"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
)

// Networks refuses to make networks: topologies run on processes only.
func (r *Runtime) Networks(_ context.Context, _ string, want []runtime.Network) error {
	if len(want) == 0 {
		return nil
	}
	return fault.New(fault.OperationFailed, "networks_unsupported", "this runtime cannot make the networks of a topology")
}
