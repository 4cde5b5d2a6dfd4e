package embedded

import (
	"os"
	"strings"
	"sync"
)

const (
	maxOutputBytes = 8 << 20
	tailBytes      = 4 << 10
)

// output keeps what a child prints: in a file that is turned over (one predecessor, ".1") when it grows too large, and
// the end of it in memory for error messages. A full disk never stops the child: what cannot be written is dropped.
type output struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int64
	tail []byte
}

func newOutput(path string) *output { return &output{path: path} }

// Write implements io.Writer; it never fails.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = append(o.tail, p...)
	if extra := len(o.tail) - tailBytes; extra > 0 {
		o.tail = append(o.tail[:0], o.tail[extra:]...)
	}
	o.open()
	if o.file != nil {
		n, _ := o.file.Write(p)
		o.size += int64(n)
	}
	return len(p), nil
}

func (o *output) open() {
	if o.file != nil && o.size > maxOutputBytes {
		o.close()
		_ = os.Rename(o.path, o.path+".1")
	}
	if o.file != nil {
		return
	}
	f, err := os.OpenFile(o.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	o.file, o.size = f, 0
	if info, err := f.Stat(); err == nil {
		o.size = info.Size()
	}
}

func (o *output) close() {
	if o.file != nil {
		_ = o.file.Close()
		o.file = nil
	}
}

// Close closes the file; a later Write opens it again.
func (o *output) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.close()
}

// forget drops the end kept in memory, so that it only speaks of the attempt that follows.
func (o *output) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = nil
}

// last returns the last lines printed, at most 4 KiB, in one trimmed string.
func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(string(o.tail))
}
