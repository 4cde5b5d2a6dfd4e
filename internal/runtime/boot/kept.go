package boot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/runtime"
)

// keptFolder is no uuid, so it is not taken for a decky.
const keptFolder = "kept"

// KeptLog returns where the log of a removed decoy is kept, named after its last boot. The path tells whose log it is; no
// decoy can write to any of its folders.
func (l Layout) KeptLog(r Ref, key string, boot uuid.UUID) string {
	return filepath.Join(l.Root, keptFolder, r.Decky.String(), key, runtime.ServiceFileName(r.Service), boot.String()+".log")
}

// KeepLog writes the log of an ended decoy as KeptLog says. Doing it again replaces the file; a failure leaves what is there.
func (l Layout) KeepLog(r Ref, key string, boot uuid.UUID, write func(io.Writer) error) error {
	path, err := l.makeKept(r, key, boot)
	if err != nil {
		return err
	}
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640) //nolint:gosec // a collector of the group may read it
	if err != nil {
		return fmt.Errorf("keep log: %w", err)
	}
	if err = errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, path)
}

// MoveLog makes a file the kept log of an ended decoy, open descriptors included.
func (l Layout) MoveLog(file string, r Ref, key string, boot uuid.UUID) error {
	path, err := l.makeKept(r, key, boot)
	if err != nil {
		return err
	}
	return os.Rename(file, path)
}

func (l Layout) makeKept(r Ref, key string, boot uuid.UUID) (string, error) {
	path := l.KeptLog(r, key, boot)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", fmt.Errorf("make folder of kept logs: %w", err)
	}
	return path, nil
}

// KeptLogs lists the kept logs, those of one decoy in the order they were last written. They have ended and are lines.
func (l Layout) KeptLogs() ([]runtime.Output, error) {
	root := os.DirFS(filepath.Join(l.Root, keptFolder))
	paths, err := fs.Glob(root, "*/*/*/*.log")
	if err != nil {
		return nil, fmt.Errorf("list kept logs: %w", err)
	}
	type kept struct {
		runtime.Output
		at time.Time
	}
	var list []kept
	for _, path := range paths {
		out, ok := l.parseKept(filepath.Join(l.Root, keptFolder, path))
		if !ok {
			continue
		}
		info, err := fs.Lstat(root, path)
		if err != nil {
			continue // removed since
		}
		list = append(list, kept{out, info.ModTime()})
	}
	slices.SortStableFunc(list, func(a, b kept) int { return a.at.Compare(b.at) })
	outputs := make([]runtime.Output, len(list))
	for i := range list {
		outputs[i] = list[i].Output
	}
	return outputs, nil
}

// parseKept undoes KeptLog.
func (l Layout) parseKept(path string) (runtime.Output, bool) {
	parts := strings.Split(path, string(filepath.Separator))
	parts = parts[max(0, len(parts)-4):]
	if len(parts) != 4 {
		return runtime.Output{}, false
	}
	decky, errDecky := uuid.Parse(parts[0])
	name, isLog := strings.CutSuffix(parts[3], ".log")
	boot, errBoot := uuid.Parse(name)
	r := Ref{Decky: decky, Service: runtime.ServiceFromFileName(parts[2])}
	if errDecky != nil || errBoot != nil || !isLog || !ValidKey(parts[1]) || !ValidSlug(r.Service) || l.KeptLog(r, parts[1], boot) != path {
		return runtime.Output{}, false
	}
	return runtime.Output{
		DeckyID: decky, DeckyKey: parts[1], Service: r.Service, Format: runtime.OutputLines, Files: []string{path}, Ended: true,
	}, true
}
