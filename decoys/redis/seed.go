package redis

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
)

// seed makes the data of a small web application: sessions, caches, queues and counters, different for every decky.
func seed(h *persona.Host) *store {
	s, r := newStore(h.Now), h.ID.Rand("redis-data")
	app := identity.Pick(h.ID, "redis-app", []string{"shop", "portal", "api", "crm", "intranet", "billing", "tickets"})
	g := &generator{s: s, r: r, app: app, sep: identity.Pick(h.ID, "redis-sep", []string{":", ":", "_"})}
	g.sessions(6 + r.IntN(30))
	g.caches(4 + r.IntN(14))
	g.counters()
	g.users(3 + r.IntN(6))
	if r.IntN(2) == 0 {
		g.queue()
	}
	if r.IntN(3) > 0 {
		s.put(1, g.key("lock", "cron"), &value{kind: kindString, text: strconv.FormatInt(h.Now().Unix()-r.Int64N(900), 10)})
	}
	return s
}

type generator struct {
	s        *store
	r        *rand.Rand
	app, sep string
}

func (g *generator) key(parts ...string) string {
	k := g.app
	for _, p := range parts {
		k += g.sep + p
	}
	return k
}

func (g *generator) hex(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.r.Uint32())
	}
	return hex.EncodeToString(b)
}

var firstNames = []string{"anna", "ben", "carla", "david", "elena", "frank", "greta", "hugo", "irene", "jonas", "karin", "lukas", "maria", "nils", "olga", "paul"}

func (g *generator) person() string { return firstNames[g.r.IntN(len(firstNames))] }

func (g *generator) sessions(n int) {
	for range n {
		v := &value{kind: kindString, expires: g.s.now().Add(time.Duration(600+g.r.IntN(86000)) * time.Second)}
		v.text = fmt.Sprintf(`{"user_id":%d,"username":"%s","ip":"10.%d.%d.%d","csrf":"%s","last_seen":%d}`,
			100+g.r.IntN(4000), g.person(), g.r.IntN(255), g.r.IntN(255), 2+g.r.IntN(250), g.hex(16), g.s.now().Unix()-g.r.Int64N(5000))
		g.s.put(0, g.key("session", g.hex(16)), v)
	}
}

func (g *generator) caches(n int) {
	for range n {
		kind := []string{"page", "product", "category", "menu", "search"}[g.r.IntN(5)]
		v := &value{kind: kindString, expires: g.s.now().Add(time.Duration(60+g.r.IntN(7200)) * time.Second)}
		v.text = fmt.Sprintf(`{"id":%d,"etag":"%s","body":"%s"}`, g.r.IntN(9000), g.hex(6), base64.StdEncoding.EncodeToString([]byte(g.hex(40+g.r.IntN(60)))))
		g.s.put(0, g.key("cache", kind, strconv.Itoa(g.r.IntN(9000))), v)
	}
}

func (g *generator) counters() {
	for _, name := range []string{"visits", "logins", "orders", "emails_sent"} {
		g.s.put(0, g.key("stats", name), &value{kind: kindString, text: strconv.Itoa(g.r.IntN(90000))})
	}
	z := &value{kind: kindZSet, scores: map[string]float64{}}
	for range 4 + g.r.IntN(5) {
		z.scores[g.person()] = float64(g.r.IntN(5000))
	}
	g.s.put(0, g.key("ranking"), z)
}

func (g *generator) users(n int) {
	for range n {
		name := g.person()
		g.s.put(0, g.key("user", strconv.Itoa(1+g.r.IntN(400))), &value{kind: kindHash, fields: map[string]string{
			"name": name, "email": name + "@" + g.app + ".local", "role": []string{"user", "user", "editor", "admin"}[g.r.IntN(4)],
			"password": "$2y$10$" + base64.RawStdEncoding.EncodeToString([]byte(g.hex(20)))[:53],
		}})
	}
}

func (g *generator) queue() {
	v := &value{kind: kindList}
	for range 1 + g.r.IntN(6) {
		v.list = append(v.list, fmt.Sprintf(`{"job":"SendMail","id":"%s","attempts":%d}`, g.hex(8), g.r.IntN(3)))
	}
	g.s.put(0, g.key("queue", "default"), v)
}
