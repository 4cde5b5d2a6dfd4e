package ftp

import (
	"fmt"
	"time"

	"github.com/decnet/decnet/decoys/vfs"
)

// vsftpd is vsftpd 3.0 with `port_enable=NO`, uploads allowed and the defaults of its packages.
var vsftpd = product{
	name: "vsftpd", maxTries: 3, idle: 300 * time.Second, noASCIIResume: true,
	commands: "ABOR ACCT ALLO APPE CDUP CWD DELE EPRT EPSV FEAT HELP LIST MDTM MKD MODE NLST NOOP OPTS PASS PASV PORT PWD QUIT REIN REST RETR RMD RNFR RNTO SITE SIZE SMNT STAT STOR STOU STRU SYST TYPE USER",
	early:    "FEAT OPTS PASS QUIT USER",
	line: func(i vfs.Info, name string, o owner, now time.Time) string {
		return fmt.Sprintf("%s %4d %-8d %-8d %8d %s %s", mode(i), i.Links, o.uid, o.gid, i.Size(), stamp(i.ModTime(), now), name)
	},
	text: map[key]string{ //nolint:gosec // what a server says about passwords is none
		"greeting": "220 (vsFTPd {version})", "login first": "530 Please login with USER and PASS.", "unknown": "500 Unknown command.", "unknown early": "530 Please login with USER and PASS.",
		"user first": "503 Login with USER first.", "user": "331 Please specify the password.", "user anonymous": "331 Please specify the password.",
		"user missing": "331 Please specify the password.", "in": "230 Login successful.", "in anonymous": "230 Login successful.", "refused": "530 Login incorrect.",
		"user again": "530 Can't change to another user.", "pass again": "230 Already logged in.", "too many": "", "quit": "221 Goodbye.", "syst": "215 UNIX Type: L8", "noop": "200 NOOP ok.",
		"feat": "211-Features:\n EPSV\n MDTM\n PASV\n REST STREAM\n SIZE\n TVFS\n211 End",
		"help": "214-The following commands are recognized.\n ABOR ACCT ALLO APPE CDUP CWD  DELE EPRT EPSV FEAT HELP LIST MDTM MKD\n MODE NLST NOOP OPTS PASS PASV PORT PWD  QUIT REIN REST RETR RMD  RNFR\n" +
			" RNTO SITE SIZE SMNT STAT STOR STOU STRU SYST TYPE USER XCUP XCWD XMKD\n XPWD XRMD\n214 Help OK.",
		"help on": "", "pwd": `257 "{path}" is the current directory`, "cwd": "250 Directory successfully changed.", "cwd no": "550 Failed to change directory.", "cwd missing": "550 Failed to change directory.",
		"cdup": "250 Directory successfully changed.", "missing": "550 Permission denied.", "type A": "200 Switching to ASCII mode.", "type I": "200 Switching to Binary mode.", "type no": "500 Unrecognised TYPE command.",
		"mode": "200 Mode set to S.", "mode no": "504 Bad MODE command.", "stru": "200 Structure set to F.", "stru no": "504 Bad STRU command.", "allo": "202 ALLO command ignored.",
		"stat": "211-FTP server status:\n     Connected to {src}\n     Logged in as {user}\n     TYPE: {type}\n     No session bandwidth limit\n     Session timeout in seconds is 300\n     Control connection is plain text\n" +
			"     Data connections will be plain text\n     At session startup, client count was {n}\n     vsFTPd {version} - secure, fast, stable\n211 End of status",
		"stat list": "213-Status follows:\n{list}213 End of status", "stat no": "213-Status follows:\n213 End of status",
		"size": "213 {n}", "size no": "550 Could not get file size.", "size dir": "550 Could not get file size.", "size ascii": "550 Could not get file size.",
		"mdtm": "213 {time}", "mdtm no": "550 Could not get file modification time.", "mlst": "", "mlst no": "500 Unknown command.",
		"rest": "350 Restart position accepted ({n}).", "rest no": "350 Restart position accepted (0).", "port": "550 Permission denied.", "port bad": "550 Permission denied.",
		"no data": "425 Use PORT or PASV first.", "data failed": "425 Failed to establish connection.", "stranger": "425 Security: Bad IP connecting.", "no port": "425 Could not create socket.",
		"open list": "150 Here comes the directory listing.", "done list": "226 Directory send OK.", "list no": "150 Here comes the directory listing.\n226 Directory send OK.",
		"open get": "150 Opening BINARY mode data connection for {name} ({n} bytes).", "done get": "226 Transfer complete.", "get no": "550 Failed to open file.", "get dir": "550 Failed to open file.",
		"resume no": "550 No support for resume of ASCII transfer.", "open put": "150 Ok to send data.", "open stou": "150 FILE: {name}", "done put": "226 Transfer complete.", "put no": "553 Could not create file.",
		"full": "552 Disk full: please retry later.", "broken": "426 Failure writing network stream.", "broken put": "426 Failure reading network stream.",
		"rnfr": "350 Ready for RNTO.", "rnfr no": "550 RNFR command failed.", "rnto": "250 Rename successful.", "rnto first": "503 RNFR required first.", "rnto no": "550 Rename failed.",
		"mkd": `257 "{path}" created`, "mkd no": "550 Create directory operation failed.", "rmd": "250 Remove directory operation successful.", "rmd no": "550 Remove directory operation failed.",
		"dele": "250 Delete operation successful.", "dele no": "550 Delete operation failed.", "site": "500 Unknown SITE command.", "site help": "214 CHMOD UMASK HELP", "site chmod": "200 SITE CHMOD command ok.",
		"site chmod no": "550 SITE CHMOD command failed.", "site missing": "500 Unknown SITE command.", "abor": "225 No transfer to ABOR.", "auth": "530 Please login with USER and PASS.", "auth in": "500 Unknown command.",
		"pasv": "227 Entering Passive Mode ({hostport}).", "pasv no": "550 Permission denied.", "epsv": "229 Entering Extended Passive Mode (|||{n}|)", "epsv all": "200 EPSV ALL ok.", "epsv no": "522 Bad network protocol.",
		"utf8": "200 Always in UTF8 mode.", "opts no": "501 Option not understood.", "opts mlst": "501 Option not understood.", "acct": "502 {cmd} not implemented.", "clnt": "500 Unknown command.",
		"empty": "", "too long": "500 Input line too long.", "timeout": "421 Timeout.",
	},
}
