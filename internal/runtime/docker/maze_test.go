package docker_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/runtimetest"
)

var lastClient atomic.Uint32

// client is a host on a LAN that is no container, with a route to everywhere.
func (m *maze) client(t *testing.T, lan, n int, via netip.Addr) (namespace string) {
	t.Helper()
	name := newNamespace(t, netip.PrefixFrom(m.host(lan, n), m.lans[lan].Subnet.Bits()), via)
	ip(t, "link", "set", name, "master", m.lans[lan].Bridge, "up")
	return filepath.Join("/var/run/netns", name)
}

// outsider is a host that reaches this one by a cable of its own.
func outsider(t *testing.T) (namespace string, gateway netip.Addr) {
	t.Helper()
	p := newSubnet(t)
	gateway = p.Addr().Next()
	name := newNamespace(t, netip.PrefixFrom(gateway.Next(), p.Bits()), gateway)
	ip(t, "addr", "add", netip.PrefixFrom(gateway, p.Bits()).String(), "dev", name)
	ip(t, "link", "set", name, "up")
	return filepath.Join("/var/run/netns", name), gateway
}

// newNamespace makes a network namespace with an interface, whose other end has the name of the namespace.
func newNamespace(t *testing.T, address netip.Prefix, via netip.Addr) string {
	t.Helper()
	name := fmt.Sprintf("dnc%d-%d", os.Getpid(), lastClient.Add(1))
	ip(t, "netns", "add", name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	ip(t, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
	ip(t, "-n", name, "addr", "add", address.String(), "dev", "eth0")
	ip(t, "-n", name, "link", "set", "eth0", "up")
	ip(t, "-n", name, "route", "add", "default", "via", via.String())
	return name
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	require.NoError(t, err, "ip %v: %s", args, out)
}

// requireReached connects from inside a network namespace. Another installation on this host may reorder the rules at any
// moment, and an observer puts them right.
func (m *maze) requireReached(t *testing.T, namespace, network string, to netip.AddrPort) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := m.Observe(t.Context())
		return err == nil && dialIn(t, namespace, network, to.String()) == nil
	}, 30*time.Second, time.Millisecond, "%s is not reached", to)
}

// chain is three LANs with a router between each two and a decky at the end.
func chain(t *testing.T) (m *maze, gw, router, safe runtime.Decky) {
	t.Helper()
	m = newMaze(t, "dmz", "factory", "vault")
	gw = m.decky("gw", m.on(0, 0), m.on(1, 0))
	router = m.decky("router", m.on(1, 1), m.on(2, 0))
	safe = m.decky("safe", m.on(2, 1))
	gw.ForwardsL3, router.ForwardsL3 = true, true
	for _, d := range []runtime.Decky{safe, gw, router} {
		m.converge(t, d)
	}
	m.networks(t)
	return m, gw, router, safe
}

func TestTopology_GatewaysForwardForClientsOnly(t *testing.T) {
	t.Parallel()
	m, gw, router, safe := chain(t)
	outside := m.client(t, 0, 9, gw.IP)
	inside := m.client(t, 2, 9, m.host(2, 0))
	at := func(ip netip.Addr) string { return netip.AddrPortFrom(ip, 22).String() }
	for _, ip := range []netip.Addr{gw.IP, m.host(1, 0), router.IP, m.host(2, 0), safe.IP} {
		m.requireReached(t, outside, "tcp", netip.AddrPortFrom(ip, 22))
		m.requireReached(t, inside, "tcp", netip.AddrPortFrom(ip, 22))
	}
	fleet := m.converged(t, "fleet", service("ssh", 22, "ok"))
	other := newMazeOn(t, m.bundle, "dmz")
	elsewhere := other.decky("web", other.on(0, 0))
	other.converge(t, elsewhere)
	host := listeners(t, m.lans[0].Gateway)
	for _, target := range []string{host, at(fleet.IP), at(elsewhere.IP)} {
		require.Error(t, dialIn(t, outside, "tcp", target), "routers know their own LANs only")
	}

	gw.ForwardsL3 = false
	m.converge(t, gw)
	m.networks(t)
	m.requireReached(t, outside, "tcp", netip.AddrPortFrom(gw.IP, 22))
	require.Error(t, dialIn(t, outside, "tcp", at(router.IP)), "a decky that does not forward")
}

func TestTopology_DecoysNeverCall(t *testing.T) {
	t.Parallel()
	m, gw, router, safe := chain(t)
	fleet := m.converged(t, "fleet", service("ssh", 22, "ok"))
	other := newMazeOn(t, m.bundle, "dmz")
	elsewhere := other.decky("web", other.on(0, 0))
	elsewhere.Publish = []runtime.Port{{Protocol: "tcp", Number: 22}}
	published := other.converge(t, elsewhere)[0].Listen
	_, gateway := outsider(t)
	_, strangerIP := m.bystander(t, m.foreign(t, newSubnet(t)))
	host := []string{listeners(t, m.lans[0].Gateway), listeners(t, m.lans[2].Gateway), listeners(t, gateway)}
	at := func(ip netip.Addr) string { return netip.AddrPortFrom(ip, 22).String() }
	targets := append([]string{at(fleet.IP), at(elsewhere.IP), published.String(), net.JoinHostPort(strangerIP, "22")}, host...)
	for _, from := range []runtime.Decky{gw, router, safe} {
		others := slices.Clone(targets)
		for _, ip := range []netip.Addr{gw.IP, m.host(1, 0), router.IP, m.host(2, 0), safe.IP} {
			if !slices.ContainsFunc(from.Networks, func(a runtime.Attachment) bool { return a.IP == ip }) {
				others = append(others, at(ip))
			}
		}
		pid := m.pid(t, from, "ssh")
		requireSilence(t, pid, "tcp", others)
		requireSilence(t, pid, "udp", host)
	}
}

// requireSilence tries all targets at once.
func requireSilence(t *testing.T, pid int, network string, targets []string) {
	t.Helper()
	errs := make([]error, len(targets))
	var wg sync.WaitGroup
	for i, to := range targets {
		wg.Go(func() { errs[i] = dialFrom(t, pid, network, to) })
	}
	wg.Wait()
	for i, to := range targets {
		require.Error(t, errs[i], "%s %s", network, to)
	}
}

func TestTopology_ProbeInsideAGatewayGetsNowhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.opts.DecoyBinary = probeDecoy
	b.reopen(t)
	m := newMazeOn(t, b, "dmz", "factory")
	login := runtime.Service{
		Name: "ssh", Revision: 1, Ports: []runtime.Port{{Protocol: "tcp", Number: 22}}, Config: map[string]any{"password": "toor"},
	}
	inner := m.decky("inner", m.on(1, 1))
	gw := m.decky("gw", m.on(0, 0), m.on(1, 0))
	gw.ForwardsL3 = true
	inner.Services, gw.Services = []runtime.Service{login}, []runtime.Service{login}
	m.converge(t, inner)
	m.converge(t, gw)
	c, err := ssh.Dial("tcp", netip.AddrPortFrom(gw.IP, 22).String(), &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.Password("toor")}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	require.NoError(t, err)
	defer c.Close()
	for _, target := range []string{listeners(t, m.lans[0].Gateway), netip.AddrPortFrom(inner.IP, 22).String()} {
		s, err := c.NewSession()
		require.NoError(t, err)
		out, err := s.CombinedOutput("decnet-probe " + target + " " + compose.ConfigPath)
		require.NoError(t, err, string(out))
		for _, what := range []string{"tcp", "udp", "unix", "listen", "raw", "execve", "fork", "setuid", "unshare", "ptrace", "mount"} {
			require.Contains(t, string(out), what+": denied: ")
		}
	}
}

// Not parallel: it takes the host's rules away for a moment.
func TestTopology_MissingRulesAreRestored(t *testing.T) { //nolint:paralleltest // changes the host's rules
	m := newMaze(t, "dmz", "factory")
	gw := m.decky("gw", m.on(0, 0), m.on(1, 0))
	inner := m.decky("inner", m.on(1, 1))
	gw.ForwardsL3 = true
	m.converge(t, gw)
	m.converge(t, inner)
	outside := m.client(t, 0, 9, gw.IP)
	at := netip.AddrPortFrom(inner.IP, 22).String()
	m.requireReached(t, outside, "tcp", netip.AddrPortFrom(inner.IP, 22))
	pid := m.pid(t, gw, "ssh")
	require.Eventually(t, func() bool { // another installation on this host may put the rule back at any moment
		for _, chain := range []string{"INPUT", "DOCKER-USER"} {
			drop := strings.Fields("-w -D " + chain + " -i decnet-+ -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP")
			_ = exec.Command("iptables", drop...).Run()
		}
		return dialFrom(t, pid, "tcp", at) == nil
	}, 30*time.Second, time.Millisecond, "without the rules there is a way out")
	_, err := m.Observe(t.Context())
	require.NoError(t, err)
	require.Error(t, dialFrom(t, pid, "tcp", at))
	require.Error(t, dialFrom(t, pid, "tcp", listeners(t, m.lans[0].Gateway)))
	m.requireReached(t, outside, "tcp", netip.AddrPortFrom(inner.IP, 22))
}

// ownAddress is where other machines reach this one.
func ownAddress(t *testing.T) netip.Addr {
	t.Helper()
	out, err := exec.Command("ip", "-o", "-4", "route", "get", "192.88.99.1").Output()
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(out), " src ")
	require.True(t, ok, "%s", out)
	ip, _, _ := strings.Cut(rest, " ")
	return netip.MustParseAddr(ip)
}

// freePort returns a port of the host that is free for tcp and udp, as is the one a thousand above it.
func freePort(t *testing.T) uint16 {
	t.Helper()
	for range 50 {
		l, err := net.Listen("tcp4", "0.0.0.0:0")
		require.NoError(t, err)
		p := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		shifted, err := net.Listen("tcp4", "0.0.0.0:"+strconv.Itoa(p+portOffset))
		if err == nil {
			_ = shifted.Close()
			return uint16(p)
		}
	}
	require.Fail(t, "no port is free")
	return 0
}

const portOffset = 1000

func TestTopology_PublishedPortGivesWay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.opts.PortOffset = portOffset
	b.reopen(t)
	m := newMazeOn(t, b, "dmz")
	port := freePort(t)
	own := runtime.Service{Name: "ssh", Revision: 1, Ports: []runtime.Port{{Protocol: "tcp", Number: port}}, Config: map[string]any{"behave": "ok"}}
	gw := m.decky("gw", m.on(0, 0))
	gw.Services = []runtime.Service{own, service("redis", 6379, "ok")}
	gw.Publish = own.Ports
	host := ownAddress(t)
	file := filepath.Join(m.opts.DataDir, "compose", strings.ReplaceAll(m.scope(), "/", "-")+".yml")

	var probed []netip.AddrPort
	h := runtimetest.Hooks()
	h.SelfCheck = func(_ context.Context, p runtime.Probe) error {
		probed = append(probed, p.Remote)
		return nil
	}
	eps, err := m.Converge(t.Context(), gw, h)
	require.NoError(t, err)
	require.Equal(t, netip.AddrPortFrom(gw.IP, 6379), eps[0].Listen)
	require.Equal(t, netip.AddrPortFrom(host, port), eps[1].Listen)
	require.ElementsMatch(t, []netip.AddrPort{netip.AddrPortFrom(gw.IP, port), eps[0].Listen}, probed, "verified at its own address")
	requireAnswers(t, eps[1].Listen)
	require.Equal(t, eps[1:], m.observed(t, gw, "ssh").Endpoints)
	outside, _ := outsider(t)
	m.requireReached(t, outside, "tcp", eps[1].Listen)
	require.Equal(t, eps, m.converge(t, gw))

	second := m.decky("second", m.on(0, 1))
	second.Services, second.Publish = []runtime.Service{own}, own.Ports
	shifted := m.converge(t, second)
	require.Equal(t, netip.AddrPortFrom(host, port+portOffset), shifted[0].Listen)
	require.Equal(t, port, shifted[0].Port)
	requireAnswers(t, shifted[0].Listen)
	require.Equal(t, shifted, m.observed(t, second, "ssh").Endpoints)
	doc, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(doc), fmt.Sprintf("published: %q\n", strconv.Itoa(int(port))))
	require.Contains(t, string(doc), fmt.Sprintf("published: %q\n", strconv.Itoa(int(port)+portOffset)))
	m.reopen(t)
	require.Equal(t, shifted, m.converge(t, second))
	require.Equal(t, shifted, m.observed(t, second, "ssh").Endpoints)

	third := m.decky("third", m.on(0, 2))
	third.Services, third.Publish = []runtime.Service{own}, own.Ports
	alone := m.converge(t, third)
	require.Equal(t, netip.AddrPortFrom(third.IP, port), alone[0].Listen, "without room on the host it serves its LANs")
	requireAnswers(t, alone[0].Listen)
	require.Equal(t, alone, m.observed(t, third, "ssh").Endpoints)

	gw.Publish = nil
	before := m.inspect(t, gw, "").ID
	require.Equal(t, netip.AddrPortFrom(gw.IP, port), m.converge(t, gw)[1].Listen)
	require.NotEqual(t, before, m.inspect(t, gw, "").ID)
	require.Equal(t, alone, m.converge(t, third), "what runs is not disturbed for it")
	m.kill(t, third, "")
	require.Equal(t, netip.AddrPortFrom(host, port), m.converge(t, third)[0].Listen)
}

func TestTopology_PublishedUDP(t *testing.T) {
	t.Parallel()
	m := newMaze(t, "dmz")
	gw := m.decky("gw", m.on(0, 0))
	port := freePort(t)
	gw.Services = []runtime.Service{service("dns", port, "ok")}
	gw.Services[0].Ports = append(gw.Services[0].Ports, runtime.Port{Protocol: "udp", Number: port})
	gw.Publish = gw.Services[0].Ports
	eps := m.converge(t, gw)
	require.Len(t, eps, 2)
	require.Equal(t, netip.AddrPortFrom(ownAddress(t), port), eps[1].Listen)
	require.Equal(t, "udp", eps[1].Protocol)
	outside, _ := outsider(t)
	m.requireReached(t, outside, "udp", eps[1].Listen)
}
