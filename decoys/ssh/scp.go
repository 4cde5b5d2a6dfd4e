package ssh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/shell"
	"github.com/decnet/decnet/decoys/vfs"
)

const (
	maxScpLine  = 4096
	maxScpDepth = 32
)

// ErrScp is wrapped by every refusal of a malformed scp header.
var ErrScp = errors.New("scp protocol error")

// ScpHeader is one control line of the scp protocol.
type ScpHeader struct {
	Kind byte // 'C' file, 'D' directory, 'E' end of directory, 'T' times
	Mode fs.FileMode
	Size int64
	Name string
	Time time.Time
}

// ParseScpHeader reads a control line without its line feed. Names with a slash, `.` and `..` are refused.
func ParseScpHeader(line string) (ScpHeader, error) {
	bad := func(what string) (ScpHeader, error) { return ScpHeader{}, fmt.Errorf("%w: %s", ErrScp, what) }
	if line == "" {
		return bad("empty")
	}
	h := ScpHeader{Kind: line[0]}
	f := strings.SplitN(line[1:], " ", 3)
	switch h.Kind {
	case 'E':
		return h, nil
	case 'T':
		sec, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil || sec < 0 || sec > 1<<33 {
			return bad("time")
		}
		h.Time = time.Unix(sec, 0)
		return h, nil
	case 'C', 'D':
	default:
		return bad("unknown control")
	}
	if len(f) != 3 {
		return bad("fields")
	}
	mode, err := strconv.ParseUint(f[0], 8, 32)
	if err != nil || mode > 0o7777 {
		return bad("mode not delimited")
	}
	if h.Size, err = strconv.ParseInt(f[1], 10, 64); err != nil || h.Size < 0 {
		return bad("size not delimited")
	}
	h.Mode, h.Name = fs.FileMode(mode)&fs.ModePerm, f[2]
	if h.Name == "" || h.Name == "." || h.Name == ".." || strings.ContainsAny(h.Name, "/\x00") || len(h.Name) > 255 {
		return bad("unexpected filename")
	}
	return h, nil
}

func isScp(cmd string) bool {
	f := strings.Fields(cmd)
	return len(f) > 1 && path.Base(f[0]) == "scp" && (strings.Contains(cmd, " -t") || strings.Contains(cmd, " -f") || scpMode(f) != 0)
}

// scpMode returns 't' for receiving and 'f' for sending.
func scpMode(f []string) byte {
	for _, a := range f[1:] {
		if strings.HasPrefix(a, "-") {
			if strings.Contains(a, "t") {
				return 't'
			}
			if strings.Contains(a, "f") {
				return 'f'
			}
		}
	}
	return 0
}

// scp runs the remote side of the old protocol.
func (s *channel) scp(ctx context.Context, cmd string) int {
	s.Command(scpEvent(s, cmd))
	f := strings.Fields(cmd)
	target, recursive := "", false
	for i, a := range f[1:] {
		if !strings.HasPrefix(a, "-") || a == "--" {
			target = strings.TrimPrefix(strings.Join(f[1+i:], " "), "-- ")
			break
		}
		recursive = recursive || strings.Contains(a, "r")
	}
	target = strings.Trim(strings.ReplaceAll(target, `\ `, " "), `'"`)
	if rest, ok := strings.CutPrefix(target, "~/"); ok || target == "~" || target == "" {
		target = rest
	}
	x := &scpRun{s: s, in: bufio.NewReaderSize(s.ch, 32<<10), out: s.ch, fs: s.sh.FS(), cred: s.sh.User().Cred()}
	p := vfs.Clean(s.sh.User().Home, target)
	var err error
	if scpMode(f) == 't' {
		_ = x.ok()
		err = x.receive(p, 0)
	} else if err = x.ack(); err == nil {
		err = x.send(p, target, recursive, 0)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return 1
	}
	return 0
}

type scpRun struct {
	s    *channel
	in   *bufio.Reader
	out  io.Writer
	fs   *vfs.FS
	cred vfs.Cred
}

func (x *scpRun) ok() error { _, err := x.out.Write([]byte{0}); return err }

func (x *scpRun) warn(format string, a ...any) error {
	_, _ = fmt.Fprintf(x.out, "\x01scp: "+format+"\n", a...)
	return ErrScp
}

func (x *scpRun) ack() error {
	b, err := x.in.ReadByte()
	if err == nil && b != 0 {
		err = ErrScp
	}
	return err
}

func (x *scpRun) line() (string, error) {
	var b []byte
	for len(b) < maxScpLine {
		c, err := x.in.ReadByte()
		if err != nil {
			return "", err
		}
		if c == '\n' {
			return string(b), nil
		}
		b = append(b, c)
	}
	return "", ErrScp
}

// receive is the sink: headers and contents arrive until the directory or the stream ends.
func (x *scpRun) receive(dir string, depth int) error {
	var at time.Time
	for {
		line, err := x.line()
		if err != nil {
			return err
		}
		h, err := ParseScpHeader(line)
		if err != nil || depth > maxScpDepth {
			return x.warn("protocol error: %s", "unexpected message")
		}
		p := dir
		if i, err := x.fs.Stat(x.cred, dir, true); err == nil && i.IsDir() {
			p = path.Join(dir, h.Name)
		}
		switch h.Kind {
		case 'E':
			return x.ok()
		case 'T':
			at = h.Time
			err = x.ok()
		case 'D':
			if merr := x.fs.Mkdir(x.cred, p, h.Mode|0o700); merr != nil && !errors.Is(merr, fs.ErrExist) {
				return x.warn("%s: %s", p, "No such file or directory")
			}
			if err = x.ok(); err == nil {
				err = x.receive(p, depth+1)
			}
		case 'C':
			err = x.file(p, h, at)
			at = time.Time{}
		}
		if err != nil {
			return err
		}
	}
}

func (x *scpRun) file(p string, h ScpHeader, at time.Time) error {
	f, err := x.fs.Open(x.cred, p, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, h.Mode)
	if err != nil {
		return x.warn("%s: %s", p, map[bool]string{true: "Permission denied", false: "No such file or directory"}[errors.Is(err, fs.ErrPermission)])
	}
	defer f.Close()
	if err := x.ok(); err != nil {
		return err
	}
	_, werr := io.CopyN(f, x.in, h.Size)
	if werr != nil && errors.Is(werr, io.EOF) {
		x.s.sh.Uploaded(p, f.Bytes(), "scp")
		return werr
	}
	if err := x.ack(); err != nil {
		return err
	}
	if !at.IsZero() {
		_ = x.fs.Chtimes(x.cred, p, at)
	}
	x.s.sh.Uploaded(p, f.Bytes(), "scp")
	if werr != nil {
		return x.warn("%s: No space left on device", p)
	}
	return x.ok()
}

// send is the source.
func (x *scpRun) send(p, shown string, recursive bool, depth int) error {
	i, err := x.fs.Stat(x.cred, p, true)
	if err != nil || depth > maxScpDepth {
		return x.warn("%s: No such file or directory", shown)
	}
	if i.IsDir() {
		if !recursive {
			return x.warn("%s: not a regular file", shown)
		}
		return x.sendDir(p, i, depth)
	}
	data, err := x.fs.ReadFile(x.cred, p)
	if err != nil {
		return x.warn("%s: Permission denied", shown)
	}
	x.s.Event("download", eventlog.F("path", p))
	if _, err := fmt.Fprintf(x.out, "C%04o %d %s\n", i.Mode().Perm(), len(data), path.Base(p)); err != nil {
		return err
	}
	if err := x.ack(); err != nil {
		return err
	}
	if _, err := x.out.Write(append(data, 0)); err != nil {
		return err
	}
	return x.ack()
}

func (x *scpRun) sendDir(p string, i vfs.Info, depth int) error {
	if _, err := fmt.Fprintf(x.out, "D%04o 0 %s\n", i.Mode().Perm(), path.Base(p)); err != nil {
		return err
	}
	if err := x.ack(); err != nil {
		return err
	}
	kids, _ := x.fs.ReadDir(x.cred, p)
	for _, k := range kids {
		if err := x.send(path.Join(p, k.Name()), k.Name(), true, depth+1); err != nil && !errors.Is(err, ErrScp) {
			return err
		}
	}
	if _, err := io.WriteString(x.out, "E\n"); err != nil {
		return err
	}
	return x.ack()
}

func scpEvent(s *channel, cmd string) shell.CommandEvent {
	u := s.sh.User()
	s.sh.CountCommand()
	return shell.CommandEvent{UID: u.UID, User: u.Name, Dir: u.Home, Line: cmd}
}
