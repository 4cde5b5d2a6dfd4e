package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	startTimeout = 5 * time.Second
	closeTimeout = time.Second
	bindRetry    = 20 * time.Millisecond
	bindTimeout  = 500 * time.Millisecond
)

// Options says how the gate of a socket is confined: the account it becomes when started by root, and whether it may run
// without a filter.
type Options struct {
	UID, GID int
	Unsafe   bool
}

// Listen binds a UDP address for Start. An address in use is tried again for half a second: the gate of a decoy that was
// killed outlives it by a moment.
func Listen(ctx context.Context, address string) (*net.UDPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, bindTimeout)
	defer cancel()
	for {
		c, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", address)
		if err == nil {
			return c.(*net.UDPConn), nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(bindRetry):
		}
	}
}

// Start hands the socket to a new gate and returns the decoy's end of it. The socket is closed in this process, whatever
// happens. It must be called before the process is confined.
func Start(socket *net.UDPConn, o Options) (*Conn, error) {
	defer socket.Close()
	ours, theirs, err := pair()
	if err != nil {
		return nil, fmt.Errorf("gate: %w", err)
	}
	c := &Conn{pair: ours, local: socket.LocalAddr(), buf: make([]byte, headerBytes+maxDatagram)}
	if err := errors.Join(spawn(socket, theirs, o), theirs.Close()); err != nil {
		_ = ours.Close()
		return nil, err
	}
	_ = ours.SetReadDeadline(time.Now().Add(startTimeout))
	n, err := ours.Read(c.buf)
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("gate did not start: %w", err)
	}
	c.layers = string(c.buf[:n])
	return c, ours.SetReadDeadline(time.Time{})
}

func pair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	_ = unix.SetNonblock(fds[0], true) // served by the poller
	return os.NewFile(uintptr(fds[0]), "gate"), os.NewFile(uintptr(fds[1]), "gate"), nil
}

// spawn starts the gate without environment and without the decoy's log, whose lock only the decoy may hold.
func spawn(socket *net.UDPConn, theirs *os.File, o Options) error {
	bound, err := socket.File()
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	defer bound.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	defer null.Close()
	safety := "safe"
	if o.Unsafe {
		safety = "unsafe"
	}
	p, err := os.StartProcess("/proc/self/exe", //nolint:gosec // this program; two numbers and a word
		[]string{os.Args[0], "gate", strconv.Itoa(o.UID), strconv.Itoa(o.GID), safety},
		&os.ProcAttr{Dir: "/", Env: []string{}, Files: []*os.File{null, null, null, bound, theirs}})
	if err != nil {
		return fmt.Errorf("start gate: %w", err)
	}
	return p.Release()
}

// Conn is the decoy's end of a gate: a packet connection that works with nothing but read and write. ReadFrom answers
// io.EOF when the gate is gone. One goroutine at a time may read; writing is safe for concurrent use.
type Conn struct {
	pair   *os.File
	local  net.Addr
	layers string

	read sync.Mutex
	buf  []byte
	out  sync.Pool
}

var _ net.PacketConn = (*Conn)(nil)

// Layers names what confines the gate, as the field `sandbox` of `ready` does for the decoy.
func (c *Conn) Layers() string { return c.layers }

// ReadFrom implements net.PacketConn. What does not fit p is cut.
func (c *Conn) ReadFrom(p []byte) (int, net.Addr, error) {
	c.read.Lock()
	defer c.read.Unlock()
	for {
		n, err := c.pair.Read(c.buf)
		if err != nil {
			return 0, nil, err
		}
		if addr, ok := takeAddr(c.buf[:n]); ok {
			return copy(p, c.buf[headerBytes:n]), net.UDPAddrFromAddrPort(addr), nil
		}
	}
}

// WriteTo implements net.PacketConn. That it succeeds does not mean that the gate lets the datagram pass.
func (c *Conn) WriteTo(p []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok || len(p) > maxDatagram {
		return 0, errors.New("gate: not a datagram to an address")
	}
	b, _ := c.out.Get().(*[]byte)
	if b == nil {
		b = new([]byte)
	}
	defer c.out.Put(b)
	*b = append((*b)[:0], make([]byte, headerBytes)...)
	addr := udp.AddrPort()
	putAddr(*b, netip.AddrPortFrom(addr.Addr().WithZone(""), addr.Port()))
	*b = append(*b, p...)
	if _, err := c.pair.Write(*b); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close ends the gate and waits, for a second at most, until it is gone.
func (c *Conn) Close() error {
	raw, err := c.pair.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
	}
	_ = c.pair.SetReadDeadline(time.Now().Add(closeTimeout))
	c.read.Lock()
	for err == nil {
		_, err = c.pair.Read(c.buf)
	}
	c.read.Unlock()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, c.pair.Close())
}

// LocalAddr implements net.PacketConn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// SetDeadline implements net.PacketConn.
func (c *Conn) SetDeadline(t time.Time) error { return c.pair.SetDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.pair.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.pair.SetWriteDeadline(t) }

// SetReadBuffer and SetWriteBuffer keep QUIC from complaining, on the decoy's log, that there is no socket to enlarge.
func (c *Conn) SetReadBuffer(int) error { return nil }

// SetWriteBuffer is as SetReadBuffer.
func (c *Conn) SetWriteBuffer(int) error { return nil }
