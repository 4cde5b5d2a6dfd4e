package docker_test

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/docker"
	"github.com/decnet/decnet/internal/runtime/docker/containment"
)

const dialLimit = time.Second

// dialFrom connects from inside the network namespace of a process.
func dialFrom(t *testing.T, pid int, network, to string) error {
	t.Helper()
	return dialIn(t, fmt.Sprintf("/proc/%d/ns/net", pid), network, to)
}

func dialIn(t *testing.T, namespace, network, to string) error {
	t.Helper()
	var err error
	nsErr := containment.InNamespace(namespace, func() {
		var conn net.Conn
		if conn, err = net.DialTimeout(network, to, dialLimit); err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(dialLimit))
		_, err = conn.Write([]byte("x"))
		if err == nil && network == "udp" {
			_, err = conn.Read(make([]byte, 1)) // every listener of these tests answers
		}
	})
	if nsErr != nil {
		t.Error(nsErr)
	}
	return err
}

// listeners answer on tcp and udp at an address of the host.
func listeners(t *testing.T, at netip.Addr) string {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	require.NoError(t, err)
	u, err := net.ListenPacket("udp", l.Addr().String())
	require.NoError(t, err)
	done := make(chan struct{}, 2)
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			_ = c.Close()
		}
		done <- struct{}{}
	}()
	go func() {
		buf := make([]byte, 64)
		for _, from, err := u.ReadFrom(buf); err == nil; _, from, err = u.ReadFrom(buf) {
			_, _ = u.WriteTo([]byte("y"), from)
		}
		done <- struct{}{}
	}()
	t.Cleanup(func() { _ = l.Close(); _ = u.Close(); <-done; <-done })
	return l.Addr().String()
}

// bystander runs a container that decnet knows nothing of, on a network, and returns its process and address.
func (b *bundle) bystander(t *testing.T, network string) (pid int, ip string) {
	t.Helper()
	made, err := b.engine.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Config: &container.Config{
			Image: b.imageName(t), Cmd: []string{"pause"},
			Labels: map[string]string{compose.LabelInstallation + ".bystander": b.opts.Installation.String()},
		},
		HostConfig: &container.HostConfig{NetworkMode: container.NetworkMode(network)},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = exec.Command("docker", "rm", "-f", made.ID).Run()
	})
	_, err = b.engine.ContainerStart(t.Context(), made.ID, client.ContainerStartOptions{})
	require.NoError(t, err)
	c, err := b.engine.ContainerInspect(t.Context(), made.ID, client.ContainerInspectOptions{})
	require.NoError(t, err)
	for _, n := range c.Container.NetworkSettings.Networks {
		ip = n.IPAddress.String()
	}
	return c.Container.State.Pid, ip
}

func (b *bundle) imageName(t *testing.T) string {
	t.Helper()
	name, err := docker.ImageOf(b.opts.DecoyBinary)
	require.NoError(t, err)
	return name
}

func (b *bundle) pid(t *testing.T, d runtime.Decky, svc string) int {
	t.Helper()
	return b.inspect(t, d, svc).State.Pid
}

func (b *bundle) gateway() netip.Addr { return b.opts.Network.Subnet.Masked().Addr().Next() }

func TestContainment_DecoysAnswerButNeverCall(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t, "web", service("ssh", 22, "ok"))
	neighbour := b.converged(t, "neighbour", service("ssh", 22, "ok"))
	elsewhere := newSubnet(t)
	stranger, strangerIP := b.bystander(t, b.foreign(t, elsewhere))
	host := listeners(t, b.gateway())
	another := listeners(t, elsewhere.Addr().Next())
	pid := b.pid(t, d, "ssh")

	at := netip.AddrPortFrom(d.IP, 22).String()
	require.NoError(t, dialFrom(t, stranger, "tcp", at), "clients elsewhere reach a decoy")
	require.NoError(t, dialFrom(t, pid, "tcp", at), "a decoy reaches itself")
	requireAnswers(t, netip.MustParseAddrPort(at))
	require.NoError(t, dialFrom(t, stranger, "tcp", another), "the target answers others")

	for _, target := range []string{
		host, another,
		netip.AddrPortFrom(neighbour.IP, 22).String(), net.JoinHostPort(strangerIP, "22"),
	} {
		require.Error(t, dialFrom(t, pid, "tcp", target), target)
	}
	for _, target := range []string{host, another} {
		require.Error(t, dialFrom(t, pid, "udp", target), target)
	}
}

func TestContainment_EngineResolverIsNoWayOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t, "web", service("ssh", 22, "ok"))
	// A question for A of example.com; the engine's resolver would ask the host's.
	question := "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01"
	var answer []byte
	require.NoError(t, containment.InNamespace(fmt.Sprintf("/proc/%d/ns/net", b.pid(t, d, "ssh")), func() {
		conn, err := net.DialTimeout("udp", "127.0.0.11:53", dialLimit)
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
		_, _ = conn.Write([]byte(question))
		buf := make([]byte, 512)
		n, _ := conn.Read(buf)
		answer = buf[:n]
	}))
	if len(answer) > 8 {
		require.Zero(t, int(answer[6])<<8|int(answer[7]), "the resolver found an answer")
	}
}

func TestContainment_ProbeInsideADecoyGetsNowhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.opts.DecoyBinary = probeDecoy
	b.reopen(t)
	target := listeners(t, b.gateway())
	d := b.newDecky("web")
	d.Services = []runtime.Service{{
		Name: "ssh", Revision: 1, Ports: []runtime.Port{{Protocol: "tcp", Number: 22}}, Config: map[string]any{"password": "toor"},
	}}
	eps := b.converge(t, d)
	c, err := ssh.Dial("tcp", eps[0].Listen.String(), &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.Password("toor")}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	require.NoError(t, err)
	defer c.Close()
	s, err := c.NewSession()
	require.NoError(t, err)
	out, err := s.CombinedOutput("decnet-probe " + target + " " + compose.ConfigPath)
	require.NoError(t, err, string(out))
	for _, what := range []string{"tcp", "udp", "unix", "listen", "raw", "execve", "fork", "setuid", "unshare", "ptrace", "mount"} {
		require.Contains(t, string(out), what+": denied: ")
	}
}

// Not parallel: it takes the host's rules away for a moment.
func TestContainment_MissingRulesAreRestored(t *testing.T) { //nolint:paralleltest // changes the host's rules
	b := setup(t)
	d := b.converged(t, "web", service("ssh", 22, "ok"))
	host := listeners(t, b.gateway())
	pid := b.pid(t, d, "ssh")
	require.Eventually(t, func() bool { // another installation on this host may put the rule back at any moment
		drop := strings.Fields("-w -D INPUT -i decnet-+ -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP")
		_ = exec.Command("iptables", drop...).Run()
		return dialFrom(t, pid, "tcp", host) == nil
	}, 30*time.Second, time.Millisecond, "without the rules there is a way out")
	require.NoError(t, exec.Command("iptables", "-w", "-I", "DOCKER-USER", "-j", "RETURN").Run())
	_, err := b.Observe(t.Context())
	require.NoError(t, err)
	require.Error(t, dialFrom(t, pid, "tcp", host))
	out, err := exec.Command("iptables", "-w", "-S", "DOCKER-USER").Output()
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(out), "-j DROP"))
	require.True(t, strings.HasPrefix(string(out), "-N DOCKER-USER\n-A DOCKER-USER -i decnet-+ "))
	require.NoError(t, exec.Command("iptables", "-w", "-D", "DOCKER-USER", "-j", "RETURN").Run())
}

func TestContainment_Macvlan(t *testing.T) {
	t.Parallel()
	b := setup(t)
	parent := "dnt" + b.opts.Installation.String()[:8]
	ip := func(args ...string) error { return exec.Command("ip", args...).Run() }
	if err := ip("link", "add", parent, "type", "veth", "peer", "name", parent+"p"); err != nil {
		t.Skipf("NO VETH INTERFACE, macvlan is not tested here: %v", err)
	}
	t.Cleanup(func() { b.removeAll(t); _ = ip("link", "del", parent) })
	require.NoError(t, ip("link", "set", parent, "up"))
	require.NoError(t, ip("link", "set", parent+"p", "up"))
	b.opts.Network.Driver, b.opts.Network.Parent = compose.Macvlan, parent
	b.reopen(t)
	d := b.converged(t, "web", service("ssh", 22, "ok"))
	neighbour := b.converged(t, "neighbour", service("ssh", 22, "ok"))
	client, clientIP := b.bystander(t, compose.ProjectName(b.opts.Installation, "fleet"))
	pid := b.pid(t, d, "ssh")
	require.NoError(t, dialFrom(t, client, "tcp", netip.AddrPortFrom(d.IP, 22).String()))
	require.Error(t, dialFrom(t, pid, "tcp", netip.AddrPortFrom(neighbour.IP, 22).String()))
	require.Error(t, dialFrom(t, pid, "tcp", net.JoinHostPort(clientIP, "22")))

	require.NoError(t, containment.InNamespace(fmt.Sprintf("/proc/%d/ns/net", pid), func() {
		_ = exec.Command("iptables", "-w", "-F", "OUTPUT").Run()
	}))
	require.NoError(t, dialFrom(t, pid, "tcp", netip.AddrPortFrom(neighbour.IP, 22).String()), "without the rules there is a way out")
	_, err := b.Observe(t.Context())
	require.NoError(t, err)
	require.Error(t, dialFrom(t, pid, "tcp", netip.AddrPortFrom(neighbour.IP, 22).String()))
}
