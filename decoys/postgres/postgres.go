// Package postgres is the PostgreSQL decoy: a server that asks for an MD5 password and refuses every one.
//
// It stops at authentication: no query is ever read. Errors carry the file, line and routine of the release the decky pretends
// to run, because scanners tell releases apart by them.
//
// What differs from the real thing, for whoever compares: an unknown database is reported before the password is asked for;
// passwords are always asked for as MD5, also by releases whose default is SCRAM; requests for GSSAPI encryption are refused, as
// by a server compiled without it; nobody ever meets the limit of connections.
package postgres

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/tcp"
)

const (
	authTimeout = time.Minute
	maxRequests = 16 // of encryption, before a startup
	minPassword = 4
	maxPassword = 10_000
	maxLogged   = 256
)

// Options are the dependencies of a Server.
type Options struct {
	Log  *eventlog.Log
	Host *persona.Host
}

// Server serves connections of one decoy.
type Server struct {
	*tcp.Server
	release   release
	databases []string
}

// New returns a server. It reads no files.
func New(o Options) *Server {
	s := &Server{release: pickRelease(o.Host), databases: databases(o.Host.ID)}
	s.Server = tcp.New(o.Log, s.handle)
	return s
}

// databases lists what exists besides template0, which takes no connections.
func databases(id identity.Identity) []string {
	names := []string{"app", "billing", "crm", "gitlab", "grafana", "inventory", "keycloak", "nextcloud", "orders", "production", "reporting", "shop", "staging", "wiki", "zabbix"}
	r := id.Rand("postgres-databases")
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return append([]string{"postgres", "template1"}, names[:1+r.IntN(4)]...)
}

// client is one connection.
type client struct {
	*tcp.Conn
	s   *Server
	in  *bufio.Reader
	old bool // speaks a protocol before 3, or has not said which
}

func (s *Server) handle(ctx context.Context, raw *tcp.Conn) {
	_ = raw.SetDeadline(time.Now().Add(authTimeout))
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	c := &client{Conn: raw, s: s, in: bufio.NewReaderSize(raw, maxStartup), old: s.release.major < 14}
	if st, ok := c.startup(ctx); ok {
		c.authenticate(ctx, st)
	}
}

// startup goes through the requests before and the startup itself. It reports false when the connection is over.
func (c *client) startup(ctx context.Context) (startup, bool) {
	ssl, gss := false, false
	for range maxRequests {
		protocol, body, err := readStartup(c.in)
		switch {
		case err != nil:
			c.malformed(err)
			return startup{}, false
		case protocol == codeCancel:
			c.Emit("cancel_request")
			return startup{}, false
		case protocol == codeSSL && !ssl:
			ssl, gss = true, false
			if !c.refuse("ssl_request", "received unencrypted data after SSL request") {
				return startup{}, false
			}
		case protocol == codeGSS && !gss:
			ssl, gss = false, true
			if !c.refuse("gss_request", "received unencrypted data after GSSAPI encryption request") {
				return startup{}, false
			}
		default:
			tcp.Pause(ctx, 2*time.Millisecond, 9*time.Millisecond)
			return c.begin(protocol, body)
		}
	}
	return startup{}, false
}

// malformed reports what was no packet; the real server says nothing to that.
func (c *client) malformed(err error) {
	if errors.Is(err, errLength) {
		c.Emit("protocol_error", eventlog.F("error", err.Error()))
	}
}

// refuse answers a request for encryption. What the client sent without waiting for the answer ends the connection.
func (c *client) refuse(event, complaint string) bool {
	c.Emit(event)
	if _, err := c.Write([]byte{'N'}); err != nil {
		return false
	}
	if c.in.Buffered() == 0 {
		return true
	}
	e := c.s.release.fatal(earlyData, "08P01", complaint)
	if strings.Contains(complaint, "GSSAPI") {
		e.Line += gssAfterSSL
	}
	e.Detail = "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack."
	c.fail(e)
	return false
}

// gssAfterSSL is how many lines the refusal of a GSSAPI request is behind that of an SSL request.
const gssAfterSSL = 44

// begin reads the startup packet proper and refuses what does not lead to a password.
func (c *client) begin(protocol uint32, body []byte) (startup, bool) {
	r, v := c.s.release, protocol>>16
	c.old = v < 3
	if v < r.earliest() || v > 3 {
		c.Emit("protocol_error", eventlog.F("error", fmt.Sprintf("protocol %d.%d", v, protocol&0xffff)))
		c.fail(r.fatal(protocolVersion, "0A000", fmt.Sprintf("unsupported frontend protocol %d.%d: server supports %d.0 to 3.0", v, protocol&0xffff, r.earliest())))
		return startup{}, false
	}
	var st startup
	var err error
	if c.old {
		st = parseOldStartup(protocol, body)
	} else {
		st, err = parseStartup(protocol, body)
	}
	c.report(st, err)
	if e := c.refusal(st, err); e != nil {
		c.fail(e)
		return st, false
	}
	return st, true
}

func (c *client) report(st startup, err error) {
	fields := []eventlog.Field{
		eventlog.F("src_port", c.Port), eventlog.F("username", st.user), eventlog.F("database", st.database),
		eventlog.F("protocol", fmt.Sprintf("%d.%d", st.protocol>>16, st.protocol&0xffff)),
	}
	for _, p := range []param{{"application_name", st.param("application_name")}, {"client_encoding", st.param("client_encoding")}, {"options", st.param("options")}, {"replication", st.replication}} {
		if p.value != "" {
			fields = append(fields, eventlog.F(p.name, cut(p.value)))
		}
	}
	if err != nil {
		fields = append(fields, eventlog.F("error", err.Error()))
	}
	c.Emit("startup", fields...)
}

// refusal returns the error that comes before a password is asked for, or nil; on the way it negotiates the protocol.
func (c *client) refusal(st startup, err error) *pgproto3.ErrorResponse {
	r := c.s.release
	switch {
	case errors.Is(err, errReplication):
		e := r.fatal(replicationValue, "22023", fmt.Sprintf(`invalid value for parameter "replication": "%s"`, st.replication))
		e.Hint = `Valid values are: "false", 0, "true", 1, "database".`
		return e
	case err != nil:
		return r.fatal(layout, "08P01", "invalid startup packet layout: expected terminator as last byte")
	}
	if st.protocol>>16 == 3 && (st.protocol&0xffff != 0 || len(st.unknown) > 0) {
		// The whole version is sent in the place of the minor one, as released servers do.
		c.send(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: pgproto3.ProtocolVersion30, UnrecognizedOptions: st.unknown})
	}
	switch {
	case st.user == "":
		return r.fatal(noUser, "28000", "no PostgreSQL user name specified in startup packet")
	case st.physical:
		state := "no encryption"
		if r.major < 14 {
			state = "SSL off"
		}
		return r.fatal(noReplicationEntry, "28000", fmt.Sprintf(`no pg_hba.conf entry for replication connection from host "%s", user "%s", %s`, c.Src, st.user, state))
	case st.database == "template0":
		return r.fatal(closedDatabase, "55000", `database "template0" is not currently accepting connections`)
	case !slices.Contains(c.s.databases, st.database):
		return r.fatal(unknownDatabase, "3D000", fmt.Sprintf(`database "%s" does not exist`, st.database))
	}
	return nil
}

// authenticate asks for a password and refuses it.
func (c *client) authenticate(ctx context.Context, st startup) {
	var salt [4]byte
	_, _ = rand.Read(salt[:])
	if c.old {
		_, _ = c.Write(append([]byte{'R', 0, 0, 0, 5}, salt[:]...))
	} else {
		c.send(&pgproto3.AuthenticationMD5Password{Salt: salt})
	}
	body, e := c.password()
	if e == nil && body == nil {
		return
	}
	if e == nil {
		e = c.s.judge(st.user, body)
		text, _, _ := bytes.Cut(body, []byte{0})
		c.credential(st, string(text), salt)
	}
	tcp.Pause(ctx, 2*time.Millisecond, 9*time.Millisecond)
	c.fail(e)
}

// password reads the client's answer. Both results are nil when the connection just ends.
func (c *client) password() ([]byte, *pgproto3.ErrorResponse) {
	if !c.old {
		kind, err := c.in.ReadByte()
		if err != nil {
			return nil, nil
		}
		if kind != 'p' {
			c.Emit("protocol_error", eventlog.F("error", fmt.Sprintf("message type %d instead of a password", kind)))
			return nil, c.s.release.fatal(notPassword, "08P01", fmt.Sprintf("expected password response, got message type %d", kind))
		}
	}
	var head [4]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return nil, nil
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < minPassword || n > maxPassword {
		c.malformed(errLength)
		return nil, nil
	}
	body := make([]byte, n-minPassword)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return nil, nil
	}
	return body, nil
}

// judge returns the error for a password message.
func (s *Server) judge(user string, body []byte) *pgproto3.ErrorResponse {
	switch i := bytes.IndexByte(body, 0); {
	case i < 0 || i != len(body)-1:
		return s.release.fatal(passwordSize, "08P01", "invalid password packet size")
	case len(body) == 1:
		return s.release.fatal(emptyPassword, "28P01", "empty password returned by client")
	}
	return s.release.fatal(authFailed, "28P01", fmt.Sprintf(`password authentication failed for user "%s"`, user))
}

// credential reports what the client answered to the challenge: the bytes of the digest, or the text as it is.
func (c *client) credential(st startup, text string, salt [4]byte) {
	fields := []eventlog.Field{
		eventlog.F("src_port", c.Port), eventlog.F("username", st.user), eventlog.F("principal", st.user), eventlog.F("database", st.database),
		eventlog.F("pw_hash", cut(text)), eventlog.F("salt", hex.EncodeToString(salt[:])),
	}
	if name := st.param("application_name"); name != "" {
		fields = append(fields, eventlog.F("application_name", cut(name)))
	}
	const kind = "postgres_md5_challenge"
	digits, prefixed := strings.CutPrefix(text, "md5")
	digest, err := hex.DecodeString(digits)
	if err == nil && (prefixed || len(digest) == md5.Size) {
		fields = append(fields, tcp.Digest(kind, digest)...)
	} else {
		fields = append(fields, tcp.Secret(kind, text)...)
	}
	c.Emit("auth", fields...)
}

// fail sends an error, in the form of the protocol the client speaks. The connection ends after it.
func (c *client) fail(e *pgproto3.ErrorResponse) {
	if c.old {
		_, _ = io.WriteString(c, "EFATAL:  "+e.Message+"\n\x00")
		return
	}
	c.send(e)
}

func (c *client) send(m pgproto3.BackendMessage) {
	if b, err := m.Encode(nil); err == nil {
		_, _ = c.Write(b)
	}
}

func cut(s string) string { return s[:min(len(s), maxLogged)] }
