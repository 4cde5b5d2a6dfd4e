package ftp

import (
	"fmt"
	"time"

	"github.com/decnet/decnet/decoys/vfs"
)

// pureftpd is Pure-FTPd 1.0 without a certificate.
var pureftpd = product{
	name: "pure-ftpd", maxTries: 5, idle: 15 * time.Minute, ascii: true, noASCIIResume: true, anonymousAtOnce: true, dotsInNLST: true,
	commands: "ABOR ACCT ALLO APPE AUTH CDUP CWD DELE EPRT EPSV FEAT HELP LIST MDTM MKD MLSD MLST MODE NLST NOOP OPTS PASS PASV PORT PWD QUIT REST RETR RMD RNFR RNTO SITE SIZE STAT STOR STOU STRU SYST TYPE USER",
	early:    "AUTH FEAT HELP NOOP PASS QUIT SYST USER",
	line: func(i vfs.Info, name string, o owner, now time.Time) string {
		return fmt.Sprintf("%s %4d %-10d %-10d %10d %s %s", mode(i), i.Links, o.uid, o.gid, i.Size(), stamp(i.ModTime(), now), name)
	},
	facts: func(i vfs.Info, kind string, o owner) string {
		size := factSize(i, kind)
		if size == "" {
			size = fmt.Sprintf("sizd=%d;", i.Size())
		}
		return fmt.Sprintf("type=%s;%smodify=%s;UNIX.mode=0%o;UNIX.uid=%d;UNIX.gid=%d;unique=%s;", kind, size, factTime(i), i.Mode().Perm(), o.uid, o.gid, unique(i, "fd01g%x"))
	},
	text: map[key]string{ //nolint:gosec // what a server says about passwords is none
		"greeting":    "220---------- Welcome to Pure-FTPd [privsep] [TLS] ----------\n220-You are user number {n} of 50 allowed.\n220-Local time is now {clock}. Server port: 21.\n{private}220-IPv6 connections are also welcome on this server.\n220 You will be disconnected after 15 minutes of inactivity.",
		"login first": "530 You aren't logged in", "unknown": "500 Unknown command", "unknown early": "530 You aren't logged in", "user first": "530 Please tell me who you are",
		"user": "331 User {arg} OK. Password required", "user anonymous": "", "user missing": "530 This is a private system - No anonymous login", "in": "230 OK. Current directory is /", "in anonymous": "230 Anonymous user logged in",
		"refused": "530 Login authentication failed", "user again": "530 You're already logged in", "pass again": "530 We can't do that in the current session", "too many": "",
		"quit": "221-Goodbye. You uploaded {up} and downloaded {down} kbytes.\n221 Logout.", "syst": "215 UNIX Type: L8", "noop": "200 Zzz...",
		"feat": "211-Extensions supported:\n UTF8\n EPRT\n IDLE\n MDTM\n SIZE\n REST STREAM\n MLST type*;size*;sizd*;modify*;UNIX.mode*;UNIX.uid*;UNIX.gid*;unique*;\n MLSD\n TVFS\n PASV\n EPSV\n211 End.",
		"help": "214-The following SITE commands are recognized\n ALIAS\n CHMOD\n IDLE\n UTIME\n214 Pure-FTPd - http://pureftpd.org/", "help on": "",
		"pwd": `257 "{path}" is your current location`, "cwd": "250 OK. Current directory is {path}", "cwd no": "550 Can't change directory to {arg}: {why}", "cwd missing": "250 OK. Current directory is /", "cdup": "250 OK. Current directory is {path}",
		"missing": "501 {cmd}: Missing argument", "type A": "200 TYPE is now ASCII", "type I": "200 TYPE is now 8-bit binary", "type no": "504-Unknown TYPE: {arg}\n504 TYPE is now {type}",
		"mode": "200 S OK", "mode no": "504 Please use S(tream) mode", "stru": "200 F OK", "stru no": "504 Only F(ile) is supported", "allo": "200 A L'HUILE", "stat": "211 https://www.pureftpd.org/",
		"stat list": "213-STAT\n{list}213 End.", "stat no": "213-STAT\n213 End.", "size": "213 {n}", "size no": "550 Can't check for file existence", "size dir": "550 I can only retrieve regular files", "size ascii": "213 {n}",
		"mdtm": "213 {time}", "mdtm no": "550 Can't check for file existence", "mlst": "250-Begin\n {facts} {arg}\n250 End.", "mlst no": "550 Can't check for file existence",
		"rest": "350 Restarting at {n}", "rest no": "554-REST needs a numeric parameter\n554 Restart offset reset to 0", "port": "501 Active mode is disabled", "port bad": "501 Syntax error in IP address",
		"no data": "425 No data connection", "data failed": "425 No data connection", "stranger": "425 No data connection", "no port": "425 Can't open passive connection",
		"open list": "150 Accepted data connection", "done list": "226{options} {n} matches total", "list no": "550 Can't check for file existence", "open get": "150 Accepted data connection",
		"done get": "{plain}226-File successfully transferred\n226 {seconds} seconds (measured here), {rate} per second", "get no": "550 Can't open {arg}: No such file or directory", "get dir": "550 I can only retrieve regular files",
		"resume no": "503 ASCII resume is unsafe, please delete the file first", "open put": "150 Accepted data connection", "open stou": "150 FILE: {name}",
		"done put": "226-File successfully transferred\n226 {seconds} seconds (measured here), {rate} per second", "put no": "553 Can't open that file: Permission denied",
		"full": "552 Sorry, disk full", "broken": "426 Transfer aborted", "broken put": "426 Transfer aborted", "rnfr": "350 RNFR accepted - file exists, ready for destination", "rnfr no": "550 Sorry, but that file doesn't exist",
		"rnto": "250 File successfully renamed or moved", "rnto first": "503 Need RNFR before RNTO", "rnto no": "451 Rename/move failure: {why}", "mkd": `257 "{arg}" : The directory was successfully created`, "mkd no": "550 Can't create directory: {why}",
		"rmd": "250 The directory was successfully removed", "rmd no": "550 Can't remove directory: {why}", "dele": "250 Deleted {arg}", "dele no": "550 Could not delete {arg}: {why}",
		"site": "500 SITE {arg} is an unknown extension", "site help": "214-The following SITE commands are recognized\n ALIAS\n CHMOD\n IDLE\n UTIME\n214 Pure-FTPd - http://pureftpd.org/", "site chmod": "200 Permissions changed on {name}",
		"site chmod no": "550 Could not change perms on {name}: No such file or directory", "site missing": "500 SITE: Missing argument", "abor": "226 Since you see this ABOR must've succeeded",
		"auth": "500 This security scheme is not implemented", "auth in": "500 This security scheme is not implemented", "pasv": "227 Entering Passive Mode ({hostport})", "pasv no": "425 You cannot use PASV on IPv6 connections. Use EPSV instead.",
		"epsv": "229 Extended Passive mode OK (|||{n}|)", "epsv all": "220 Active mode is disabled", "epsv no": "522 Only IPv4 and IPv6 are supported (1,2)", "utf8": "200 OK, UTF-8 enabled", "opts no": "504 Unknown command",
		"opts mlst": "200  MLST OPTS type;size;sizd;modify;UNIX.mode;UNIX.uid;UNIX.gid;unique;", "acct": "202 Please tell me who you are", "clnt": "500 Unknown command",
		"empty": "", "too long": "500 Line too long", "timeout": "421 Timeout - try typing a little faster next time",
	},
}
