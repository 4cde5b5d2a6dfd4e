package runtime

import (
	"context"

	"github.com/google/uuid"
)

// OutputFormat says how the lines of a decoy lie in a file.
type OutputFormat string

// Formats of output. OutputLines is a line per line, OutputJSONFile the container engine's json-file driver.
const (
	OutputLines    OutputFormat = "lines"
	OutputJSONFile OutputFormat = "json-file"
)

// Output is what one start, or one decoy, has printed.
type Output struct {
	DeckyID  uuid.UUID
	DeckyKey string
	Service  string
	Format   OutputFormat
	// Files are in the order they were written; a line may begin in one and end in the next. All but the last are complete.
	Files []string
	// Ended says that nothing will be appended to the last file either.
	Ended bool
	// Spare is how much of the last file the runtime itself will not read again; 0 when it is not to be shortened by others.
	Spare int64
}

// Outputs lists what decoys of this host have printed and is still there: of running ones and of ended ones whose output was
// kept. Those of one service of a decky are in the order they ended, what still runs is last. It changes nothing and may be
// called while deckies converge; a file may be gone, renamed or rotated by the time it is opened. No decoy can write to the
// folders the files are in.
type Outputs interface {
	Outputs(ctx context.Context) ([]Output, error)
}
