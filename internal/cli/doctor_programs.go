package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	seccomp "github.com/elastic/go-seccomp-bpf"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

const (
	// oldestPostgres is the major version below which internal/embedded refuses a server.
	oldestPostgres = 14
	probeTimeout   = 5 * time.Second
	// firstDecoyPort is the lowest port that a service of the registry wants (FTP, SSH, Telnet begin at 21).
	firstDecoyPort = 21
)

var postgresVersion = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func (d *doctor) postgres(ctx context.Context) finding {
	const name = "postgres"
	if d.cfg.DatabaseURL != "" {
		return finding{name, fine, "external", ""}
	}
	made := d.clusterVersion()
	var have []string
	for _, dir := range d.cfg.PostgresBinDirs() {
		major := serverVersion(ctx, dir)
		if major >= oldestPostgres && (made == 0 || made == major) {
			return finding{name, fine, fmt.Sprintf("PostgreSQL %d in %s", major, dir), ""}
		}
		if major > 0 {
			have = append(have, strconv.Itoa(major))
		}
	}
	found := "no PostgreSQL server on this machine"
	if have != nil {
		found = "only PostgreSQL " + joined(have)
	}
	if made > 0 {
		return finding{
			name, failed, fmt.Sprintf("%s; the data directory was made by %d", found, made),
			fmt.Sprintf("apt-get install postgresql-%d, or set DECNET_POSTGRES_BIN to its directory", made),
		}
	}
	return finding{
		name, failed, fmt.Sprintf("%s; decnet needs %d or later", found, oldestPostgres),
		"apt-get install postgresql, or set DECNET_POSTGRES_BIN to the directory of initdb, or DECNET_DATABASE_URL",
	}
}

// serverVersion returns the major version of the server in dir, 0 when there is no whole one.
func serverVersion(ctx context.Context, dir string) int {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil || !filepath.IsAbs(dir) {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version") //nolint:gosec // configured or found
	cmd.Env = []string{"LC_ALL=C"}
	out, err := cmd.Output()
	m := postgresVersion.FindSubmatch(out)
	if err != nil || m == nil {
		return 0
	}
	major, _ := strconv.Atoi(string(m[1])) // 0 for what is no number
	return major
}

// clusterVersion returns the version that made the embedded cluster, 0 when there is none.
func (d *doctor) clusterVersion() int {
	text, err := os.ReadFile(filepath.Join(d.cfg.DataDir, "postgres", "cluster", "PG_VERSION"))
	if err != nil {
		return 0
	}
	major, _ := strconv.Atoi(strings.TrimSpace(string(text))) // 0 for what is no number
	return major
}

// postgresAccount matters to root only: Postgres does not run as root.
func (d *doctor) postgresAccount(context.Context) finding {
	const name = "postgres account"
	if d.cfg.DatabaseURL != "" || os.Geteuid() != 0 {
		return finding{name, fine, "not needed", ""}
	}
	u, err := serverUser()
	if err != nil {
		return finding{
			name, failed, "started by root, decnet finds no system user to run Postgres as",
			"apt-get install postgresql, which creates the user postgres, or start decnet as an ordinary user",
		}
	}
	return finding{name, fine, "Postgres runs as " + u.Username, ""}
}

func serverUser() (*user.User, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	return u, err
}

func (d *doctor) temporal(context.Context) finding {
	if d.cfg.TemporalAddress != "" {
		return finding{"temporal", fine, "external, " + d.cfg.TemporalAddress, ""}
	}
	path, err := d.cfg.TemporalPath()
	return binary("temporal", path, err)
}

func (d *doctor) decoy(context.Context) finding {
	path, err := d.cfg.DecoyPath()
	return binary("decoy", path, err)
}

func binary(name, path string, err error) finding {
	if err != nil {
		return finding{
			name, failed, "there is no usable " + name + " command",
			"run make build, or set DECNET_" + strings.ToUpper(name) + "_BINARY to its path",
		}
	}
	return finding{name, fine, path, ""}
}

func (d *doctor) docker(ctx context.Context) finding {
	const name = "docker"
	if d.cfg.Runtime == "process" {
		return finding{name, fine, "not used", ""}
	}
	network, address := dockerAddress(d.cfg.DockerHost)
	conn, err := (&net.Dialer{Timeout: probeTimeout}).DialContext(ctx, network, address)
	if err == nil {
		_ = conn.Close()
		return finding{name, fine, "an engine listens on " + address, ""}
	}
	if d.cfg.Runtime == "docker" {
		return finding{name, failed, "no engine on " + address, "make docker-engine, or choose --runtime process"}
	}
	return finding{name, fine, "no engine on " + address + ": decoys run as sandboxed processes", ""}
}

func dockerAddress(host string) (network, address string) {
	if path, ok := strings.CutPrefix(host, "unix://"); ok {
		return "unix", path
	}
	if _, rest, ok := strings.Cut(host, "://"); ok {
		return "tcp", rest
	}
	return "unix", "/var/run/docker.sock"
}

func (d *doctor) seccomp(context.Context) finding {
	const name = "seccomp"
	switch {
	case seccomp.Supported():
		return finding{name, fine, "decoy processes can be confined", ""}
	case d.cfg.Runtime == "docker":
		return finding{name, warned, "not in this kernel; the engine has to confine decoys", "use a kernel with CONFIG_SECCOMP_FILTER"}
	case d.cfg.UnsafeProcessRuntime:
		return finding{name, warned, "not in this kernel; decoys run unconfined, as --unsafe-process-runtime permits", "use a kernel with CONFIG_SECCOMP_FILTER"}
	}
	return finding{
		name, failed, "not in this kernel; decoy processes refuse to start without it",
		"use a kernel with CONFIG_SECCOMP_FILTER, or --runtime docker",
	}
}

func (d *doctor) landlock(context.Context) finding {
	const name = "landlock"
	version, err := llsys.LandlockGetABIVersion()
	if err != nil || version < 1 {
		return finding{name, warned, "not in this kernel; file permissions and seccomp remain", "use Linux 5.13 or later with landlock in the lsm= list"}
	}
	return finding{name, fine, fmt.Sprintf("version %d", version), ""}
}

// decoyPorts tells whether decoys can bind the ports attackers expect.
func (d *doctor) decoyPorts(context.Context) finding {
	const name = "decoy ports"
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	first, convErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || convErr != nil {
		first = 1024
	}
	if d.cfg.Runtime == "docker" || os.Geteuid() == 0 || first <= firstDecoyPort {
		return finding{name, fine, "decoys can use the real ports of their services", ""}
	}
	return finding{
		name, warned, fmt.Sprintf("this user cannot bind ports below %d: such services get their port + %d", first, d.cfg.PortOffset),
		"start decnet as root, or sysctl net.ipv4.ip_unprivileged_port_start=21",
	}
}
