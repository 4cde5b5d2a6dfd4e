package e2e_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/runtime/docker/enginetest"
)

// docker runs the engine's command.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput()
	require.NoError(t, err, string(out))
	return strings.TrimSpace(string(out))
}

// TestDocker goes the way of an operator: a decky with a service as containers, whose base dies, and which outlives a
// control plane that is killed.
func TestDocker(t *testing.T) {
	t.Parallel()
	enginetest.Require(t)
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("NO docker COMMAND, containers cannot be looked at from outside")
	}
	// A documentation block (RFC 5737): whatever decnet or its other tests run on this host lives elsewhere.
	block := []string{"192.0.2", "198.51.100", "203.0.113"}[os.Getpid()%3]
	subnet := fmt.Sprintf("%s.%d/28", block, os.Getpid()/3%16*16)
	up := harness.StartUp(t, "--runtime", "docker", "--docker-subnet", subnet)
	require.Equal(t, "docker", up.Ready.Runtime)
	name := fmt.Sprintf("e2e-%d", os.Getpid())
	answer, err := up.Do(t.Context(), http.MethodGet, "/status", nil)
	require.NoError(t, err)
	var status struct {
		Installation uuid.UUID `json:"installation_id"`
	}
	require.NoError(t, answer.Decode(&status))
	t.Cleanup(func() { // after the containers
		_ = exec.Command("docker", "network", "rm", compose.ProjectName(status.Installation, "fleet")).Run()
	})
	t.Cleanup(func() {
		ids, _ := exec.Command("docker", "ps", "-aq", "--filter", "label=decnet.decky.key="+name).Output()
		for _, id := range strings.Fields(string(ids)) {
			_ = exec.Command("docker", "rm", "-f", id).Run()
		}
	})

	answer, err = up.Do(t.Context(), http.MethodPost, "/deckies", map[string]any{"name": name, "services": []string{"ssh"}})
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, answer.Status, string(answer.Body))
	var decky struct {
		IP string `json:"ip"`
	}
	require.NoError(t, answer.Decode(&decky))
	at := net.JoinHostPort(decky.IP, "22")
	banner(t, at)
	first := docker(t, "inspect", "-f", "{{.Id}}", name+"-ssh")

	docker(t, "kill", name+".base")
	require.Eventually(t, func() bool {
		out, err := exec.Command("docker", "inspect", "-f", "{{.Id}}", name+"-ssh").Output()
		return err == nil && strings.TrimSpace(string(out)) != first
	}, 30*time.Second, 100*time.Millisecond, "the base's services are replaced")
	rest, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, up.WaitQuiescent(rest))
	banner(t, at)
	second := docker(t, "inspect", "-f", "{{.Id}}", name+"-ssh")

	up.Kill()
	up.Start()
	require.NoError(t, up.Login(t.Context()))
	require.NoError(t, up.WaitQuiescent(rest))
	require.Equal(t, second, docker(t, "inspect", "-f", "{{.Id}}", name+"-ssh"), "what runs is adopted")
	stdout, stderr, code := up.CLI(t.Context(), t.TempDir(), "", "compose", "render", "--docker-subnet", subnet)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "container_name: "+name+"-ssh\n")
	require.NotContains(t, stdout, "password")

	answer, err = up.Do(t.Context(), http.MethodDelete, "/deckies/"+name, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.Status, string(answer.Body))
	require.Empty(t, docker(t, "ps", "-aq", "--filter", "label=decnet.decky.key="+name))
}

// banner reads the first line of a service.
func banner(t *testing.T, at string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", at, 5*time.Second)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	line := make([]byte, 7)
	_, err = conn.Read(line)
	require.NoError(t, err)
	require.Equal(t, "SSH-2.0", string(line))
}
