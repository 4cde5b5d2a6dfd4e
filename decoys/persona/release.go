package persona

import "github.com/decnet/decnet/decoys/identity"

// Release is one real distribution release and the versions that ship with it.
type Release struct {
	ID, IDLike  string
	Name        string
	Pretty      string
	VersionID   string
	Version     string
	Codename    string
	Libc        string
	Bash        string
	Python      string
	Issue       string
	Kernels     []Kernel
	SSH         []SSHVersion
	PackageTool string // apt, dnf, yum, apk or pacman
	SSHUnit     string
	Prompt      string // prompt of root; %h host, %w directory
	Shell       string // argv[0] in error messages is derived from it
}

// Kernel is one kernel package: release and the text of `uname -v`, and the compiler line of /proc/version.
type Kernel struct {
	Release, Version, Builder string
}

// SSHVersion is one packaged OpenSSH: the identification string and the algorithm profile of that version.
type SSHVersion struct {
	Banner  string
	Profile string
	Weight  int
}

const (
	debPrompt = `${debian_chroot:+($debian_chroot)}\u@\h:\w\$ `
	rhPrompt  = `[\u@\h \W]\$ `
)

// releases is keyed by the distro slugs of deckies. Banners name patch levels that carry the strict key exchange fix,
// because the transport always offers it (see package ssh).
var releases = map[string]Release{
	"debian": {
		ID: "debian", Name: "Debian GNU/Linux", Pretty: "Debian GNU/Linux 12 (bookworm)", VersionID: "12",
		Version: "12 (bookworm)", Codename: "bookworm", Libc: "2.36", Bash: "5.2.15(1)-release", Python: "3.11.2",
		Issue: "Debian GNU/Linux 12", PackageTool: "apt", SSHUnit: "ssh", Prompt: debPrompt, Shell: "/bin/bash",
		Kernels: []Kernel{
			{"6.1.0-18-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)", "debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40"},
			{"6.1.0-25-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.106-3 (2024-08-26)", "debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40"},
			{"6.1.0-28-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)", "debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40"},
		},
		SSH: []SSHVersion{
			{"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u2", "9.0", 2},
			{"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3", "9.0", 4},
			{"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u5", "9.0", 2},
			{"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u6", "9.0", 2},
		},
	},
	"ubuntu22": {
		ID: "ubuntu", IDLike: "debian", Name: "Ubuntu", Pretty: "Ubuntu 22.04.5 LTS", VersionID: "22.04",
		Version: "22.04.5 LTS (Jammy Jellyfish)", Codename: "jammy", Libc: "2.35", Bash: "5.1.16(1)-release", Python: "3.10.12",
		Issue: "Ubuntu 22.04.5 LTS", PackageTool: "apt", SSHUnit: "ssh", Prompt: debPrompt, Shell: "/bin/bash",
		Kernels: []Kernel{
			{"5.15.0-113-generic", "#123-Ubuntu SMP Mon Jun 10 08:16:17 UTC 2024", "buildd@lcy02-amd64-063) (gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0, GNU ld (GNU Binutils for Ubuntu) 2.38"},
			{"5.15.0-122-generic", "#132-Ubuntu SMP Thu Aug 29 13:45:52 UTC 2024", "buildd@lcy02-amd64-034) (gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0, GNU ld (GNU Binutils for Ubuntu) 2.38"},
			{"5.15.0-130-generic", "#140-Ubuntu SMP Wed Dec 18 17:59:53 UTC 2024", "buildd@lcy02-amd64-045) (gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0, GNU ld (GNU Binutils for Ubuntu) 2.38"},
		},
		SSH: []SSHVersion{
			{"SSH-2.0-OpenSSH_8.9p1 Ubuntu-3ubuntu0.6", "8.9", 1},
			{"SSH-2.0-OpenSSH_8.9p1 Ubuntu-3ubuntu0.10", "8.9", 5},
			{"SSH-2.0-OpenSSH_8.9p1 Ubuntu-3ubuntu0.11", "8.9", 3},
			{"SSH-2.0-OpenSSH_8.9p1 Ubuntu-3ubuntu0.13", "8.9", 2},
		},
	},
	"ubuntu20": {
		ID: "ubuntu", IDLike: "debian", Name: "Ubuntu", Pretty: "Ubuntu 20.04.6 LTS", VersionID: "20.04",
		Version: "20.04.6 LTS (Focal Fossa)", Codename: "focal", Libc: "2.31", Bash: "5.0.17(1)-release", Python: "3.8.10",
		Issue: "Ubuntu 20.04.6 LTS", PackageTool: "apt", SSHUnit: "ssh", Prompt: debPrompt, Shell: "/bin/bash",
		Kernels: []Kernel{
			{"5.4.0-186-generic", "#206-Ubuntu SMP Fri Apr 26 12:31:10 UTC 2024", "buildd@lcy02-amd64-012) (gcc version 9.4.0 (Ubuntu 9.4.0-1ubuntu1~20.04.2)"},
			{"5.4.0-200-generic", "#220-Ubuntu SMP Fri Sep 27 13:19:16 UTC 2024", "buildd@lcy02-amd64-108) (gcc version 9.4.0 (Ubuntu 9.4.0-1ubuntu1~20.04.2)"},
		},
		SSH: []SSHVersion{{"SSH-2.0-OpenSSH_8.2p1 Ubuntu-4ubuntu0.11", "8.2", 4}, {"SSH-2.0-OpenSSH_8.2p1 Ubuntu-4ubuntu0.12", "8.2", 2}},
	},
	"rocky9": {
		ID: "rocky", IDLike: "rhel centos fedora", Name: "Rocky Linux", Pretty: "Rocky Linux 9.4 (Blue Onyx)", VersionID: "9.4",
		Version: "9.4 (Blue Onyx)", Codename: "", Libc: "2.34", Bash: "5.1.8(1)-release", Python: "3.9.18",
		Issue: `\S`, PackageTool: "dnf", SSHUnit: "sshd", Prompt: rhPrompt, Shell: "/bin/bash",
		Kernels: []Kernel{
			{"5.14.0-427.13.1.el9_4.x86_64", "#1 SMP PREEMPT_DYNAMIC Wed May 1 19:11:28 UTC 2024", "mockbuild@iad1-prod-build001.bld.equ.rockylinux.org) (gcc (GCC) 11.4.1 20231218 (Red Hat 11.4.1-3), GNU ld version 2.35.2-43.el9"},
			{"5.14.0-427.42.1.el9_4.x86_64", "#1 SMP PREEMPT_DYNAMIC Fri Nov 1 14:57:18 UTC 2024", "mockbuild@iad1-prod-build001.bld.equ.rockylinux.org) (gcc (GCC) 11.4.1 20231218 (Red Hat 11.4.1-3), GNU ld version 2.35.2-43.el9"},
		},
		SSH: []SSHVersion{{"SSH-2.0-OpenSSH_8.7", "rhel9", 1}},
	},
	"centos7": {
		ID: "centos", IDLike: "rhel fedora", Name: "CentOS Linux", Pretty: "CentOS Linux 7 (Core)", VersionID: "7",
		Version: "7 (Core)", Codename: "", Libc: "2.17", Bash: "4.2.46(2)-release", Python: "2.7.5",
		Issue: `\S`, PackageTool: "yum", SSHUnit: "sshd", Prompt: rhPrompt, Shell: "/bin/bash",
		Kernels: []Kernel{
			{"3.10.0-1160.el7.x86_64", "#1 SMP Mon Oct 19 16:18:59 UTC 2020", "mockbuild@kbuilder.bsys.centos.org) (gcc version 4.8.5 20150623 (Red Hat 4.8.5-44) (GCC)"},
			{"3.10.0-1160.119.1.el7.x86_64", "#1 SMP Tue Jun 4 14:43:51 UTC 2024", "mockbuild@kbuilder.bsys.centos.org) (gcc version 4.8.5 20150623 (Red Hat 4.8.5-44) (GCC)"},
		},
		SSH: []SSHVersion{{"SSH-2.0-OpenSSH_7.4", "7.4", 1}},
	},
	"alpine": {
		ID: "alpine", Name: "Alpine Linux", Pretty: "Alpine Linux v3.19", VersionID: "3.19.1", Version: "", Libc: "musl",
		Bash: "5.2.21(1)-release", Python: "3.11.8", Issue: "Welcome to Alpine Linux 3.19", PackageTool: "apk", SSHUnit: "sshd",
		Prompt: `\h:\w\$ `, Shell: "/bin/ash",
		Kernels: []Kernel{
			{"6.6.14-0-lts", "#1-Alpine SMP PREEMPT_DYNAMIC Fri, 26 Jan 2024 11:08:07 +0000", "buildozer@build-3-19-x86_64) (gcc (Alpine 13.2.1_git20231014) 13.2.1 20231014, GNU ld (GNU Binutils) 2.41"},
			{"6.6.50-0-lts", "#1-Alpine SMP PREEMPT_DYNAMIC 2024-09-09 07:16:02", "buildozer@build-3-19-x86_64) (gcc (Alpine 13.2.1_git20231014) 13.2.1 20231014, GNU ld (GNU Binutils) 2.41"},
		},
		SSH: []SSHVersion{{"SSH-2.0-OpenSSH_9.6", "9.0", 1}},
	},
	"fedora": {
		ID: "fedora", Name: "Fedora Linux", Pretty: "Fedora Linux 39 (Server Edition)", VersionID: "39",
		Version: "39 (Server Edition)", Libc: "2.38", Bash: "5.2.26(1)-release", Python: "3.12.4", Issue: `\S`,
		PackageTool: "dnf", SSHUnit: "sshd", Prompt: rhPrompt, Shell: "/bin/bash",
		Kernels: []Kernel{
			{"6.8.11-200.fc39.x86_64", "#1 SMP PREEMPT_DYNAMIC Mon May 27 14:53:33 UTC 2024", "mockbuild@e3cb1ed8d5b04b5fa8d4d9c9b6ba8b34) (gcc (GCC) 13.3.1 20240522 (Red Hat 13.3.1-1), GNU ld version 2.40-14.fc39"},
			{"6.11.9-100.fc39.x86_64", "#1 SMP PREEMPT_DYNAMIC Sun Nov 17 18:52:19 UTC 2024", "mockbuild@93cb57c0a19543a0b3cbc4fbd1a8ce39) (gcc (GCC) 13.3.1 20240913 (Red Hat 13.3.1-3), GNU ld version 2.40-14.fc39"},
		},
		SSH: []SSHVersion{{"SSH-2.0-OpenSSH_9.3", "rhel9", 1}},
	},
	"kali": {
		ID: "kali", IDLike: "debian", Name: "Kali GNU/Linux", Pretty: "Kali GNU/Linux Rolling", VersionID: "2024.4",
		Version: "2024.4", Codename: "kali-rolling", Libc: "2.40", Bash: "5.2.32(1)-release", Python: "3.12.7",
		Issue: "Kali GNU/Linux Rolling", PackageTool: "apt", SSHUnit: "ssh", Prompt: debPrompt, Shell: "/bin/bash",
		Kernels: []Kernel{
			{"6.11.2-amd64", "#1 SMP PREEMPT_DYNAMIC Kali 6.11.2-1kali1 (2024-10-15)", "devel@kali.org) (x86_64-linux-gnu-gcc-14 (Debian 14.2.0-6) 14.2.0, GNU ld (GNU Binutils for Debian) 2.43.1"},
		},
		SSH: []SSHVersion{{"SSH-2.0-OpenSSH_9.7p1 Debian-7", "9.0", 1}, {"SSH-2.0-OpenSSH_9.9p1 Debian-3", "9.9", 2}},
	},
	"arch": {
		ID: "arch", Name: "Arch Linux", Pretty: "Arch Linux", VersionID: "", Version: "", Libc: "2.40",
		Bash: "5.2.37(1)-release", Python: "3.12.7", Issue: `Arch Linux`, PackageTool: "pacman", SSHUnit: "sshd",
		Prompt: rhPrompt, Shell: "/bin/bash",
		Kernels: []Kernel{
			{"6.11.5-arch1-1", "#1 SMP PREEMPT_DYNAMIC Tue, 22 Oct 2024 18:31:38 +0000", "linux@archlinux) (gcc (GCC) 14.2.1 20240910, GNU ld (GNU Binutils) 2.43.0"},
			{"6.12.1-arch1-1", "#1 SMP PREEMPT_DYNAMIC Fri, 22 Nov 2024 16:04:27 +0000", "linux@archlinux) (gcc (GCC) 14.2.1 20240910, GNU ld (GNU Binutils) 2.43.0"},
		},
		SSH: []SSHVersion{{"SSH-2.0-OpenSSH_9.7", "9.0", 1}, {"SSH-2.0-OpenSSH_9.9", "9.9", 2}},
	},
}

// Distros returns the slugs that have a release of their own; others get Debian's.
func Distros() []string {
	return []string{"debian", "ubuntu22", "ubuntu20", "rocky9", "centos7", "alpine", "fedora", "kali", "arch"}
}

func releaseOf(distro string) Release {
	if r, ok := releases[distro]; ok {
		return r
	}
	return releases["debian"]
}

func pickSSH(id identity.Identity, r Release) SSHVersion {
	choices := make([]identity.Weighted[SSHVersion], 0, len(r.SSH))
	for _, v := range r.SSH {
		choices = append(choices, identity.Weighted[SSHVersion]{Value: v, Weight: v.Weight})
	}
	return identity.PickWeighted(id, "ssh-version", choices)
}
