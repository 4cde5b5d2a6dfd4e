package process

import (
	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
)

// record is state.json. It is written before a decoy is forked (PID zero), after the fork, when it is ready, when it
// is verified, when it failed and before it is told to end; only a holder of the log's lock, or the starter of the running decoy, writes it.
type record struct {
	DeckyKey   string             `json:"decky_key"`
	Service    string             `json:"service"`
	Revision   int64              `json:"revision"`
	BootID     uuid.UUID          `json:"boot_id"`
	LogOffset  int64              `json:"log_offset"` // where this boot's lines begin
	KernelBoot string             `json:"kernel_boot,omitempty"`
	PID        int                `json:"pid,omitempty"`
	Start      uint64             `json:"start,omitempty"` // clock ticks after the kernel's boot
	Ready      bool               `json:"ready,omitempty"`
	Verified   bool               `json:"verified,omitempty"`
	Endpoints  []runtime.Endpoint `json:"endpoints,omitempty"`
	Stopping   bool               `json:"stopping,omitempty"` // PID was told to end, or is about to be
	Failure    string             `json:"failure,omitempty"`
}

// expected names the boot the record is about.
func (rec record) expected() boot.Expected {
	return boot.Expected{Service: rec.Service, BootID: rec.BootID, Revision: rec.Revision}
}

// matches reports whether the record was written for exactly this process.
func (rec record) matches(kernel string, p *proc) bool {
	return rec.PID == p.pid && rec.Start == p.start && rec.KernelBoot == kernel
}
