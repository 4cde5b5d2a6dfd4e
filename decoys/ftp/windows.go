package ftp

import (
	"fmt"
	"time"

	"github.com/decnet/decnet/decoys/vfs"
)

// fileZilla is FileZilla Server 0.9.60 without TLS.
var fileZilla = product{
	name: "filezilla", maxTries: 10, idle: 120 * time.Second,
	commands: "ABOR ALLO APPE AUTH CDUP CLNT CWD DELE EPRT EPSV FEAT HELP LIST MDTM MKD MLSD MLST MODE NLST NOOP OPTS PASS PASV PORT PWD QUIT REST RETR RMD RNFR RNTO SITE SIZE STOR STRU SYST TYPE USER",
	early:    "AUTH CLNT FEAT HELP NOOP OPTS PASS QUIT SYST USER",
	line: func(i vfs.Info, name string, _ owner, now time.Time) string {
		perm, size := "-rw-r--r--", i.Size()
		if i.IsDir() {
			perm, size = "drwxr-xr-x", 0
		}
		return fmt.Sprintf("%s 1 ftp ftp %14d %s %s", perm, size, stamp(i.ModTime(), now), name)
	},
	facts: func(i vfs.Info, kind string, _ owner) string {
		return fmt.Sprintf("type=%s;modify=%s;%s", kind, factTime(i), factSize(i, kind))
	},
	text: map[key]string{ //nolint:gosec // what a server says about passwords is none
		"greeting":    "220-FileZilla Server 0.9.60 beta\n220-written by Tim Kosse (tim.kosse@filezilla-project.org)\n220 Please visit https://filezilla-project.org/",
		"login first": "530 Please log in with USER and PASS first.", "unknown": "500 Syntax error, command unrecognized.", "unknown early": "500 Syntax error, command unrecognized.",
		"user first": "503 Login with USER first.", "user": "331 Password required for {arg}", "user anonymous": "331 Password required for {arg}", "user missing": "501 Syntax error",
		"in": "230 Logged on", "in anonymous": "230 Logged on", "refused": "530 Login or password incorrect!", "user again": "503 Bad sequence of commands.", "pass again": "503 Bad sequence of commands.",
		"too many": "421 Too many login attempts. Closing control connection.", "quit": "221 Goodbye", "syst": "215 UNIX emulated by FileZilla", "noop": "200 OK",
		"feat": "211-Features:\n MDTM\n REST STREAM\n SIZE\n MLST type*;size*;modify*;\n MLSD\n UTF8\n CLNT\n EPSV\n EPRT\n211 End",
		"help": "214-The following commands are recognized:\n   ABOR   ALLO   APPE   AUTH   CDUP   CLNT   CWD\n   DELE   EPRT   EPSV   FEAT   HELP   LIST   MDTM\n   MKD    MLSD   MLST   MODE   NLST   NOOP   NOP\n" +
			"   OPTS   PASS   PASV   PORT   PWD    QUIT   REST\n   RETR   RMD    RNFR   RNTO   SITE   SIZE   STOR\n   STRU   SYST   TYPE   USER   XCUP   XCWD   XMKD\n   XPWD   XRMD\n214 Have a nice day.",
		"help on": "214 Command {arg} is supported by FileZilla Server", "pwd": `257 "{path}" is current directory.`, "cwd": `250 CWD successful. "{path}" is current directory.`, "cwd no": `550 CWD failed. "{path}": directory not found.`,
		"cwd missing": `250 Broken client detected, missing argument to CWD. "{path}" is current directory.`, "cdup": `200 CDUP successful. "{path}" is current directory.`, "missing": "501 Syntax error", "type A": "200 Type set to A",
		"type I": "200 Type set to I", "type no": "501 Unsupported type. Supported types are I, A and L 8", "mode": "200 MODE set to S.", "mode no": "504 Unimplemented MODE type", "stru": "200 Using file structure 'File'",
		"stru no": "504 Unimplemented STRU type", "allo": "202 No storage allocation neccessary.", "stat": "", "stat list": "", "stat no": "", "size": "213 {n}", "size no": "550 File not found", "size dir": "550 File not found",
		"size ascii": "213 {n}", "mdtm": "213 {time}", "mdtm no": "550 File not found", "mlst": "250-Listing {path}\n {facts} {path}\n250 End", "mlst no": "550 File or directory not found.",
		"rest": "350 Rest supported. Restarting at {n}", "rest no": "501 Bad parameter. Numeric value required", "port": "500 Active mode is not allowed, use passive mode.", "port bad": "501 Syntax error",
		"no data": "503 Bad sequence of commands.", "data failed": `425 Can't open data connection for transfer of "{path}"`, "stranger": `425 Can't open data connection for transfer of "{path}"`, "no port": "421 Can't create socket",
		"open list": `150 Opening data channel for directory listing of "{path}"`, "done list": `226 Successfully transferred "{path}"`, "list no": "550 Directory not found.",
		"open get": `150 Opening data channel for file download from server of "{path}"`, "done get": `226 Successfully transferred "{path}"`, "get no": "550 File not found", "get dir": "550 File not found", "resume no": "",
		"open put": `150 Opening data channel for file upload to server of "{path}"`, "open stou": "", "done put": `226 Successfully transferred "{path}"`, "put no": "550 Permission denied", "full": "452 Disk full",
		"broken": "426 Connection closed; aborted transfer of \"{path}\"", "broken put": "426 Connection closed; aborted transfer of \"{path}\"", "rnfr": "350 File exists, ready for destination name.", "rnfr no": "550 file/directory not found",
		"rnto": "250 file renamed successfully", "rnto first": "503 Bad sequence of commands!", "rnto no": "450 Internal error renaming the file", "mkd": `257 "{path}" created successfully`, "mkd no": "550 Can't create directory. Permission denied",
		"rmd": "250 Directory deleted successfully", "rmd no": "550 Directory not found", "dele": "250 File deleted successfully", "dele no": "550 File not found", "site": "504 Command not implemented for that parameter",
		"site help": "504 Command not implemented for that parameter", "site chmod": "504 Command not implemented for that parameter", "site chmod no": "504 Command not implemented for that parameter", "site missing": "501 Syntax error",
		"abor": "226 ABOR command successful", "auth": "502 Explicit TLS authentication not allowed", "auth in": "502 Explicit TLS authentication not allowed", "pasv": "227 Entering Passive Mode ({hostport})",
		"pasv no": "425 You cannot use PASV on IPv6 connections. Use EPSV instead.", "epsv": "229 Entering Extended Passive Mode (|||{n}|)", "epsv all": "200 EPSV ALL command successful", "epsv no": "522 Extended Port Failure - unknown network protocol",
		"utf8": "202 UTF8 mode is always enabled. No need to send this command.", "opts no": "501 Option not understood", "opts mlst": "200 MLST OPTS type;size;modify;", "acct": "", "clnt": "200 Don't care",
		"empty": "500 Syntax error, command unrecognized.", "too long": "500 Syntax error, command unrecognized.", "timeout": "421 Connection timed out.",
	},
}

// microsoft is the FTP service of IIS 10.
var microsoft = product{
	name: "microsoft", maxTries: 10, idle: 120 * time.Second, ascii: true,
	commands: "ABOR ACCT ALLO APPE AUTH CDUP CWD DELE EPRT EPSV FEAT HELP LIST MDTM MKD MODE NLST NOOP OPTS PASS PASV PORT PWD QUIT REIN REST RETR RMD RNFR RNTO SITE SIZE SMNT STAT STOR STOU STRU SYST TYPE USER",
	early:    "AUTH FEAT HELP NOOP OPTS PASS QUIT SYST USER",
	line: func(i vfs.Info, name string, _ owner, _ time.Time) string {
		when := i.ModTime().Format("01-02-06  03:04PM")
		if i.IsDir() {
			return when + "       <DIR>          " + name
		}
		return fmt.Sprintf("%s %20d %s", when, i.Size(), name)
	},
	text: map[key]string{ //nolint:gosec // what a server says about passwords is none
		"greeting": "220 Microsoft FTP Service", "login first": "530 Please login with USER and PASS.", "unknown": "500 Command not understood.", "unknown early": "530 Please login with USER and PASS.",
		"user first": "503 Login with USER first.", "user": "331 Password required", "user anonymous": "331 Anonymous access allowed, send identity (e-mail name) as password.", "user missing": "501 Syntax error in parameters or arguments.",
		"in": "230 User logged in.", "in anonymous": "230 User logged in.", "refused": "530 User cannot log in.", "user again": "503 Bad sequence of commands.", "pass again": "503 Login with USER first.", "too many": "",
		"quit": "221 Goodbye.", "syst": "215 Windows_NT", "noop": "200 noop command successful.",
		"feat": "211-Extended features supported:\n LANG EN*\n UTF8\n AUTH TLS;TLS-C;SSL;TLS-P;\n PBSZ\n PROT C;P;\n CCC\n HOST\n SIZE\n MDTM\n REST STREAM\n211 END",
		"help": "214-The following commands are recognized (* ==>'s unimplemented).\n ABOR \n ACCT \n ADAT *\n ALLO \n APPE \n AUTH \n CCC \n CDUP \n CWD \n DELE \n ENC *\n EPRT \n EPSV \n FEAT \n HELP \n HOST \n LANG \n LIST \n MDTM \n MIC *\n" +
			" MKD \n MODE \n NLST \n NOOP \n OPTS \n PASS \n PASV \n PBSZ \n PORT \n PROT \n PWD \n QUIT \n REIN \n REST \n RETR \n RMD \n RNFR \n RNTO \n SITE \n SIZE \n SMNT \n STAT \n STOR \n STOU \n STRU \n SYST \n TYPE \n USER \n" +
			" XCUP \n XCWD \n XMKD \n XPWD \n XRMD \n214 HELP command successful.",
		"help on": "214 Syntax: {arg}", "pwd": `257 "{path}" is current directory.`, "cwd": "250 CWD command successful.", "cwd no": "550 The system cannot find the file specified. ", "cwd missing": "250 CWD command successful.",
		"cdup": "250 CDUP command successful.", "missing": "501 Syntax error in parameters or arguments.", "type A": "200 Type set to A.", "type I": "200 Type set to I.", "type no": "504 Command not implemented for that parameter.",
		"mode": "200 MODE S ok.", "mode no": "504 Command not implemented for that parameter.", "stru": "200 STRU F ok.", "stru no": "504 Command not implemented for that parameter.", "allo": "200 ALLO command successful.",
		"stat":      "211-FTP server status\n Connected to {src}\n Logged in as {user}\n TYPE: {type}, FORM: Nonprint; STRUcture: File; transfer MODE: STREAM\n No data connection\n211 End of status.",
		"stat list": "212-status of {arg}\n{list}212 End of status.", "stat no": "550 The system cannot find the file specified. ", "size": "213 {n}", "size no": "550 The system cannot find the file specified. ",
		"size dir": "550 Access is denied. ", "size ascii": "213 {n}", "mdtm": "213 {time}", "mdtm no": "550 The system cannot find the file specified. ", "mlst": "", "mlst no": "", "rest": "350 Restarting at {n}.",
		"rest no": "501 Syntax error in parameters or arguments.", "port": "501 Server cannot accept argument.", "port bad": "501 Server cannot accept argument.", "no data": "425 Cannot open data connection.",
		"data failed": "425 Cannot open data connection.", "stranger": "425 Cannot open data connection.", "no port": "425 Cannot open data connection.", "open list": "125 Data connection already open; Transfer starting.",
		"done list": "226 Transfer complete.", "list no": "550 The system cannot find the file specified. ", "open get": "125 Data connection already open; Transfer starting.", "done get": "226 Transfer complete.",
		"get no": "550 The system cannot find the file specified. ", "get dir": "550 Access is denied. ", "resume no": "", "open put": "125 Data connection already open; Transfer starting.",
		"open stou": "125 FILE: {name}", "done put": "226 Transfer complete.", "put no": "550 Access is denied. ", "full": "552 There is not enough space on the disk. ", "broken": "426 Connection closed; transfer aborted.",
		"broken put": "426 Connection closed; transfer aborted.", "rnfr": "350 Requested file action pending further information.", "rnfr no": "550 The system cannot find the file specified. ", "rnto": "250 RNTO command successful.",
		"rnto first": "503 Bad sequence of commands.", "rnto no": "550 Access is denied. ", "mkd": `257 "{arg}" directory created.`, "mkd no": "550 Cannot create a file when that file already exists. ", "rmd": "250 RMD command successful.",
		"rmd no": "550 The system cannot find the file specified. ", "dele": "250 DELE command successful.", "dele no": "550 The system cannot find the file specified. ", "site": "501 Syntax error in parameters or arguments.",
		"site help": "214-The following SITE commands are recognized (* ==>'s unimplemented).\n DIRSTYLE\n214 HELP command successful.", "site chmod": "501 Syntax error in parameters or arguments.",
		"site chmod no": "501 Syntax error in parameters or arguments.", "site missing": "501 Syntax error in parameters or arguments.", "abor": "226 ABOR command successful.",
		"auth": "534 Local policy on server does not allow TLS secure connections.", "auth in": "534 Local policy on server does not allow TLS secure connections.", "pasv": "227 Entering Passive Mode ({hostport}).",
		"pasv no": "501 Server cannot accept argument.", "epsv": "229 Entering Extended Passive Mode (|||{n}|)", "epsv all": "200 EPSV ALL command successful.", "epsv no": "522 Network protocol not supported.",
		"utf8": "200 OPTS UTF8 command successful - UTF8 encoding now ON.", "opts no": "501 Syntax error in parameters or arguments.", "opts mlst": "501 Syntax error in parameters or arguments.",
		"acct": "502 Command not implemented.", "clnt": "", "empty": "500 Command not understood.", "too long": "500 Command not understood.", "timeout": "421 Service not available, closing control connection.",
	},
}
