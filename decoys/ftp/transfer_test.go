package ftp_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUpload_IsKeptAndSeenInItsSessionOnly(t *testing.T) {
	t.Parallel()
	for _, product := range products {
		b := setup(t, product, false, nil)
		c := b.login(t)
		require.Regexp(t, `^1[25][05] .*\r\n226`, c.put("STOR drop me.sh", "#!/bin/sh\nid\n"), product)
		text, _ := c.get("LIST")
		require.Contains(t, text, "drop me.sh\r\n", product)
		require.Equal(t, "213 13", c.cmd("SIZE drop me.sh"), product)
		require.Contains(t, c.put("APPE drop me.sh", "uname\n"), "226")
		data, _ := c.get("RETR drop me.sh")
		require.Equal(t, "#!/bin/sh\nid\nuname\n", data, product)
		require.Equal(t, "350", c.cmd("REST 4")[:3])
		require.Contains(t, c.put("STOR drop me.sh", "XX"), "226")
		data, _ = c.get("RETR drop me.sh")
		require.Equal(t, "#!/bXX/sh\nid\nuname\n"[:4]+"XX"+"#!/bin/sh\nid\nuname\n"[6:], data, product)
		require.Equal(t, "350", c.cmd("RNFR drop me.sh")[:3])
		require.Equal(t, "250", c.cmd("RNTO x.sh")[:3])
		require.Equal(t, "250", c.cmd("DELE x.sh")[:3])
		b.log.Wait(t, `ftp - upload \[[^\n]*src_ip="127.0.0.1" src_port="\d+" path="/drop me.sh" size="13" cmd="STOR"`)
		b.log.Wait(t, `ftp - file_captured \[[^\n]*stored_as="[^"]+_drop_me.sh" sha256="[0-9a-f]{64}" size="19" orig_path="/drop me.sh" src_ip="127.0.0.1" src_port="\d+" ssh_user="backup"`)
		stored, err := filepath.Glob(b.spool + "/*_drop_me.sh")
		require.NoError(t, err)
		require.Len(t, stored, 3)
		text, _ = b.login(t).get("LIST")
		require.NotContains(t, text, "drop")
		require.NoError(t, c.Close())
		require.Eventually(t, func() bool { return b.server.Room() == 0 }, 5*time.Second, 5*time.Millisecond, "what a session took is given back")
	}
}

func TestUpload_UniqueNamesEmptyFilesAndRefusals(t *testing.T) {
	t.Parallel()
	b := setup(t, "vsftpd", false, nil)
	c := b.login(t)
	require.Regexp(t, `^150 FILE: ftp[0-9a-z]+\r\n226 Transfer complete\.`, c.put("STOU", "x"))
	require.Contains(t, c.put("STOR empty", ""), "226")
	b.log.Wait(t, `upload \[[^\n]*path="/empty" size="0"`)
	require.NotContains(t, b.log.String(), "_empty")
	for _, bad := range []string{"STOR nodir/x", "STOR /", "STOR a\x01b", "STOR " + strings.Repeat("n", 300)} {
		require.Equal(t, "553 Could not create file.", c.put(bad, "x"), bad)
	}
	require.Equal(t, "350", c.cmd("REST 99999999999")[:3])
	require.Contains(t, c.put("STOR sparse", "x"), "552 Disk full")
	require.Equal(t, "350", c.cmd("REST 1000000")[:3])
	require.Contains(t, c.put("STOR sparse", "x"), "226")
	require.Equal(t, "213 1000001", c.cmd("SIZE sparse"))
}

func TestUpload_IsBounded(t *testing.T) {
	t.Parallel()
	b := setup(t, "vsftpd", false, nil)
	c := b.login(t)
	d := c.open("EPSV")
	require.Equal(t, "150 Ok to send data.", c.cmd("STOR big"))
	chunk := make([]byte, 1<<20)
	for range 52 {
		if _, err := d.Write(chunk); err != nil {
			break
		}
	}
	_ = d.Close()
	require.Equal(t, "552 Disk full: please retry later.", c.reply())
	b.log.Wait(t, `file_(captured|skipped) `)
	require.LessOrEqual(t, b.server.Room(), int64(51<<20))
}

func TestData_PortsAreOpenOnlyWhileAwaited(t *testing.T) {
	t.Parallel()
	b := setup(t, "vsftpd", false, nil)
	c := b.login(t)
	closed := func(addr string) {
		t.Helper()
		_, err := net.DialTimeout("tcp", addr, time.Second)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
	for range 10 {
		addr := c.dataAddr("PASV")
		d, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		c.cmd("LIST")
		closed(addr)
		_, err = io.ReadAll(d)
		require.NoError(t, err)
		require.Equal(t, "226 Directory send OK.", c.reply())
		_ = d.Close()
	}
	first := c.dataAddr("PASV")
	second := c.dataAddr("EPSV")
	if first != second {
		closed(first)
	}
	c.cmd("ABOR")
	closed(second)
	third := c.dataAddr("EPSV")
	c.cmd("QUIT")
	require.Eventually(t, func() bool {
		_, err := net.DialTimeout("tcp", third, time.Second)
		return err != nil
	}, 5*time.Second, 5*time.Millisecond)
}

func TestData_OnlyTheSameAddressGetsIt(t *testing.T) {
	t.Parallel()
	b := setup(t, "vsftpd", false, nil)
	c := b.login(t)
	addr := c.dataAddr("PASV")
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 77)}}
	thief, err := d.Dial("tcp", addr)
	require.NoError(t, err)
	defer thief.Close()
	require.Equal(t, "425 Security: Bad IP connecting.", c.cmd("LIST"))
	n, _ := thief.Read(make([]byte, 10))
	require.Zero(t, n)
	b.log.Wait(t, `data_stranger \[[^\n]*src_ip="127.0.0.1" peer="127.0.0.77"`)
}

func TestData_TheServerRunsOutOfPorts(t *testing.T) {
	t.Parallel()
	b := setup(t, "vsftpd", false, nil)
	for range 4 {
		b.login(t).dataAddr("EPSV")
	}
	c := b.login(t)
	require.Equal(t, "425 Could not create socket.", c.cmd("EPSV"))
	b.log.Wait(t, `data_port_refused \[[^\n]*src_ip="127.0.0.1" reason="exhausted"`)
}

func TestPort_IsRefusedAndReported(t *testing.T) {
	t.Parallel()
	target, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer target.Close()
	port := target.Addr().(*net.TCPAddr).Port
	for _, product := range products {
		b := setup(t, product, false, nil)
		c := b.login(t)
		require.Contains(t, "45", c.cmd(fmt.Sprintf("PORT 127,0,0,1,%d,%d", port>>8, port&255))[:1])
		require.Contains(t, "45", c.cmd(fmt.Sprintf("EPRT |1|127.0.0.1|%d|", port))[:1])
		require.Contains(t, "45", c.cmd("PORT 198,51,100,7,0,22")[:1])
		require.Contains(t, "45", c.cmd("EPRT |2|2001:db8::7|6379|")[:1])
		require.Contains(t, "45", c.cmd("PORT 1,2,3,4,5,666")[:1])
		require.Contains(t, "45", c.cmd("LIST")[:1])
		b.log.Wait(t, `port_request \[[^\n]*src_ip="127.0.0.1" src_port="\d+" cmd="PORT" args="198,51,100,7,0,22" dest="198.51.100.7" dest_port="22"\]`)
		b.log.Wait(t, `port_request \[[^\n]*cmd="EPRT" [^\n]* dest="2001:db8::7" dest_port="6379"\]`)
		b.log.Wait(t, `port_request \[[^\n]*args="1,2,3,4,5,666"\]`)
	}
	require.NoError(t, target.(*net.TCPListener).SetDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = target.Accept()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestASCII_AddsCarriageReturns(t *testing.T) {
	t.Parallel()
	for product, adds := range map[string]bool{"vsftpd": false, "proftpd": true, "pure-ftpd": true} {
		c := setup(t, product, false, nil).login(t)
		c.put("STOR lines", "a\nb\n")
		c.cmd("TYPE A")
		data, replies := c.get("RETR lines")
		if adds {
			require.Equal(t, "a\r\nb\r\n", data, product)
		} else {
			require.Equal(t, "a\nb\n", data, product)
		}
		if product == "pure-ftpd" {
			require.Contains(t, replies, "226-Warning: client is in ASCII mode")
		}
		c.cmd("REST 1")
		if _, replies = c.get("RETR lines"); product != "proftpd" {
			require.Regexp(t, `^5\d\d `, replies)
		}
	}
}
