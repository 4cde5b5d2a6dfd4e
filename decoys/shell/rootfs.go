package shell

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/vfs"
)

// A program in the tree is an ELF header and noise. Behind stubTagAt stands which of our programs it is, so that copies
// and renamed ones keep working.
const (
	stubTagAt = 4096
	stubTag   = "\x7f\x00\x02.note.gnu.prog\x00"
)

// builder fills a new tree.
type builder struct {
	m    *Machine
	h    *persona.Host
	fs   *vfs.FS
	r    *rand.Rand
	born time.Time
}

func buildRoot(m *Machine) *vfs.FS {
	b := &builder{m: m, h: m.Host, r: m.Host.ID.Rand("rootfs")}
	b.fs = vfs.New(m.Host.Now, maxTreeBytes, maxTreeNodes)
	b.born = m.Host.Started.Add(-time.Duration(20+b.r.IntN(300)) * 24 * time.Hour).Truncate(time.Second)
	b.dirs()
	b.bins()
	b.etc()
	b.proc()
	b.home()
	b.logs()
	b.fs.Seal()
	return b.fs
}

func (b *builder) some() time.Time {
	return b.born.Add(time.Duration(b.r.Int64N(int64(max(b.h.Started.Sub(b.born), time.Hour))))).Truncate(time.Second)
}

func (b *builder) dir(p string, mode fs.FileMode) {
	b.fs.Put(p, vfs.Entry{Mode: fs.ModeDir | mode, MTime: b.some()})
}

func (b *builder) file(p string, mode fs.FileMode, text string) {
	b.fs.Put(p, vfs.Entry{Mode: mode, MTime: b.some(), Data: []byte(text)})
}

func (b *builder) gen(p string, f func() string) {
	b.fs.Put(p, vfs.Entry{Mode: 0o444, MTime: b.h.Now(), Gen: func() []byte { return []byte(f()) }})
}

func (b *builder) link(p, target string) {
	b.fs.Put(p, vfs.Entry{Mode: fs.ModeSymlink | 0o777, MTime: b.born, Target: target})
}

func (b *builder) dirs() {
	for _, d := range strings.Fields(`/boot /boot/grub /dev /dev/pts /dev/shm /dev/mapper /etc /home /media /mnt /opt /proc /run /run/lock /run/sshd /srv
		/sys /sys/class /sys/class/net /sys/fs /tmp /usr /usr/bin /usr/sbin /usr/lib /usr/lib64 /usr/local /usr/local/bin /usr/local/sbin /usr/local/lib
		/usr/share /usr/share/doc /usr/share/man /usr/include /usr/src /var /var/backups /var/cache /var/cache/apt /var/lib /var/lib/dpkg /var/local
		/var/log /var/mail /var/opt /var/spool /var/spool/cron /var/spool/cron/crontabs /var/tmp /var/www /var/www/html /lost+found`) {
		b.dir(d, 0o755)
	}
	b.dir("/root", 0o700)
	b.dir("/lost+found", 0o700)
	b.dir("/var/spool/cron/crontabs", 0o730|fs.ModeSticky)
	for _, d := range []string{"/tmp", "/var/tmp", "/dev/shm"} {
		b.dir(d, 0o777|fs.ModeSticky)
	}
	for _, l := range []string{"bin", "sbin", "lib", "lib64"} {
		b.link("/"+l, "usr/"+l)
	}
	b.link("/var/run", "/run")
	for n, kind := range map[string]string{"null": "null", "zero": "zero", "full": "full", "random": "random", "urandom": "random", "tty": "tty", "ptmx": "tty"} {
		b.fs.Put("/dev/"+n, vfs.Entry{Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, MTime: b.h.Started, Target: kind})
	}
	for _, n := range []string{b.h.Disk, b.h.Disk + "1", b.h.Disk + "2"} {
		b.fs.Put("/dev/"+n, vfs.Entry{Mode: fs.ModeDevice | 0o660, GID: 6, MTime: b.h.Started, Target: "random"})
	}
	b.link("/dev/fd", "/proc/self/fd")
	b.link("/dev/stdin", "/proc/self/fd/0")
	b.link("/dev/stdout", "/proc/self/fd/1")
	b.link("/dev/stderr", "/proc/self/fd/2")
	b.file("/boot/vmlinuz-"+b.h.Kernel.Release, 0o644, string(b.h.ID.Bytes(8192, "vmlinuz")))
	b.file("/boot/config-"+b.h.Kernel.Release, 0o644, "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 "+b.h.Kernel.Release+" Kernel Configuration\n#\nCONFIG_64BIT=y\n")
}

// elf returns the content of a program: a plausible header, seeded noise and the tag.
func elf(seed *rand.Rand, tag string) []byte {
	out := make([]byte, stubTagAt, stubTagAt+2048)
	for i := range out {
		out[i] = byte(seed.Uint32())
	}
	head := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0x3e, 0, 1, 0, 0, 0, byte(seed.Uint32()), 0x6a, 0, 0, 0, 0, 0, 0, 0x40}
	copy(out, head)
	clear(out[33:40])
	copy(out[52:], []byte{0x40, 0, 0x38, 0, 13, 0, 0x40, 0, 31, 0, 30, 0})
	out = append(out, stubTag+tag+"\x00"...)
	for len(out) < cap(out) {
		out = append(out, byte(seed.Uint32()))
	}
	return out
}

func (b *builder) bins() {
	sbin := " iptables ip6tables ifconfig route useradd adduser usermod userdel groupadd chpasswd fdisk mkfs sshd cron reboot shutdown poweroff halt init nft sysctl modprobe insmod rmmod lsmod visudo "
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		if hiddenHere(b.h.PackageTool, name) || strings.HasPrefix(name, "#") {
			continue
		}
		dir := "/usr/bin/"
		if strings.Contains(sbin, " "+name+" ") {
			dir = "/usr/sbin/"
		}
		mode := fs.FileMode(0o755)
		if name == "sudo" || name == "su" || name == "passwd" || name == "mount" {
			mode |= fs.ModeSetuid
		}
		data := elf(b.h.ID.Rand("bin/"+name), name)
		b.fs.Put(dir+name, vfs.Entry{Mode: mode, MTime: b.some(), Data: data})
	}
	for _, lib := range []string{"libc.so.6", "libpthread.so.0", "libdl.so.2", "libcrypto.so.3", "libz.so.1"} {
		b.fs.Put("/usr/lib/x86_64-linux-gnu/"+lib, vfs.Entry{Mode: 0o755, MTime: b.some(), Data: b.h.ID.Bytes(4096, lib)})
	}
	b.fs.Put("/usr/lib64/ld-linux-x86-64.so.2", vfs.Entry{Mode: 0o755, MTime: b.some(), Data: elf(b.h.ID.Rand("ld"), "true")})
}

// hiddenHere reports programs that the distribution does not have.
func hiddenHere(tool, name string) bool {
	tools := map[string]string{
		"apt": "apt", "apt-get": "apt", "dpkg": "apt", "apt-cache": "apt", "yum": "yum dnf", "dnf": "dnf", "rpm": "dnf yum",
		"apk": "apk", "pacman": "pacman", "ash": "apk",
	}
	if t, ok := tools[name]; ok {
		return !slices.Contains(strings.Fields(t), tool)
	}
	return tool == "apk" && slices.Contains([]string{"systemctl", "lsb_release", "hostnamectl", "journalctl", "bash", "sudo", "python3"}, name)
}

func (b *builder) etc() {
	h := b.h
	b.file("/etc/hostname", 0o644, h.Hostname+"\n")
	b.file("/etc/hosts", 0o644, fmt.Sprintf("127.0.0.1\tlocalhost\n127.0.1.1\t%s\n%s\t%s\n\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\n", h.Hostname, h.Addr, h.Hostname))
	b.file("/usr/lib/os-release", 0o644, osRelease(h))
	b.link("/etc/os-release", "../usr/lib/os-release")
	b.file("/etc/issue", 0o644, h.Issue+" \\n \\l\n\n")
	b.file("/etc/issue.net", 0o644, h.Issue+"\n")
	b.accounts()
	b.file("/etc/machine-id", 0o444, h.MachineID+"\n")
	b.file("/etc/resolv.conf", 0o644, "nameserver "+h.Gateway.String()+"\nsearch localdomain\n")
	b.file("/etc/fstab", 0o644, "# <file system> <mount point>   <type>  <options>       <dump>  <pass>\nUUID="+h.RootUUID+" /               ext4    errors=remount-ro 0       1\n")
	b.file("/etc/crontab", 0o644, "SHELL=/bin/sh\nPATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin\n\n17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly\n25 6\t* * *\troot\ttest -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }\n")
	for _, d := range []string{"/etc/cron.d", "/etc/cron.daily", "/etc/cron.hourly", "/etc/cron.weekly", "/etc/init.d", "/etc/systemd/system", "/etc/profile.d", "/etc/sudoers.d", "/etc/ssh/sshd_config.d"} {
		b.dir(d, 0o755)
	}
	b.file("/etc/ssh/sshd_config", 0o644, "Include /etc/ssh/sshd_config.d/*.conf\n\nPort 22\nPermitRootLogin yes\nPasswordAuthentication yes\nKbdInteractiveAuthentication yes\nUsePAM yes\nAllowTcpForwarding no\nAllowAgentForwarding no\nX11Forwarding no\nPrintMotd no\nAcceptEnv LANG LC_*\nSubsystem\tsftp\t/usr/lib/openssh/sftp-server\n")
	b.file("/etc/ssh/ssh_config", 0o644, "Host *\n    SendEnv LANG LC_*\n    HashKnownHosts yes\n")
	b.file("/etc/sudoers", 0o440, "Defaults\tenv_reset\nDefaults\tmail_badpass\nroot\tALL=(ALL:ALL) ALL\n%sudo\tALL=(ALL:ALL) ALL\n")
	b.file("/etc/profile", 0o644, "# /etc/profile: system-wide .profile file for the Bourne shell (sh(1))\n")
	b.file("/etc/bash.bashrc", 0o644, "# System-wide .bashrc file for interactive bash(1) shells.\n")
	b.file("/etc/shells", 0o644, "# /etc/shells: valid login shells\n/bin/sh\n/bin/bash\n/usr/bin/bash\n/bin/dash\n")
	b.file("/etc/timezone", 0o644, "Etc/UTC\n")
	switch h.PackageTool {
	case "apt":
		b.file("/etc/debian_version", 0o644, map[string]string{"debian": "12.6\n", "kali": "kali-rolling\n"}[h.Release.ID]+map[bool]string{true: "bookworm/sid\n"}[h.Release.ID == "ubuntu"])
		b.file("/etc/apt/sources.list", 0o644, "deb http://deb.debian.org/debian "+h.Codename+" main\n")
	case "dnf", "yum":
		b.file("/etc/redhat-release", 0o644, strings.Replace(h.Pretty, "Linux ", "Linux release ", 1)+"\n")
	case "apk":
		b.file("/etc/alpine-release", 0o644, h.VersionID+"\n")
	}
}

func osRelease(h *persona.Host) string {
	var s strings.Builder
	fmt.Fprintf(&s, "PRETTY_NAME=%q\nNAME=%q\n", h.Pretty, h.Name)
	if h.VersionID != "" {
		fmt.Fprintf(&s, "VERSION_ID=%q\n", h.VersionID)
	}
	if h.Version != "" {
		fmt.Fprintf(&s, "VERSION=%q\n", h.Version)
	}
	if h.Codename != "" {
		fmt.Fprintf(&s, "VERSION_CODENAME=%s\n", h.Codename)
	}
	fmt.Fprintf(&s, "ID=%s\n", h.Release.ID)
	if h.IDLike != "" {
		fmt.Fprintf(&s, "ID_LIKE=%q\n", h.IDLike)
	}
	fmt.Fprintf(&s, "HOME_URL=%q\n", map[string]string{
		"debian": "https://www.debian.org/", "ubuntu": "https://www.ubuntu.com/", "rocky": "https://rockylinux.org/",
		"centos": "https://www.centos.org/", "alpine": "https://alpinelinux.org/", "fedora": "https://fedoraproject.org/", "kali": "https://www.kali.org/", "arch": "https://archlinux.org/",
	}[h.Release.ID])
	return s.String()
}

func (b *builder) accounts() {
	h := b.h
	sh := h.Shell
	passwd := "root:x:0:0:root:/root:" + sh + "\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\nsys:x:3:3:sys:/dev:/usr/sbin/nologin\n" +
		"sync:x:4:65534:sync:/bin:/bin/sync\nman:x:6:12:man:/var/cache/man:/usr/sbin/nologin\nmail:x:8:8:mail:/var/mail:/usr/sbin/nologin\nnews:x:9:9:news:/var/spool/news:/usr/sbin/nologin\n" +
		"www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nbackup:x:34:34:backup:/var/backups:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n" +
		"systemd-network:x:998:998:systemd Network Management:/:/usr/sbin/nologin\nmessagebus:x:100:107::/nonexistent:/usr/sbin/nologin\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"
	group := "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:" + h.User + "\ntty:x:5:\ndisk:x:6:\nmail:x:8:\nman:x:12:\nsudo:x:27:" + h.User + "\nwww-data:x:33:\nshadow:x:42:\nusers:x:100:\nnogroup:x:65534:\n"
	shadow := ""
	for _, l := range strings.Split(strings.TrimSpace(passwd), "\n") {
		name, _, _ := strings.Cut(l, ":")
		pw := "*"
		if name == "root" {
			pw = b.hash("root")
		}
		shadow += name + ":" + pw + ":19" + itoa(500+b.r.IntN(300)) + ":0:99999:7:::\n"
	}
	if h.User != "" && h.User != "root" {
		passwd += h.User + ":x:1000:1000:" + h.User + ",,,:/home/" + h.User + ":" + sh + "\n"
		group += h.User + ":x:1000:\n"
		shadow += h.User + ":" + b.hash(h.User) + ":19" + itoa(500+b.r.IntN(300)) + ":0:99999:7:::\n"
	}
	b.file("/etc/passwd", 0o644, passwd)
	b.file("/etc/group", 0o644, group)
	b.fs.Put("/etc/shadow", vfs.Entry{Mode: 0o640, GID: 42, MTime: b.some(), Data: []byte(shadow)})
	b.file("/etc/gshadow", 0o640, strings.ReplaceAll(group, ":x:", ":*:"))
}

// hash invents a password hash; it is noise and verifies nothing.
func (b *builder) hash(user string) string {
	noise := b.h.ID.Bytes(80, "shadow/"+user)
	text := strings.NewReplacer("+", ".", "=", "").Replace(base64.StdEncoding.EncodeToString(noise))
	if b.h.PackageTool == "apt" && b.h.Release.ID != "ubuntu" || b.h.VersionID == "22.04" {
		return "$y$j9T$" + text[:22] + "$" + text[22:65]
	}
	return "$6$" + text[:16] + "$" + text[16:102]
}

func (b *builder) home() {
	homes := map[string][2]int{"/root": {0, 0}}
	if b.h.User != "" && b.h.User != "root" {
		homes["/home/"+b.h.User] = [2]int{1000, 1000}
	}
	for home, id := range homes {
		put := func(name string, mode fs.FileMode, text string) {
			b.fs.Put(home+"/"+name, vfs.Entry{Mode: mode, UID: id[0], GID: id[1], MTime: b.some(), Data: []byte(text)})
		}
		mode := fs.FileMode(0o700)
		if id[0] != 0 {
			mode = 0o755
		}
		b.fs.Put(home, vfs.Entry{Mode: fs.ModeDir | mode, UID: id[0], GID: id[1], MTime: b.some()})
		put(".bashrc", 0o644, "# ~/.bashrc: executed by bash(1) for non-login shells.\n\n[ -z \"$PS1\" ] && return\nHISTCONTROL=ignoredups:ignorespace\nshopt -s histappend\nalias ls='ls --color=auto'\n")
		put(".profile", 0o644, "# ~/.profile: executed by Bourne-compatible login shells.\n\nif [ \"$BASH\" ]; then\n  if [ -f ~/.bashrc ]; then\n    . ~/.bashrc\n  fi\nfi\n\nmesg n 2> /dev/null || true\n")
		put(".bash_history", 0o600, b.pastCommands())
		put(".ssh", fs.ModeDir|0o700, "")
		put(".ssh/authorized_keys", 0o600, "")
	}
	b.file("/root/notes.txt", 0o600, fmt.Sprintf("rotate backup key before %s\nnew db host: 10.%d.%d.%d (ask ops for creds)\n", b.h.Now().AddDate(0, 2, 0).Format("Jan 2006"), b.r.IntN(200), b.r.IntN(200), 10+b.r.IntN(200)))
	b.file("/var/www/html/index.html", 0o644, "<html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>\n")
	b.file("/opt/app/.env", 0o640, fmt.Sprintf("APP_ENV=production\nDB_HOST=127.0.0.1\nDB_USER=app\nDB_PASSWORD=%s\n", b.h.ID.Hex(8, "dbpw")))
	b.file("/opt/backup.sh", 0o750, "#!/bin/bash\nset -e\ntar czf /var/backups/www-$(date +%F).tgz /var/www\nfind /var/backups -mtime +14 -delete\n")
}

func (b *builder) pastCommands() string {
	pool := []string{
		"df -h", "systemctl status ssh", "tail -f /var/log/syslog", "apt update", "vim /etc/ssh/sshd_config", "htop", "ls -la", "cd /var/www/html", "free -m",
		"crontab -l", "ip a", "systemctl restart nginx", "du -sh /var/*", "cat /opt/app/.env", "./backup.sh", "last", "exit", "ss -tlnp", "journalctl -xe", "nano /etc/hosts",
	}
	if b.h.PackageTool != "apt" {
		pool[3] = b.h.PackageTool + " update"
	}
	b.r.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
	return strings.Join(pool[:6+b.r.IntN(10)], "\n") + "\n"
}

func (b *builder) logs() {
	var auth, sys bytes.Buffer
	at := b.h.Now().Add(-36 * time.Hour)
	for range 60 {
		at = at.Add(time.Duration(2+b.r.IntN(50)) * time.Minute)
		stamp := at.Format("Jan _2 15:04:05") + " " + b.h.Hostname + " "
		fmt.Fprintf(&auth, "%sCRON[%d]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)\n", stamp, 1000+b.r.IntN(20000))
		fmt.Fprintf(&sys, "%ssystemd[1]: %s\n", stamp, []string{"Starting Daily apt download activities...", "Finished Rotate log files.", "logrotate.service: Deactivated successfully.", "Started Run anacron jobs."}[b.r.IntN(4)])
	}
	b.file("/var/log/auth.log", 0o640, auth.String())
	b.file("/var/log/syslog", 0o640, sys.String())
	b.file("/var/log/dmesg", 0o640, dmesg(b.h))
	for _, n := range []string{"wtmp", "btmp", "lastlog"} {
		b.file("/var/log/"+n, 0o664, string(b.h.ID.Bytes(1152, n)))
	}
}
