package ssh_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xssh "golang.org/x/crypto/ssh"

	"github.com/decnet/decnet/decoys/artifact"
	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/decoytest"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/recording"
	"github.com/decnet/decnet/decoys/shell"
	"github.com/decnet/decnet/decoys/ssh"
)

type bundle struct {
	addr, host, port string
	spool            string
	log              *decoytest.Log
	server           *ssh.Server
}

func setup(t *testing.T, distro string) *bundle {
	t.Helper()
	spoolDir, stateDir := t.TempDir(), t.TempDir()
	spool, err := os.OpenRoot(spoolDir)
	require.NoError(t, err)
	state, err := os.OpenRoot(stateDir)
	require.NoError(t, err)
	require.NoError(t, recording.Prepare(spool))
	free := func() (uint64, error) { return 1 << 40, nil }
	b := &bundle{log: &decoytest.Log{}, spool: spoolDir}
	m := shell.NewMachine(persona.New(persona.Options{
		Identity: identity.New(t.Name(), "i"), Distro: distro, Hostname: "SRV-WEB-31", User: "ubuntu", Local: netip.MustParseAddr("127.66.0.2"),
	}))
	b.server, err = ssh.New(ssh.Options{
		Log: eventlog.New(b.log, "web-01", "ssh", "boot", 1, nil), Service: "ssh", Config: config.SSH{Password: "toor", User: "ubuntu", UserPassword: "upw"},
		Machine: m, State: state, Records: recording.NewStore(spool, free), Artifacts: artifact.NewStore(spool, free, nil),
		FailDelay: func() time.Duration { return 0 },
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = spool.Close()
		_ = state.Close()
	})
	b.addr, _ = decoytest.Serve(t, b.server)
	b.host, b.port, _ = net.SplitHostPort(b.addr)
	return b
}

// client runs a stock client with a password and returns its output and exit status.
func (b *bundle) client(t *testing.T, password, stdin string, args ...string) (string, int) {
	t.Helper()
	if _, err := exec.LookPath("sshpass"); err != nil {
		t.Skip("sshpass is not installed: the stock client is not tested")
	}
	opts := []string{"-p", password, args[0], "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-F", "/dev/null"}
	if args[0] == "ssh" {
		opts = append(opts, "-p", b.port)
	} else {
		opts = append(opts, "-P", b.port)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sshpass", append(opts, args[1:]...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), e.ExitCode()
	}
	require.NoError(t, err, string(out))
	return string(out), 0
}

func (b *bundle) dial(t *testing.T, auth ...xssh.AuthMethod) *xssh.Client {
	t.Helper()
	c, err := xssh.Dial("tcp", b.addr, &xssh.ClientConfig{User: "root", Auth: auth, HostKeyCallback: xssh.InsecureIgnoreHostKey()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestLogin_OnlyTheTwoAccountsGetIn(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian")
	for _, c := range []struct {
		user, password string
		ok             bool
	}{{"root", "toor", true}, {"ubuntu", "upw", true}, {"root", "upw", false}, {"ubuntu", "toor", false}, {"admin", "toor", false}, {"root", "wrong", false}} {
		out, status := b.client(t, c.password, "", "ssh", c.user+"@"+b.host, "id -un")
		if c.ok {
			require.Equal(t, c.user+"\n", out)
			require.Zero(t, status)
		} else {
			require.NotZero(t, status, c)
		}
	}
	b.log.Wait(t, `auth-helper - auth_attempt .*username="admin" principal="admin" src_ip="127.0.0.1" src_port="\d+" method="[a-z-]+" secret_printable="toor" secret_b64="dG9vcg==" outcome="failure"`)
	b.log.Wait(t, `client_banner .*client_version="SSH-2.0-OpenSSH_.*hassh="[0-9a-f]{32}"`)
	b.log.Wait(t, `ssh - connect .*src_ip="127.0.0.1" src_port="\d+"`)
}

func TestLogin_EmptyAndHostileSecrets(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian")
	for _, pw := range []string{"", "a\n<134>1 forged - - x", "\xff\x00tail", strings.Repeat("z", 5000)} {
		_, err := xssh.Dial("tcp", b.addr, &xssh.ClientConfig{
			User: "u\n]\"\\<134>1 2026 h a - forged -", Auth: []xssh.AuthMethod{xssh.Password(pw)}, HostKeyCallback: xssh.InsecureIgnoreHostKey(),
		})
		require.Error(t, err)
	}
	b.log.Wait(t, `secret_b64="/w=="`)
	for _, line := range strings.Split(strings.TrimSpace(b.log.String()), "\n") {
		require.Regexp(t, `^<13[24]>1 \S+ web-01 (ssh|auth-helper|sessrec) - [a-z_]+ \[relay@55555 boot="boot" n="\d+"`, line)
		require.NotContains(t, line, `secret_b64=""`)
	}
}

func TestLogin_PublicKeysAreRefusedAndLogged(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian")
	key := filepath.Join(t.TempDir(), "k")
	require.NoError(t, exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).Run())
	out, _ := exec.Command("ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i", key, "-p", b.port, "root@"+b.host, "id").CombinedOutput()
	require.Contains(t, string(out), "Permission denied")
	b.log.Wait(t, `method="publickey" fingerprint="SHA256:[^"]+" key_type="ssh-ed25519"`)
}

func TestExec_StatusEventsAndRecording(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian")
	out, status := b.client(t, "toor", "data", "ssh", "root@"+b.host, "cat; echo; foo; exit 9")
	require.Equal(t, "data\nbash: line 1: foo: command not found\n", sorted(out))
	require.Equal(t, 9, status)
	b.log.Wait(t, `ssh - command .*src_ip="127.0.0.1" command="cat; echo; foo; exit 9".*\] CMD uid=0 user=root src=127.0.0.1 pwd=/root cmd=cat; echo; foo; exit 9$`)
	b.log.Wait(t, `sessrec - session_recorded \[.*sid="[0-9a-f-]{36}" service="ssh" src_ip="127.0.0.1" duration_s="\d+\.\d{3}" bytes="\d+" truncated="false"`)
	b.log.Wait(t, `sessrec - session_closed .*command_count="1" has_recording="true"`)
	require.Contains(t, b.recorded(t), `"ch":"i","d":"data"`)
}

// sorted puts standard output before standard error, whose order the client does not keep.
func sorted(out string) string {
	var a, e string
	for _, l := range strings.SplitAfter(out, "\n") {
		if strings.HasPrefix(l, "bash:") {
			e += l
		} else {
			a += l
		}
	}
	return a + e
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

func TestShell_OnATerminal(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian")
	s, err := b.dial(t, xssh.Password("toor")).NewSession()
	require.NoError(t, err)
	require.NoError(t, s.RequestPty("xterm", 24, 100, xssh.TerminalModes{}))
	in, err := s.StdinPipe()
	require.NoError(t, err)
	out := &decoytest.Log{}
	s.Stdout = out
	require.NoError(t, s.Shell())
	prompt := `root@SRV-WEB-31:~# `
	out.Wait(t, prompt)
	for _, step := range [][2]string{
		{"whoamx\x7fi\r", `^root`},
		{"echo one; ech\t two\r", `^two`},
		{"\x1b[A\x1b[A\r", `root`},
		{"cd /et\t\r", `root@SRV-WEB-31:/etc# `},
		{"sleep 100\r", `sleep 100`},
		{"\x03", `\^C`},
		{"read v\rtyped\r", `typed`},
		{"echo got=$v\r", `got=typed`},
		{"for i in a b\rdo echo x$i\rdone\r", `^xb`},
		{"tty; echo $TERM\r", `/dev/pts/0`},
		{"cat\rhello\r\x04", `hello`},
		{"su ubuntu\r", `ubuntu@SRV-WEB-31:/etc\$|ubuntu@SRV-WEB-31:~\$`},
		{"exit\r", `exit`},
	} {
		_, err = io.WriteString(in, step[0])
		require.NoError(t, err)
		out.Wait(t, step[1])
	}
	interrupts := strings.Count(out.String(), "^C")
	_, err = io.WriteString(in, "sleep 100\r\x03") // before the command has begun
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Count(out.String(), "^C") > interrupts }, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, s.WindowChange(50, 132))
	require.Eventually(t, func() bool { return strings.Contains(b.recorded(t), `"ch":"r","d":"132x50"`) }, 5*time.Second, 5*time.Millisecond)
	_, err = io.WriteString(in, "exit 5\r")
	require.NoError(t, err)
	var ee *xssh.ExitError
	require.ErrorAs(t, s.Wait(), &ee)
	require.Equal(t, 5, ee.ExitStatus())
	b.log.Wait(t, `session_closed .*has_recording="true"`)
	rec := b.recorded(t)
	require.Contains(t, rec, `"width":100,"height":24`)
	require.Contains(t, rec, `"ch":"i","d":"exit 5\r"`)
}

func TestTransfers_WithStockClients(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian")
	local := filepath.Join(t.TempDir(), "drop me.sh")
	require.NoError(t, os.WriteFile(local, []byte("#!/bin/sh\nid\n"), 0o755))
	for i, args := range [][]string{
		{"scp", "-O", local, "root@" + b.host + ":/tmp/a0"}, {"scp", local, "root@" + b.host + ":/tmp/a1"}, {"scp", "-O", "-rp", filepath.Dir(local), "root@" + b.host + ":/tmp/d"},
	} {
		out, status := b.client(t, "toor", "", args...)
		require.Zero(t, status, "%d %s", i, out)
	}
	for _, mode := range [][]string{{"scp", "-O"}, {"scp"}} {
		back := filepath.Join(t.TempDir(), "back")
		out, status := b.client(t, "toor", "", append(mode, "root@"+b.host+":/tmp/a0", back)...)
		require.Zero(t, status, out)
		got, err := os.ReadFile(back)
		require.NoError(t, err)
		require.Equal(t, "#!/bin/sh\nid\n", string(got))
	}
	out, _ := b.client(t, "toor", "", "ssh", "root@"+b.host, "sh /tmp/a1; ls -l /tmp/d; stat -c %a /tmp/a0")
	require.Contains(t, out, "uid=0(root)")
	require.Contains(t, out, "drop me.sh")
	out, _ = b.client(t, "toor", "cd /etc\nls -l ssh\nmkdir /tmp/new\nrename /tmp/a1 /tmp/a2\nls /tmp\n", "sftp", "root@"+b.host)
	require.Contains(t, out, "sshd_config")
	require.Contains(t, out, "/tmp/a2")
	b.log.Wait(t, `file_captured .*stored_as="[^"]+_a0" sha256="[0-9a-f]{64}" size="13" orig_path="/tmp/a0" src_ip="127.0.0.1" .*meta_json_b64="`)
	stored, err := filepath.Glob(b.spool + "/*_a0")
	require.NoError(t, err)
	require.NotEmpty(t, stored)
}

func TestForwarding_IsRefusedAndLogged(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian")
	target, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer target.Close()
	out, status := b.client(t, "toor", "x", "ssh", "-W", target.Addr().String(), "root@"+b.host)
	require.NotZero(t, status)
	require.NotContains(t, out, "panic")
	b.log.Wait(t, `forward_request .*src_ip="127.0.0.1" kind="direct-tcpip" dest="`+target.Addr().String()+`"`)
	c := b.dial(t, xssh.Password("toor"))
	_, err = c.Dial("tcp", target.Addr().String())
	require.ErrorContains(t, err, "administratively prohibited")
	_, err = c.Listen("tcp", "0.0.0.0:4444")
	require.Error(t, err)
	b.log.Wait(t, `forward_request .*kind="tcpip-forward" dest="0.0.0.0:4444"`)
	ok, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, target.(*net.TCPListener).SetDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = target.Accept()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// serverInit reads the identification and the first KEXINIT as a scanner does.
func serverInit(t *testing.T, addr string) (string, ssh.KexInit) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "SSH-2.0-scan\r\n")
	require.NoError(t, err)
	var raw []byte
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		require.NoError(t, err)
		raw = append(raw, buf[:n]...)
		line, rest, ok := bytes.Cut(raw, []byte("\r\n"))
		if !ok || len(rest) < 5 || len(rest) < 4+int(binary.BigEndian.Uint32(rest)) {
			continue
		}
		size := binary.BigEndian.Uint32(rest)
		k, err := ssh.ParseKexInit(rest[5 : 4+size-uint32(rest[4])])
		require.NoError(t, err)
		return string(line), k
	}
}

func TestAlgorithms_FitTheVersion(t *testing.T) {
	t.Parallel()
	const modern = "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,diffie-hellman-group14-sha256,kex-strict-s-v00@openssh.com"
	const ciphers = "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com"
	for distro, want := range map[string][4]string{
		"debian":   {"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u", modern, ciphers, "rsa-sha2-512,rsa-sha2-256,ecdsa-sha2-nistp256,ssh-ed25519"},
		"ubuntu22": {"SSH-2.0-OpenSSH_8.9p1 Ubuntu-3ubuntu0.", modern, ciphers, "rsa-sha2-512,rsa-sha2-256,ecdsa-sha2-nistp256,ssh-ed25519"},
		"ubuntu20": {"SSH-2.0-OpenSSH_8.2p1 Ubuntu-4ubuntu0.1", modern, ciphers, "rsa-sha2-512,rsa-sha2-256,ssh-rsa,ecdsa-sha2-nistp256,ssh-ed25519"},
		"centos7":  {"SSH-2.0-OpenSSH_7.4", "", ciphers + ",aes128-cbc,3des-cbc", "ssh-rsa,rsa-sha2-512,rsa-sha2-256,ecdsa-sha2-nistp256,ssh-ed25519"},
		"rocky9":   {"SSH-2.0-OpenSSH_8.7", "", "aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes128-gcm@openssh.com,aes128-ctr", ""},
		"alpine":   {"SSH-2.0-OpenSSH_9.6", modern, ciphers, ""},
	} {
		b := setup(t, distro)
		banner, k := serverInit(t, b.addr)
		require.True(t, strings.HasPrefix(banner, want[0]), banner)
		for i, got := range []string{k.Kex, k.CiphersSC, k.HostKeys} {
			if want[i+1] != "" {
				require.Equal(t, want[i+1], got, distro)
			}
		}
		require.NotContains(t, k.Kex, "mlkem")
		require.Equal(t, "none", k.CompressionCS)
		for _, alg := range strings.Split(k.HostKeys, ",") {
			_, status := b.client(t, "toor", "", "ssh", "-o", "HostKeyAlgorithms="+alg, "root@"+b.host, "true")
			require.Zero(t, status, "%s %s", distro, alg)
		}
	}
}

func TestGarbage_NeverBreaksTheServer(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian")
	for _, junk := range []string{
		"GET / HTTP/1.0\r\n\r\n", "\x00\x00\x00", "SSH-2.0-x\r\n\xff\xff\xff\xff\xff", "SSH-2.0-x\r\n\x00\x00\x00\x05\xff\x14aaa", "SSH-1.5-x\n", strings.Repeat("a", 70000),
		"SSH-2.0-x\r\n\x00\x00\x00\x0c\x0a" + strings.Repeat("\x14", 40), "\n\n\n\n", "\x16\x03\x01\x02\x00\x01\x00",
	} {
		c, err := net.Dial("tcp", b.addr)
		require.NoError(t, err)
		_, _ = io.WriteString(c, junk)
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	b.log.Wait(t, `protocol_error .*data="GET / HTTP/1.0\\\\r"`)
	out, _ := b.client(t, "toor", "", "ssh", "root@"+b.host, "echo alive")
	require.Equal(t, "alive\n", out)
}

func TestScpHeader_Refusals(t *testing.T) {
	t.Parallel()
	h, err := ssh.ParseScpHeader("C0644 5 a b")
	require.NoError(t, err)
	require.Equal(t, "a b", h.Name)
	for _, l := range []string{"", "X", "C0644 5 ../x", "C0644 -1 x", "C9 5 x", "C0644 5", "D0755 0 ..", "Tx 0 0 0", "C0644 5 a/b"} {
		_, err := ssh.ParseScpHeader(l)
		require.ErrorIs(t, err, ssh.ErrScp, l)
	}
}

func FuzzScpHeader(f *testing.F) {
	f.Add("C0644 5 x")
	f.Add("T1 0 1 0")
	f.Fuzz(func(t *testing.T, l string) {
		if h, err := ssh.ParseScpHeader(l); err == nil && (h.Kind == 'C' || h.Kind == 'D') {
			require.NotContains(t, h.Name, "/")
			require.GreaterOrEqual(t, h.Size, int64(0))
		}
	})
}

func FuzzKexInit(f *testing.F) {
	f.Add(append([]byte{20}, make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, p []byte) {
		if k, err := ssh.ParseKexInit(p); err == nil {
			require.Len(t, k.HASSH(), 32)
		}
	})
}
