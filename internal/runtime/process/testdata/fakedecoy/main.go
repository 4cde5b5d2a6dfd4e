// Command fakedecoy follows the decoy contract just far enough to test the process runtime. The key "behave" of its
// service configuration chooses a way to misbehave.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

type config struct {
	DeckyKey string `json:"decky_key"`
	Service  string `json:"service"`
	Listen   []struct {
		Protocol  string   `json:"protocol"`
		Port      uint16   `json:"port"`
		Addresses []string `json:"addresses"`
	} `json:"listen"`
	ServiceConfig struct {
		Behave string `json:"behave"`
	} `json:"service_config"`
	State    string `json:"state"`
	Spool    string `json:"spool"`
	BootID   string `json:"boot_id"`
	Revision int64  `json:"revision"`
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "pause" {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		<-term
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "euid" {
		fmt.Print(os.Geteuid())
		return
	}
	cfg := load()
	behave := cfg.ServiceConfig.Behave
	switch behave {
	case "crash":
		panic("crash")
	case "config_error":
		die(cfg, "config_error", "bad \"value\"]\x1b[31m here"+strings.Repeat("x", 500), 2)
	case "hang_before_ready":
		time.Sleep(time.Hour)
	case "eat_memory":
		eatMemory()
	case "eat_threads":
		eatThreads()
	case "write_everywhere":
		writeEverywhere(cfg)
	}
	listen := bindAll(cfg)
	if err := os.WriteFile(cfg.State+"/host-key", []byte(cfg.BootID), 0o600); err != nil {
		die(cfg, "config_error", err.Error(), 2)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	fmt.Fprintln(os.Stderr, "noise before the first line")
	line(cfg, "ready", "revision", fmt.Sprint(cfg.Revision), "listen", strings.Join(listen, " "))
	switch behave {
	case "talk":
		talk(cfg)
	case "exit_after_ready":
		os.Exit(0)
	case "ignore_term":
		for range term {
		}
	}
	<-term
}

// talk prints more than the engine keeps in one file, in lines just as long as lines may be: with its line feed each is more
// than the engine keeps in one piece.
func talk(cfg config) {
	for n := range 1500 {
		head := fmt.Sprintf(`<134>1 %s %s %s - talk [relay@55555 boot="%s" n="%d" text="`,
			time.Now().UTC().Format(time.RFC3339Nano), cfg.DeckyKey, cfg.Service, cfg.BootID, n+2)
		_, _ = os.Stdout.WriteString(head + strings.Repeat("x", 16<<10-len(head)-2) + "\"]\n")
	}
}

// eatMemory takes a gigabyte and touches it.
func eatMemory() {
	var held [][]byte
	for range 1024 {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		held = append(held, b)
	}
	_ = held
}

// eatThreads wants more threads than a decoy ever needs; without them the Go runtime gives up.
func eatThreads() {
	for range 2000 {
		go func() {
			runtime.LockOSThread()
			_ = syscall.Pause()
		}()
	}
	time.Sleep(2 * time.Second)
}

// writeEverywhere does not come up when it can write anywhere but in its two folders.
func writeEverywhere(cfg config) {
	for _, dir := range []string{"/", "/dev", "/dev/shm", "/tmp", "/etc", "/proc/sys/net/ipv4", "/sys/fs/cgroup"} {
		if f, err := os.Create(dir + "/x"); err == nil {
			die(cfg, "config_error", "wrote "+f.Name(), 2)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err == nil {
		die(cfg, "config_error", "wrote a sysctl", 2)
	}
	for _, dir := range []string{cfg.State, cfg.Spool} {
		if err := os.WriteFile(dir+"/x", nil, 0o600); err != nil {
			die(cfg, "config_error", err.Error(), 2)
		}
	}
}

func load() config {
	var cfg config
	contained := os.Getpid() == 1 // a container's engine sets PATH and HOSTNAME
	if len(os.Args) != 4 || (len(os.Environ()) != 0 && !contained) {
		fmt.Println("bad arguments or environment")
		os.Exit(2)
	}
	b, err := os.ReadFile(os.Args[3])
	if err == nil {
		err = json.Unmarshal(b, &cfg)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	return cfg
}

func bindAll(cfg config) []string {
	var bound []string
	for _, l := range cfg.Listen {
		at := bind(cfg, l.Protocol, l.Addresses)
		bound = append(bound, fmt.Sprintf("%s/%d=%s", l.Protocol, l.Port, at))
	}
	return bound
}

func bind(cfg config, protocol string, addresses []string) string {
	if cfg.ServiceConfig.Behave == "no_port" {
		return addresses[0]
	}
	var last error
	for _, a := range addresses {
		if protocol == "udp" {
			var c net.PacketConn
			if c, last = net.ListenPacket("udp", a); last == nil {
				go answer(c)
				return a
			}
			continue
		}
		l, err := net.Listen("tcp", a)
		if err == nil {
			go serve(cfg, l)
			return a
		}
		last = err
	}
	die(cfg, "bind_error", last.Error(), 3)
	return ""
}

func answer(c net.PacketConn) {
	buf := make([]byte, 64)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(buf[:n], from)
	}
}

func serve(cfg config, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		line(cfg, "connect", "src", c.RemoteAddr().String())
		if cfg.ServiceConfig.Behave == "probe" {
			probe(cfg, c)
		}
		_ = c.Close()
	}
}

func die(cfg config, msgID, msg string, code int) {
	line(cfg, msgID, "msg", msg)
	os.Exit(code)
}

func line(cfg config, msgID string, kv ...string) {
	b := fmt.Sprintf(`<134>1 %s %s %s - %s [relay@55555 boot="%s" n="1"`,
		time.Now().UTC().Format(time.RFC3339Nano), cfg.DeckyKey, cfg.Service, msgID, cfg.BootID)
	for i := 0; i < len(kv); i += 2 {
		b += fmt.Sprintf(` %s="%s"`, kv[i], escape.Replace(kv[i+1]))
	}
	_, _ = os.Stdout.WriteString(b + "]\n")
}
