// Package docker runs decoys as containers of a Docker engine, through Compose as a library.
//
// Each decky is one base container, which owns the network namespace and the address, and one container per service in
// that namespace. The namespace has the settings of the system the decky pretends to be. The invariants it protects:
//
//   - The engine is the authority on what runs; labels say what a container is. state.json on disk only adds what the
//     engine cannot tell (boot id, whether it was verified) and counts only for the container it names.
//   - A container is one boot of a decoy: it is never started a second time, but replaced.
//   - The compose file of a scope is rendered whole, from desired state, and replaced in one step. It is a by-product for
//     people; nothing is ever read back from it.
//   - No container is started, and none is reported healthy, before the rules that contain it are in force.
//   - A container's log is copied to the kept logs before the container is removed.
package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/docker/compose/v5/pkg/api"
	"github.com/google/uuid"
	"github.com/moby/moby/client"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
	"github.com/decnet/decnet/internal/runtime/docker/containment"
)

// Defaults of Options.
const (
	DefaultHost         = "unix:///var/run/docker.sock"
	DefaultReadyTimeout = 20 * time.Second
	DefaultPortOffset   = 20000
)

// DefaultSubnet is where deckies live on a bridge when nothing else is said. It is a part of 198.18.0.0/15 (RFC 2544):
// the internet does not route it, private networks do not use it, and the engine never picks it for a network.
var DefaultSubnet = netip.MustParsePrefix("198.19.0.0/16")

// Options configures a Runtime. Installation, DataDir, ArtifactsRoot and DecoyBinary are required.
type Options struct {
	Installation uuid.UUID
	// Host is the engine's address. Empty means DefaultHost.
	Host string
	// DataDir is the folder "decoys" of the data directory; this package owns everything below it.
	DataDir string
	// ArtifactsRoot is the root of the spools: `<root>/<decky key>/<spool name>`.
	ArtifactsRoot string
	// DecoyBinary is the path of the static decoy program, which the image is made of.
	DecoyBinary string
	// Network is the network of the fleet. The zero value is a bridge on DefaultSubnet.
	Network compose.Network
	// PortOffset is added to a published port that the host does not have free. Zero means DefaultPortOffset.
	PortOffset uint16
	// Deckies lists what should run of a scope. It is asked once per scope; from then on what was converged counts.
	// Nil means that nothing is known but what is converged.
	Deckies func(ctx context.Context, scope string) ([]runtime.Decky, error)
	// Users is the range decoys' user ids come from when the control plane runs as root.
	Users boot.UserRange
	// ReadyTimeout is how long a decoy may take to report ready. Zero means DefaultReadyTimeout.
	ReadyTimeout time.Duration
	// Logger receives state changes. Nil discards them.
	Logger *slog.Logger
}

// Runtime runs decoys as containers. It is safe for concurrent use; calls for one decky are serialised.
type Runtime struct {
	opts    Options
	dirs    layout
	users   boot.UserRange
	log     *slog.Logger
	engine  *client.Client
	compose api.Compose
	filter  containment.Filter
	scopes  scopes
	locks   boot.Locks

	prepare sync.Mutex
	image   string // "" until built; guarded by prepare
	built   fingerprint

	exits  chan struct{}
	closed chan struct{}
	once   sync.Once
	watch  sync.WaitGroup
	ending sync.Map // ids of containers this Runtime stops
}

var _ runtime.Runtime = (*Runtime)(nil)

// New makes the runtime and starts to watch the engine's events. An engine that does not answer is no error here.
func New(o Options) (*Runtime, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	dirs, err := boot.NewLayout(o.DataDir, o.ArtifactsRoot)
	if err != nil {
		return nil, err
	}
	users, err := o.Users.OrDefault()
	if err != nil {
		return nil, err
	}
	engine, err := client.New(client.WithHost(o.Host))
	if err != nil {
		return nil, fault.New(fault.Invalid, "docker_host_invalid", "the address of the Docker engine is not valid").Wrap(err)
	}
	svc, err := NewCompose(engine)
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	r := &Runtime{
		opts: o, dirs: layout{dirs}, users: users, log: o.Logger, engine: engine, compose: svc,
		exits: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	r.watch.Go(r.follow)
	return r, nil
}

func (o Options) withDefaults() (Options, error) {
	if o.Installation == uuid.Nil {
		return o, errors.New("docker runtime needs an installation id")
	}
	if o.Host == "" {
		o.Host = DefaultHost
	}
	if o.PortOffset == 0 {
		o.PortOffset = DefaultPortOffset
	}
	if o.ReadyTimeout == 0 {
		o.ReadyTimeout = DefaultReadyTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	n := &o.Network
	if n.Driver == "" {
		n.Driver = compose.Bridge
	}
	if !n.Subnet.IsValid() {
		n.Subnet = DefaultSubnet
	}
	n.Subnet = n.Subnet.Masked()
	if !n.Gateway.IsValid() {
		n.Gateway = n.Subnet.Addr().Next()
	}
	if n.Driver == compose.Macvlan && n.Parent == "" {
		return o, fault.New(fault.Invalid, "docker_parent_missing", "a macvlan network needs the host's interface it is on")
	}
	if n.Driver != compose.Bridge && n.Driver != compose.Macvlan {
		return o, fault.New(fault.Invalid, "docker_network_invalid", "the driver of a network is bridge or macvlan")
	}
	var err error
	if o.DecoyBinary, err = filepath.Abs(o.DecoyBinary); err != nil {
		return o, fmt.Errorf("locate decoy binary: %w", err)
	}
	return o, nil
}

// Answers reports whether a Docker engine answers at host (empty: DefaultHost).
func Answers(ctx context.Context, host string) bool {
	if host == "" {
		host = DefaultHost
	}
	engine, err := client.New(client.WithHost(host))
	if err != nil {
		return false
	}
	defer func() { _ = engine.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err = engine.Ping(ctx, client.PingOptions{})
	return err == nil
}

// Name returns "docker".
func (r *Runtime) Name() string { return "docker" }

// Prepare makes the image, the network and the rules that contain it. Its failures are Unavailable faults, but for a
// network of ours that is not as it should be, which is a Conflict.
func (r *Runtime) Prepare(ctx context.Context) error {
	r.prepare.Lock()
	defer r.prepare.Unlock()
	if _, err := r.engine.Ping(ctx, client.PingOptions{}); err != nil {
		return engineError(ctx, "reach the engine", err)
	}
	if err := r.contain(ctx); err != nil {
		return err
	}
	if err := r.ensureImage(ctx); err != nil {
		return err
	}
	return r.ensureNetwork(ctx)
}

// contain puts the host's rules in force.
func (r *Runtime) contain(ctx context.Context) error {
	restored, err := r.filter.Ensure(ctx)
	if err != nil {
		return fault.New(fault.Unavailable, "containment_unavailable",
			"this host does not let decnet contain decoys: iptables and the module br_netfilter are needed, and the right to change rules").Wrap(err)
	}
	if restored {
		r.log.WarnContext(ctx, "containment rules were missing and are restored")
	}
	return nil
}

// Exits delivers a value after a container ended without being told to by this Runtime. Values are merged.
func (r *Runtime) Exits() <-chan struct{} { return r.exits }

// Close stops watching; running Converge calls end with an error. Containers go on.
func (r *Runtime) Close() error {
	var err error
	r.once.Do(func() {
		close(r.closed)
		r.watch.Wait()
		err = r.engine.Close()
	})
	return err
}
