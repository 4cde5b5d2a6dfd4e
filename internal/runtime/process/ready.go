package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/decnet/decnet/internal/runtime"
)

const (
	maxStartBytes  = 1 << 20 // read of a boot's log in search of its outcome
	maxDetailRunes = 200
	readyPoll      = 15 * time.Millisecond
)

// outcome is what a decoy said about its start: ready with endpoints, or why not.
type outcome struct {
	ready     bool
	endpoints []runtime.Endpoint
	failure   string
}

// awaitReady waits until the decoy reports the outcome of its start or ends or the time is over.
func (r *Runtime) awaitReady(ctx context.Context, u *unit) (outcome, error) {
	f, err := os.Open(r.dirs.log(u.ref))
	if err != nil {
		return outcome{}, fmt.Errorf("follow log of service %s: %w", u.ref.service, err)
	}
	defer f.Close()
	limit := time.NewTimer(r.opts.ReadyTimeout)
	defer limit.Stop()
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	t := tail{file: f, offset: u.rec.LogOffset}
	for {
		gone := u.proc.gone() // before reading: its last words are in the log by then
		if out, done := t.outcome(u.rec); done {
			return out, nil
		}
		if gone {
			return outcome{failure: "it ended (" + u.proc.exit + ")"}, nil
		}
		select {
		case <-poll.C:
		case <-u.proc.done:
		case <-limit.C:
			return outcome{failure: "it did not become ready in time"}, nil
		case <-ctx.Done():
			return outcome{}, fmt.Errorf("start service %s: %w", u.ref.service, context.Cause(ctx))
		}
	}
}

// reported returns what the decoy of a record has said so far, without waiting.
func (l layout) reported(r ref, rec record) outcome {
	f, err := os.Open(l.log(r))
	if err != nil {
		return outcome{}
	}
	defer f.Close()
	t := tail{file: f, offset: rec.LogOffset}
	out, _ := t.outcome(rec)
	return out
}

// tail reads complete lines of one boot.
type tail struct {
	file   *os.File
	offset int64
	read   int
	rest   []byte
}

// outcome reads on until a line tells how the start went; done is false when none did yet.
func (t *tail) outcome(rec record) (out outcome, done bool) {
	chunk := make([]byte, 16<<10)
	for t.read < maxStartBytes {
		n, err := t.file.ReadAt(chunk, t.offset)
		t.offset += int64(n)
		t.read += n
		t.rest = append(t.rest, chunk[:n]...)
		for {
			line, rest, ok := bytes.Cut(t.rest, []byte{'\n'})
			if !ok {
				break
			}
			t.rest = rest
			if out, done := lineOutcome(string(line), rec); done {
				return out, true
			}
		}
		if n == 0 || (err != nil && !errors.Is(err, io.EOF)) {
			return outcome{}, false
		}
	}
	return outcome{failure: "its log is not understood"}, true
}

func lineOutcome(line string, rec record) (out outcome, done bool) {
	msgID, fields, ok := parseLine(line)
	if !ok {
		return outcome{}, false
	}
	switch msgID {
	case "config_error", "bind_error", "sandbox_error":
		return outcome{failure: safeDetail(msgID, fields["msg"])}, true
	case "ready":
		if fields["boot"] != rec.BootID.String() || fields["revision"] != strconv.FormatInt(rec.Revision, 10) {
			return outcome{}, false
		}
		eps, err := parseListen(rec.Service, fields["listen"])
		if err != nil {
			return outcome{failure: "its ready line is not understood"}, true
		}
		return outcome{ready: true, endpoints: eps}, true
	}
	return outcome{}, false
}

// safeDetail bounds a decoy's own words and removes what could disturb a terminal or a log.
func safeDetail(msgID, msg string) string {
	clean := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(msg, ""))
	if runes := []rune(clean); len(runes) > maxDetailRunes {
		clean = string(runes[:maxDetailRunes])
	}
	if clean == "" {
		return msgID
	}
	return msgID + ": " + clean
}

// parseListen reads `tcp/22=127.66.0.2:20022 udp/53=127.66.0.2:53`, sorted by protocol and port.
func parseListen(service, s string) ([]runtime.Endpoint, error) {
	var eps []runtime.Endpoint
	for _, item := range strings.Fields(s) {
		what, where, _ := strings.Cut(item, "=")
		protocol, number, _ := strings.Cut(what, "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("parse listen field: %w", err)
		}
		addr, err := netip.ParseAddrPort(where)
		if err != nil {
			return nil, fmt.Errorf("parse listen field: %w", err)
		}
		eps = append(eps, runtime.Endpoint{Service: service, Protocol: protocol, Port: uint16(port), Listen: addr})
	}
	sortEndpoints(eps)
	return eps, nil
}

func sortEndpoints(eps []runtime.Endpoint) {
	slices.SortFunc(eps, func(a, b runtime.Endpoint) int {
		if c := strings.Compare(a.Service, b.Service); c != 0 {
			return c
		}
		if c := strings.Compare(a.Protocol, b.Protocol); c != 0 {
			return c
		}
		return int(a.Port) - int(b.Port)
	})
}

// serves reports whether the endpoints are exactly the ports, at ip.
func serves(eps []runtime.Endpoint, ip netip.Addr, ports []runtime.Port) bool {
	if len(eps) != len(ports) {
		return false
	}
	for _, p := range ports {
		if !slices.ContainsFunc(eps, func(e runtime.Endpoint) bool {
			return e.Protocol == p.Protocol && e.Port == p.Number && e.Listen.Addr() == ip
		}) {
			return false
		}
	}
	return true
}

// parseLine takes the message id and the fields of a decoy's line (RFC 5424, one structured data element).
func parseLine(line string) (msgID string, fields map[string]string, ok bool) {
	head := strings.SplitN(line, " ", 7)
	if len(head) != 7 || !strings.HasPrefix(head[0], "<") || !strings.HasSuffix(head[0], ">1") {
		return "", nil, false
	}
	rest, found := strings.CutPrefix(head[6], "[relay@55555")
	if !found {
		return head[5], nil, true
	}
	fields = map[string]string{}
	for strings.HasPrefix(rest, " ") {
		name, after, found := strings.Cut(rest[1:], `="`)
		if !found {
			return "", nil, false
		}
		value, next, found := cutValue(after)
		if !found {
			return "", nil, false
		}
		fields[name], rest = value, next
	}
	if !strings.HasPrefix(rest, "]") {
		return "", nil, false
	}
	return head[5], fields, true
}

// cutValue reads an escaped value up to its closing quote (RFC 5424, section 6.3.3).
func cutValue(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte(`"\]`, s[i+1]) >= 0:
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
