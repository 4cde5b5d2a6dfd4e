package ftp_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/ftp"
)

func TestLogin_IsDecidedOnceForAll(t *testing.T) {
	t.Parallel()
	b, again, other := setup(t, "vsftpd", false, nil), setup(t, "vsftpd", false, nil), setup(t, "vsftpd", true, nil)
	ok, differs := 0, 0
	for i := range 2000 {
		user, pw := fmt.Sprintf("user%d", i%7), fmt.Sprintf("pw%d", i)
		first := b.server.Accepts(user, pw)
		require.Equal(t, first, again.server.Accepts(user, pw), "the same decky answers the same")
		if first {
			ok++
		}
		if first != other.server.Accepts(user, pw) {
			differs++
		}
	}
	require.InDelta(t, 1800, ok, 60)
	require.Greater(t, differs, 100)
	require.False(t, b.server.Accepts("root", ""))
	require.NotEmpty(t, b.refused("root"))
	require.False(t, b.server.Accepts("anonymous", "a@b"), "nobody is let in by chance where anonymous users are not known")
	c := b.dial(t)
	for range 2 {
		c.cmd("USER " + b.user)
		require.Equal(t, "530 Login incorrect.", c.cmd("PASS "+b.refused(b.user)))
	}
	c.cmd("USER " + b.user)
	require.Equal(t, "230 Login successful.", c.cmd("PASS "+b.password))
}

func TestLogin_EventsNameTheSource(t *testing.T) {
	t.Parallel()
	b := setup(t, "vsftpd", false, nil)
	c := b.dial(t)
	wrong := b.refused("u ]\"x")
	c.cmd("USER u ]\"x")
	c.cmd("PASS " + wrong)
	c.cmd("USER " + b.user)
	c.cmd("PASS ")
	c.cmd("USER " + b.user)
	c.cmd("PASS " + b.password)
	c.cmd("CWD a\x01]\"b")
	c.cmd("QUIT")
	b.log.Wait(t, `ftp - disconnect `)
	b.log.Wait(t, `ftp - connect \[[^\n]*src_ip="127.0.0.1" src_port="\d+"`)
	b.log.Wait(t, `ftp - user \[[^\n]*src_ip="127.0.0.1" src_port="\d+" username="u \\\]\\"x"\]`)
	b.log.Wait(t, `ftp - auth_attempt \[[^\n]*src_ip="127.0.0.1" src_port="\d+" username="u \\\]\\"x" principal="u \\\]\\"x" secret_kind="plaintext" secret_printable="`+wrong+`" secret_b64="[^"]+" outcome="failure"\]`)
	b.log.Wait(t, `ftp - auth_attempt \[[^\n]*principal="backup" outcome="failure"\]`)
	b.log.Wait(t, `secret_printable="`+b.password+`" secret_b64="[^"]+" outcome="success"\]`)
	b.log.Wait(t, `ftp - command \[[^\n]*src_ip="127.0.0.1" src_port="\d+" cmd="PASS" args="\[\\\]" command="PASS"\]`)
	b.log.Wait(t, `ftp - command \[[^\n]*cmd="CWD"`)
	for _, line := range strings.Split(strings.TrimSpace(b.log.String()), "\n") {
		require.Regexp(t, `^<13[24]>1 \S+ web-01 ftp - [a-z_]+ \[relay@55555 boot="boot" n="\d+" src_ip="127.0.0.1"`, line)
	}
	require.NotContains(t, b.log.String(), `secret_b64=""`)
}

func TestLogin_Anonymous(t *testing.T) {
	t.Parallel()
	for _, product := range products {
		b := setup(t, product, true, nil)
		for _, pw := range []string{"a@b.example", ""} {
			c := b.dial(t)
			text := c.cmd("USER anonymous")
			if text[:3] == "331" {
				text = c.cmd("PASS " + pw)
			}
			require.Equal(t, "230", text[:3], product)
			require.NotEqual(t, "2", c.put("STOR evil", "x")[:1], "the root of the share is not writable")
			_, replies := c.get("LIST")
			require.Contains(t, replies, "226", product)
		}
		b.log.Wait(t, `auth_attempt [^\n]*principal="anonymous"[^\n]* outcome="success"\]`)
		closed := setup(t, product, false, nil)
		c := closed.dial(t)
		c.cmd("USER anonymous")
		require.Equal(t, "530", c.cmd("PASS a@b.example")[:3], product)
	}
}

func TestLogin_RefusalsTakeLongerAndEndTheConnection(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []int
	b := setup(t, "proftpd", false, func(o *ftp.Options) {
		o.FailDelay = func(n int) time.Duration { mu.Lock(); defer mu.Unlock(); asked = append(asked, n); return 0 }
	})
	wrong := b.refused("root")
	for range 2 {
		c := b.dial(t)
		for range 3 {
			c.cmd("USER root")
			require.Equal(t, "530 Login incorrect.", c.cmd("PASS "+wrong))
		}
		_, err := c.r.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	}
	b.login(t)
	c := b.dial(t)
	c.cmd("USER root")
	c.cmd("PASS " + wrong)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []int{1, 2, 3, 4, 5, 6, 1}, asked)
	for i := range 3000 {
		b.server.Failed(fmt.Sprint("10.0.0.", i))
	}
	require.LessOrEqual(t, b.server.FailedSources(), 1000)
}

func TestLogin_ADelayHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	b := setup(t, "vsftpd", false, func(o *ftp.Options) { o.FailDelay = func(int) time.Duration { return time.Hour } })
	slow := b.dial(t)
	slow.cmd("USER root")
	_, err := io.WriteString(slow, "PASS "+b.refused("root")+"\r\n")
	require.NoError(t, err)
	b.log.Wait(t, `outcome="failure"`)
	b.login(t)
}
