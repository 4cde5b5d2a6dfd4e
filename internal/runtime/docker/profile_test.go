package docker_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/docker/containment"
)

// Every setting of every profile arrives in the namespace, and what of them an attacker's SYN is answered with can be seen
// on the wire.
func TestProfile_ShowsInTheNamespaceAndOnTheWire(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, system := range decky.NmapOSes {
		d := b.newDecky("os")
		d.NmapOS, d.Services = system, []runtime.Service{service("ssh", 22, "ok")}
		b.converge(t, d)
		profile := compose.Profile(system)
		for name, want := range profile {
			require.InDelta(t, number(t, want), number(t, b.sysctl(t, d, name)), slack(name), "%s of %s", name, system)
		}
		answer := synAck(t, netip.AddrPortFrom(d.IP, 22))
		require.Equal(t, profile["net.ipv4.ip_default_ttl"], fmt.Sprint(answer.ttl), system)
		for option, setting := range map[byte]string{
			optionWindowScale: "tcp_window_scaling", optionSACK: "tcp_sack", optionTimestamps: "tcp_timestamps",
		} {
			require.Equal(t, profile["net.ipv4."+setting] == "1", answer.options[option], "%s of %s", setting, system)
		}
	}
}

// slack is what a setting may be off by: kernels keep milliseconds in units of at most ten.
func slack(name string) float64 {
	if strings.HasSuffix(name, ".icmp_ratelimit") {
		return 10
	}
	return 0
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(text))
	require.NoError(t, err)
	return n
}

// sysctl reads a setting inside the namespace of a decky.
func (b *bundle) sysctl(t *testing.T, d runtime.Decky, name string) string {
	t.Helper()
	var value []byte
	var err error
	require.NoError(t, containment.InNamespace(fmt.Sprintf("/proc/%d/ns/net", b.pid(t, d, "")), func() {
		value, err = os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	}))
	require.NoError(t, err)
	return string(value)
}

// Kinds of TCP options.
const (
	optionWindowScale = 3
	optionSACK        = 4
	optionTimestamps  = 8
)

type answer struct {
	ttl     byte
	options map[byte]bool
}

// synAck connects and returns what the first answer looked like when it arrived at this host.
func synAck(t *testing.T, to netip.AddrPort) answer {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	require.NoError(t, err)
	defer func() { _ = unix.Close(fd) }()
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	requireAnswers(t, to)
	packet := make([]byte, 2048)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		n, _, err := unix.Recvfrom(fd, packet, 0)
		require.NoError(t, err, "no answer is seen")
		header := int(packet[0]&15) * 4
		from, _ := netip.AddrFromSlice(packet[12:16])
		if n < header+20 || from != to.Addr() {
			continue
		}
		segment := packet[header:n]
		const synAckFlags = 0x12
		if binary.BigEndian.Uint16(segment) == to.Port() && segment[13]&synAckFlags == synAckFlags {
			return answer{ttl: packet[8], options: tcpOptions(segment[20 : int(segment[12]>>4)*4])}
		}
	}
	require.Fail(t, "no answer is seen")
	return answer{}
}

// tcpOptions lists the kinds of options (RFC 9293, section 3.1).
func tcpOptions(b []byte) map[byte]bool {
	kinds := map[byte]bool{}
	for len(b) > 0 && b[0] != 0 {
		if b[0] == 1 {
			b = b[1:]
			continue
		}
		kinds[b[0]] = true
		b = b[min(len(b), max(2, int(b[1]))):]
	}
	return kinds
}
