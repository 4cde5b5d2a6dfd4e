package shell

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/interp"

	"github.com/decnet/decnet/decoys/vfs"
)

// programs are the commands that exist as files, internals those the shell itself answers. Both are filled once, before
// anything runs, and read only after that.
var programs, internals map[string]command

func init() {
	programs = map[string]command{}
	for names, f := range map[string]command{
		"cat": cmdCat, "ls dir ll": cmdLs, "touch": cmdTouch, "mkdir": cmdMkdir, "rmdir": cmdRmdir, "rm unlink": cmdRm, "cp mv install": cmdCopy,
		"ln": cmdLn, "chmod": cmdChmod, "chown chgrp": cmdChown, "stat": cmdStat, "file": cmdFile, "find": cmdFind, "dd": cmdDd, "du": cmdDu,
		"realpath readlink": cmdRealpath, "head tail": cmdHead, "wc": cmdWc, "grep egrep fgrep zgrep": cmdGrep, "sort": cmdSort, "uniq": cmdUniq,
		"cut": cmdCut, "tr": cmdTr, "sed": cmdSed, "awk gawk mawk": cmdAwk, "base64": cmdBase64, "md5sum sha1sum sha256sum sha512sum": cmdSum,
		"xxd od hexdump": cmdXxd, "tee": cmdTee, "yes": cmdYes, "seq": cmdSeq, "sleep": cmdSleep, "rev tac": cmdRev, "uname": cmdUname, "id groups": cmdID,
		"whoami logname": cmdWhoami, "uptime": cmdUptime, "w": cmdW, "who users": cmdWho, "last": cmdLast, "ps": cmdPs, "top htop": cmdTop, "free": cmdFree,
		"df": cmdDf, "mount": cmdMount, "lscpu": cmdLscpu, "nproc": cmdNproc, "hostname": cmdHostname, "hostnamectl": cmdHostnamectl, "lsb_release": cmdLsbRelease,
		"date": cmdDate, "dmesg": cmdDmesg, "lsblk": cmdLsblk, "kill": cmdKill, "pgrep pkill killall pidof": cmdPgrep, "ifconfig": cmdIfconfig, "ip": cmdIP,
		"route": cmdRoute, "arp": cmdArp, "netstat ss": cmdNetstat, "wget": cmdWget, "curl": cmdCurl, "ping": cmdPing, "nslookup dig host": cmdNslookup,
		"ssh scp telnet nc tftp ftpget ftp ftpput rsync": cmdDial, "iptables ip6tables nft": cmdIptables, "bash sh dash ash": cmdShell, "su": cmdSu, "sudo": cmdSudo,
		"nohup nice timeout time env setsid stdbuf": cmdPrefix, "busybox": cmdBusybox, "xargs": cmdXargs, "python3": cmdPython, "passwd": cmdPasswd,
		"useradd adduser": cmdUseradd, "crontab": cmdCrontab, "systemctl service": cmdSystemctl, "apt apt-get yum dnf apk pacman": cmdPackage, "tar gzip gunzip unzip": cmdTar,
		"which": cmdWhich, "clear reset": cmdClear, "echo printf": cmdEcho, "basename dirname": cmdBasename, "printenv": cmdPrintenv, "tty": cmdTTY,
		"history": cmdHistory, "pwd": cmdPwd, "lspci lsusb lsmod sync chattr usermod userdel groupadd chpasswd sysctl modprobe update-rc.d chkconfig stty true crond cron logger mesg": cmdNothing,
		"false": cmdFalse, "reboot shutdown poweroff halt init": cmdReboot, "less more": cmdCat, "nano vi vim": cmdEditor, "lsattr": cmdNothing, "getconf": cmdGetconf,
		"journalctl": cmdJournal, "dpkg rpm": cmdNothing, "strings": cmdCat, "arch": cmdArch, "test [": cmdNothing,
	} {
		for _, n := range strings.Fields(names) {
			programs[n] = f
		}
	}
	internals = map[string]command{
		"history": cmdHistory, "type": cmdType, "command": cmdCommandV, "kill": cmdKill, "help": cmdHelp, "ulimit": cmdUlimit, "umask": cmdUmask,
		"logout": cmdNothing, "pipefd": cmdPipeFD, "enable": cmdEnable, "echo": cmdEcho, "times": cmdTimes,
	}
	for _, n := range slices.Collect(maps.Keys(internals)) {
		internals[own+n] = internals[n]
		delete(internals, n)
	}
	for n := range replaced {
		if internals[own+n] == nil {
			internals[own+n] = cmdNothing
		}
	}
	if extra != nil {
		extra()
	}
}

// extra lets a build add commands.
var extra func()

func cmdNothing(*call) int { return 0 }
func cmdFalse(*call) int   { return 1 }

func cmdArch(c *call) int { c.printf("x86_64\n"); return 0 }

func cmdPwd(c *call) int { c.printf("%s\n", c.dir); return 0 }

func cmdClear(c *call) int { c.printf("\x1b[H\x1b[2J\x1b[3J"); return 0 }

func cmdBasename(c *call) int {
	if len(c.args) < 2 {
		return c.fail(1, "missing operand\nTry '%s --help' for more information.", c.args[0])
	}
	p := strings.TrimRight(c.args[1], "/")
	i := strings.LastIndexByte(p, '/')
	switch {
	case c.args[0] == "basename":
		base := p[i+1:]
		if len(c.args) > 2 {
			base = strings.TrimSuffix(base, c.args[2])
		}
		c.printf("%s\n", base)
	case i < 0:
		c.printf(".\n")
	default:
		c.printf("%s\n", "/"+strings.Trim(p[:i], "/"))
	}
	return 0
}

func cmdPrintenv(c *call) int {
	if len(c.args) == 1 {
		c.args = []string{"env"}
		return cmdPrefix(c)
	}
	v := c.hc.Env.Get(c.args[1])
	if !v.IsSet() {
		return 1
	}
	c.printf("%s\n", v)
	return 0
}

func cmdTTY(c *call) int {
	if c.s.tty == nil {
		c.printf("not a tty\n")
		return 1
	}
	c.printf("/dev/%s\n", c.s.ptsName)
	return 0
}

func cmdWhich(c *call) int {
	_, rest := c.flags("")
	status := 0
	for _, n := range rest {
		if p := c.lookPath(n); p != "" {
			c.printf("%s\n", strings.Replace(p, "//", "/", 1))
		} else {
			status = 1
		}
	}
	return status
}

func cmdType(c *call) int {
	status := 0
	o, rest := c.flags("")
	for _, n := range rest {
		p := c.lookPath(n)
		switch _, fn := c.sh.funcs.Load(n); {
		case fn:
			c.printf("%s is a function\n", n)
		case has(o, "t") && interp.IsBuiltin(n):
			c.printf("builtin\n")
		case interp.IsBuiltin(n):
			c.printf("%s is a shell builtin\n", n)
		case p == "":
			fmt.Fprintf(c.err, "%stype: %s: not found\n", c.sh.prefix(), clipText(n))
			status = 1
		case has(o, "t"):
			c.printf("file\n")
		case has(o, "p", "P"):
			c.printf("%s\n", p)
		default:
			c.printf("%s is %s\n", n, p)
		}
	}
	return status
}

func cmdCommandV(c *call) int {
	o, rest := c.flags("")
	status := 0
	for _, n := range rest {
		p := c.lookPath(n)
		switch _, fn := c.sh.funcs.Load(n); {
		case has(o, "V") && (fn || interp.IsBuiltin(n)):
			c.printf("%s is a shell builtin\n", n)
		case fn || interp.IsBuiltin(n):
			c.printf("%s\n", n)
		case p == "":
			status = 1
		default:
			c.printf("%s\n", p)
		}
	}
	return status
}

func cmdHistory(c *call) int {
	if len(c.args) > 1 && strings.Contains(c.args[1], "c") {
		c.s.history = nil
		return 0
	}
	for i, l := range c.s.history {
		c.printf("%5d  %s\n", i+1, l)
	}
	return 0
}

func cmdHelp(c *call) int {
	c.printf("GNU bash, version %s (x86_64-pc-linux-gnu)\nThese shell commands are defined internally.  Type `help' to see this list.\nType `help name' to find out more about the function `name'.\nUse `info bash' to find out more about the shell in general.\n", c.s.m.Host.Bash)
	return 0
}

func cmdUlimit(c *call) int {
	if len(c.args) > 1 && c.args[1] == "-a" {
		c.printf("core file size              (blocks, -c) 0\ndata seg size               (kbytes, -d) unlimited\nfile size                   (blocks, -f) unlimited\nopen files                          (-n) 1024\npipe size                (512 bytes, -p) 8\nstack size                  (kbytes, -s) 8192\nmax user processes                  (-u) 15423\nvirtual memory              (kbytes, -v) unlimited\n")
		return 0
	}
	if len(c.args) == 2 && c.args[1] == "-n" {
		c.printf("1024\n")
	} else if len(c.args) == 1 {
		c.printf("unlimited\n")
	}
	return 0
}

func cmdUmask(c *call) int {
	if len(c.args) == 1 {
		c.printf("0022\n")
	}
	return 0
}

func cmdTimes(c *call) int {
	c.printf("0m0.011s 0m0.009s\n0m0.024s 0m0.018s\n")
	return 0
}

// cmdPipeFD stores its input in a file and prints the file's name; it stands for process substitution.
func cmdPipeFD(c *call) int {
	b, _ := io.ReadAll(io.LimitReader(c.in, maxOutput))
	p := "/dev/shm/.fd" + itoa(c.s.m.NextPID())
	if h, err := c.s.fs.Open(vfs.Cred{}, p, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644); err == nil {
		_, _ = h.Write(b)
		_ = h.Close()
	}
	c.printf("%s", p)
	return 0
}

func cmdReboot(c *call) int {
	if c.sh.user.UID != 0 {
		fmt.Fprintln(c.err, "Failed to set wall message, ignoring: Interactive authentication required.\nCall to Reboot failed: Interactive authentication required.")
		return 1
	}
	return 0
}

func cmdEditor(c *call) int {
	if !c.tty() {
		fmt.Fprintln(c.err, "Vim: Warning: Output is not to a terminal")
		return 1
	}
	fmt.Fprintf(c.err, "Error opening terminal: %s.\n", c.env("TERM"))
	return 1
}

func cmdGetconf(c *call) int {
	switch strings.Join(c.args[1:], " ") {
	case "LONG_BIT":
		c.printf("64\n")
	case "_NPROCESSORS_ONLN", "_NPROCESSORS_CONF":
		c.printf("%d\n", c.s.m.Host.CPU.Cores)
	case "PAGESIZE", "PAGE_SIZE":
		c.printf("4096\n")
	}
	return 0
}

func cmdJournal(c *call) int {
	b, _ := c.s.fs.ReadFile(vfs.Cred{}, "/var/log/syslog")
	c.printf("%s", b)
	return 0
}

// greeting is what login prints before the first prompt.
func (s *Session) greeting() string {
	h := s.m.Host
	last := ""
	if len(h.Logins) > 0 {
		l := h.Logins[0]
		last = "Last login: " + l.At.Format("Mon Jan _2 15:04:05 2006") + " from " + l.From + "\n"
	}
	switch h.Release.ID {
	case "debian":
		return "Linux " + h.Hostname + " " + h.Kernel.Release + " " + h.Kernel.Version + " x86_64\n\nThe programs included with the Debian GNU/Linux system are free software;\nthe exact distribution terms for each program are described in the\nindividual files in /usr/share/doc/*/copyright.\n\nDebian GNU/Linux comes with ABSOLUTELY NO WARRANTY, to the extent\npermitted by applicable law.\n" + last
	case "ubuntu":
		return "Welcome to " + h.Pretty + " (GNU/Linux " + h.Kernel.Release + " x86_64)\n\n * Documentation:  https://help.ubuntu.com\n * Management:     https://landscape.canonical.com\n * Support:        https://ubuntu.com/pro\n\n" + last
	case "alpine":
		return "Welcome to Alpine!\n\nThe Alpine Wiki contains a large amount of how-to guides and general\ninformation about administrating Alpine systems.\nSee <https://wiki.alpinelinux.org/>.\n\n"
	}
	return last
}
