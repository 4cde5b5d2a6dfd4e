package docker_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/decnet/decnet/internal/runtime"
)

const (
	changes = 50
	// askEvery spaces questions while a change is under way; more than a web server's thousand per connection would end it.
	askEvery   = 150 * time.Millisecond
	askTimeout = 10 * time.Second
)

// change alters one service of a decky, whose other services must not notice. round counts from 0.
type change func(t *testing.T, round int)

func TestConverge_SiblingsStayConnected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.opts.DecoyBinary = probeDecoy
	b.reopen(t)
	siblings := []runtime.Service{
		decoy("ssh", 22, map[string]any{"password": "toor"}), decoy("http", 80, map[string]any{"server_header": "nginx/1.22.1"}),
		decoy("redis", 6379, nil),
	}
	changed := decoy("probe", 7000, nil)
	d := b.converged(t, "web", siblings...)
	with := func(s ...runtime.Service) runtime.Decky {
		d.Services = append(s, siblings...)
		return d
	}
	for name, c := range map[string]struct {
		rounds int
		change change
	}{
		"added and removed": {changes, func(t *testing.T, _ int) {
			b.converge(t, with(changed))
			requireAnswers(t, netip.AddrPortFrom(d.IP, 7000))
			b.converge(t, with())
		}},
		"replaced": {changes / 5, func(t *testing.T, round int) {
			changed.Revision = int64(round + 2)
			b.converge(t, with(changed))
		}},
	} {
		t.Run(name, func(t *testing.T) { undisturbed(t, d.IP, c.rounds, c.change) })
	}
}

// decoy is a service with a real decoy behind it.
func decoy(name string, port uint16, config map[string]any) runtime.Service {
	return runtime.Service{Name: name, Revision: 1, Ports: []runtime.Port{{Protocol: "tcp", Number: port}}, Config: config}
}

// undisturbed talks to ssh, http and redis at an address, over one connection each that is never made again, before,
// during and after every round of a change.
func undisturbed(t *testing.T, ip netip.Addr, rounds int, change change) {
	t.Helper()
	talks := map[string]func() error{"ssh": talkSSH(t, ip), "http": talkHTTP(t, ip), "redis": talkRedis(t, ip)}
	done := make(chan struct{})
	lost := make(chan error, len(talks))
	var asked atomic.Int64
	for name, ask := range talks {
		go func() {
			for {
				if err := ask(); err != nil {
					lost <- fmt.Errorf("%s after %d answers: %w", name, asked.Load(), err)
					return
				}
				asked.Add(1)
				select {
				case <-done:
					lost <- nil
					return
				case <-time.After(askEvery):
				}
			}
		}()
	}
	answered := func() {
		seen := asked.Load()
		require.Eventually(t, func() bool { return asked.Load() >= seen+int64(len(talks)) || len(lost) > 0 }, askTimeout, time.Millisecond, "answers go on")
	}
	answered()
	for round := range rounds {
		change(t, round)
		answered()
	}
	before := asked.Load()
	close(done)
	for range talks {
		require.NoError(t, <-lost)
	}
	for name, ask := range talks {
		require.NoError(t, ask(), "%s afterwards", name)
	}
	t.Logf("%d rounds, %d answers meanwhile", rounds, before)
}

func talkSSH(t *testing.T, ip netip.Addr) func() error {
	t.Helper()
	c, err := ssh.Dial("tcp", netip.AddrPortFrom(ip, 22).String(), &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.Password("toor")}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	s, err := c.NewSession()
	require.NoError(t, err)
	in, err := s.StdinPipe()
	require.NoError(t, err)
	out, err := s.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.Shell())
	lines := bufio.NewReader(out)
	n := 0
	return func() error {
		n++
		want := fmt.Sprintf("alive %d\n", n)
		if _, err := io.WriteString(in, "echo "+want); err != nil {
			return err
		}
		timer := time.AfterFunc(askTimeout, func() { _ = c.Close() })
		defer timer.Stop()
		line, err := lines.ReadString('\n')
		if err == nil && line != want {
			err = fmt.Errorf("answered %q", line)
		}
		return err
	}
}

// dialTalk opens a connection whose every exchange is limited in time.
func dialTalk(t *testing.T, at netip.AddrPort, exchange func(*bufio.ReadWriter) error) func() error {
	t.Helper()
	conn, err := net.DialTimeout("tcp", at.String(), askTimeout)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	rw := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
	return func() error {
		if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
			return err
		}
		return exchange(rw)
	}
}

func talkHTTP(t *testing.T, ip netip.Addr) func() error {
	t.Helper()
	return dialTalk(t, netip.AddrPortFrom(ip, 80), func(rw *bufio.ReadWriter) error {
		_, _ = rw.WriteString("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
		if err := rw.Flush(); err != nil {
			return err
		}
		answer, err := http.ReadResponse(rw.Reader, nil)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err == nil && (answer.StatusCode != http.StatusOK || len(body) == 0 || answer.Close) {
			err = fmt.Errorf("answered %s, closing %t", answer.Status, answer.Close)
		}
		return err
	})
}

func talkRedis(t *testing.T, ip netip.Addr) func() error {
	t.Helper()
	return dialTalk(t, netip.AddrPortFrom(ip, 6379), func(rw *bufio.ReadWriter) error {
		_, _ = rw.WriteString("PING\r\n")
		if err := rw.Flush(); err != nil {
			return err
		}
		line, err := rw.ReadString('\n')
		if err == nil && strings.TrimSpace(line) != "+PONG" {
			err = errors.New("answered " + line)
		}
		return err
	})
}
