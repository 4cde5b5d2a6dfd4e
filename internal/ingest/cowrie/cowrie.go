// Package cowrie reads the JSON log of the Cowrie SSH and Telnet honeypot (cowrie.json and its rotations) into records like
// those of our own decoys.
//
// It is a table from Cowrie's event ids to our event types; everything else is package foreign. What has a counterpart in
// docs/decoys.md becomes that; the rest of what an attacker did keeps Cowrie's name without `cowrie.`, with dots and hyphens as
// underscores. The honeypot's look-ups and reports to third parties are skipped as operational.
//
// Deviations that a reader of the rows may notice:
//
//   - A session of Cowrie is a connection: session.closed becomes session_closed, and there is no session_opened. It names no
//     count of commands, because the count is of other lines; commands are joined by the session.
//   - command.failed is not `command`: command.input has told of the same line already.
//   - A TTY log is on the sensor; tty_log_closed refers to it, and is not session_recorded, behind which there is a recording.
//   - A downloaded or uploaded file is file_captured with its checksum and without `stored_as`: there is no content.
//   - Old logs name the protocol in session.connect only. Without one a line is ssh, unless its id is of telnet.
package cowrie

import (
	"io"
	"strings"

	"github.com/decnet/decnet/internal/ingest/foreign"
)

const (
	prefix          = "cowrie."
	serviceSSH      = "ssh"
	serviceTelnet   = "telnet"
	maxSessionBytes = 36
)

// NewReader returns a reader of a log, plain or gzip-compressed, from a position on. Errors are those of foreign.NewReader.
func NewReader(r io.Reader, from foreign.Position) (*foreign.Reader, error) {
	return foreign.NewReader(r, from, "cowrie", mapLine)
}

// mapLine is the foreign.MapFunc of Cowrie.
func mapLine(o *foreign.Object, d *foreign.Draft) foreign.Reason {
	k, why := kindOf(o.String("eventid"), d)
	if why != "" {
		return why
	}
	var ok bool
	if d.Time, ok = o.Time("timestamp"); !ok {
		return foreign.BadTime
	}
	addr, why := o.Addr("src_ip")
	if why != "" {
		return why
	}
	session := o.Text("session")
	if !validSession(session) {
		return foreign.BadSession
	}
	d.Sensor, d.Service, d.Type = o.Text("sensor"), service(o), k.typ
	d.Add("sid", session)
	port := o.Port("src_port")
	if k.forwarding && o.Text("orig_ip") == "" {
		port = 0 // before 2025 this was what the client claimed to forward for
	}
	d.Source(addr, port)
	addAll(o, d, k.attrs)
	if k.more != nil {
		k.more(o, d)
	}
	d.Add("late", o.Text("late"))
	return ""
}

// kindOf looks an event id up and sets what follows from it alone. An id of Cowrie's that is not in the table is kept under its
// name: what it carries stays in the raw line.
func kindOf(id string, d *foreign.Draft) (kind, foreign.Reason) {
	k, known := kinds[id]
	if known {
		d.Kind = id
		if k.typ == "" {
			return k, foreign.Operational
		}
		return k, ""
	}
	if id != "" {
		d.Kind = foreign.OtherKind
	}
	name, ok := strings.CutPrefix(id, prefix)
	if !ok || name == "" {
		return k, foreign.NoKind
	}
	return kind{typ: foreign.Slug(name)}, ""
}

// validSession accepts the ids Cowrie makes (12 hexadecimal digits) and what else is within the alphabet of our own.
func validSession(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= maxSessionBytes
}

func service(o *foreign.Object) string {
	if o.String("protocol") == serviceTelnet || strings.HasPrefix(o.String("eventid"), "cowrie.telnet.") {
		return serviceTelnet
	}
	return serviceSSH
}
