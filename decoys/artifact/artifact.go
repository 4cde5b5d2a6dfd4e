// Package artifact keeps the files that attackers drop.
//
// Contents are stored once per (hash, name) and second below the spool, under names made of a time, a hash and a
// sanitised base name. Nothing here is ever executed, and no attacker text reaches a path unsanitised.
package artifact

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/decnet/decnet/decoys/eventlog"
)

// Limits of captured files.
const (
	MaxFileBytes  = 50 << 20
	MaxTotalBytes = 2 << 30
	MinFreeBytes  = 200 << 20
	maxBaseName   = 255
)

// Reasons why a file is not kept, as in the event `file_skipped`.
const (
	ReasonTooLarge     = "too_large"
	ReasonDiskPressure = "disk_pressure"
	ReasonQuota        = "quota"
	ReasonWriteFailed  = "write_failed"
)

// ErrSkipped is wrapped by every refusal of Capture; SkipReason tells which.
var ErrSkipped = errors.New("file skipped")

type skipError struct{ reason string }

func (e skipError) Error() string { return "file skipped: " + e.reason }
func (e skipError) Unwrap() error { return ErrSkipped }

// SkipReason returns the reason of a refusal, or ReasonWriteFailed for any other error.
func SkipReason(err error) string {
	if e, ok := errors.AsType[skipError](err); ok {
		return e.reason
	}
	return ReasonWriteFailed
}

// Store keeps files below a spool directory. It is safe for concurrent use.
type Store struct {
	root  *os.Root
	free  func() (uint64, error)
	now   func() time.Time
	mu    sync.Mutex
	total int64
}

// NewStore returns a store below root. free reports the bytes left on its disk; now may be nil.
func NewStore(root *os.Root, free func() (uint64, error), now func() time.Time) *Store {
	if now == nil {
		now = time.Now
	}
	return &Store{root: root, free: free, now: now}
}

// File is a captured file.
type File struct {
	StoredAs string
	SHA256   string
	Size     int
	Time     time.Time
}

// Capture stores data under a name derived from origPath. It fails with an error wrapping ErrSkipped when a limit
// forbids it.
func (s *Store) Capture(origPath string, data []byte) (File, error) {
	if len(data) > MaxFileBytes {
		return File{}, skipError{ReasonTooLarge}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total+int64(len(data)) > MaxTotalBytes {
		return File{}, skipError{ReasonQuota}
	}
	if free, err := s.free(); err == nil && free < MinFreeBytes {
		return File{}, skipError{ReasonDiskPressure}
	}
	sum := sha256.Sum256(data)
	f := File{SHA256: hex.EncodeToString(sum[:]), Size: len(data), Time: s.now().UTC()}
	f.StoredAs = f.Time.Format("2006-01-02T15:04:05Z") + "_" + f.SHA256[:12] + "_" + SafeName(origPath)
	if err := s.write(f.StoredAs, data); err != nil {
		return File{}, fmt.Errorf("store captured file: %w", err)
	}
	s.total += int64(len(data))
	return f, nil
}

func (s *Store) write(name string, data []byte) error {
	tmp := ".incoming-" + name[21:33]
	f, err := s.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.root.Rename(tmp, name)
	}
	if err != nil {
		_ = s.root.Remove(tmp)
	}
	return err
}

// SafeName returns the base name of p with every character outside [A-Za-z0-9._-] replaced by an underscore, of 1 to
// 255 bytes less what the prefix of a stored name needs.
func SafeName(p string) string {
	base := path.Base(p)
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, base)
	name = name[:min(len(name), maxBaseName-len("2006-01-02T15:04:05Z_000000000000_"))]
	if name == "" || name == "." || name == ".." {
		return "unnamed"
	}
	return name
}

// Writer says who wrote a captured file. Empty strings and zero numbers are left out of the event.
type Writer struct {
	SrcIP     string
	SrcPort   string
	User      string
	UID       int
	PID       int
	Comm      string
	Cmdline   string
	SessionID string
	ModTime   time.Time
}

// Event returns the event `file_captured`.
func (f File) Event(origPath string, w Writer) eventlog.Event {
	meta := map[string]any{
		"captured_at": f.Time.Format(time.RFC3339), "concurrent_sessions": []string{w.SessionID},
		"ss_snapshot": []string{}, "writer_cmdline": eventlog.Spell(w.Cmdline[:min(len(w.Cmdline), 512)]),
		"writer_loginuid": w.UID,
	}
	raw, _ := json.Marshal(meta) // sorted keys; cannot fail for these types
	fields := []eventlog.Field{
		eventlog.F("stored_as", f.StoredAs), eventlog.F("sha256", f.SHA256), eventlog.Int("size", f.Size),
		eventlog.F("orig_path", origPath[:min(len(origPath), 1024)]), eventlog.F("src_ip", w.SrcIP), eventlog.F("src_port", w.SrcPort),
		eventlog.F("ssh_user", w.User), eventlog.Int("ssh_pid", w.PID), eventlog.F("attribution", "pid-chain"),
		eventlog.Int("writer_pid", w.PID), eventlog.F("writer_comm", w.Comm), eventlog.F("writer_uid", strconv.Itoa(w.UID)),
		eventlog.F("mtime", w.ModTime.UTC().Format(time.RFC3339)), eventlog.F("sid", w.SessionID),
		eventlog.F("meta_json_b64", base64.StdEncoding.EncodeToString(raw)),
	}
	kept := fields[:0]
	for _, v := range fields {
		if v.Value != "" {
			kept = append(kept, v)
		}
	}
	return eventlog.Event{MsgID: "file_captured", Fields: kept}
}
