package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"time"
)

// Ports are the loopback ports of the embedded parts, chosen once per data directory.
type Ports struct {
	NATS            int `json:"nats"`
	Temporal        int `json:"temporal"`
	TemporalUI      int `json:"temporal_ui"`
	TemporalHTTP    int `json:"temporal_http"`
	TemporalMetrics int `json:"temporal_metrics"`
}

// Stored ports come from this range: above the well-known ones, below Kubernetes' node ports and below Linux' default
// range for outgoing connections, whose sockets would race with us for a port while a part restarts.
const (
	firstPort = 10240
	lastPort  = 29999
)

// ephemeralFile names the range the kernel takes outgoing ports from.
const ephemeralFile = "/proc/sys/net/ipv4/ip_local_port_range"

// Ports returns the stored ports, choosing those that are missing and replacing those that something else listens on,
// which is reported. The answer holds until somebody else takes a port, so it is asked right before a start.
func (d *DataDir) Ports(ctx context.Context, log *slog.Logger) (Ports, error) {
	path := d.Join("ports.json")
	var p Ports
	content, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(content, &p)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.WarnContext(ctx, "stored ports are unreadable and chosen again", "err", err)
		p = Ports{}
	}
	if err := p.settle(ctx, log); err != nil {
		return Ports{}, err
	}
	if content, err = json.MarshalIndent(p, "", "  "); err != nil {
		return Ports{}, err
	}
	if err := writeAtomic(path, append(content, '\n'), 0o600); err != nil {
		return Ports{}, fmt.Errorf("store ports: %w", err)
	}
	return p, nil
}

// settle makes every port a free one, all different.
func (p *Ports) settle(ctx context.Context, log *slog.Logger) error {
	used := map[int]bool{}
	for _, port := range []struct {
		name  string
		value *int
	}{
		{"nats", &p.NATS},
		{"temporal", &p.Temporal},
		{"temporal_ui", &p.TemporalUI},
		{"temporal_http", &p.TemporalHTTP},
		{"temporal_metrics", &p.TemporalMetrics},
	} {
		old := *port.value
		if old <= 0 || used[old] || !portFreed(old) {
			fresh, err := choosePort(used)
			if err != nil {
				return err
			}
			*port.value = fresh
		}
		used[*port.value] = true
		if old != 0 && old != *port.value {
			log.WarnContext(ctx, "stored port is taken and was replaced", "part", port.name, "old_port", old, "port", *port.value)
		}
	}
	return nil
}

func choosePort(used map[int]bool) (int, error) {
	low, high := ephemeralRange()
	for range 10000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1) //nolint:gosec // nothing secret about a port
		if used[port] || port >= low && port <= high && !coversAll(low, high) || !portFree(port) {
			continue
		}
		return port, nil
	}
	return 0, errors.New("no free port on loopback")
}

func coversAll(low, high int) bool { return low <= firstPort && high >= lastPort }

// ephemeralRange returns the kernel's range of outgoing ports, an empty one when it is unknown.
func ephemeralRange() (low, high int) {
	text, err := os.ReadFile(ephemeralFile)
	if err != nil {
		return 0, -1
	}
	if n, err := fmt.Sscan(string(text), &low, &high); n != 2 || err != nil {
		return 0, -1
	}
	return low, high
}

// portFreed gives a holder that is just ending, such as a child of a killed parent, the time to end.
func portFreed(port int) bool {
	for range 20 {
		if portFree(port) {
			return true
		}
		time.Sleep(25 * time.Millisecond)
	}
	return false
}

func portFree(port int) bool {
	l, err := net.Listen("tcp", loopback(port)) //nolint:noctx // a local bind does not block
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
