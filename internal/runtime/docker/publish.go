package docker

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/runtime"
)

// hostPorts says under which port the host offers a published port of a decky.
type hostPorts map[runtime.Port]uint16

// portsOf reads what the engine publishes of a container.
func portsOf(s container.Summary) hostPorts {
	ports := hostPorts{}
	for _, p := range s.Ports {
		if p.PublicPort != 0 {
			ports[runtime.Port{Protocol: p.Type, Number: p.PrivatePort}] = p.PublicPort
		}
	}
	return ports
}

// notePorts remembers what the engine publishes of every running base, for the compose files.
func (r *Runtime) notePorts(ctx context.Context) error {
	list, err := r.containers(ctx, uuid.Nil)
	if err != nil {
		return err
	}
	for id, s := range basesOf(list) {
		r.scopes.notePorts(id, portsOf(s))
	}
	return nil
}

func (s *scopes) notePorts(id uuid.UUID, ports hostPorts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ports == nil {
		s.ports = map[uuid.UUID]hostPorts{}
	}
	s.ports[id] = ports
}

// basesOf returns the running base of every decky.
func basesOf(containers []container.Summary) map[uuid.UUID]container.Summary {
	all := map[uuid.UUID]container.Summary{}
	for _, s := range containers {
		if s.Labels[compose.LabelRole] == compose.RoleBase && s.State == container.StateRunning {
			all[refOf(s).Decky] = s
		}
	}
	return all
}

// locate returns endpoints as the outside sees them: a published one is at an address of the host.
func (ports hostPorts) locate(eps []runtime.Endpoint) []runtime.Endpoint {
	if len(ports) == 0 {
		return eps
	}
	eps = slices.Clone(eps)
	host := hostAddress()
	for i, e := range eps {
		if p, ok := ports[runtime.Port{Protocol: e.Protocol, Number: e.Port}]; ok {
			eps[i].Listen = netip.AddrPortFrom(host, p)
		}
	}
	return eps
}

// hostAddress returns the address that this host has towards the internet, where published ports are most likely reached,
// or 127.0.0.1 on a host without a default route. No packet is sent for it.
func hostAddress() netip.Addr {
	c, err := net.Dial("udp4", "192.88.99.1:9") // given back, nobody has it (RFC 7526)
	if err != nil {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// choosePorts settles under which ports of the host a decky without a base is published: its own, or those moved by
// the offset. A port that is taken under both numbers is not published: the decky serves its LANs all the same. The caller
// holds portsLock until the engine has taken them.
func (r *Runtime) choosePorts(ctx context.Context, d runtime.Decky) hostPorts {
	chosen, taken := hostPorts{}, map[runtime.Port]bool{}
	for _, p := range d.Publish {
		host := p
		if taken[host] || !free(host) {
			shifted := int(p.Number) + int(r.opts.PortOffset)
			host.Number = uint16(min(shifted, 65535))
			if shifted > 65535 || taken[host] || !free(host) {
				r.log.WarnContext(ctx, "the host has no room for a port of a gateway, it is not published", "decky_id", d.ID,
					"protocol", p.Protocol, "port", p.Number, "also_tried", shifted)
				chosen[p] = 0
				continue
			}
		}
		taken[host], chosen[p] = true, host.Number
	}
	return chosen
}

// free reports whether a port of the host is to be had. What cannot be told counts as free: the engine has the last word.
func free(p runtime.Port) bool {
	at := net.JoinHostPort("0.0.0.0", strconv.Itoa(int(p.Number)))
	if p.Protocol == "udp" {
		c, err := net.ListenPacket("udp4", at)
		if err == nil {
			_ = c.Close()
		}
		return !errors.Is(err, unix.EADDRINUSE)
	}
	l, err := net.Listen("tcp4", at)
	if err == nil {
		_ = l.Close()
	}
	return !errors.Is(err, unix.EADDRINUSE)
}

// makeBase makes the base of a decky. One with published ports has them chosen only now that its former base is gone.
func (c *convergence) makeBase(ctx context.Context) error {
	names := []string{compose.BaseName(c.d.Key)}
	if len(c.d.Publish) == 0 {
		return c.r.up(ctx, c.scope, c.d, names)
	}
	unlock, err := c.r.locks.Lock(ctx, portsLock)
	if err != nil {
		return err
	}
	defer unlock()
	c.r.scopes.notePorts(c.d.ID, c.r.choosePorts(ctx, c.d))
	if c.scope, err = c.r.render(ctx, c.d); err != nil {
		return err
	}
	return c.r.up(ctx, c.scope, c.d, names)
}
