// Package containment keeps decoys from opening connections. A decoy answers whoever connects to it; nothing that begins
// in one leaves its network namespace: not to the host, to other deckies, to other networks or to the internet.
//
// On bridges the rules live in the host: everything that is not part of a known connection is dropped when it arrives
// from a bridge of ours, recognised by the prefix of its fixed name. The rules name no single bridge, so they hold
// before a network exists and for every installation on the host, and nothing ever removes them. A macvlan network
// bypasses the host's filters, so there the rules live in each decky's own namespace, which no decoy has the
// capability to change.
//
// An `internal` network of the engine is no substitute: it still reaches the host. See ADR 6.
package containment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/coreos/go-iptables/iptables"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/compose"
)

// lockWait is how many seconds to wait for whoever else changes the host's rules.
const lockWait = 5

// bridges matches every bridge of ours.
const bridges = compose.BridgePrefix + "+"

// rule is one rule that must be at the head of its chain, in the order of the list it stands in.
type rule struct {
	proto iptables.Protocol
	chain string
	spec  []string
}

const (
	chainInput   = "INPUT"
	chainForward = "FORWARD"
	chainUser    = "DOCKER-USER"
	chainOutput  = "OUTPUT"
	table        = "filter"
)

var (
	drop   = []string{"-j", "DROP"}
	accept = []string{"-j", "ACCEPT"}
	known  = []string{"-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"}
	other  = []string{"-m", "conntrack", "!", "--ctstate", "RELATED,ESTABLISHED"}

	// Within one bridge, and through a port that the engine did not make: not from a container.
	bridged = []string{"-m", "physdev", "--physdev-is-bridged"}
	foreign = []string{"-m", "physdev", "!", "--physdev-in", enginePorts, "--physdev-is-bridged"}
	note    = []string{"-j", "CONNMARK", "--set-xmark", clientMark}
	noted   = []string{"-m", "connmark", "--mark", clientMark}
)

const (
	enginePorts = "veth+" // what the engine calls the host's end of every container's interface
	clientMark  = "0x10000000/0x10000000"
)

// hostRules are what the host needs. Clients anywhere may reach decoys, that is what they are for; Docker alone would let
// nobody but the host in. A client that is itself on a bridge, as a host of that network, may come through a decky that
// forwards: its connection is marked on its first bridge and passes on the next ones, where it arrives from that decky.
// Only frames that stay on their bridge are let through that way; the host routes nothing for a bridge of ours.
func hostRules() []rule {
	from, to := []string{"-i", bridges}, []string{"-o", bridges}
	return []rule{
		{iptables.ProtocolIPv4, chainInput, slices.Concat(from, other, drop)},
		{iptables.ProtocolIPv4, chainUser, slices.Concat(from, foreign, note)},
		{iptables.ProtocolIPv4, chainUser, slices.Concat(from, noted, bridged, accept)},
		{iptables.ProtocolIPv4, chainUser, slices.Concat(from, other, drop)},
		{iptables.ProtocolIPv4, chainUser, slices.Concat(from, known, accept)},
		{iptables.ProtocolIPv4, chainUser, slices.Concat(to, accept)},
		{iptables.ProtocolIPv6, chainInput, slices.Concat(from, drop)},
		{iptables.ProtocolIPv6, chainForward, slices.Concat(from, drop)},
	}
}

// namespaceRules are what a decky on a macvlan network needs in its namespace.
func namespaceRules() []rule {
	loopback := []string{"-o", "lo"}
	return []rule{
		{iptables.ProtocolIPv4, chainOutput, slices.Concat(loopback, accept)},
		{iptables.ProtocolIPv4, chainOutput, slices.Concat(other, drop)},
		{iptables.ProtocolIPv6, chainOutput, slices.Concat(loopback, accept)},
		{iptables.ProtocolIPv6, chainOutput, drop},
	}
}

// Filter is the host's packet filter. Its methods are safe for concurrent use within the process.
type Filter struct{}

// one at a time: the check and the change of a chain must not be torn apart.
var mu sync.Mutex

// Ensure puts the host's rules in place and reports whether any was missing or not in force any more. Afterwards the
// rules are the first of their chains. It also requires that the bridge hands frames between its ports to the filter;
// without that, deckies could reach each other.
func (Filter) Ensure(ctx context.Context) (restored bool, err error) {
	if err := bridgeFiltered("/proc/sys/net/bridge/"); err != nil {
		return false, err
	}
	mu.Lock()
	defer mu.Unlock()
	forwarded, err := ensureForward()
	if err != nil {
		return false, err
	}
	restored, err = ensure(ctx, hostRules())
	return restored || forwarded, err
}

// EnsureNamespace does for one network namespace, by its path, what Ensure does for the host.
func (Filter) EnsureNamespace(ctx context.Context, path string) (restored bool, err error) {
	mu.Lock()
	defer mu.Unlock()
	nsErr := inNamespace(path, func() { restored, err = ensure(ctx, namespaceRules()) })
	return restored, errors.Join(nsErr, err)
}

// Permitted reports whether this process may change packet filters (CAP_NET_ADMIN) and has the tool for it.
func Permitted() bool {
	if _, err := tables(iptables.ProtocolIPv4); err != nil {
		return false
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return false
	}
	return sets[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}

// bridgeFiltered reads what the kernel module br_netfilter was told.
func bridgeFiltered(dir string) error {
	for _, name := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		b, err := os.ReadFile(dir + name)
		if err != nil {
			return fmt.Errorf("bridged frames pass unfiltered (module br_netfilter): %w", err)
		}
		if strings.TrimSpace(string(b)) != "1" {
			return fmt.Errorf("bridged frames pass unfiltered (sysctl net.bridge.%s is not 1)", name)
		}
	}
	return nil
}

// ensureForward makes sure that forwarded packets come to DOCKER-USER first. The engine does that at its start.
func ensureForward() (restored bool, err error) {
	t, err := tables(iptables.ProtocolIPv4)
	if err != nil {
		return false, err
	}
	exists, err := t.ChainExists(table, chainUser)
	if err != nil {
		return false, fmt.Errorf("look for chain %s: %w", chainUser, err)
	}
	if !exists {
		if err := t.NewChain(table, chainUser); err != nil {
			return false, fmt.Errorf("make chain %s: %w", chainUser, err)
		}
	}
	return ensureHead(t, chainForward, [][]string{{"-j", chainUser}})
}

// ensure groups rules by chain and puts each group at the head of its chain.
func ensure(ctx context.Context, rules []rule) (restored bool, err error) {
	type head struct {
		proto iptables.Protocol
		chain string
	}
	var heads []head
	specs := map[head][][]string{}
	for _, r := range rules {
		h := head{r.proto, r.chain}
		if specs[h] == nil {
			heads = append(heads, h)
		}
		specs[h] = append(specs[h], r.spec)
	}
	for _, h := range heads {
		if h.proto == iptables.ProtocolIPv6 && !hasIPv6() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return restored, err
		}
		t, err := tables(h.proto)
		if err != nil {
			return restored, err
		}
		changed, err := ensureHead(t, h.chain, specs[h])
		if err != nil { // somebody else may have changed the chain between a look and a change
			changed, err = ensureHead(t, h.chain, specs[h])
		}
		if err != nil {
			return restored, err
		}
		restored = restored || changed
	}
	return restored, nil
}

// ensureHead makes specs the first rules of a chain. Rules are compared as the tool prints them, every option with its
// arguments, because that is the only form it can be asked for.
func ensureHead(t *iptables.IPTables, chain string, specs [][]string) (changed bool, err error) {
	lines, err := t.List(table, chain)
	if err != nil {
		return false, fmt.Errorf("list chain %s: %w", chain, err)
	}
	lines = slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "-A ") })
	inForce := len(lines) >= len(specs)
	for i, spec := range specs {
		inForce = inForce && lines[i] == "-A "+chain+" "+strings.Join(spec, " ")
	}
	if inForce {
		return false, nil
	}
	// From the last to the first, each at the head, before its stale copy goes: there is no moment without it.
	for _, spec := range slices.Backward(specs) {
		if err := t.Insert(table, chain, 1, spec...); err != nil {
			return true, fmt.Errorf("insert into chain %s: %w", chain, err)
		}
	}
	return true, removeCopies(t, chain, specs)
}

// removeCopies deletes what stands below the head and is the same.
func removeCopies(t *iptables.IPTables, chain string, specs [][]string) error {
	lines, err := t.List(table, chain)
	if err != nil {
		return fmt.Errorf("list chain %s: %w", chain, err)
	}
	lines = slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "-A ") })
	for i := len(lines) - 1; i >= len(specs); i-- {
		if slices.ContainsFunc(specs, func(spec []string) bool { return lines[i] == "-A "+chain+" "+strings.Join(spec, " ") }) {
			if err := t.DeleteById(table, chain, i+1); err != nil {
				return fmt.Errorf("delete from chain %s: %w", chain, err)
			}
		}
	}
	return nil
}

// tables returns the tool of a protocol. Asking it for its version takes a process, so that is done once.
func tables(p iptables.Protocol) (*iptables.IPTables, error) {
	if p == iptables.ProtocolIPv6 {
		return tables6()
	}
	return tables4()
}

var (
	tables4 = sync.OnceValues(func() (*iptables.IPTables, error) { return openTables(iptables.ProtocolIPv4) })
	tables6 = sync.OnceValues(func() (*iptables.IPTables, error) { return openTables(iptables.ProtocolIPv6) })
)

func openTables(p iptables.Protocol) (*iptables.IPTables, error) {
	t, err := iptables.New(iptables.IPFamily(p), iptables.Timeout(lockWait))
	if err != nil {
		return nil, fmt.Errorf("find iptables: %w", err)
	}
	return t, nil
}

// hasIPv6 reports whether this kernel speaks IPv6 at all: without it there is nothing to filter and no table.
var hasIPv6 = sync.OnceValue(func() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return err == nil
})
