package shell

import (
	"fmt"
	"strings"

	"github.com/decnet/decnet/decoys/persona"
)

// proc fills /proc and the parts of /sys that intruders read.
func (b *builder) proc() {
	h := b.h
	b.gen("/proc/version", func() string { return procVersion(h) })
	b.gen("/proc/cpuinfo", func() string { return cpuinfo(h) })
	b.gen("/proc/meminfo", func() string { return meminfo(h) })
	b.gen("/proc/uptime", func() string {
		up := h.Uptime().Seconds()
		return fmt.Sprintf("%.2f %.2f\n", up, up*float64(h.CPU.Cores)*0.97)
	})
	b.gen("/proc/loadavg", func() string {
		l := h.Load()
		return fmt.Sprintf("%.2f %.2f %.2f 1/%d %d\n", l[0], l[1], l[2], len(h.Procs)+30, b.m.NextPID())
	})
	b.gen("/proc/mounts", func() string { return mounts(h) })
	b.gen("/proc/stat", func() string {
		t := int(h.Uptime().Seconds()) * 100
		return fmt.Sprintf("cpu  %d 0 %d %d 0 0 0 0 0 0\nctxt %d\nbtime %d\nprocesses %d\n", t/90, t/160, t, t*3, h.Started.Unix(), b.m.NextPID())
	})
	b.gen("/proc/cmdline", func() string {
		return "BOOT_IMAGE=/boot/vmlinuz-" + h.Kernel.Release + " root=UUID=" + h.RootUUID + " ro quiet\n"
	})
	b.gen("/proc/filesystems", func() string { return "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tcgroup2\n\text4\n\tvfat\n" })
	b.gen("/proc/partitions", func() string {
		return fmt.Sprintf("major minor  #blocks  name\n\n   8        0   %d %s\n   8        1   %d %s1\n", h.DiskKB, h.Disk, h.DiskKB-1024, h.Disk)
	})
	b.gen("/proc/swaps", func() string { return "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n" })
	b.gen("/proc/modules", func() string {
		return "nf_tables 303104 0 - Live 0x0000000000000000\next4 983040 1 - Live 0x0000000000000000\nvirtio_net 73728 0 - Live 0x0000000000000000\n"
	})
	b.gen("/proc/net/tcp", func() string {
		port := "0016"
		if h.Telnet {
			port = "0017"
		}
		return "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 00000000:" + port + " 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 18211 1 0000000000000000 100 0 0 10 0\n"
	})
	b.gen("/proc/net/dev", func() string {
		return fmt.Sprintf("Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:  104332    1211    0    0    0     0          0         0   104332    1211    0    0    0     0       0          0\n  %s: %d  %d    0    0    0     0          0         0 %d  %d    0    0    0     0       0          0\n",
			h.Iface, h.ID.Seed()%9e9, h.ID.Seed()%9e6, h.ID.Seed()%3e9, h.ID.Seed()%4e6)
	})
	b.gen("/proc/net/route", func() string {
		return "Iface\tDestination\tGateway\tFlags\n" + h.Iface + "\t00000000\t0100000A\t0003\n"
	})
	b.gen("/proc/sys/kernel/hostname", func() string { return h.Hostname + "\n" })
	b.gen("/proc/sys/kernel/osrelease", func() string { return h.Kernel.Release + "\n" })
	b.gen("/proc/sys/kernel/ostype", func() string { return "Linux\n" })
	b.gen("/proc/sys/kernel/version", func() string { return h.Kernel.Version + "\n" })
	b.gen("/proc/sys/kernel/random/boot_id", func() string { return h.BootID + "\n" })
	b.file("/proc/sys/vm/drop_caches", 0o644, "0\n")
	b.file("/proc/sys/vm/nr_hugepages", 0o644, "0\n")
	b.file("/proc/sys/net/ipv4/ip_forward", 0o644, "0\n")
	for _, p := range h.Procs {
		b.process(p)
	}
	b.process(persona.Process{PID: 0, PPID: 1, Cmd: "-bash", Stat: "S"})
	b.file("/sys/class/net/"+h.Iface+"/address", 0o444, h.MAC+"\n")
	b.file("/sys/class/dmi/id/product_name", 0o444, "Standard PC (Q35 + ICH9, 2009)\n")
	b.file("/sys/class/dmi/id/sys_vendor", 0o444, "QEMU\n")
}

func (b *builder) process(p persona.Process) {
	dir := "/proc/" + itoa(p.PID)
	if p.PID == 0 {
		dir = "/proc/self"
		b.link("/proc/mounts", "self/mounts")
		b.gen("/proc/self/mounts", func() string { return mounts(b.h) })
		b.dir("/proc/self/fd", 0o500)
		b.link("/proc/self/exe", "/usr/bin/bash")
	} else {
		b.link(dir+"/exe", strings.Fields(strings.TrimPrefix(p.Cmd, "sshd: "))[0])
	}
	name := strings.Trim(baseShell(strings.Fields(p.Cmd)[0]), "[]:-")
	b.gen(dir+"/cmdline", func() string { return strings.ReplaceAll(p.Cmd, " ", "\x00") + "\x00" })
	b.gen(dir+"/comm", func() string { return name + "\n" })
	b.gen(dir+"/status", func() string {
		return fmt.Sprintf("Name:\t%s\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t%d\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nVmRSS:\t%d kB\nThreads:\t1\n", name, p.PID, p.PID, p.PPID, p.RSS)
	})
}

func procVersion(h *persona.Host) string {
	return "Linux version " + h.Kernel.Release + " (" + h.Kernel.Builder + ") " + h.Kernel.Version + "\n"
}

func cpuinfo(h *persona.Host) string {
	var b strings.Builder
	for i := range h.CPU.Cores {
		fmt.Fprintf(&b, "processor\t: %d\nvendor_id\t: %s\ncpu family\t: %d\nmodel\t\t: %d\nmodel name\t: %s\nstepping\t: %d\nmicrocode\t: 0x1\ncpu MHz\t\t: %.3f\ncache size\t: %d KB\n"+
			"physical id\t: 0\nsiblings\t: %d\ncore id\t\t: %d\ncpu cores\t: %d\napicid\t\t: %d\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 13\nwp\t\t: yes\nflags\t\t: %s\n"+
			"bogomips\t: %.2f\nclflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: 46 bits physical, 48 bits virtual\npower management:\n\n",
			i, h.CPU.Vendor, h.CPU.Family, h.CPU.ModelNo, h.CPU.Model, h.CPU.Stepping, h.CPU.MHz, h.CPU.CacheKB, h.CPU.Cores, i, h.CPU.Cores, i, h.CPU.Flags, h.CPU.MHz*2)
	}
	return b.String()
}

func meminfo(h *persona.Host) string {
	_, free, shared, cache, avail := h.MemFreeKB()
	return fmt.Sprintf("MemTotal:       %8d kB\nMemFree:        %8d kB\nMemAvailable:   %8d kB\nBuffers:        %8d kB\nCached:         %8d kB\nSwapCached:            0 kB\nShmem:          %8d kB\nSwapTotal:      %8d kB\nSwapFree:       %8d kB\n",
		h.MemKB, free, avail, cache/9, cache-cache/9, shared, h.SwapKB, h.SwapKB)
}

func mounts(h *persona.Host) string {
	return "sysfs /sys sysfs rw,nosuid,nodev,noexec,relatime 0 0\nproc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\nudev /dev devtmpfs rw,nosuid,relatime,size=" + itoa(h.MemKB/2) + "k,mode=755 0 0\n" +
		"devpts /dev/pts devpts rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=000 0 0\ntmpfs /run tmpfs rw,nosuid,nodev,noexec,relatime,size=" + itoa(h.MemKB/10) + "k,mode=755 0 0\n" +
		"/dev/" + h.Disk + "1 / ext4 rw,relatime,errors=remount-ro 0 0\ntmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\ntmpfs /run/lock tmpfs rw,nosuid,nodev,noexec,relatime,size=5120k 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime 0 0\n"
}

func dmesg(h *persona.Host) string {
	return fmt.Sprintf("[    0.000000] Linux version %s (%s) %s\n[    0.000000] Command line: BOOT_IMAGE=/boot/vmlinuz-%s root=UUID=%s ro quiet\n[    0.000000] BIOS-provided physical RAM map:\n"+
		"[    0.004120] tsc: Detected %.3f MHz processor\n[    0.061203] Memory: %dK/%dK available\n[    0.187432] smpboot: CPU0: %s (family: 0x%x, model: 0x%x, stepping: 0x%x)\n[    1.203312] EXT4-fs (%s1): mounted filesystem with ordered data mode.\n[    3.993121] %s: link becomes ready\n",
		h.Kernel.Release, h.Kernel.Builder, h.Kernel.Version, h.Kernel.Release, h.RootUUID, h.CPU.MHz, h.MemKB-90000, h.MemKB, h.CPU.Model, h.CPU.Family, h.CPU.ModelNo, h.CPU.Stepping, h.Disk, h.Iface)
}
