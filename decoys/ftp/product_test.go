package ftp_test

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/ftp"
	"github.com/decnet/decnet/decoys/identity"
)

func TestProducts_SayEverything(t *testing.T) {
	t.Parallel()
	all := ftp.Texts()
	line := regexp.MustCompile(`^[1-5]\d\d[ -]`)
	for name, texts := range all {
		for k := range all["vsftpd"] {
			text, ok := texts[k]
			require.True(t, ok, "%s has nothing to say for %q", name, k)
			if text == "" {
				continue
			}
			lines := strings.Split(text, "\n")
			require.Regexp(t, line, strings.NewReplacer("{plain}", "", "{options}", "").Replace(lines[0]), "%s %s", name, k)
			require.Regexp(t, `^(\{list\})?[1-5]\d\d(\{options\})? `, lines[len(lines)-1], "%s %s", name, k)
		}
		require.Len(t, texts, len(all["vsftpd"]), name)
	}
	for name, commands := range ftp.Commands() {
		for _, cmd := range strings.Fields(commands) {
			require.True(t, ftp.Handled(cmd), "%s offers %s", name, cmd)
		}
		help := all[name]["help"]
		for _, cmd := range []string{"RETR", "STOR", "EPSV"} {
			require.True(t, name == "pure-ftpd" || strings.Contains(help, cmd), "%s %s", name, cmd)
		}
	}
}

func TestProducts_VaryOverTheFleetAndFitTheSystem(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for i := range 300 {
		id := identity.New(fmt.Sprintf("d-%d", i), "x")
		for _, os := range []string{"linux", "embedded", "windows", "windows_server"} {
			p := ftp.ProductOf(id, os)
			require.Equal(t, p, ftp.ProductOf(id, os))
			require.Equal(t, strings.HasPrefix(os, "windows"), p == "filezilla" || p == "microsoft")
			seen[p]++
		}
	}
	for _, p := range products {
		require.Greater(t, seen[p], 50, p)
	}
}

func TestConversation_IsThatOfTheServer(t *testing.T) {
	t.Parallel()
	for product, steps := range map[string][][2]string{
		"vsftpd": {
			{"NOOP", "530 Please login with USER and PASS."},
			{"XYZZY", "530 Please login with USER and PASS."},
			{"AUTH TLS", "530 Please login with USER and PASS."},
			{"PASS x", "503 Login with USER first."},
			{"USER $", "331 Please specify the password."},
			{"PASS $", "230 Login successful."},
			{"SYST", "215 UNIX Type: L8"},
			{"PWD", `257 "/" is the current directory`},
			{"XPWD", `257 "/" is the current directory`},
			{"CWD nope", "550 Failed to change directory."},
			{"TYPE X", "500 Unrecognised TYPE command."},
			{"MODE B", "504 Bad MODE command."},
			{"MLSD", "500 Unknown command."},
			{"REST x", "350 Restart position accepted (0)."},
			{"PORT 10,0,0,9,200,10", "550 Permission denied."},
			{"LIST", "425 Use PORT or PASV first."},
			{"RNTO x", "503 RNFR required first."},
			{"EPSV 3", "522 Bad network protocol."},
			{"EPSV ALL", "200 EPSV ALL ok."},
			{"PASV", "550 Permission denied."},
			{"ACCT x", "502 ACCT not implemented."},
			{"\xff\xf4\xff\xf2ABOR", "225 No transfer to ABOR."},
			{"opts utf8 on", "200 Always in UTF8 mode."},
			{"STAT nope", "213-Status follows:\r\n213 End of status"},
			{"AUTH TLS", "500 Unknown command."},
			{"QUIT", "221 Goodbye."},
		},
		"proftpd": {
			{"NOOP", "200 NOOP command successful"},
			{"PWD", "530 Please login with USER and PASS"},
			{"XYZZY", "500 XYZZY not understood"},
			{"AUTH TLS", "500 AUTH not understood"},
			{"USER", "500 USER: command requires a parameter"},
			{"USER $", "331 Password required for $"},
			{"PASS $", "230 User $ logged in"},
			{"HELP STOR", "214 Syntax: STOR <sp> pathname"},
			{"CWD nope", "550 nope: No such file or directory"},
			{"CWD", "501 Invalid number of parameters"},
			{"SIZE /", "550 /: not a regular file"},
			{"TYPE A", "200 Type set to A"},
			{"SIZE /", "550 SIZE not allowed in ASCII mode"},
			{"TYPE I", "200 Type set to I"},
			{"MLST nope", "550 'nope' cannot be listed"},
			{"", "500 Invalid command: try being more creative"},
			{"EPRT |1|10.0.0.9|51210|", "500 Unable to handle command"},
			{"EPRT x", "501 Illegal EPRT command"},
			{"LIST", "425 Unable to build data connection: Connection refused"},
			{"MKD new", `257 "/new" - Directory successfully created`},
			{"MKD new", "550 new: File exists"},
			{"RMD new", "250 RMD command successful"},
			{"DELE new", "550 new: No such file or directory"},
			{"SITE FOO x", "500 'SITE FOO' not understood"},
			{"QUIT", "221 Goodbye."},
		},
		"pure-ftpd": {
			{"NOOP", "200 Zzz..."},
			{"PWD", "530 You aren't logged in"},
			{"AUTH TLS", "500 This security scheme is not implemented"},
			{"USER $", "331 User $ OK. Password required"},
			{"PASS $", "230 OK. Current directory is /"},
			{"USER x", "530 You're already logged in"},
			{"ALLO 5", "200 A L'HUILE"},
			{"CWD nope", "550 Can't change directory to nope: No such file or directory"},
			{"TYPE X", "504-Unknown TYPE: X\r\n504 TYPE is now 8-bit binary"},
			{"PORT 1,2,3,4,5,6", "501 Active mode is disabled"},
			{"RETR nope", "550 Can't open nope: No such file or directory"},
			{"RNFR nope", "550 Sorry, but that file doesn't exist"},
			{"MKD d1", `257 "d1" : The directory was successfully created`},
			{"RNFR d1", "350 RNFR accepted - file exists, ready for destination"},
			{"RNTO d2", "250 File successfully renamed or moved"},
			{"CWD d2", "250 OK. Current directory is /d2"},
			{"CDUP", "250 OK. Current directory is /"},
			{"DELE nope", "550 Could not delete nope: No such file or directory"},
			{"QUIT", "221-Goodbye. You uploaded 0 and downloaded 0 kbytes.\r\n221 Logout."},
		},
		"filezilla": {
			{"SYST", "215 UNIX emulated by FileZilla"},
			{"LIST", "530 Please log in with USER and PASS first."},
			{"AUTH TLS", "502 Explicit TLS authentication not allowed"},
			{"USER $", "331 Password required for $"},
			{"PASS $", "230 Logged on"},
			{"PWD", `257 "/" is current directory.`},
			{"CDUP", `200 CDUP successful. "/" is current directory.`},
			{"STAT", "500 Syntax error, command unrecognized."},
			{"QUIT", "221 Goodbye"},
		},
		"microsoft": {
			{"SYST", "215 Windows_NT"},
			{"AUTH TLS", "534 Local policy on server does not allow TLS secure connections."},
			{"USER $", "331 Password required"},
			{"PASS $", "230 User logged in."},
			{"MLSD", "500 Command not understood."},
			{"CWD nope", "550 The system cannot find the file specified. "},
			{"PORT 1,2,3,4,5,6", "501 Server cannot accept argument."},
			{"QUIT", "221 Goodbye."},
		},
	} {
		b := setup(t, product, false, nil)
		c := b.dial(t)
		for _, s := range steps {
			line := strings.ReplaceAll(s[0], "$", b.user)
			if strings.HasPrefix(s[0], "PASS $") {
				line = "PASS " + b.password
			}
			require.Equal(t, strings.ReplaceAll(s[1], "$", b.user), c.cmd(line), "%s: %s", product, s[0])
		}
		_, err := c.r.ReadByte()
		require.ErrorIs(t, err, io.EOF, product)
	}
}

func TestList_HasTheColumnsOfTheServer(t *testing.T) {
	t.Parallel()
	for product, want := range map[string]string{
		"vsftpd":    `^(d|-)[rwxt-]{9} {4}\d 1000 {5}1000 {5}[ \d]{8} [A-Z][a-z]{2} \d\d ( \d{4}|\d\d:\d\d) \S+$`,
		"proftpd":   `^(d|-)[rwxt-]{9} {3}\d ftp {6}ftp {6}[ \d]{8} [A-Z][a-z]{2} \d\d ( \d{4}|\d\d:\d\d) \S+$`,
		"pure-ftpd": `^(d|-)[rwxt-]{9} {4}\d 1000 {7}1000 {7}[ \d]{10} [A-Z][a-z]{2} \d\d ( \d{4}|\d\d:\d\d) \S+$`,
		"filezilla": `^(d|-)[rwxt-]{9} 1 ftp ftp [ \d]{14} [A-Z][a-z]{2} \d\d ( \d{4}|\d\d:\d\d) \S+$`,
		"microsoft": `^\d\d-\d\d-\d\d  \d\d:\d\d[AP]M ( {6}<DIR> {10}|[ \d]{21} ?)\S+$`,
	} {
		c := setup(t, product, false, nil).login(t)
		text, replies := c.get("LIST")
		require.Contains(t, replies, "226", product)
		require.Greater(t, strings.Count(text, "\r\n"), 2, product)
		for _, line := range strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n") {
			require.Regexp(t, want, line, product)
		}
		all, _ := c.get("LIST -la")
		require.Equal(t, strings.Count(text, "\n")+2, strings.Count(all, "\n"), product)
		none, replies := c.get("LIST nope*")
		require.Empty(t, none)
		require.Contains(t, replies, "226", product)
	}
	c := setup(t, "pure-ftpd", false, nil).login(t)
	text, _ := c.get("MLSD")
	require.Regexp(t, `(?m)^type=cdir;sizd=4096;modify=\d{14};UNIX.mode=0755;UNIX.uid=1000;UNIX.gid=1000;unique=\S+; \.\r$`, text)
	require.Regexp(t, `^250-Begin\r\n type=dir;sizd=4096;.*; /\r\n250 End.$`, c.cmd("MLST /"))
}
