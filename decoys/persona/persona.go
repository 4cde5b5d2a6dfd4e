// Package persona invents the machine a decoy pretends to be.
//
// Every fact is drawn once from the decky's identity, so that commands, files and protocol banners tell the same story,
// today and after a restart, and no two deckies tell the same one. Nothing is read from the real machine.
package persona

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/identity"
)

// CPU describes the processor.
type CPU struct {
	Vendor, Model   string
	Family, ModelNo int
	Stepping        int
	MHz             float64
	CacheKB         int
	Flags           string
	Cores           int
}

// Login is one past login.
type Login struct {
	User, TTY, From string
	At              time.Time
	For             time.Duration
}

// Process is one entry of the process table.
type Process struct {
	PID, PPID int
	User      string
	CPU, Mem  float64
	VSZ, RSS  int
	TTY, Stat string
	CPUTime   string
	Cmd       string
}

// Host is the machine. It is immutable after New.
type Host struct {
	Release
	ID       identity.Identity
	Hostname string
	Kernel   Kernel
	SSH      SSHVersion
	CPU      CPU
	MemKB    int
	SwapKB   int
	DiskKB   int
	DiskUsed int // per cent
	Disk     string
	Iface    string
	Addr     netip.Addr
	Gateway  netip.Addr
	MAC      string
	MachineID,
	BootID string
	RootUUID string
	User     string
	// Telnet tells that people log in through telnetd; otherwise it is sshd.
	Telnet  bool
	Started time.Time
	Logins  []Login
	Procs   []Process
	now     func() time.Time
}

// Options are the inputs of New. Local is the address the decoy listens on.
type Options struct {
	Identity identity.Identity
	Distro   string
	Hostname string
	User     string
	Local    netip.Addr
	Telnet   bool
	Now      func() time.Time
}

var cpus = []CPU{
	{"GenuineIntel", "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 6, 79, 1, 2399.996, 35840, "", 0},
	{"GenuineIntel", "Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz", 6, 85, 4, 2394.374, 28160, "avx512f avx512dq avx512cd avx512bw avx512vl", 0},
	{"GenuineIntel", "Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz", 6, 85, 7, 2499.998, 36608, "avx512f avx512dq avx512cd avx512bw avx512vl", 0},
	{"GenuineIntel", "Intel(R) Xeon(R) Silver 4214 CPU @ 2.20GHz", 6, 85, 7, 2194.842, 16896, "avx512f avx512dq avx512cd", 0},
	{"AuthenticAMD", "AMD EPYC 7571", 23, 1, 2, 2199.988, 512, "sse4a misalignsse topoext", 0},
	{"AuthenticAMD", "AMD EPYC 7R32", 23, 49, 0, 2799.998, 512, "sse4a misalignsse topoext", 0},
	{"GenuineIntel", "Intel(R) Xeon(R) CPU E5-2650 v3 @ 2.30GHz", 6, 63, 2, 2299.914, 25600, "", 0},
}

const cpuFlags = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss ht " +
	"syscall nx pdpe1gb rdtscp lm constant_tsc rep_good nopl xtopology cpuid tsc_known_freq pni pclmulqdq ssse3 fma cx16 " +
	"pcid sse4_1 sse4_2 x2apic movbe popcnt aes xsave avx f16c rdrand hypervisor lahf_lm abm 3dnowprefetch fsgsbase bmi1 avx2 smep bmi2"

// New invents the machine.
func New(o Options) *Host {
	if o.Now == nil {
		o.Now = time.Now
	}
	id, rel := o.Identity, releaseOf(o.Distro)
	h := &Host{Release: rel, ID: id, Hostname: o.Hostname, User: o.User, Telnet: o.Telnet, now: o.Now}
	if h.Hostname == "" {
		h.Hostname = "srv-" + id.Hex(2, "hostname")
	}
	h.Kernel = identity.Pick(id, "kernel", rel.Kernels)
	h.SSH = pickSSH(id, rel)
	h.CPU = identity.Pick(id, "cpu", cpus)
	h.CPU.Cores = identity.Pick(id, "cores", []int{2, 2, 4, 4, 4, 8, 8, 16})
	h.CPU.Flags = strings.TrimSpace(cpuFlags + " " + h.CPU.Flags)
	r := id.Rand("machine")
	h.MemKB = identity.Pick(id, "mem", []int{2, 4, 4, 8, 8, 16, 32})<<20 - 40000 - r.IntN(60000)
	h.SwapKB = identity.Pick(id, "swap", []int{0, 1 << 20, 2 << 20, 4 << 20})
	h.DiskKB = identity.Pick(id, "disk", []int{20, 40, 50, 80, 100, 160}) * 1024 * 1024
	h.DiskUsed = 9 + r.IntN(52)
	h.Disk = identity.Pick(id, "diskdev", []string{"sda", "sda", "vda", "nvme0n1"})
	h.Iface = identity.Pick(id, "iface", []string{"eth0", "ens3", "ens18", "ens160", "enp1s0"})
	h.address(o.Local)
	mac := id.Bytes(3, "mac")
	h.MAC = identity.Pick(id, "oui", []string{"52:54:00", "00:50:56", "bc:24:11", "00:16:3e"}) + fmt.Sprintf(":%02x:%02x:%02x", mac[0], mac[1], mac[2])
	h.MachineID = id.Hex(16, "machine-id")
	h.BootID, h.RootUUID = id.UUID("boot").String(), id.UUID("rootfs").String()
	now := o.Now()
	h.Started = now.Add(-id.Uptime(now, now))
	h.history(now)
	h.processes()
	return h
}

// address uses the real listen address, except on loopback, where it invents a private one.
func (h *Host) address(local netip.Addr) {
	local = local.Unmap()
	if !local.Is4() || local.IsLoopback() || local.IsUnspecified() {
		b := h.ID.Bytes(3, "address")
		nets := [][2]byte{{10, b[0]}, {192, 168}, {172, 16 + b[0]%16}}
		n := nets[int(b[1])%len(nets)]
		local = netip.AddrFrom4([4]byte{n[0], n[1], b[1]%250 + 1, b[2]%240 + 10})
	}
	h.Addr = local
	a := local.As4()
	a[3] = 1
	h.Gateway = netip.AddrFrom4(a)
}

// Prefix returns the /24 the machine is in.
func (h *Host) Prefix() netip.Prefix { return netip.PrefixFrom(h.Addr, 24).Masked() }

// Broadcast returns the broadcast address of that network.
func (h *Host) Broadcast() netip.Addr {
	a := h.Addr.As4()
	a[3] = 255
	return netip.AddrFrom4(a)
}

// Now returns the time of the machine's clock.
func (h *Host) Now() time.Time { return h.now().UTC() }

// Uptime returns the time since the invented boot.
func (h *Host) Uptime() time.Duration { return h.Now().Sub(h.Started) }

// Load returns the three load averages, slowly varying.
func (h *Host) Load() [3]float64 {
	base := float64(h.ID.Seed()%40) / 100
	wave := float64(h.Now().Unix()/60%17) / 100
	return [3]float64{base + wave, base + wave/2 + 0.01, base + 0.03}
}

// MemFreeKB and the other figures of free(1), consistent with each other.
func (h *Host) MemFreeKB() (used, free, shared, cache, available int) {
	r := h.ID.Rand("memory")
	used = h.MemKB / 100 * (14 + r.IntN(25))
	cache = h.MemKB / 100 * (25 + r.IntN(25))
	used += int(h.Now().Unix() / 7 % 900)
	free = h.MemKB - used - cache
	shared = 900 + r.IntN(9000)
	return used, free, shared, cache, free + cache*9/10
}

func (h *Host) history(now time.Time) {
	r := h.ID.Rand("logins")
	at := now.Add(-time.Duration(4+r.IntN(30)) * time.Hour)
	a := h.Addr.As4()
	for range 4 + r.IntN(6) {
		a[3] = byte(20 + r.IntN(12))
		l := Login{User: "root", TTY: fmt.Sprintf("pts/%d", r.IntN(2)), From: netip.AddrFrom4(a).String(), At: at.Truncate(time.Second)}
		if h.User != "" && r.IntN(2) == 0 {
			l.User = h.User
		}
		l.For = time.Duration(3+r.IntN(240)) * time.Minute
		h.Logins = append(h.Logins, l)
		at = at.Add(-time.Duration(9+r.IntN(120)) * time.Hour)
	}
}
