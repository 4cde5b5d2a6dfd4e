package ftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/artifact"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/passive"
	"github.com/decnet/decnet/decoys/vfs"
)

const (
	chunkBytes  = 64 << 10
	maxTransfer = 20 * time.Minute
)

var errFull = errors.New("no room is left")

func doPassive(_ context.Context, c *conn, cmd, _ string) {
	local, ok := c.LocalAddr().(*net.TCPAddr)
	ip := net.IP(nil)
	if ok {
		ip = local.IP.To4()
	}
	if ip == nil || c.epsvOnly {
		c.say("pasv no")
		return
	}
	if c.openData() {
		n := c.data.Number()
		c.say("pasv", "hostport", fmt.Sprintf("%d,%d,%d,%d,%d,%d", ip[0], ip[1], ip[2], ip[3], n>>8, n&255))
	}
}

func doExtendedPassive(_ context.Context, c *conn, _, arg string) {
	switch strings.ToUpper(strings.TrimSpace(arg)) {
	case "ALL":
		c.epsvOnly = true
		c.say("epsv all")
		return
	case "", "1", "2":
	default:
		c.say("epsv no")
		return
	}
	if c.openData() {
		c.say("epsv", "n", strconv.Itoa(int(c.data.Number())))
	}
}

// openData opens a port for the next transfer. One that was open before closes.
func (c *conn) openData() bool {
	c.closeData()
	port, err := c.s.o.Data.Open()
	if err != nil {
		reason := "failed"
		if errors.Is(err, passive.ErrNone) {
			reason = "exhausted"
		}
		c.Emit("data_port_refused", eventlog.F("reason", reason))
		c.say("no port")
		return false
	}
	c.data, c.expires = port, time.Now().Add(dataTimeout)
	return true
}

func (c *conn) closeData() {
	if c.data != nil {
		c.data.Release()
		c.data = nil
	}
}

// connected waits for the data connection of a transfer, which is only good from the address the commands come from. open is said once it
// is there; on a failure the client has been told.
func (c *conn) connected(ctx context.Context, arg string, open key, fill ...string) (net.Conn, bool) {
	d, err := c.data.Accept(ctx, time.Now().Add(dataTimeout))
	c.closeData()
	if err != nil {
		c.named("data failed", arg, nil)
		return nil, false
	}
	if host, port, _ := net.SplitHostPort(d.RemoteAddr().String()); host != c.Src {
		_ = d.Close()
		c.Emit("data_stranger", eventlog.F("peer", host), eventlog.F("peer_port", port))
		c.named("stranger", arg, nil)
		return nil, false
	}
	_ = d.SetDeadline(time.Now().Add(maxTransfer))
	c.say(open, append(fill, "path", c.abs(arg), "mode", c.typeMode())...)
	return dataConn{d, context.AfterFunc(ctx, func() { _ = d.Close() })}, true
}

func (c *conn) typeMode() string {
	if c.ascii {
		return "ASCII"
	}
	return "BINARY"
}

// hasData reports whether there is a port for a transfer, and says so when there is none.
func (c *conn) hasData() bool {
	if c.data == nil {
		c.say("no data")
	}
	return c.data != nil
}

func doList(ctx context.Context, c *conn, cmd, arg string) {
	if !c.hasData() {
		return
	}
	options, rest := splitOptions(arg)
	what, said := "file list", ""
	var text string
	var n int
	var err error
	switch cmd {
	case "MLSD":
		what = "MLSD"
		text, n, err = c.machineList(rest)
	case "LIST":
		text, n, err = c.list(arg, true)
		if said = "-Options: -l \n226"; strings.Contains(options, "a") {
			said = "-Options: -a -l \n226"
		}
	default:
		if c.p.dotsInNLST && rest == "" {
			arg += " -a"
		}
		text, n, err = c.list(arg, false)
	}
	if err != nil {
		if c.p != &vsftpd {
			c.closeData()
			c.named("list no", rest, err)
			return
		}
		text = "" // this one shows an empty list
	}
	d, ok := c.connected(ctx, rest, "open list", "what", what, "arg", rest)
	if !ok {
		return
	}
	_, err = io.Copy(d, strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")))
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		c.named("broken", rest, nil)
		return
	}
	c.say("done list", "path", c.abs(rest), "options", said, "n", strconv.Itoa(n))
}

// dataConn ends with its session.
type dataConn struct {
	net.Conn
	stop func() bool
}

func (d dataConn) Close() error {
	d.stop()
	return d.Conn.Close()
}

func doRetrieve(ctx context.Context, c *conn, _, arg string) {
	offset := c.offset
	c.offset = 0
	c.Emit("download_attempt", eventlog.F("src_port", c.Port), eventlog.F("path", cut(c.abs(arg), maxLoggedArg)))
	if c.p == &vsftpd && !c.hasData() {
		return
	}
	i, ok := c.stat(arg, "get no", "get dir")
	if !ok || !c.hasData() {
		return
	}
	if offset > 0 && c.ascii && c.p.noASCIIResume {
		c.say("resume no")
		return
	}
	data, err := c.fs.ReadFile(c.cred, c.abs(arg))
	if err != nil {
		c.named("get no", arg, err)
		return
	}
	data = data[min(offset, int64(len(data))):]
	plain := ""
	if c.ascii && c.p.ascii {
		data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
		plain = "226-Warning: client is in ASCII mode - Assuming data is plain text\n"
	}
	d, ok := c.connected(ctx, arg, "open get", "name", arg, "n", strconv.FormatInt(i.Size(), 10))
	if !ok {
		return
	}
	began := time.Now()
	n, err := io.Copy(d, bytes.NewReader(data))
	c.down += n
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		c.named("broken", arg, nil)
		return
	}
	c.say("done get", append(speed(n, time.Since(began)), "path", c.abs(arg), "plain", plain)...)
}

// speed is what a server that measures says.
func speed(n int64, d time.Duration) []string {
	rate := float64(n) / max(d.Seconds(), 1e-6)
	unit := "bytes"
	for _, u := range []string{"Kbytes", "Mbytes"} {
		if rate >= 1024 {
			rate, unit = rate/1024, u
		}
	}
	return []string{"seconds", strconv.FormatFloat(d.Seconds(), 'f', 3, 64), "rate", fmt.Sprintf("%.2f %s", rate, unit)}
}

func doStore(ctx context.Context, c *conn, cmd, arg string) {
	if c.p == &vsftpd && !c.hasData() {
		return
	}
	if cmd == "STOU" {
		arg = "ftp" + strconv.FormatUint(rand.Uint64()>>36, 36)
	}
	flag := os.O_WRONLY | os.O_CREATE
	switch {
	case cmd == "APPE":
		flag |= os.O_APPEND
	case c.offset == 0:
		flag |= os.O_TRUNC
	}
	if badName(arg) {
		c.named("put no", arg, nil)
		return
	}
	if !c.hasData() {
		return
	}
	h, err := c.fs.Open(c.cred, c.abs(arg), flag, 0o644)
	if err != nil {
		c.named("put no", arg, err)
		return
	}
	defer h.Close()
	open := key("open put")
	if cmd == "STOU" {
		open = "open stou"
	}
	d, ok := c.connected(ctx, arg, open, "name", arg)
	if !ok {
		return
	}
	began := time.Now()
	n, err := c.receive(d, h, c.offset)
	_ = d.Close()
	c.up += n
	c.kept(h, cmd, arg)
	switch {
	case errors.Is(err, errFull):
		c.named("full", arg, nil)
	case err != nil:
		c.named("broken put", arg, nil)
	default:
		c.say("done put", append(speed(n, time.Since(began)), "path", c.abs(arg))...)
	}
}

// receive writes what arrives, as far as this session and all of them together may keep it.
func (c *conn) receive(from io.Reader, to *vfs.File, at int64) (n int64, err error) {
	if gap := at - to.Info().Size(); gap > 0 && (at > vfs.MaxFileBytes || !c.reserve(gap)) {
		return 0, errFull
	}
	buf := make([]byte, chunkBytes)
	for {
		got, err := from.Read(buf)
		if got > 0 {
			if !c.reserve(int64(got)) {
				return n, errFull
			}
			if at > 0 {
				_, werr := to.WriteAt(buf[:got], at+n)
				if werr != nil {
					return n, errFull
				}
			} else if _, werr := to.Write(buf[:got]); werr != nil {
				return n, errFull
			}
			n += int64(got)
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// reserve takes room for uploads. It is given back when the session ends.
func (c *conn) reserve(n int64) bool {
	if c.s.room.Add(n) > maxUploads {
		c.s.room.Add(-n)
		return false
	}
	c.reserved += n
	return true
}

// kept reports an upload and keeps its content, complete or not.
func (c *conn) kept(h *vfs.File, cmd, arg string) {
	p := c.abs(arg)
	data := h.Bytes()
	c.Emit("upload", eventlog.F("src_port", c.Port), eventlog.F("path", cut(p, maxLoggedArg)), eventlog.Int("size", len(data)), eventlog.F("cmd", cmd))
	if len(data) == 0 {
		return
	}
	f, err := c.s.o.Artifacts.Capture(p, data)
	if err != nil {
		c.Emit("file_skipped", eventlog.F("orig_path", cut(p, maxLoggedArg)), eventlog.Int("size", len(data)), eventlog.F("reason", artifact.SkipReason(err)))
		return
	}
	c.s.o.Log.Emit(f.Event(p, artifact.Writer{
		SrcIP: c.Src, SrcPort: c.Port, User: cut(c.user, maxLoggedUser), UID: c.cred.UID, Comm: path.Base(c.p.name), Cmdline: cmd + " " + arg, ModTime: h.Info().ModTime(),
	}))
}
