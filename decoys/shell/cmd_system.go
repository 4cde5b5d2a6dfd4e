package shell

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/persona"
)

func cmdUname(c *call) int {
	h := c.s.m.Host
	o, rest := c.flags("")
	if len(rest) > 0 {
		return c.fail(1, "extra operand ‘%s’\nTry 'uname --help' for more information.", rest[0])
	}
	osName := "GNU/Linux"
	if h.PackageTool == "apk" {
		osName = "Linux"
	}
	var out []string
	for _, v := range []struct{ o, long, v string }{
		{"s", "kernel-name", "Linux"},
		{"n", "nodename", h.Hostname},
		{"r", "kernel-release", h.Kernel.Release},
		{"v", "kernel-version", h.Kernel.Version},
		{"m", "machine", "x86_64"},
		{"p", "processor", "x86_64"},
		{"i", "hardware-platform", "x86_64"},
		{"o", "operating-system", osName},
	} {
		all := has(o, "a", "all")
		if all && (v.o == "p" || v.o == "i") && h.Release.ID != "ubuntu" && h.PackageTool != "dnf" && h.PackageTool != "yum" {
			continue
		}
		if all || has(o, v.o, v.long) || len(o) == 0 && v.o == "s" {
			out = append(out, v.v)
		}
	}
	c.printf("%s\n", strings.Join(out, " "))
	return 0
}

func cmdID(c *call) int {
	o, rest := c.flags("")
	u := c.sh.user
	if len(rest) > 0 {
		var ok bool
		if u, ok = c.s.find(rest[0]); !ok {
			return c.fail(1, "‘%s’: no such user", rest[0])
		}
	}
	ids := append([]int{u.GID}, u.Groups...)
	switch {
	case has(o, "u") && has(o, "n"):
		c.printf("%s\n", u.Name)
	case has(o, "u"):
		c.printf("%d\n", u.UID)
	case has(o, "g") && has(o, "n"):
		c.printf("%s\n", c.s.groupName(u.GID))
	case has(o, "g"):
		c.printf("%d\n", u.GID)
	case has(o, "G"), c.args[0] == "groups":
		var out []string
		for _, g := range ids {
			if has(o, "n") || c.args[0] == "groups" {
				out = append(out, c.s.groupName(g))
			} else {
				out = append(out, itoa(g))
			}
		}
		c.printf("%s\n", strings.Join(out, " "))
	default:
		var out []string
		for _, g := range ids {
			out = append(out, fmt.Sprintf("%d(%s)", g, c.s.groupName(g)))
		}
		c.printf("uid=%d(%s) gid=%d(%s) groups=%s\n", u.UID, u.Name, u.GID, c.s.groupName(u.GID), strings.Join(out, ","))
	}
	return 0
}

func cmdWhoami(c *call) int {
	name := c.sh.user.Name
	if c.args[0] == "logname" {
		name = c.s.user.Name
	}
	c.printf("%s\n", name)
	return 0
}

func since(d time.Duration) string {
	days, mins := int(d.Hours())/24, int(d.Minutes())
	switch clock := fmt.Sprintf("%d:%02d", mins/60%24, mins%60); {
	case days > 1:
		return fmt.Sprintf("%d days, %5s", days, clock)
	case days == 1:
		return fmt.Sprintf("1 day, %5s", clock)
	case mins >= 60:
		return fmt.Sprintf("%5s", clock)
	}
	return fmt.Sprintf("%d min", mins)
}

func (c *call) sessions() []*Session {
	c.s.m.mu.Lock()
	defer c.s.m.mu.Unlock()
	var out []*Session
	for s := range c.s.m.online {
		if s.tty != nil {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *Session) int { return strings.Compare(a.ptsName, b.ptsName) })
	return out
}

// uptimeLine is the first line of uptime, w and top.
func (c *call) uptimeLine() string {
	h := c.s.m.Host
	l := h.Load()
	n := len(c.sessions())
	users := "users"
	if n == 1 {
		users = "user"
	}
	return fmt.Sprintf(" %s up %s,  %d %s,  load average: %.2f, %.2f, %.2f", h.Now().Format("15:04:05"), since(h.Uptime()), n, users, l[0], l[1], l[2])
}

func cmdUptime(c *call) int {
	o, _ := c.flags("")
	switch h := c.s.m.Host; {
	case has(o, "p"):
		d := h.Uptime()
		c.printf("up %d days, %d hours, %d minutes\n", int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60)
	case has(o, "s"):
		c.printf("%s\n", h.Started.UTC().Format("2006-01-02 15:04:05"))
	default:
		c.printf("%s\n", c.uptimeLine())
	}
	return 0
}

func cmdW(c *call) int {
	c.printf("%s\nUSER     TTY      FROM             LOGIN@   IDLE   JCPU   PCPU WHAT\n", c.uptimeLine())
	for _, s := range c.sessions() {
		what := "-bash"
		if s == c.s {
			what = "w"
		}
		c.printf("%-8s %-8s %-16s %s    0.00s  0.02s  0.00s %s\n", s.user.Name, s.ptsName, s.o.SrcIP, s.started.Format("15:04"), what)
	}
	return 0
}

func cmdWho(c *call) int {
	for _, s := range c.sessions() {
		if c.args[0] == "users" {
			c.printf("%s ", s.user.Name)
			continue
		}
		c.printf("%-8s %-12s %s (%s)\n", s.user.Name, s.ptsName, s.started.Format("2006-01-02 15:04"), s.o.SrcIP)
	}
	if c.args[0] == "users" {
		c.printf("\n")
	}
	return 0
}

func cmdLast(c *call) int {
	h := c.s.m.Host
	o, _ := c.flags("n")
	n := number(o, 1000, "n")
	for _, s := range c.sessions() {
		c.printf("%-8s %-12s %-16s %s   still logged in\n", s.user.Name, s.ptsName, s.o.SrcIP, s.started.Format("Mon Jan _2 15:04"))
	}
	for i, l := range h.Logins {
		if i >= n {
			break
		}
		c.printf("%-8s %-12s %-16s %s - %s  (%02d:%02d)\n", l.User, l.TTY, l.From, l.At.Format("Mon Jan _2 15:04"), l.At.Add(l.For).Format("15:04"), int(l.For.Hours()), int(l.For.Minutes())%60)
	}
	c.printf("reboot   system boot  %-16.16s %s   still running\n\nwtmp begins %s\n", h.Kernel.Release, h.Started.Format("Mon Jan _2 15:04"), h.Started.AddDate(0, 0, -9).Format("Mon Jan _2 15:04:05 2006"))
	return 0
}

// procs is the process table including the sessions'.
func (c *call) procs() []persona.Process {
	out := slices.Clone(c.s.m.Host.Procs)
	for _, s := range append(c.sessions(), c.s) {
		if s == c.s && slices.ContainsFunc(out, func(p persona.Process) bool { return p.PID == s.pid }) {
			continue
		}
		tty := "?"
		if s.tty != nil {
			tty = s.ptsName
		}
		login := persona.Process{PID: s.pid, PPID: 700, User: "root", RSS: 9100, VSZ: 17600, TTY: "?", Stat: "Ss", CPUTime: "0:00", Cmd: "sshd: " + s.user.Name + "@" + strings.Replace(tty, "?", "notty", 1)}
		if c.s.m.Host.Telnet {
			login.TTY, login.Cmd, login.RSS = tty, "/bin/login", 3700
		}
		out = append(out, login,
			persona.Process{PID: s.pid + 1, PPID: s.pid, User: s.user.Name, RSS: 4800, VSZ: 8900, TTY: tty, Stat: "Ss", CPUTime: "0:00", Cmd: "-bash"})
	}
	tty := "?"
	if c.s.tty != nil {
		tty = c.s.ptsName
	}
	return append(out, persona.Process{PID: c.s.m.NextPID(), PPID: c.s.pid + 1, User: c.sh.user.Name, RSS: 3300, VSZ: 11000, TTY: tty, Stat: "R+", CPUTime: "0:00", Cmd: strings.Join(c.args, " ")})
}

func cmdPs(c *call) int {
	args := strings.Join(c.args[1:], "")
	start := c.s.m.Host.Started.Format("Jan02")
	list := c.procs()
	switch {
	case strings.Contains(args, "u"):
		c.printf("USER         PID %%CPU %%MEM    VSZ   RSS TTY      STAT START   TIME COMMAND\n")
		for _, p := range list {
			c.printf("%-8s %7d %4.1f %4.1f %6d %5d %-8s %-4s %s %6s %s\n", p.User, p.PID, p.CPU, p.Mem, p.VSZ, p.RSS, p.TTY, p.Stat, start, p.CPUTime, p.Cmd)
		}
	case strings.Contains(args, "f") || strings.Contains(args, "F"):
		c.printf("UID          PID    PPID  C STIME TTY          TIME CMD\n")
		for _, p := range list {
			c.printf("%-8s %7d %7d  0 %s %-8s 00:0%s %s\n", p.User, p.PID, p.PPID, start, p.TTY, p.CPUTime, p.Cmd)
		}
	default:
		c.printf("    PID TTY          TIME CMD\n")
		for _, p := range list {
			if strings.ContainsAny(args, "eAax") || p.TTY == c.s.ptsName {
				name, _, _ := strings.Cut(baseShell(strings.Fields(p.Cmd)[0]), ":")
				c.printf("%7d %-8s 00:00:00 %s\n", p.PID, p.TTY, strings.Trim(name, "[]-"))
			}
		}
	}
	return 0
}

func cmdTop(c *call) int {
	h := c.s.m.Host
	used, free, _, cache, avail := h.MemFreeKB()
	list := c.procs()
	screen := func() {
		c.printf("top -%s\nTasks: %3d total,   1 running, %3d sleeping,   0 stopped,   0 zombie\n%%Cpu(s):  0.7 us,  0.3 sy,  0.0 ni, 98.9 id,  0.1 wa,  0.0 hi,  0.0 si,  0.0 st\n"+
			"MiB Mem : %8.1f total, %8.1f free, %8.1f used, %8.1f buff/cache\nMiB Swap: %8.1f total, %8.1f free,      0.0 used. %8.1f avail Mem\n\n    PID USER      PR  NI    VIRT    RES    SHR S  %%CPU  %%MEM     TIME+ COMMAND\n",
			c.uptimeLine(), len(list), len(list)-1, float64(h.MemKB)/1024, float64(free)/1024, float64(used)/1024, float64(cache)/1024, float64(h.SwapKB)/1024, float64(h.SwapKB)/1024, float64(avail)/1024)
		for _, p := range list[:min(len(list), 30)] {
			name, _, _ := strings.Cut(strings.Trim(baseShell(strings.Fields(p.Cmd)[0]), "[]-"), ":")
			c.printf("%7d %-8s  20   0 %7d %6d %6d %s   0.0 %5.1f   0:00.%02d %s\n", p.PID, p.User, p.VSZ, p.RSS, p.RSS*2/3, p.Stat[:1], p.Mem, p.PID%100, name)
		}
	}
	if !c.tty() || strings.Contains(strings.Join(c.args, " "), "-b") {
		screen()
		return 0
	}
	for {
		c.printf("\x1b[H\x1b[2J")
		screen()
		if c.wait(3*time.Second) != 0 {
			return 0
		}
	}
}

func cmdFree(c *call) int {
	h := c.s.m.Host
	o, _ := c.flags("")
	used, free, shared, cache, avail := h.MemFreeKB()
	f := func(kb int) string {
		switch {
		case has(o, "h"):
			return strings.Replace(human(int64(kb)*1024)+"i", "0i", "0B", 1)
		case has(o, "m"):
			return itoa(kb / 1024)
		case has(o, "g"):
			return itoa(kb / 1024 / 1024)
		case has(o, "b"):
			return fmt.Sprint(int64(kb) * 1024)
		}
		return itoa(kb)
	}
	c.printf("               total        used        free      shared  buff/cache   available\nMem:    %12s%12s%12s%12s%12s%12s\nSwap:   %12s%12s%12s\n",
		f(h.MemKB), f(used), f(free), f(shared), f(cache), f(avail), f(h.SwapKB), f(0), f(h.SwapKB))
	return 0
}

func cmdDf(c *call) int {
	h := c.s.m.Host
	o, _ := c.flags("t")
	used := h.DiskKB / 100 * h.DiskUsed
	head := "Filesystem     1K-blocks     Used Available Use% Mounted on\n"
	if has(o, "h") {
		head = "Filesystem      Size  Used Avail Use% Mounted on\n"
	}
	c.printf("%s", head)
	for _, r := range []struct {
		fs          string
		total, used int
		on          string
	}{{"udev", h.MemKB / 2, 0, "/dev"}, {"tmpfs", h.MemKB / 10, 600, "/run"}, {"/dev/" + h.Disk + "1", h.DiskKB, used, "/"}, {"tmpfs", h.MemKB / 2, 0, "/dev/shm"}, {"tmpfs", 5120, 0, "/run/lock"}} {
		avail := (r.total - r.used) * 19 / 20
		pct := 0
		if r.total > 0 {
			pct = r.used * 100 / max(r.used+avail, 1)
		}
		if has(o, "h") {
			c.printf("%-14s %5s %5s %5s %3d%% %s\n", r.fs, human(int64(r.total)*1024), human(int64(r.used)*1024), human(int64(avail)*1024), pct, r.on)
		} else {
			c.printf("%-14s %9d %8d %9d %3d%% %s\n", r.fs, r.total, r.used, avail, pct, r.on)
		}
	}
	return 0
}

func cmdMount(c *call) int {
	if len(c.args) > 1 && c.args[1] != "-l" {
		if c.sh.user.UID != 0 {
			return c.fail(1, "only root can do that")
		}
		return c.fail(32, "%s: permission denied.", c.args[len(c.args)-1])
	}
	for _, l := range strings.Split(strings.TrimSpace(mounts(c.s.m.Host)), "\n") {
		f := strings.Fields(l)
		c.printf("%s on %s type %s (%s)\n", f[0], f[1], f[2], f[3])
	}
	return 0
}

func cmdLscpu(c *call) int {
	h := c.s.m.Host
	c.printf("Architecture:            x86_64\n  CPU op-mode(s):        32-bit, 64-bit\n  Address sizes:         46 bits physical, 48 bits virtual\n  Byte Order:            Little Endian\nCPU(s):                  %d\n  On-line CPU(s) list:   0-%d\nVendor ID:               %s\n  Model name:            %s\n    CPU family:          %d\n    Model:               %d\n    Thread(s) per core:  1\n    Core(s) per socket:  %d\n    Socket(s):           1\n    Stepping:            %d\n    BogoMIPS:            %.2f\n    Flags:               %s\nVirtualization features:\n  Hypervisor vendor:     KVM\n  Virtualization type:   full\n",
		h.CPU.Cores, h.CPU.Cores-1, h.CPU.Vendor, h.CPU.Model, h.CPU.Family, h.CPU.ModelNo, h.CPU.Cores, h.CPU.Stepping, h.CPU.MHz*2, h.CPU.Flags)
	return 0
}

func cmdNproc(c *call) int { c.printf("%d\n", c.s.m.Host.CPU.Cores); return 0 }

func cmdHostname(c *call) int {
	o, rest := c.flags("")
	h := c.s.m.Host
	switch {
	case len(rest) > 0 && c.sh.user.UID != 0:
		return c.fail(1, "you must be root to change the host name")
	case has(o, "I", "i"):
		c.printf("%s \n", h.Addr)
	default:
		c.printf("%s\n", h.Hostname)
	}
	return 0
}

func cmdHostnamectl(c *call) int {
	h := c.s.m.Host
	c.printf(" Static hostname: %s\n       Icon name: computer-vm\n         Chassis: vm\n      Machine ID: %s\n         Boot ID: %s\n  Virtualization: kvm\nOperating System: %s\n          Kernel: Linux %s\n    Architecture: x86-64\n",
		h.Hostname, h.MachineID, strings.ReplaceAll(h.BootID, "-", ""), h.Pretty, h.Kernel.Release)
	return 0
}

func cmdLsbRelease(c *call) int {
	h := c.s.m.Host
	o, _ := c.flags("")
	if has(o, "d") && has(o, "s") {
		c.printf("%q\n", h.Pretty)
		return 0
	}
	fmt.Fprintln(c.err, "No LSB modules are available.")
	if len(o) == 0 {
		return 0
	}
	code := h.Codename
	if code == "" {
		code = "n/a"
	}
	c.printf("Distributor ID:\t%s\nDescription:\t%s\nRelease:\t%s\nCodename:\t%s\n", strings.Fields(h.Name)[0], h.Pretty, h.VersionID, code)
	return 0
}

func cmdDate(c *call) int {
	now := c.s.m.Host.Now()
	for _, a := range c.args[1:] {
		if strings.HasPrefix(a, "+") {
			c.printf("%s\n", strings.NewReplacer("%Y", now.Format("2006"), "%m", now.Format("01"), "%d", now.Format("02"), "%H", now.Format("15"), "%M", now.Format("04"), "%S", now.Format("05"),
				"%s", fmt.Sprint(now.Unix()), "%F", now.Format("2006-01-02"), "%T", now.Format("15:04:05"), "%N", fmt.Sprintf("%09d", now.Nanosecond()), "%y", now.Format("06"), "%a", now.Format("Mon"), "%b", now.Format("Jan"), "%%", "%").Replace(a[1:]))
			return 0
		}
	}
	if strings.Contains(strings.Join(c.args, " "), "-R") {
		c.printf("%s\n", now.Format(time.RFC1123Z))
		return 0
	}
	c.printf("%s\n", now.Format("Mon Jan _2 03:04:05 PM MST 2006"))
	return 0
}

func cmdDmesg(c *call) int {
	if c.sh.user.UID != 0 {
		return c.fail(1, "read kernel buffer failed: Operation not permitted")
	}
	c.printf("%s", dmesg(c.s.m.Host))
	return 0
}

func cmdLsblk(c *call) int {
	h := c.s.m.Host
	c.printf("NAME   MAJ:MIN RM  SIZE RO TYPE MOUNTPOINTS\n%-6s   8:0    0  %s  0 disk \n└─%-5s   8:1    0  %s  0 part /\n", h.Disk, human(int64(h.DiskKB)*1024), h.Disk+"1", human(int64(h.DiskKB)*1024-1<<20))
	return 0
}

func cmdKill(c *call) int {
	if len(c.args) == 2 && c.args[1] == "-l" {
		c.printf(" 1) SIGHUP\t 2) SIGINT\t 3) SIGQUIT\t 9) SIGKILL\t15) SIGTERM\n")
		return 0
	}
	_, rest := c.flags("sn")
	if len(c.args) < 2 {
		fmt.Fprintln(c.err, "kill: usage: kill [-s sigspec | -n signum | -sigspec] pid | jobspec ... or kill -l [sigspec]")
		return 2
	}
	status := 0
	for _, a := range rest {
		pid := 0
		if _, err := fmt.Sscanf(a, "%d", &pid); err != nil {
			status = 1
			fmt.Fprintf(c.err, "%skill: %s: arguments must be process or job IDs\n", c.sh.prefix(), a)
			continue
		}
		if i := slices.IndexFunc(c.procs(), func(p persona.Process) bool { return p.PID == pid }); i < 0 {
			status = 1
			fmt.Fprintf(c.err, "%skill: (%d) - No such process\n", c.sh.prefix(), pid)
		} else if c.sh.user.UID != 0 {
			status = 1
			fmt.Fprintf(c.err, "%skill: (%d) - Operation not permitted\n", c.sh.prefix(), pid)
		}
	}
	return status
}

func cmdPgrep(c *call) int {
	_, rest := c.flags("uUst")
	found := 1
	for _, p := range c.procs() {
		for _, a := range rest {
			if a == "" || !strings.Contains(p.Cmd, a) || p.PID >= c.s.pid {
				continue
			}
			found = 0
			if c.args[0] == "pgrep" || c.args[0] == "pidof" {
				c.printf("%d\n", p.PID)
			}
		}
	}
	if c.args[0] == "killall" && found == 1 && len(rest) > 0 {
		fmt.Fprintf(c.err, "%s: no process found\n", rest[len(rest)-1])
	}
	return found
}
