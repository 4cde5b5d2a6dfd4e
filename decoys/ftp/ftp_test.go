package ftp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/artifact"
	"github.com/decnet/decnet/decoys/decoytest"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/ftp"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/passive"
	"github.com/decnet/decnet/decoys/persona"
)

var products = []string{"vsftpd", "proftpd", "pure-ftpd", "filezilla", "microsoft"}

type bundle struct {
	addr, host, port, spool string
	log                     *decoytest.Log
	server                  *ftp.Server
	user, password          string // of a pair that works
	pool                    *passive.Pool
	stop                    context.CancelFunc
}

func osOf(product string) string {
	if product == "filezilla" || product == "microsoft" {
		return "windows_server"
	}
	return "linux"
}

func hostFor(product string, anonymous bool) *persona.Host {
	for i := 0; ; i++ {
		id := identity.New(fmt.Sprintf("web-%02d", i), "i")
		if ftp.ProductOf(id, osOf(product)) == product && (id.Rand("ftp-anonymous").IntN(5) < 2) == anonymous {
			return persona.New(persona.Options{Identity: id, Distro: "debian", Hostname: "SRV-31", Local: netip.MustParseAddr("127.66.0.2")})
		}
	}
}

func setup(t *testing.T, product string, anonymous bool, edit func(*ftp.Options)) *bundle {
	t.Helper()
	b := &bundle{spool: t.TempDir(), log: &decoytest.Log{}, user: "backup"}
	spool, err := os.OpenRoot(b.spool)
	require.NoError(t, err)
	b.pool, err = passive.Bind(netip.MustParseAddr("127.0.0.1"), 4)
	require.NoError(t, err)
	o := ftp.Options{
		Log: eventlog.New(b.log, "web-01", "ftp", "boot", 1, nil), Host: hostFor(product, anonymous), NmapOS: osOf(product), Data: b.pool,
		Artifacts: artifact.NewStore(spool, func() (uint64, error) { return 1 << 40, nil }, nil), FailDelay: func(int) time.Duration { return 0 },
	}
	if edit != nil {
		edit(&o)
	}
	b.server = ftp.New(o)
	for i := 0; !b.server.Accepts(b.user, b.password); i++ {
		b.password = fmt.Sprintf("secret%d", i)
	}
	t.Cleanup(func() {
		b.pool.Close()
		_ = spool.Close()
	})
	b.addr, b.stop = decoytest.Serve(t, b.server)
	b.host, b.port, _ = net.SplitHostPort(b.addr)
	return b
}

// refusedPair returns a password that does not work for the user.
func (b *bundle) refused(user string) string {
	for i := 0; ; i++ {
		if p := fmt.Sprintf("wrong%d", i); !b.server.Accepts(user, p) {
			return p
		}
	}
}

type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (b *bundle) dial(t *testing.T) *client {
	t.Helper()
	c, err := net.Dial("tcp", b.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	cl := &client{t, c, bufio.NewReader(c)}
	require.Equal(t, "220", cl.reply()[:3])
	return cl
}

func (b *bundle) login(t *testing.T) *client {
	t.Helper()
	c := b.dial(t)
	c.cmd("USER " + b.user)
	require.Equal(t, "230", c.cmd("PASS " + b.password)[:3])
	return c
}

// reply reads one whole reply, with its line ends but the last.
func (c *client) reply() string {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var all string
	for {
		line, err := c.r.ReadString('\n')
		require.NoError(c.t, err, all)
		require.True(c.t, strings.HasSuffix(line, "\r\n"), "%q", line)
		all += line
		if len(line) > 3 && line[3] == ' ' && line[0] >= '1' && line[0] <= '5' {
			return strings.TrimSuffix(all, "\r\n")
		}
	}
}

func (c *client) cmd(line string) string {
	c.t.Helper()
	_, err := io.WriteString(c, line+"\r\n")
	require.NoError(c.t, err)
	return c.reply()
}

var hostport = regexp.MustCompile(`\((\d+),(\d+),(\d+),(\d+),(\d+),(\d+)\)|\(\|\|\|(\d+)\|\)`)

// open asks for a data port and connects to it.
func (c *client) open(how string) net.Conn {
	c.t.Helper()
	d, err := net.Dial("tcp", c.dataAddr(how))
	require.NoError(c.t, err)
	return d
}

func (c *client) dataAddr(how string) string {
	c.t.Helper()
	text := c.cmd(how)
	m := hostport.FindStringSubmatch(text)
	require.NotNil(c.t, m, text)
	if m[7] != "" {
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		return net.JoinHostPort(host, m[7])
	}
	hi, _ := strconv.Atoi(m[5])
	lo, _ := strconv.Atoi(m[6])
	return fmt.Sprintf("%s.%s.%s.%s:%d", m[1], m[2], m[3], m[4], hi<<8|lo)
}

// get returns what a command sends, and both replies.
func (c *client) get(line string) (data, replies string) {
	c.t.Helper()
	d := c.open("EPSV")
	defer d.Close()
	first := c.cmd(line)
	if first[0] != '1' {
		return "", first
	}
	_ = d.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := io.ReadAll(d)
	require.NoError(c.t, err)
	return string(b), first + "\r\n" + c.reply()
}

func (c *client) put(line, data string) string {
	c.t.Helper()
	d := c.open("PASV")
	defer d.Close()
	first := c.cmd(line)
	if first[0] != '1' {
		return first
	}
	_, err := io.WriteString(d, data)
	require.NoError(c.t, err)
	require.NoError(c.t, d.Close())
	return first + "\r\n" + c.reply()
}

// paths walks the share through listings of names.
func (c *client) paths(dir string) []string {
	c.t.Helper()
	text, _ := c.get("NLST " + dir)
	var all []string
	for _, name := range strings.Fields(text) {
		p := strings.TrimSuffix(dir, "/") + "/" + name
		if name == "." || name == ".." {
			continue
		}
		if strings.HasPrefix(c.cmd("CWD "+p), "250") {
			all = append(all, c.paths(p)...)
			continue
		}
		all = append(all, p)
	}
	return all
}

func TestGarbage_NeverBreaksTheServer(t *testing.T) {
	t.Parallel()
	b := setup(t, "proftpd", false, nil)
	for _, junk := range []string{
		"GET / HTTP/1.0\r\n\r\n", strings.Repeat("\x00", 5000), strings.Repeat("A", 100_000), "USER " + strings.Repeat("u", 4000) + "\r\nPASS " + strings.Repeat("p", 4000) + "\r\n", "\xff\xf4\xff\xf2\xff", "\r\n\r\n\n\n",
		"USER %s%n{path}{arg}\r\nPASS {n}\r\n", "\x16\x03\x01\x02\x00\x01\x00", "USER a\r\nPASS b\r\nCWD " + strings.Repeat("../", 900) + "\r\nLIST\r\nMLST " + strings.Repeat("/a", 1500) + "\r\n",
	} {
		c, err := net.Dial("tcp", b.addr)
		require.NoError(t, err)
		_, _ = io.WriteString(c, junk)
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	b.log.Wait(t, `protocol_error \[[^\n]*src_ip="127.0.0.1" error="line is too long" data="A{128}"`)
	require.NotContains(t, b.log.String(), "panic")
	require.Equal(t, "215 UNIX Type: L8", b.login(t).cmd("SYST"))
}

func TestClose_EndsWhoWaits(t *testing.T) {
	t.Parallel()
	b := setup(t, "vsftpd", false, nil)
	c := b.login(t)
	c.dataAddr("EPSV")
	_, err := io.WriteString(c, "LIST\r\n")
	require.NoError(t, err)
	b.log.Wait(t, `cmd="LIST"`)
	b.stop()
	began := time.Now()
	b.server.Close(10 * time.Second)
	require.Less(t, time.Since(began), 5*time.Second)
	b.log.Wait(t, "disconnect ")
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"USER root", "\xff\xf4\xff\xf2ABOR", "xcwd  a b", "\xff", "", " ", "PORT 1,2,3,4,5,6", "EPRT |2|::1|5|", "STOR a\x00b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		cmd, arg := ftp.Parse(line)
		require.LessOrEqual(t, len(cmd), 3*32) // upper case may be longer
		require.NotContains(t, arg, "\x00")
		require.NotContains(t, cmd, " ")
		for _, c := range []string{"PORT", "EPRT"} {
			if at, ok := ftp.ParsePort(c, arg); ok {
				require.True(t, at.IsValid())
				require.Empty(t, at.Addr().Zone())
			}
		}
	})
}

// FuzzSession sends hostile commands to a server that somebody has logged in to.
func FuzzSession(f *testing.F) {
	for _, s := range []string{"LIST -la\r\n", "EPSV\r\nLIST *\r\n", "CWD ../..\r\nMKD a\r\nRNFR a\r\nRNTO b/c\r\n", "SITE CHMOD 777 /\r\nMLST\r\nSTAT [\r\n", "REST 9223372036854775807\r\nSTOR x\r\n", "TYPE A\r\nSIZE .\r\nOPTS\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script string) {
		if strings.Contains(strings.ToUpper(script), "PASV") || strings.Contains(strings.ToUpper(script), "EPSV") {
			script = strings.NewReplacer("LIST", "", "list", "").Replace(script) // nobody would come
		}
		for _, product := range []string{"vsftpd", "proftpd", "pure-ftpd", "microsoft"} {
			ftp.RunScript(t, hostFor(product, false), osOf(product), script)
		}
	})
}
