// Package enginetest gives tests a Docker engine: the one that answers, or one it starts where it may.
package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/decnet/decnet/internal/runtime/docker"
)

const startLimit = 4 * time.Minute

// start tries once per test process; the returned reason is "" when an engine answers.
var start = sync.OnceValue(func() string {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit) //nolint:forbidigo // belongs to the test process, not to one test
	defer cancel()
	if os.Geteuid() != 0 {
		return "only root can contain containers"
	}
	if docker.Answers(ctx, "") {
		return unusable(ctx)
	}
	_, file, _, _ := runtime.Caller(0)
	script := filepath.Join(filepath.Dir(file), "../../../../scripts/docker-engine.sh")
	if out, err := exec.CommandContext(ctx, script).CombinedOutput(); err != nil {
		return fmt.Sprintf("none could be started: %v\n%s", err, out)
	}
	return unusable(ctx)
})

// unusable says why an engine that answers cannot make images, "" if it can. Inside a changed root that is no mount point,
// for one, engines cannot unpack anything.
func unusable(ctx context.Context) string {
	cmd := exec.CommandContext(ctx, "docker", "import", "-")
	var empty bytes.Buffer
	if err := tar.NewWriter(&empty).Close(); err != nil {
		return err.Error()
	}
	cmd.Stdin = &empty
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("it makes no images: %v\n%s", err, out)
	}
	_ = exec.CommandContext(ctx, "docker", "rmi", strings.TrimSpace(string(out))).Run()
	return ""
}

// Require skips the test, loudly, where there is no engine and none can be started.
func Require(tb testing.TB) {
	tb.Helper()
	if reason := start(); reason != "" {
		tb.Skipf("NO DOCKER ENGINE, the container runtime is not tested here: %s", reason)
	}
}
