package ftp

import (
	"fmt"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/vfs"
)

// proftpd is ProFTPD 1.3 as packaged, with active transfers switched off as RootRevoke does.
var proftpd = product{
	name: "proftpd", maxTries: 3, idle: 600 * time.Second, ascii: true,
	commands: "CWD CDUP SMNT QUIT PORT PASV EPRT EPSV ALLO RNFR RNTO DELE MDTM RMD MKD PWD SIZE SYST HELP NOOP FEAT OPTS HOST CLNT TYPE STRU MODE RETR STOR STOU APPE REST ABOR USER PASS ACCT REIN LIST NLST STAT SITE MLSD MLST",
	early:    "ACCT CLNT FEAT HELP NOOP OPTS PASS QUIT REIN SMNT SYST USER",
	line: func(i vfs.Info, name string, o owner, now time.Time) string {
		return fmt.Sprintf("%s %3d %-8s %-8s %8d %s %s", mode(i), i.Links, o.user, o.team, i.Size(), stamp(i.ModTime(), now), name)
	},
	facts: func(i vfs.Info, kind string, o owner) string {
		perm := "adfr"
		if kind != "file" {
			perm = "fle"
		}
		if i.Mode()&0o200 != 0 {
			perm += "w"
		}
		return fmt.Sprintf("modify=%s;perm=%s;%stype=%s;unique=%s;UNIX.group=%d;UNIX.groupname=%s;UNIX.mode=0%o;UNIX.owner=%d;UNIX.ownername=%s;",
			factTime(i), perm, factSize(i, kind), kind, strings.ToUpper(unique(i, "fd01u%x")), o.gid, o.team, i.Mode().Perm(), o.uid, o.user)
	},
	text: map[key]string{ //nolint:gosec // what a server says about passwords is none
		"greeting": "220 {version} [{local}]", "login first": "530 Please login with USER and PASS", "unknown": "500 {cmd} not understood", "unknown early": "500 {cmd} not understood",
		"user first": "503 Login with USER first", "user": "331 Password required for {arg}", "user anonymous": "331 Anonymous login ok, send your complete email address as your password",
		"user missing": "500 USER: command requires a parameter", "in": "230 User {user} logged in", "in anonymous": "230 Anonymous access granted, restrictions apply", "refused": "530 Login incorrect.",
		"user again": "501 Reauthentication not supported", "pass again": "503 You are already logged in", "too many": "", "quit": "221 Goodbye.", "syst": "215 UNIX Type: L8", "noop": "200 NOOP command successful",
		"feat": "211-Features:\n CLNT\n EPRT\n EPSV\n HOST\n LANG en-US.UTF-8*\n MDTM\n MLST modify*;perm*;size*;type*;unique*;UNIX.group*;UNIX.groupname*;UNIX.mode*;UNIX.owner*;UNIX.ownername*;\n REST STREAM\n SIZE\n TVFS\n UTF8\n211 End",
		"help": "214-The following commands are recognized (* =>'s unimplemented):\n CWD     XCWD    CDUP    XCUP    SMNT*   QUIT    PORT    PASV    \n EPRT    EPSV    ALLO    RNFR    RNTO    DELE    MDTM    RMD     \n" +
			" XRMD    MKD     XMKD    PWD     XPWD    SIZE    SYST    HELP    \n NOOP    FEAT    OPTS    HOST    CLNT    AUTH*   CCC*    CONF*   \n ENC*    MIC*    PBSZ*   PROT*   TYPE    STRU    MODE    RETR    \n" +
			" STOR    STOU    APPE    REST    ABOR    USER    PASS    ACCT*   \n REIN*   LIST    NLST    STAT    SITE    MLSD    MLST    \n214 Direct comments to root@{hostname}",
		"help on": "214 Syntax: {arg} <sp> pathname", "pwd": `257 "{path}" is the current directory`, "cwd": "250 CWD command successful", "cwd no": "550 {arg}: No such file or directory",
		"cwd missing": "501 Invalid number of parameters", "cdup": "250 CDUP command successful", "missing": "501 Invalid number of parameters", "type A": "200 Type set to A", "type I": "200 Type set to I",
		"type no": "504 TYPE not implemented for '{arg}' parameter", "mode": "200 Mode set to S", "mode no": "504 'MODE {arg}' unsupported transfer mode", "stru": "200 Structure set to F", "stru no": "504 'STRU {arg}' unsupported structure type",
		"allo":      "202 No storage allocation necessary",
		"stat":      "211-Status of 'Debian'\n Connected from {src} ({src})\n Logged in as {user}\n TYPE: {type}, STRUcture: File, Mode: Stream\n No data connection\n211 End of status",
		"stat list": "212-Status of {arg}:\n{list}212 End of status", "stat no": "450 {arg}: No such file or directory",
		"size": "213 {n}", "size no": "550 {arg}: No such file or directory", "size dir": "550 {arg}: not a regular file", "size ascii": "550 SIZE not allowed in ASCII mode",
		"mdtm": "213 {time}", "mdtm no": "550 {arg}: No such file or directory", "mlst": "250-Start of list for {arg}\n {facts} {path}\n250 End of list", "mlst no": "550 '{arg}' cannot be listed",
		"rest": "350 Restarting at {n}. Send STORE or RETRIEVE to initiate transfer", "rest no": "501 REST requires a value greater than or equal to 0", "port": "500 Unable to handle command", "port bad": "501 Illegal {cmd} command",
		"no data": "425 Unable to build data connection: Connection refused", "data failed": "425 Unable to build data connection: Connection timed out", "stranger": "425 Unable to build data connection: Operation not permitted",
		"no port": "425 Unable to build data connection: Internal error", "open list": "150 Opening {mode} mode data connection for {what}", "done list": "226 Transfer complete", "list no": "450 {arg}: No such file or directory",
		"open get": "150 Opening {mode} mode data connection for {name} ({n} bytes)", "done get": "226 Transfer complete", "get no": "550 {arg}: No such file or directory", "get dir": "550 {arg}: Not a regular file",
		"resume no": "", "open put": "150 Opening {mode} mode data connection for {name}", "open stou": "150 FILE: {name}", "done put": "226 Transfer complete", "put no": "550 {arg}: Permission denied",
		"full": "552 Transfer aborted. No space left on device", "broken": "426 Transfer aborted. Data connection closed", "broken put": "426 Transfer aborted. Data connection closed",
		"rnfr": "350 File or directory exists, ready for destination name", "rnfr no": "550 {arg}: No such file or directory", "rnto": "250 Rename successful", "rnto first": "503 Bad sequence of commands", "rnto no": "550 Rename {arg}: Permission denied",
		"mkd": `257 "{path}" - Directory successfully created`, "mkd no": "550 {arg}: {why}", "rmd": "250 RMD command successful", "rmd no": "550 {arg}: {why}",
		"dele": "250 DELE command successful", "dele no": "550 {arg}: {why}", "site": "500 'SITE {arg}' not understood",
		"site help":  "214-The following SITE commands are recognized (* =>'s unimplemented)\n HELP\n CHGRP\n CHMOD\n214 Direct comments to root@{hostname}",
		"site chmod": "200 SITE CHMOD command successful", "site chmod no": "550 {arg}: No such file or directory", "site missing": "500 'SITE' requires parameters", "abor": "226 Abort successful",
		"auth": "500 AUTH not understood", "auth in": "500 AUTH not understood", "pasv": "227 Entering Passive Mode ({hostport}).", "pasv no": "425 Unable to build data connection: Invalid argument",
		"epsv": "229 Entering Extended Passive Mode (|||{n}|)", "epsv all": "200 EPSV ALL command successful", "epsv no": "522 Network protocol not supported, use (1)",
		"utf8": "200 UTF8 set to on", "opts no": "501 OPTS: command not understood", "opts mlst": "200 MLST OPTS modify;perm;size;type;", "acct": "502 {cmd} command not implemented", "clnt": "200 OK",
		"empty": "500 Invalid command: try being more creative", "too long": "500 Command too long", "timeout": "421 Idle timeout (600 seconds): closing control connection",
	},
}
