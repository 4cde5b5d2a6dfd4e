package shell

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"
)

func cmdIfconfig(c *call) int {
	h := c.s.m.Host
	n := int64(h.ID.Seed() % 900000000)
	c.printf("%s: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1500\n        inet %s  netmask 255.255.255.0  broadcast %s\n        ether %s  txqueuelen 1000  (Ethernet)\n        RX packets %d  bytes %d (%.1f MB)\n        RX errors 0  dropped 0  overruns 0  frame 0\n        TX packets %d  bytes %d (%.1f MB)\n        TX errors 0  dropped 0 overruns 0  carrier 0  collisions 0\n\n",
		h.Iface, h.Addr, h.Broadcast(), h.MAC, n/700, n, float64(n)/1e6, n/900, n/2, float64(n)/2e6)
	c.printf("lo: flags=73<UP,LOOPBACK,RUNNING>  mtu 65536\n        inet 127.0.0.1  netmask 255.0.0.0\n        inet6 ::1  prefixlen 128  scopeid 0x10<host>\n        loop  txqueuelen 1000  (Local Loopback)\n        RX packets 1211  bytes 104332 (104.3 KB)\n        RX errors 0  dropped 0  overruns 0  frame 0\n        TX packets 1211  bytes 104332 (104.3 KB)\n        TX errors 0  dropped 0 overruns 0  carrier 0  collisions 0\n\n")
	return 0
}

func cmdIP(c *call) int {
	h := c.s.m.Host
	_, rest := c.flags("f")
	what := ""
	if len(rest) > 0 {
		what = rest[0]
	}
	switch {
	case what == "":
		fmt.Fprint(c.err, "Usage: ip [ OPTIONS ] OBJECT { COMMAND | help }\n")
		return 255
	case strings.HasPrefix("address", what):
		if strings.Contains(strings.Join(c.args, " "), "-br") {
			c.printf("lo               UNKNOWN        127.0.0.1/8 ::1/128 \n%-16s UP             %s/24 \n", h.Iface, h.Addr)
			return 0
		}
		c.printf("1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000\n    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n    inet 127.0.0.1/8 scope host lo\n       valid_lft forever preferred_lft forever\n    inet6 ::1/128 scope host \n       valid_lft forever preferred_lft forever\n2: %s: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc fq_codel state UP group default qlen 1000\n    link/ether %s brd ff:ff:ff:ff:ff:ff\n    inet %s/24 brd %s scope global %s\n       valid_lft forever preferred_lft forever\n",
			h.Iface, h.MAC, h.Addr, h.Broadcast(), h.Iface)
	case strings.HasPrefix("link", what):
		c.printf("1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000\n    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n2: %s: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc fq_codel state UP mode DEFAULT group default qlen 1000\n    link/ether %s brd ff:ff:ff:ff:ff:ff\n", h.Iface, h.MAC)
	case strings.HasPrefix("route", what):
		c.printf("default via %s dev %s proto static \n%s dev %s proto kernel scope link src %s \n", h.Gateway, h.Iface, h.Prefix(), h.Iface, h.Addr)
	case strings.HasPrefix("neighbour", what):
		c.printf("%s dev %s lladdr %s REACHABLE\n", h.Gateway, h.Iface, "00:00:5e:00:01:0"+h.ID.Hex(1, "gwmac")[:1])
	default:
		fmt.Fprintf(c.err, "Object \"%s\" is unknown, try \"ip help\".\n", what)
		return 255
	}
	return 0
}

func cmdRoute(c *call) int {
	h := c.s.m.Host
	c.printf("Kernel IP routing table\nDestination     Gateway         Genmask         Flags Metric Ref    Use Iface\n0.0.0.0         %-15s 0.0.0.0         UG    0      0        0 %s\n%-15s 0.0.0.0         255.255.255.0   U     0      0        0 %s\n", h.Gateway, h.Iface, h.Prefix().Addr(), h.Iface)
	return 0
}

func cmdArp(c *call) int {
	h := c.s.m.Host
	c.printf("Address                  HWtype  HWaddress           Flags Mask            Iface\n%-24s ether   00:00:5e:00:01:01   C                     %s\n", h.Gateway, h.Iface)
	return 0
}

// listening are the sockets of the pretended daemons.
func (c *call) listening() [][3]string {
	port, daemon := c.s.m.loginPort()
	out := [][3]string{{"0.0.0.0", port, daemon}}
	for _, p := range c.s.m.Host.Procs {
		for name, port := range map[string]string{"nginx: master": "80", "mariadbd": "3306", "redis-server": "6379"} {
			if strings.Contains(p.Cmd, name) {
				addr := "127.0.0.1"
				if port == "80" {
					addr = "0.0.0.0"
				}
				out = append(out, [3]string{addr, port, strings.Fields(strings.TrimSuffix(name, ": master"))[0]})
			}
		}
	}
	return out
}

// loginPort returns where people log in, and the name of the program that listens there.
func (m *Machine) loginPort() (port, daemon string) {
	if m.Host.Telnet {
		return "23", "telnetd"
	}
	return "22", "sshd"
}

func cmdNetstat(c *call) int {
	o, _ := c.flags("")
	if has(o, "r") {
		return cmdRoute(c)
	}
	prog := func(s string) string {
		if has(o, "p") && c.sh.user.UID == 0 {
			return s
		}
		return ""
	}
	ss := c.args[0] == "ss"
	if ss {
		c.printf("State  Recv-Q Send-Q Local Address:Port  Peer Address:Port Process\n")
	} else {
		c.printf("Active Internet connections (%s)\nProto Recv-Q Send-Q Local Address           Foreign Address         State       %s\n", map[bool]string{true: "only servers", false: "servers and established"}[has(o, "l")], prog("PID/Program name"))
	}
	row := func(local, peer, state, name string, pid int) {
		if ss {
			c.printf("%-6s 0      128    %18s %18s %s\n", strings.Replace(state, "LISTEN", "LISTEN", 1)[:min(len(state), 6)], local, strings.Replace(peer, "0.0.0.0:*", "0.0.0.0:*", 1), prog(fmt.Sprintf("users:((%q,pid=%d,fd=3))", name, pid)))
		} else {
			c.printf("tcp        0      0 %-23s %-23s %-11s %s\n", local, peer, state, prog(fmt.Sprintf("%d/%s", pid, name)))
		}
	}
	for i, l := range c.listening() {
		if !has(o, "l", "a", "t", "n", "p", "u") {
			break
		}
		row(l[0]+":"+l[1], "0.0.0.0:*", "LISTEN", l[2], 640+i*37)
	}
	if !has(o, "l") {
		for _, s := range append(c.sessions(), c.s)[:1] {
			port, daemon := c.s.m.loginPort()
			if !c.s.m.Host.Telnet {
				daemon += ": " + s.user.Name
			}
			row(c.s.m.Host.Addr.String()+":"+port, s.o.SrcIP+":"+s.o.SrcPort, "ESTABLISHED", daemon, s.pid)
		}
	}
	return 0
}

// hostPart returns the host of a URL or plain address.
func hostPart(raw string) (scheme, host, file string) {
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "http", "", ""
	}
	if file = path.Base(u.Path); file == "." || file == "/" {
		file = "index.html"
	}
	return u.Scheme, u.Hostname(), file
}

func portOf(raw, scheme string) string {
	if u, err := url.Parse(raw); err == nil && u.Port() != "" {
		return u.Port()
	}
	if scheme == "https" {
		return "443"
	}
	return "80"
}

func (c *call) isAddr(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// delay waits as long as a failing network would, differently for every destination.
func (c *call) delay(host string, atMost time.Duration) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(host))
	return c.wait(atMost/2+time.Duration(h.Sum32())%max(atMost/2, 1)) == 0
}

func cmdWget(c *call) int {
	o, urls := c.flags("OPoTtU")
	if len(urls) == 0 {
		fmt.Fprint(c.err, "wget: missing URL\nUsage: wget [OPTION]... [URL]...\n\nTry `wget --help' for more options.\n")
		return 1
	}
	for _, u := range urls {
		c.sh.download("wget", u)
		scheme, host, _ := hostPart(u)
		if !strings.Contains(u, "://") {
			u = "http://" + u
		}
		if !has(o, "q") {
			fmt.Fprintf(c.err, "--%s--  %s\n", c.s.m.Host.Now().Format("2006-01-02 15:04:05"), u)
		}
		if c.isAddr(host) {
			if !has(o, "q") {
				fmt.Fprintf(c.err, "Connecting to %s:%s... ", host, portOf(u, scheme))
			}
			if !c.delay(host, 6*time.Second) {
				return 130
			}
			if !has(o, "q") {
				fmt.Fprint(c.err, "failed: Connection timed out.\nGiving up.\n\n")
			}
			continue
		}
		if !has(o, "q") {
			fmt.Fprintf(c.err, "Resolving %s (%s)... ", host, host)
		}
		if !c.delay(host, 2*time.Second) {
			return 130
		}
		if !has(o, "q") {
			fmt.Fprintf(c.err, "failed: Temporary failure in name resolution.\nwget: unable to resolve host address ‘%s’\n", host)
		}
	}
	return 4
}

func cmdCurl(c *call) int {
	o, urls := c.flags("oXHdAeumxTFcbK")
	if has(o, "V", "version") {
		c.printf("curl 7.88.1 (x86_64-pc-linux-gnu) libcurl/7.88.1 OpenSSL/3.0.15 zlib/1.2.13\nProtocols: dict file ftp ftps http https imap pop3 scp sftp smtp telnet tftp\n")
		return 0
	}
	if len(urls) == 0 {
		fmt.Fprint(c.err, "curl: try 'curl --help' or 'curl --manual' for more information\n")
		return 2
	}
	quiet := has(o, "s", "silent") && !has(o, "S", "show-error")
	status := 0
	for _, u := range urls {
		c.sh.download("curl", u)
		scheme, host, _ := hostPart(u)
		if c.isAddr(host) {
			if !c.delay(host, 6*time.Second) {
				return 130
			}
			if status = 28; !quiet {
				fmt.Fprintf(c.err, "curl: (28) Failed to connect to %s port %s after 130012 ms: Couldn't connect to server\n", host, portOf(u, scheme))
			}
			continue
		}
		if !c.delay(host, 2*time.Second) {
			return 130
		}
		if status = 6; !quiet {
			fmt.Fprintf(c.err, "curl: (6) Could not resolve host: %s\n", host)
		}
	}
	return status
}

func cmdPing(c *call) int {
	o, rest := c.flags("ciWsw")
	if len(rest) == 0 {
		fmt.Fprint(c.err, "ping: usage error: Destination address required\n")
		return 1
	}
	host := rest[0]
	if !c.isAddr(host) && host != "localhost" {
		if !c.delay(host, 2*time.Second) {
			return 130
		}
		return c.fail(2, "%s: Temporary failure in name resolution", host)
	}
	local := host == "localhost" || host == "127.0.0.1" || host == c.s.m.Host.Addr.String() || host == c.s.m.Host.Gateway.String()
	c.printf("PING %s (%s) 56(84) bytes of data.\n", host, strings.Replace(host, "localhost", "127.0.0.1", 1))
	sent := 0
	for n := number(o, 1<<20, "c"); sent < n && !c.stopped(); {
		if sent++; local {
			c.printf("64 bytes from %s: icmp_seq=%d ttl=64 time=0.0%d ms\n", host, sent, 31+sent%40)
		}
		if sent < n && c.wait(time.Second) != 0 {
			break
		}
	}
	got := 0
	if local {
		got = sent
	}
	fmt.Fprintf(c.s.o.Out, "\n--- %s ping statistics ---\n%d packets transmitted, %d received, %d%% packet loss, time %dms\n", host, sent, got, (sent-got)*100/max(sent, 1), sent*1013)
	if local {
		return 0
	}
	return 1
}

func cmdNslookup(c *call) int {
	_, rest := c.flags("t")
	if len(rest) == 0 {
		return 1
	}
	if !c.delay(rest[0], 4*time.Second) {
		return 130
	}
	if c.args[0] == "dig" {
		c.printf("\n; <<>> DiG 9.18.28 <<>> %s\n;; global options: +cmd\n;; connection timed out; no servers could be reached\n", rest[0])
		return 9
	}
	c.printf(";; connection timed out; no servers could be reached\n\n")
	return 1
}

// cmdDial stands for clients that would connect somewhere.
func cmdDial(c *call) int {
	_, rest := c.flags("pPiloFLRDJcbSwmgru")
	if len(rest) == 0 {
		fmt.Fprintf(c.err, "usage: %s [options] destination\n", c.args[0])
		return 255
	}
	dest := rest[0]
	switch c.args[0] {
	case "scp", "rsync":
		dest = rest[len(rest)-1]
		for _, r := range rest {
			if strings.Contains(r, ":") {
				dest = r
			}
		}
		dest, _, _ = strings.Cut(dest, ":")
	case "ftpget", "ftpput", "tftp":
		c.sh.download(c.args[0], strings.Join(c.args[1:], " "))
	}
	host := dest[strings.LastIndexByte(dest, '@')+1:]
	port := "22"
	if c.args[0] != "ssh" && c.args[0] != "scp" && len(rest) > 1 {
		port = rest[1]
	}
	c.sh.download(c.args[0], clipText(strings.Join(rest, " ")))
	if !c.delay(host, 6*time.Second) {
		return 130
	}
	switch name := c.args[0]; {
	case !c.isAddr(host) && (name == "ssh" || name == "scp"):
		fmt.Fprintf(c.err, "ssh: Could not resolve hostname %s: Temporary failure in name resolution\n", host)
	case !c.isAddr(host):
		fmt.Fprintf(c.err, "%s: %s: Temporary failure in name resolution\n", name, host)
	case name == "ssh" || name == "scp" || name == "rsync":
		fmt.Fprintf(c.err, "ssh: connect to host %s port %s: Connection timed out\n", host, port)
	case name == "telnet":
		c.printf("Trying %s...\n", host)
		fmt.Fprintln(c.err, "telnet: Unable to connect to remote host: Connection timed out")
	default:
		fmt.Fprintf(c.err, "%s: can't connect to remote host (%s): Connection timed out\n", name, host)
	}
	if c.args[0] == "ssh" {
		return 255
	}
	return 1
}

func cmdIptables(c *call) int {
	if c.sh.user.UID != 0 {
		return c.fail(4, "Could not fetch rule set generation id: Permission denied (you must be root)")
	}
	o, _ := c.flags("tAIDPFpjs")
	if has(o, "L", "list") {
		c.printf("Chain INPUT (policy ACCEPT)\ntarget     prot opt source               destination         \n\nChain FORWARD (policy ACCEPT)\ntarget     prot opt source               destination         \n\nChain OUTPUT (policy ACCEPT)\ntarget     prot opt source               destination         \n")
	}
	return 0
}
