package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"

	"github.com/decnet/decnet/internal/fault"
)

// TemporalOptions configures StartTemporal.
type TemporalOptions struct {
	// Dir is the locked data directory; the database lives in temporal/.
	Dir *DataDir
	// Binary is the path of the temporal command.
	Binary string
	// Namespace is created with decnet's search attributes.
	Namespace string
	// Ports gives the loopback ports; all but NATS are used.
	Ports Ports
	// Volatile trades durability for speed. It is for tests.
	Volatile bool
	// Logger gets state changes; what the server prints goes to run/temporal.log.
	Logger *slog.Logger
}

// Temporal is a running dev server with its Web UI, both on loopback only.
type Temporal struct {
	child *Child
	ports Ports
	o     TemporalOptions
	db    string
	sdk   client.Client
}

const temporalReadyTimeout = 60 * time.Second

// temporalStop is how long the dev server gets to end by itself. It has nothing to flush that SQLite has not on disk.
const temporalStop = 5 * time.Second

// StartTemporal stops a survivor of an earlier run and returns once the frontend is healthy and the namespace has its
// retention and search attributes. A database that the server cannot use is moved aside and begun anew: everything
// open in Temporal can be rebuilt from Postgres. fail is called when the server cannot be kept running later.
func StartTemporal(ctx context.Context, o TemporalOptions, fail func(error)) (*Temporal, error) {
	version, err := temporalVersion(ctx, o.Binary)
	if err != nil {
		return nil, err
	}
	if err := stopTemporalSurvivor(ctx, o.Dir, o.Logger); err != nil {
		return nil, err
	}
	// A file per version: a downgrade finds its own database and not one with a newer schema.
	t := &Temporal{o: o, ports: o.Ports, db: o.Dir.Join("temporal", "temporal-"+version+".db")}
	if t.sdk, err = client.NewLazyClient(client.Options{HostPort: t.Address(), Namespace: o.Namespace, Logger: quietSDK()}); err != nil {
		return nil, fmt.Errorf("temporal client: %w", err)
	}
	t.child, err = startChild(ctx, childSpec{
		name: "temporal", dir: o.Dir.Join("temporal"), record: temporalRecord(o.Dir),
		command:      t.command,
		ready:        t.ready,
		readyTimeout: temporalReadyTimeout,
		failed:       t.repair,
		steps:        []stopStep{{syscall.SIGTERM, temporalStop}},
		out:          newOutput(o.Dir.Join("run", "temporal.log")), log: o.Logger,
	}, fail)
	if err != nil {
		t.sdk.Close()
		return nil, err
	}
	return t, nil
}

// Address returns host:port of the frontend.
func (t *Temporal) Address() string { return loopback(t.ports.Temporal) }

// UIURL returns the address of the Web UI.
func (t *Temporal) UIURL() string { return "http://" + loopback(t.ports.TemporalUI) }

// Child returns the supervised process.
func (t *Temporal) Child() *Child { return t.child }

// Stop ends the server: politely, then by force.
func (t *Temporal) Stop(ctx context.Context) {
	t.child.Stop(ctx)
	t.sdk.Close()
}

func temporalRecord(d *DataDir) string { return d.Join("run", "temporal.process") }

func stopTemporalSurvivor(ctx context.Context, d *DataDir, log *slog.Logger) error {
	pid, err := stopSurvivor(temporalRecord(d), d.Join("temporal"), syscall.SIGKILL, 5*time.Second)
	if err != nil {
		return fmt.Errorf("temporal: %w", err)
	}
	if pid != 0 {
		log.WarnContext(ctx, "child process of an earlier run stopped", "child", "temporal", "pid", pid)
	}
	return nil
}

// temporalVersionPattern matches "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)".
var temporalVersionPattern = regexp.MustCompile(`Server (\d[0-9A-Za-z.-]*)`)

// temporalVersion returns the version of the server inside the temporal command.
func temporalVersion(ctx context.Context, binary string) (string, error) {
	cmd := exec.CommandContext(ctx, binary, "--version", "--disable-config-file", "--disable-config-env")
	cmd.Env = []string{childPath, "HOME=/nonexistent"}
	out, err := cmd.Output()
	if err != nil {
		return "", fault.New(fault.Unavailable, "temporal_missing",
			"cannot run %s: build it with make, or set DECNET_TEMPORAL_BINARY or DECNET_TEMPORAL_ADDRESS", binary).Wrap(err)
	}
	m := temporalVersionPattern.FindSubmatch(out)
	if m == nil {
		return "", fault.New(fault.Unavailable, "temporal_unknown", "%s --version names no server version", binary)
	}
	return string(m[1]), nil
}

func (t *Temporal) command(context.Context) (*exec.Cmd, error) {
	if err := t.dropOrphanedLog(); err != nil {
		return nil, err
	}
	cmd := exec.Command(t.o.Binary, t.args()...) //nolint:gosec,noctx // Stop ends it; the path is configured or found
	cmd.Dir = t.o.Dir.Join("temporal")
	// HOME keeps the command from reading the configuration of whoever started decnet.
	cmd.Env = []string{childPath, "HOME=" + cmd.Dir, "TZ=UTC", "TEMPORAL_VERSION_CHECK_DISABLED=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return cmd, nil
}

func (t *Temporal) args() []string {
	journal, synchronous := "wal", "2"
	if t.o.Volatile {
		synchronous = "0"
	}
	args := []string{
		"server", "start-dev", "--db-filename", t.db,
		"--sqlite-pragma", "journal_mode=" + journal, "--sqlite-pragma", "synchronous=" + synchronous,
		"--ip", "127.0.0.1", "--port", strconv.Itoa(t.ports.Temporal),
		"--ui-ip", "127.0.0.1", "--ui-port", strconv.Itoa(t.ports.TemporalUI),
		"--http-port", strconv.Itoa(t.ports.TemporalHTTP), "--metrics-port", strconv.Itoa(t.ports.TemporalMetrics),
		"--namespace", t.o.Namespace,
		"--log-level", "warn", "--log-format", "json", "--color", "never",
		"--disable-config-file", "--disable-config-env",
		"--dynamic-config-value", "system.enableActivityEagerExecution=true",
		"--dynamic-config-value", "frontend.enableServerVersionCheck=false",
	}
	for _, name := range SearchAttributes() {
		args = append(args, "--search-attribute", name+"=Keyword")
	}
	if t.o.Volatile {
		args = append(args, "--dynamic-config-value", `system.namespaceCacheRefreshInterval="200ms"`)
	}
	return args
}

// dropOrphanedLog removes SQLite's log and index when the database they belong to is gone, and with it the mark that
// it had been usable.
func (t *Temporal) dropOrphanedLog() error {
	if _, err := os.Stat(t.db); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, suffix := range []string{"-wal", "-shm", "-journal", goodSuffix} {
		if err := removeIfExists(t.db + suffix); err != nil {
			return fmt.Errorf("temporal database: %w", err)
		}
	}
	return nil
}

// goodSuffix names the mark beside a database whose schema is complete: the dev server creates it in many steps and
// never repairs one that was interrupted.
const goodSuffix = ".ok"

// ready waits until the frontend is healthy and the namespace is as it should be.
func (t *Temporal) ready(ctx context.Context) error {
	err := poll(ctx, 25*time.Millisecond, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if _, err := t.sdk.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
			return err
		}
		return EnsureNamespace(ctx, t.sdk, t.o.Namespace)
	})
	if err != nil {
		return err
	}
	return writeAtomic(t.db+goodSuffix, nil, 0o600)
}

// damaged are the words of SQLite and of the server about a database that will not get better.
var damaged = []string{"malformed", "not a database", "no such table", "disk I/O error", "no such column", "schema version"}

// repair moves a database aside that was never usable or that the server calls damaged.
func (t *Temporal) repair(ctx context.Context, output string) error {
	_, err := os.Stat(t.db + goodSuffix)
	useless := errors.Is(err, os.ErrNotExist)
	for _, word := range damaged {
		useless = useless || strings.Contains(output, word)
	}
	if _, err := os.Stat(t.db); !useless || err != nil {
		return nil //nolint:nilerr // nothing to move
	}
	aside := t.db + ".damaged." + strconv.FormatInt(time.Now().UnixMilli(), 10)
	t.o.Logger.ErrorContext(ctx, "temporal database is damaged and was moved aside", "moved_to", filepath.Base(aside))
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Rename(t.db+suffix, aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return backoff.Permanent(fmt.Errorf("move damaged temporal database aside: %w", err))
		}
	}
	return nil
}

// quietSDK drops what the SDK logs: that a server does not answer yet is no news while it starts.
func quietSDK() sdklog.Logger {
	return sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))
}
