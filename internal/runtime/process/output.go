package process

import (
	"context"
	"math"
	"os"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
)

// Outputs lists what decoys of an installation have printed. It needs no Runtime and takes none of its locks; the folders are
// those of Options. A log has the lines of all boots of its decoy, and those of its standard error.
type Outputs struct {
	dirs layout
}

var _ runtime.Outputs = (*Outputs)(nil)

// NewOutputs returns the outputs below the folder "decoys" of a data directory. It makes nothing.
func NewOutputs(dataDir, artifactsRoot string) (*Outputs, error) {
	dirs, err := boot.FindLayout(dataDir, artifactsRoot)
	if err != nil {
		return nil, err
	}
	return &Outputs{dirs: layout{dirs}}, nil
}

// Outputs implements runtime.Outputs.
func (o *Outputs) Outputs(context.Context) ([]runtime.Output, error) {
	refs, err := o.dirs.OnDisk(uuid.Nil)
	if err != nil {
		return nil, err
	}
	var live []runtime.Output
	for _, r := range refs {
		if out, ok := o.live(r); ok {
			live = append(live, out)
		}
	}
	// Asked for last: a log that was moved meanwhile is then in both lists, not in none.
	kept, err := o.dirs.KeptLogs()
	return append(kept, live...), err
}

func (o *Outputs) live(r boot.Ref) (runtime.Output, bool) {
	path := o.dirs.log(r)
	// Before the record: a boot that begins after it was read writes behind this.
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return runtime.Output{}, false
	}
	rec := o.dirs.readRecord(r)
	out := runtime.Output{
		DeckyID: r.Decky, Service: r.Service, Format: runtime.OutputLines, Files: []string{path}, Spare: min(rec.spare(), info.Size()),
	}
	if boot.ValidKey(rec.DeckyKey) {
		out.DeckyKey = rec.DeckyKey
	}
	return out, true
}

// spare returns up to where the log is not read again by this package: until a boot is known to be ready, its lines are.
func (rec record) spare() int64 {
	switch {
	case rec.BootID == uuid.Nil:
		return 0
	case rec.Ready:
		return math.MaxInt64
	}
	return rec.LogOffset
}
