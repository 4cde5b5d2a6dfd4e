package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/internal/decky/deckytest"
)

// answeredConfig is what save, apply and their dry runs answer.
type answeredConfig struct {
	DeckyName     string         `json:"decky_name"`
	ServiceName   string         `json:"service_name"`
	Config        map[string]any `json:"config"`
	Recreated     bool           `json:"recreated"`
	RestartNeeded bool           `json:"restart_needed"`
	ComposeDiff   string         `json:"compose_diff"`
}

func (s *system) configure(t testing.TB, decky, service string, apply bool, config map[string]any, query ...string) (c answeredConfig) {
	t.Helper()
	method, path, status := http.MethodPut, "/deckies/"+decky+"/services/"+service+"/config", http.StatusOK
	if apply {
		method, path, status = http.MethodPost, "/deckies/"+decky+"/services/"+service+"/apply", http.StatusCreated
	}
	var body any
	if config != nil {
		body = map[string]any{"config": config}
	}
	if len(query) > 0 {
		path, status = path+"?"+strings.Join(query, "&"), http.StatusOK
	}
	require.NoError(t, s.must(t, status, method, path, body).Decode(&c))
	return c
}

// pids returns the process of each decoy of a decky by service.
func (s *system) pids(d harness.Decky) map[string]int {
	pids := map[string]int{}
	for pid, of := range harness.DecoyPIDs(s.Dir) {
		if service, ok := strings.CutPrefix(of, d.UUID.String()+"/"); ok {
			pids[service] = pid
		}
	}
	return pids
}

func only(t testing.TB, d harness.Decky, service string) harness.Decky {
	t.Helper()
	d.Endpoints = slices.DeleteFunc(slices.Clone(d.Endpoints), func(e harness.Endpoint) bool { return e.Service != service })
	require.Len(t, d.Endpoints, 1)
	return d
}

// configurations saves, looks, applies, writes masks back and goes back.
func configurations(t *testing.T, s *system) {
	s.must(t, http.StatusCreated, http.MethodPost, "/deckies", map[string]any{
		"name": "config-01", "services": []string{"http", "ssh", "redis"}, "ip": s.ip(),
		"service_config": map[string]any{"ssh": map[string]any{"password": "first-pw"}},
	})
	d := s.decky(t, "config-01")
	login := func(password string) (string, int) {
		t.Helper()
		return openssh(t, only(t, s.decky(t, "config-01"), "ssh"), password, "", "hostname")
	}
	before := s.pids(d)
	saved := s.configure(t, "config-01", "ssh", false, map[string]any{"password": "second-pw", "hostname": "edge-9"})
	require.True(t, saved.RestartNeeded)
	require.False(t, saved.Recreated)
	_, code := login("first-pw")
	require.Zero(t, code, "what is saved is not applied")
	dry := s.configure(t, "config-01", "ssh", true, nil, "dry_run=true")
	require.Contains(t, dry.ComposeDiff, "\n+", "the decoy would be another")
	require.NotContains(t, dry.ComposeDiff, "-pw")
	require.Equal(t, before, s.pids(d), "neither saving nor asking touches a decoy")

	applied := s.configure(t, "config-01", "ssh", true, nil)
	require.True(t, applied.Recreated)
	require.False(t, applied.RestartNeeded)
	out, code := login("second-pw")
	require.Zero(t, code, out)
	require.Equal(t, "edge-9\n", out)
	_, code = login("first-pw")
	require.Equal(t, 5, code, "the old password is refused")
	after := s.pids(d)
	require.NotEqual(t, before["ssh"], after["ssh"])
	require.Equal(t, []int{before["http"], before["redis"]}, []int{after["http"], after["redis"]}, "siblings live on")

	masked := s.configure(t, "config-01", "ssh", true, map[string]any{"password": applied.Config["password"], "hostname": "edge-10"})
	require.Equal(t, "********", masked.Config["password"])
	out, code = login("second-pw")
	require.Equal(t, []any{"edge-10\n", 0}, []any{out, code}, "the mask kept the password")

	s.must(t, http.StatusOK, http.MethodPost, "/deckies/config-01/rollback", map[string]any{"revision": 1})
	_, code = login("first-pw")
	require.Zero(t, code)
	again := s.pids(d)
	require.Equal(t, []int{before["http"], before["redis"]}, []int{again["http"], again["redis"]})
}

// applyThatCannotComeUp crashes with its new configuration: the old one is put back and answers.
func applyThatCannotComeUp(t *testing.T, s *system, gate *harness.Gate) {
	s.create(t, "broken-01", "ssh", "http", "redis")
	s.configure(t, "broken-01", "ssh", false, map[string]any{"user": "saved-for-later"})
	before := s.decky(t, "broken-01")
	pids := s.pids(before)
	gate.CrashOn("broken-01", "cannot-start")
	answer := s.must(t, http.StatusBadGateway, http.MethodPost, "/deckies/broken-01/services/ssh/apply",
		map[string]any{"config": map[string]any{"user": "cannot-start"}})
	op := s.operation(t, operationOf(t, answer))
	require.Equal(t, "failed", op.State)
	require.Equal(t, "decoy_start_failed", op.Fault.Code)
	undone(t, s, before, op)
	out, code := openssh(t, only(t, s.decky(t, "broken-01"), "ssh"), "admin", "", "id -un")
	require.Equal(t, []any{"root\n", 0}, []any{out, code}, "the old one answers")
	after := s.pids(before)
	require.Equal(t, []int{pids["http"], pids["redis"]}, []int{after["http"], after["redis"]})
	gate.Open("broken-01")
	require.Equal(t, "saved-for-later", s.configure(t, "broken-01", "ssh", true, nil).Config["user"], "what was saved is still saved")
}

// fiftyApplies makes one decoy anew again and again, each in its turn, while the connections to its siblings stay open.
func fiftyApplies(t *testing.T, s *system) {
	const applies = 50
	d := s.create(t, "fifty-01", "ssh", "http", "redis")
	configs := map[string]func(int) map[string]any{
		"ssh":   func(i int) map[string]any { return map[string]any{"user": "user" + itoa(i)} },
		"http":  func(i int) map[string]any { return map[string]any{"response_code": 400 + i} },
		"redis": func(i int) map[string]any { return map[string]any{"version": "7.0." + itoa(i)} },
	}
	began := time.Now()
	for turn, service := range []string{"ssh", "http", "redis"} {
		open := connections(t, d)
		before := s.pids(d)
		for i := turn; i < applies; i += 3 {
			s.configure(t, "fifty-01", service, true, configs[service](i))
			for sibling, use := range open {
				if sibling != service {
					require.NoError(t, use(i), "%s during apply %d of %s", sibling, i, service)
				}
			}
		}
		after := s.pids(d)
		require.NotEqual(t, before[service], after[service])
		for sibling := range open {
			if sibling != service {
				require.Equal(t, before[sibling], after[sibling])
			}
		}
	}
	t.Logf("%d applies in %s", applies, time.Since(began).Round(time.Millisecond))
	require.Equal(t, 1+applies, s.decky(t, "fifty-01").Revision)
}

// connections opens one connection to each service and returns how to use it; none of them can be opened again.
func connections(t *testing.T, d harness.Decky) map[string]func(int) error {
	t.Helper()
	return map[string]func(int) error{"ssh": shell(t, only(t, d, "ssh")), "http": keepAlive(t, d), "redis": pings(t, d)}
}

// shell keeps a session of the stock client.
func shell(t *testing.T, d harness.Decky) func(int) error {
	t.Helper()
	e := endpoint(t, d)
	c := exec.CommandContext(t.Context(), "sshpass", "-p", "admin", "ssh", "-F", "/dev/null", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "PubkeyAuthentication=no", "-p", strconv.Itoa(e.Port), "-T", "root@"+e.IP)
	in, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = in.Close(); _ = c.Process.Kill(); _ = c.Wait() })
	lines := bufio.NewScanner(out)
	use := func(i int) error {
		if _, err := fmt.Fprintf(in, "echo alive-$((%d+1))\n", i); err != nil {
			return err
		}
		for lines.Scan() {
			if strings.Contains(lines.Text(), "alive-"+itoa(i+1)) {
				return nil
			}
		}
		return fmt.Errorf("the session ended: %w", lines.Err())
	}
	require.NoError(t, use(1000))
	return use
}

// keepAlive keeps one HTTP/1.1 connection.
func keepAlive(t *testing.T, d harness.Decky) func(int) error {
	t.Helper()
	e := endpoint(t, only(t, d, "http"))
	address := net.JoinHostPort(e.IP, strconv.Itoa(e.Port))
	once := make(chan struct{}, 1)
	once <- struct{}{}
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		select {
		case <-once:
			var dialer net.Dialer
			return dialer.DialContext(ctx, network, address)
		default:
			return nil, fmt.Errorf("the connection was lost")
		}
	}}}
	use := func(i int) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/?"+itoa(i), nil)
		if err != nil {
			return err
		}
		res, err := c.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	require.NoError(t, use(1000))
	return use
}

// pings keeps one Redis connection.
func pings(t *testing.T, d harness.Decky) func(int) error {
	t.Helper()
	e := endpoint(t, only(t, d, "redis"))
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(e.IP, strconv.Itoa(e.Port)), 10*time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	answers := bufio.NewReader(conn)
	use := func(i int) error {
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(conn, "ECHO alive-%d\r\n", i); err != nil {
			return err
		}
		length, err := answers.ReadString('\n')
		if err != nil {
			return err
		}
		text, err := answers.ReadString('\n')
		if err == nil && strings.TrimSpace(text) != "alive-"+itoa(i) {
			err = fmt.Errorf("got %q %q", length, text)
		}
		return err
	}
	require.NoError(t, use(1000))
	return use
}

// pastOfRandomChanges makes real changes and compares what is said about the past with a model.
func pastOfRandomChanges(t *testing.T, s *system) {
	const changes = 60
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	names := []string{"past-01", "past-02", "past-03"}
	m := deckytest.New(rand.New(rand.NewPCG(seed, 1)), false, time.Now().Add(24*time.Hour), names...)
	began := time.Now()
	for range changes {
		c := m.Next()
		var body any
		if c.Body != nil {
			body = c.Body
		}
		if c.Path == "/deckies" {
			c.Body["ip"] = s.ip()
		}
		answer := s.must(t, c.Status, c.Method, c.Path, body)
		if c.Status >= 300 {
			continue
		}
		var d struct{ UUID string }
		require.NoError(t, answer.Decode(&d))
		op := s.operation(t, operationOf(t, answer))
		require.NotNil(t, op.EndedAt)
		m.Done(c, *op.EndedAt, d.UUID)
	}
	instants := []time.Time{began.Add(-time.Hour), time.Now(), time.Now().Add(time.Hour)}
	for _, at := range m.Times() {
		instants = append(instants, at.Add(-time.Microsecond), at, at.Add(time.Microsecond), at.Add(time.Duration(rand.IntN(1000))*time.Millisecond))
	}
	for _, at := range instants {
		for _, name := range names {
			answer := s.try(t, http.MethodGet, "/deckies/"+name+"?at="+at.UTC().Format(time.RFC3339Nano), nil)
			require.NoError(t, m.Check(name, at.Truncate(time.Microsecond), answer.Status, answer.Body))
		}
	}
	var running, wanted []string
	for _, name := range m.Names() {
		d := s.decky(t, name)
		for service := range s.pids(d) {
			running = append(running, name+"/"+service)
		}
		for service := range m.Plain(name) {
			wanted = append(wanted, name+"/"+service)
		}
	}
	require.ElementsMatch(t, wanted, running, "and the decoys are those of the present")
}
