// Package e2e_test runs the real programs as an operator does and attacks the decoys as an intruder does: `decnet up`
// with its own Postgres, NATS and Temporal, and the stock OpenSSH client.
//
// Four systems are started. TestShared has everything that needs no system of its own; TestFaults has decoys that
// misbehave on demand; TestLife is started, stopped, killed and restored; TestDocker runs containers.
package e2e_test

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	temporallog "go.temporal.io/sdk/log"

	"github.com/decnet/decnet/e2e/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// patience bounds whatever should take a second or two, on a machine that does other things as well.
const patience = 60 * time.Second

// quietSoon is how long coming to rest takes when nothing has to be waited out.
const quietSoon = 3 * time.Second

// system is a running installation with addresses that no other uses.
type system struct {
	*harness.Up
	pool  netip.Addr // its first address
	hosts atomic.Int32
}

// block hands every system its own /24 of the addresses of deckies, away from those that are given by default.
var block atomic.Int32

func init() { block.Store(rand.Int32N(200)) }

func newSystem(u *harness.Up) *system {
	return &system{Up: u, pool: netip.AddrFrom4([4]byte{127, 66, byte(20 + block.Add(1)%230), 0})}
}

// ip returns an address nobody has, from the third of the pool on: the second is the gateway of a network of containers.
func (s *system) ip() string {
	a := s.pool.As4()
	a[3] += byte(1 + s.hosts.Add(1))
	return netip.AddrFrom4(a).String()
}

// try sends a mutation and waits long for its outcome.
func (s *system) try(t testing.TB, method, path string, body any, header ...string) harness.Answer {
	t.Helper()
	answer, err := s.Do(harness.Within(t, patience+10*time.Second), method, path, body, append([]string{"Prefer", "wait=60"}, header...)...)
	require.NoError(t, err)
	return answer
}

// must is try with a refusal of every status but one.
func (s *system) must(t testing.TB, status int, method, path string, body any, header ...string) harness.Answer {
	t.Helper()
	answer := s.try(t, method, path, body, header...)
	require.Equal(t, status, answer.Status, "%s %s: %s", method, path, answer.Body)
	return answer
}

func (s *system) create(t testing.TB, name string, services ...string) harness.Decky {
	t.Helper()
	if services == nil {
		services = []string{}
	}
	body := map[string]any{"name": name, "services": services, "ip": s.ip()}
	s.must(t, http.StatusCreated, http.MethodPost, "/deckies", body)
	return s.decky(t, name)
}

func (s *system) addSSH(t testing.TB, decky string, config map[string]any) {
	t.Helper()
	s.must(t, http.StatusCreated, http.MethodPost, "/deckies/"+decky+"/services", map[string]any{"name": "ssh", "config": config})
}

func (s *system) decky(t testing.TB, name string) harness.Decky {
	t.Helper()
	return read[harness.Decky](t, &s.Client, "/deckies/"+name)
}

func (s *system) operation(t testing.TB, id string) harness.Operation {
	t.Helper()
	return read[harness.Operation](t, &s.Client, "/operations/"+id)
}

// operations returns operations, newest first.
func (s *system) operations(t testing.TB, filter ...string) []harness.Operation {
	t.Helper()
	all, err := harness.List[harness.Operation](harness.Within(t, patience), &s.Client, "/operations", filter...)
	require.NoError(t, err)
	return all
}

// ended waits for the end of an operation.
func (s *system) ended(t testing.TB, id string) harness.Operation {
	t.Helper()
	var op harness.Operation
	eventually(t, func() bool { op = s.operation(t, id); return op.EndedAt != nil }, "operation %s ends", id)
	for _, step := range op.Steps {
		require.NotEqual(t, "running", step.State, "%s of an operation that ended", step.Name)
	}
	return op
}

func (s *system) quiet(t testing.TB) {
	t.Helper()
	began, before := time.Now(), s.try(t, http.MethodGet, "/status", nil)
	require.NoError(t, s.WaitQuiescent(harness.Within(t, patience)))
	if took := time.Since(began); took > quietSoon {
		t.Logf("quiescent only after %s; at first: %s", took.Round(time.Millisecond), before.Body)
	}
}

// temporal returns a client of the system's Temporal.
func (s *system) temporal(t testing.TB) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{
		HostPort: s.Ready.TemporalAddress, Namespace: s.Ready.TemporalNamespace,
		Logger: temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func read[T any](t testing.TB, c *harness.Client, path string) (out T) {
	t.Helper()
	answer, err := c.Do(harness.Within(t, patience), http.MethodGet, path, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.Status, "%s: %s", path, answer.Body)
	require.NoError(t, answer.Decode(&out))
	return out
}

func operationOf(t testing.TB, a harness.Answer) string {
	t.Helper()
	id := a.Header.Get("Decnet-Operation")
	require.NotEmpty(t, id, "%d %s", a.Status, a.Body)
	return id
}

func eventually(t testing.TB, condition func() bool, text string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(50 * time.Millisecond) {
		require.Truef(t, time.Now().Before(deadline), text, args...)
	}
}

// openssh runs the stock client as root of a decky. Option -T or -tt and a command follow the destination of ssh.
func openssh(t testing.TB, d harness.Decky, password, stdin string, command ...string) (output string, code int) {
	t.Helper()
	args := []string{"-p", strconv.Itoa(endpoint(t, d).Port)}
	if len(command) > 0 && command[0] == "-tt" {
		args, command = append(args, "-tt"), command[1:]
	}
	return stock(t, password, stdin, "ssh", append(append(args, "root@"+d.IP), command...)...)
}

func stock(t testing.TB, password, stdin, program string, args ...string) (output string, code int) {
	t.Helper()
	_, err := exec.LookPath("sshpass")
	require.NoError(t, err, "the stock client is driven by sshpass")
	all := append([]string{
		"-p", password, program, "-F", "/dev/null", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "PubkeyAuthentication=no", "-o", "ConnectTimeout=20",
	}, args...)
	return harness.Run(harness.Within(t, patience), t, os.Environ(), stdin, "sshpass", all...)
}

func endpoint(t testing.TB, d harness.Decky) harness.Endpoint {
	t.Helper()
	require.Len(t, d.Endpoints, 1, d.Name)
	return d.Endpoints[0]
}

func open(e harness.Endpoint) bool {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(e.IP, strconv.Itoa(e.Port)), 5*time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// decoysOf returns the process ids of a decky's decoys.
func (s *system) decoysOf(d harness.Decky) (pids []int) {
	for pid, of := range harness.DecoyPIDs(s.Dir) {
		if bytes.HasPrefix([]byte(of), []byte(d.UUID.String()+"/")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// occupy listens on an address of a decky so that nothing else can.
func occupy(t testing.TB, ip string, port int) net.Listener {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(context.WithoutCancel(t.Context()), "tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}
