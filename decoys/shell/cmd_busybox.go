package shell

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// applets are the names the packaged multi-call binary knows. Whoever comes for embedded devices asks for one that does not exist.
var applets = strings.Fields(`[ [[ acpid adjtimex ar arch arp arping ascii ash awk base64 basename bc blkdiscard blkid blockdev brctl bunzip2 bzcat bzip2
	cal cat chgrp chmod chown chroot chvt clear cmp cp cpio crc32 cttyhack cut date dc dd deallocvt depmod devmem df diff dirname dmesg dnsdomainname
	dos2unix du dumpkmap dumpleases echo egrep env expand expr factor fallocate false fatattr fdisk fgrep find findfs fold free freeramdisk fsfreeze
	fstrim ftpget ftpput getopt getty grep groups gunzip gzip halt head hexdump hostid hostname httpd hwclock id ifconfig ifdown ifup init insmod ionice
	ip ipcalc kill killall klogd last less link linux32 linux64 linuxrc ln loadfont loadkmap logger login logname logread losetup ls lsmod lsscsi lzcat
	lzma lzop md5sum mdev microcom mkdir mkdosfs mke2fs mkfifo mknod mkpasswd mkswap mktemp modinfo modprobe more mount mt mv nameif nc netstat nl nproc
	nsenter nslookup od openvt partprobe paste patch pidof ping ping6 pivot_root poweroff printf ps pwd rdate readlink realpath reboot renice reset rev
	rm rmdir rmmod route rpm rpm2cpio run-parts sed seq setkeycodes setsid sh sha1sum sha256sum sha512sum shred shuf sleep sort stat strings stty
	swapoff swapon switch_root sync sysctl syslogd tac tail tar taskset tee telnet telnetd test tftp time timeout top touch tr traceroute traceroute6
	true truncate tty uevent umount uname uncompress unexpand uniq unix2dos unlink unlzma unshare unxz unzip uptime usleep uudecode uuencode vconfig vi
	w watch watchdog wc wget which who whoami xargs xxd xz xzcat yes zcat`)

// busyboxVersion returns what the packaged binary of the distribution says it is.
func (c *call) busyboxVersion() string {
	h := c.s.m.Host
	switch {
	case h.Release.ID == "ubuntu" && h.VersionID == "20.04":
		return "v1.30.1 (Ubuntu 1:1.30.1-4ubuntu6.5)"
	case h.Release.ID == "ubuntu":
		return "v1.30.1 (Ubuntu 1:1.30.1-7ubuntu3.1)"
	case h.Release.ID == "debian":
		return "v1.35.0 (Debian 1:1.35.0-4+b3)"
	case h.Release.ID == "kali":
		return "v1.37.0 (Debian 1:1.37.0-4)"
	case h.Release.ID == "centos":
		return "v1.28.0 (2018-03-12 12:04:17 UTC)"
	}
	return "v1.36.1 (2023-11-07 18:53:09 UTC)"
}

func cmdBusybox(c *call) int {
	if len(c.args) < 2 || c.args[1] == "--help" {
		c.printf("BusyBox %s multi-call binary.\n\nUsage: busybox [function [arguments]...]\n   or: busybox --list[-full]\n   or: function [arguments]...\n\nCurrently defined functions:\n", c.busyboxVersion())
		c.printf("%s\n", wrapNames(applets, 78))
		return 0
	}
	if strings.HasPrefix(c.args[1], "--list") {
		c.printf("%s\n", strings.Join(applets, "\n"))
		return 0
	}
	c.args = c.args[1:]
	switch name := c.args[0]; {
	case !slices.Contains(applets, name):
		fmt.Fprintf(c.err, "%s: applet not found\n", clipText(name))
		return 127
	case appletUsage[name] != "":
		return c.fetch()
	case programs[name] != nil:
		return programs[name](c)
	}
	return 0
}

// wrapNames lays names out in lines of at most width columns, a tab counting eight.
func wrapNames(names []string, width int) string {
	var b strings.Builder
	col := 0
	for i, n := range names {
		if i < len(names)-1 {
			n += ","
		}
		switch {
		case i == 0:
			b.WriteString("\t")
			col = 8
		case col+1+len(n) >= width:
			b.WriteString("\n\t")
			col = 8
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(n)
		col += len(n)
	}
	return b.String()
}

// appletUsage are the applets that would fetch something, with their arguments.
var appletUsage = map[string]string{
	"wget":   "[-cqS] [-O FILE] [-P DIR] [-U STR] URL...",
	"tftp":   "[-g|-p] [-l FILE] [-r FILE] HOST [PORT]",
	"ftpget": "[-cv] [-u USER] [-p PASS] [-P PORT] HOST [LOCAL_FILE] REMOTE_FILE",
	"ftpput": "[-v] [-u USER] [-p PASS] [-P PORT] HOST [REMOTE_FILE] LOCAL_FILE",
}

// fetch stands for those applets, which say less than their namesakes.
func (c *call) fetch() int {
	name := c.args[0]
	_, rest := c.flags("OPUTolrbup")
	if len(rest) == 0 {
		fmt.Fprintf(c.err, "BusyBox %s multi-call binary.\n\nUsage: %s %s\n", c.busyboxVersion(), name, appletUsage[name])
		return 1
	}
	c.sh.download(name, clipText(strings.Join(c.args[1:], " ")))
	host, port := rest[0], ""
	if name == "wget" {
		scheme, h, _ := hostPart(rest[0])
		host, port = h, portOf(rest[0], scheme)
	}
	atMost := 6 * time.Second
	if !c.isAddr(host) {
		atMost = 2 * time.Second
	} else if name == "wget" {
		fmt.Fprintf(c.err, "Connecting to %s (%s:%s)\n", rest[0][:min(len(rest[0]), 200)], host, port)
	}
	if !c.delay(host, atMost) {
		return 130
	}
	switch {
	case !c.isAddr(host):
		fmt.Fprintf(c.err, "%s: bad address '%s'\n", name, clipText(host))
	case name == "tftp":
		fmt.Fprintf(c.err, "tftp: timeout\n")
	default:
		fmt.Fprintf(c.err, "%s: can't connect to remote host (%s): Connection timed out\n", name, host)
	}
	return 1
}

// cmdEcho is the builtin and the program, which are alike.
func cmdEcho(c *call) int {
	args := c.args[1:]
	end, escapes := "\n", false
	for c.args[0] == "echo" && len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && strings.Trim(args[0][1:], "neE") == "" {
		for _, o := range args[0][1:] {
			switch o {
			case 'n':
				end = ""
			default:
				escapes = o == 'e'
			}
		}
		args = args[1:]
	}
	text := strings.Join(args, " ")
	if c.args[0] == "printf" {
		end, escapes = "", true
	}
	if escapes {
		var stop bool
		if text, stop = unescape(text); stop {
			end = ""
		}
	}
	c.printf("%s%s", text, end)
	return 0
}

// unescape replaces the escapes of echo -e. stop tells that `\c` ended the output.
func unescape(s string) (text string, stop bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if j := strings.IndexByte(`abefnrtv\`, s[i]); j >= 0 {
			b.WriteByte("\a\b\x1b\f\n\r\t\v\\"[j])
			continue
		}
		switch s[i] {
		case 'c':
			return b.String(), true
		case 'x':
			v, n := digits(s[i+1:], 16, 2)
			if n == 0 {
				b.WriteString(`\x`)
				continue
			}
			b.WriteByte(v)
			i += n
		case '0', '1', '2', '3', '4', '5', '6', '7':
			if s[i] == '0' {
				i++
			}
			v, n := digits(s[i:], 8, 3)
			b.WriteByte(v)
			i += n - 1
		default:
			b.WriteByte('\\')
			b.WriteByte(s[i])
		}
	}
	return b.String(), false
}

// digits reads at most n digits of a base from the start of s.
func digits(s string, base, n int) (v byte, used int) {
	for used < min(n, len(s)) {
		d := strings.IndexByte("0123456789abcdef0123456789ABCDEF", s[used])
		if d = d % 16; d < 0 || d >= base {
			break
		}
		v, used = v*byte(base)+byte(d), used+1
	}
	return v, used
}

// builtins are what bash's enable lists.
var builtins = strings.Fields(`. : [ alias bg bind break builtin caller cd command compgen complete compopt continue declare dirs disown echo enable eval exec
	exit export false fc fg getopts hash help history jobs kill let local logout mapfile popd printf pushd pwd read readarray readonly return set shift
	shopt source suspend test times trap true type typeset ulimit umask unalias unset wait`)

// cmdEnable is a builtin of bash that intruders take for the privileged mode of a router.
func cmdEnable(c *call) int {
	if !c.sh.isBash() {
		return c.notFound(c.args[0])
	}
	o, names := c.flags("f")
	if len(names) == 0 && !has(o, "n") {
		for _, n := range builtins {
			c.printf("enable %s\n", n)
		}
	}
	status := 0
	for _, n := range names {
		if !slices.Contains(builtins, n) {
			fmt.Fprintf(c.err, "%senable: %s: not a shell builtin\n", c.sh.prefix(), clipText(n))
			status = 1
		}
	}
	return status
}
