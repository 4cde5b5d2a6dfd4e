package persona

import "fmt"

// processes fills the table with what an idle server runs.
func (h *Host) processes() {
	r := h.ID.Rand("processes")
	init := "/sbin/init"
	if h.PackageTool == "dnf" || h.PackageTool == "yum" {
		init = "/usr/lib/systemd/systemd --switched-root --system --deserialize 31"
	}
	add := func(pid, ppid int, user string, rss int, stat, cmd string) {
		h.Procs = append(h.Procs, Process{
			PID: pid, PPID: ppid, User: user, RSS: rss, VSZ: rss * 8, Mem: float64(rss) * 100 / float64(h.MemKB),
			TTY: "?", Stat: stat, CPUTime: fmt.Sprintf("0:%02d", r.IntN(50)), Cmd: cmd,
		})
	}
	add(1, 0, "root", 11000+r.IntN(2000), "Ss", init)
	for i, k := range []string{
		"kthreadd", "rcu_gp", "rcu_par_gp", "slub_flushwq", "netns", "kworker/0:0H-events_highpri", "mm_percpu_wq",
		"rcu_tasks_kthread", "ksoftirqd/0", "rcu_preempt", "migration/0", "cpuhp/0", "kdevtmpfs", "kauditd", "khungtaskd", "oom_reaper",
		"kcompactd0", "ksmd", "khugepaged", "kswapd0", "kthrotld", "scsi_eh_0", "jbd2/" + h.Disk + "1-8", "ext4-rsv-conver",
	} {
		stat, ppid := "S", 2
		if i == 0 {
			ppid = 0
		}
		if i > 0 && i < 7 {
			stat = "I<"
		}
		add(2+i*2-i%2, ppid, "root", 0, stat, "["+k+"]")
		h.Procs[len(h.Procs)-1].VSZ = 0
	}
	pid := 280 + r.IntN(60)
	next := func() int { pid += 1 + r.IntN(40); return pid }
	for _, d := range h.daemons() {
		add(next(), 1, d[0], 3000+r.IntN(22000), d[1], d[2])
	}
}

func (h *Host) daemons() [][3]string {
	if h.PackageTool == "apk" {
		return [][3]string{
			{"root", "S", "/sbin/syslogd -t -n"},
			{"root", "S", "/sbin/acpid -f"},
			{"root", "S", "/usr/sbin/crond -c /etc/crontabs -f"},
			{"chrony", "S", "/usr/sbin/chronyd -f /etc/chrony/chrony.conf"},
			{"root", "S", h.loginDaemon()},
			{"root", "Ss+", "/sbin/getty 38400 tty1"},
		}
	}
	list := [][3]string{
		{"root", "Ss", "/lib/systemd/systemd-journald"},
		{"root", "Ss", "/lib/systemd/systemd-udevd"},
		{"message+", "Ss", "/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only"},
		{"root", "Ss", "/lib/systemd/systemd-logind"},
		{"root", "Ss", "/usr/sbin/cron -f"},
	}
	if h.PackageTool == "apt" {
		list = append(list, [3]string{"systemd+", "Ssl", "/lib/systemd/systemd-timesyncd"}, [3]string{"syslog", "Ssl", "/usr/sbin/rsyslogd -n -iNONE"})
	} else {
		list = append(list, [3]string{"chrony", "S", "/usr/sbin/chronyd -F 2"}, [3]string{"root", "Ssl", "/usr/sbin/NetworkManager --no-daemon"},
			[3]string{"polkitd", "Ssl", "/usr/lib/polkit-1/polkitd --no-debug"})
	}
	list = append(list, [3]string{"root", "Ss+", "/sbin/agetty -o -p -- \\u --noclear tty1 linux"},
		[3]string{"root", "Ss", h.loginDaemon()})
	extra := [][][3]string{
		{{"root", "Ss", "nginx: master process /usr/sbin/nginx -g daemon on; master_process on;"}, {"www-data", "S", "nginx: worker process"}},
		{{"mysql", "Ssl", "/usr/sbin/mariadbd"}},
		{{"redis", "Ssl", "/usr/bin/redis-server 127.0.0.1:6379"}},
		{},
	}
	return append(list, extra[h.ID.Seed()%uint64(len(extra))]...)
}

func (h *Host) loginDaemon() string {
	switch {
	case h.Telnet:
		return "/usr/sbin/telnetd -F"
	case h.PackageTool == "apk":
		return "sshd: /usr/sbin/sshd [listener] 0 of 10-100 startups"
	}
	return "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"
}
