// Package opencanary reads the JSON log of the OpenCanary honeypot into records like those of our own decoys.
//
// It is a table from OpenCanary's log types (numbers) to a service and an event type of ours; everything else is package foreign.
// Lines of the honeypot itself (1000 to 1006: start, messages, errors) are skipped as operational, with or without a source.
//
// OpenCanary knows no sessions: what one connection did is told by one line, or by lines that share an address and a port.
// Records therefore have no `sid` and no evidence reference. It gives no header of HTTP requests but the user agent, so there is
// no field `headers` either. It refuses every login, and so the outcome of every attempt is failure.
package opencanary

import (
	"io"
	"strconv"

	"github.com/decnet/decnet/internal/ingest/foreign"
)

const (
	serviceOther = "other"
	portHTTPS    = 443
	maxLogType   = 999999
	// Log types of the honeypot itself, those of them that have a name, and those left to modules of the operator's own.
	ownFirst, ownLastNamed, ownLast = 1000, 1006, 1999
	userFirst, userLast             = 99000, 99009
)

// NewReader returns a reader of a log, plain or gzip-compressed, from a position on. Errors are those of foreign.NewReader.
func NewReader(r io.Reader, from foreign.Position) (*foreign.Reader, error) {
	m := &mapper{}
	return foreign.NewReader(r, from, "opencanary", m.mapLine)
}

// mapper holds the object of `logdata`, to be used again for every line.
type mapper struct{ data foreign.Object }

// mapLine is the foreign.MapFunc of OpenCanary.
func (m *mapper) mapLine(o *foreign.Object, d *foreign.Draft) foreign.Reason {
	n, ok := o.Int("logtype", maxLogType)
	if !ok {
		return foreign.NoKind
	}
	k, why := kindOf(n, d)
	if why != "" {
		return why
	}
	// Both are UTC in every release, old ones have local_time only. local_time_adjusted is in a zone that nobody names.
	if d.Time, ok = o.Time("utc_time", "local_time"); !ok {
		return foreign.BadTime
	}
	addr, why := o.Addr("src_host")
	if why != "" {
		return why
	}
	d.Sensor, d.Service, d.Type = o.Text("node_id"), k.service, k.typ
	if k.service == serviceHTTP && o.Port("dst_port") == portHTTPS {
		d.Service = "https"
	}
	d.Source(addr, o.Port("src_port"))
	d.Add("dst_ip", o.Text("dst_host"))
	if p := o.Port("dst_port"); p != 0 {
		d.Int("dst_port", int(p))
	}
	o.Object("logdata", &m.data)
	if k.fill != nil {
		k.fill(&m.data, d)
	}
	for _, a := range k.attrs {
		d.Add(a.to, given(&m.data, a.from))
	}
	return ""
}

// kindOf looks a log type up and sets what follows from it alone. A number that is not in the table is kept under it.
func kindOf(n int, d *foreign.Draft) (kind, foreign.Reason) {
	k, known := kinds[n]
	switch {
	case known:
		d.Kind = strconv.Itoa(n)
		return k, ""
	case n >= ownFirst && n <= ownLast:
		d.Kind = foreign.OtherKind
		if n <= ownLastNamed {
			d.Kind = strconv.Itoa(n)
		}
		return k, foreign.Operational
	case n >= userFirst && n <= userLast:
		d.Kind = strconv.Itoa(n)
		return kind{service: "user", typ: "user_event"}, ""
	}
	d.Kind = foreign.OtherKind
	return kind{service: serviceOther, typ: "logtype_" + strconv.Itoa(n)}, ""
}

// notSupplied is what OpenCanary writes where a client sent nothing.
const notSupplied = "<not supplied>"

// given returns a member of logdata as text, "" when the client did not send it.
func given(data *foreign.Object, name string) string {
	if v := data.Text(name); v != notSupplied {
		return v
	}
	return ""
}

// firstGiven is given for attributes that changed their names.
func firstGiven(data *foreign.Object, names ...string) string {
	for _, name := range names {
		if v := given(data, name); v != "" {
			return v
		}
	}
	return ""
}

type attr struct{ from, to string }

type fillFunc func(data *foreign.Object, d *foreign.Draft)

// kind says what a log type becomes.
type kind struct {
	service string
	typ     string
	attrs   []attr
	fill    fillFunc
}

func failed(d *foreign.Draft) { d.Add("outcome", "failure") }

// password is a login with a password in clear text.
func password(data *foreign.Object, d *foreign.Draft) {
	d.Principal(firstGiven(data, "USERNAME", "UserName", "username"))
	d.Secret("", firstGiven(data, "PASSWORD", "Password"))
	failed(d)
}
