package api

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/fault"
)

// AttackerBody is one source address.
type AttackerBody struct {
	ID              string    `json:"id"`
	IP              string    `json:"ip"`
	FirstSeen       time.Time `json:"first_seen"`
	LastSeen        time.Time `json:"last_seen"`
	EventCount      int64     `json:"event_count"`
	SessionCount    int64     `json:"session_count"`
	CommandCount    int64     `json:"command_count"`
	BountyCount     int64     `json:"bounty_count"`
	CredentialCount int64     `json:"credential_count"`
	Services        []string  `json:"services" nullable:"false"`
	Interacted      []string  `json:"interacted" nullable:"false" doc:"Services it did something with"`
	Scanned         []string  `json:"scanned" nullable:"false" doc:"Services it looked at only"`
	Deckies         []string  `json:"deckies" nullable:"false" doc:"Keys, in order of first contact"`
	Traversal       *string   `json:"traversal" doc:"The way it took over several deckies"`
	VictimDomains   []string  `json:"victim_domains" nullable:"false" doc:"Whom it sent mail to"`
}

type attackersInput struct {
	ListInput
	TimeRange
	Sort    string `query:"sort" enum:"recent,active,traversals" default:"recent" doc:"traversals lists those only who were on two deckies at least"`
	IP      string `query:"ip" maxLength:"64" doc:"An address, or a network in CIDR form"`
	Service string `query:"service" maxLength:"64"`
	Decky   string `query:"decky" maxLength:"128" doc:"The key of a decky"`
}

type attackerPath struct {
	ID string `path:"id" maxLength:"64" doc:"The uuid, or the address"`
}

func (s *server) registerAttackers() {
	registerList(s, viewer, get("list-attackers", "/attackers", "List attackers", "attackers"), s.listAttackers)
	register(s, viewer, get("get-attacker", "/attackers/{id}", "One attacker", "attackers"), s.getAttacker)
}

func (s *server) listAttackers(_ context.Context, in *attackersInput) (pager[AttackerBody], error) {
	f := db.AttackerFilter{Sort: db.AttackerSort(in.Sort), Decky: in.Decky, Service: in.Service, From: in.From, To: in.To}
	var err error
	if f.Network, err = parseNetwork(in.IP); err != nil {
		return nil, err
	}
	return func(ctx context.Context, v *db.View, after string, limit int) ([]entry[AttackerBody], error) {
		f := f
		numbers, id, err := parseCursor(after, 1)
		if err != nil {
			return nil, err
		}
		f.Before, f.Limit = db.AttackerPlace{LastSeen: micros(numbers[0]), Count: numbers[0], ID: id}, limit
		rows, err := v.Attackers(ctx, f)
		return entries(rows, err, func(a db.Attacker) string { return attackerKey(f.Sort, a) }, toAttackerBody)
	}, nil
}

// attackerKey is what the list is sorted by.
func attackerKey(sort db.AttackerSort, a db.Attacker) string {
	switch sort {
	case db.AttackersActive:
		return cursorOf(a.ID, a.Events)
	case db.AttackersByTraversal:
		return cursorOf(a.ID, int64(len(a.Deckies)))
	case db.AttackersRecent:
	}
	return cursorOf(a.ID, a.LastSeen.UnixMicro())
}

func parseNetwork(text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	if ip, err := netip.ParseAddr(text); err == nil {
		ip = ip.WithZone("").Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, errFilter("ip", "must be an address, or a network in CIDR form")
	}
	return p.Masked(), nil
}

func (s *server) getAttacker(ctx context.Context, in *attackerPath) (*output[AttackerBody], error) {
	ref, ok := parseAttacker(in.ID)
	if !ok {
		return nil, fault.New(fault.NotFound, "attacker_not_found", "there is no such attacker")
	}
	return one(ctx, s, func(v *db.View) (AttackerBody, error) {
		var a db.Attacker
		var err error
		if ref.id != uuid.Nil {
			a, err = v.Attacker(ctx, ref.id)
		} else {
			a, err = v.AttackerByIP(ctx, ref.ip)
		}
		return toAttackerBody(a), err
	})
}

func toAttackerBody(a db.Attacker) AttackerBody {
	body := AttackerBody{
		ID: a.ID.String(), IP: a.IP.String(), FirstSeen: a.FirstSeen.UTC(), LastSeen: a.LastSeen.UTC(), EventCount: a.Events,
		SessionCount: a.Sessions, CommandCount: a.Commands, BountyCount: a.Bounties, CredentialCount: a.Credentials,
		Services: a.Services, Interacted: a.Interacted, Scanned: a.Scanned, Deckies: a.Deckies, VictimDomains: a.VictimDomains,
	}
	if len(a.Deckies) >= 2 {
		body.Traversal = optional(strings.Join(a.Deckies, " → "))
	}
	return body
}
