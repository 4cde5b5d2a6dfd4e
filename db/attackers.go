package db

import (
	"context"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/fault"
)

// Attacker is one source address.
type Attacker struct {
	ID                                                    uuid.UUID
	IP                                                    netip.Addr
	FirstSeen, LastSeen                                   time.Time
	Events, Sessions, Commands, Bounties, Credentials     int64
	Services, Interacted, Scanned, Deckies, VictimDomains []string
}

// AttackerSort is the order of a list of attackers.
type AttackerSort string

// Orders of attackers. AttackersByTraversal lists those only who were on two deckies at least.
const (
	AttackersRecent      AttackerSort = "recent"
	AttackersActive      AttackerSort = "active"
	AttackersByTraversal AttackerSort = "traversals"
)

// AttackerFilter selects attackers. From and To bound when they were seen last.
type AttackerFilter struct {
	Sort AttackerSort
	// Network is the zero Prefix for all.
	Network        netip.Prefix
	Decky, Service string
	From, To       time.Time
	// Before is the attacker behind which the page begins: what the list is sorted by, and the id; the first page has none.
	Before AttackerPlace
	Limit  int
}

// AttackerPlace is where a list of attackers goes on: behind LastSeen or Count, as it is sorted, and ID.
type AttackerPlace struct {
	LastSeen time.Time
	Count    int64
	ID       uuid.UUID
}

func attackerNotFound() *fault.Error {
	return fault.New(fault.NotFound, "attacker_not_found", "there is no such attacker")
}

// Attackers lists attackers, those who are first in the order wanted first.
func (v *View) Attackers(ctx context.Context, f AttackerFilter) ([]Attacker, error) {
	p := dbsqlc.ListAttackersRecentParams{
		Network: optional(f.Network), Service: optional(f.Service), Decky: optional(f.Decky), Since: optionalTime(f.From),
		Until: optionalTime(f.To), BeforeID: f.Before.ID, MaxRows: int32(f.Limit),
	}
	first := f.Before.ID == uuid.Nil
	var rows []dbsqlc.Attacker
	var err error
	switch f.Sort {
	case AttackersActive:
		active := dbsqlc.ListAttackersActiveParams{
			Network: p.Network, Service: p.Service, Decky: p.Decky, Since: p.Since, Until: p.Until, BeforeID: p.BeforeID, MaxRows: p.MaxRows,
		}
		if !first {
			active.Before = &f.Before.Count
		}
		rows, err = v.q.ListAttackersActive(ctx, active)
	case AttackersByTraversal:
		along := dbsqlc.ListAttackersByTraversalParams{
			Network: p.Network, Service: p.Service, Decky: p.Decky, Since: p.Since, Until: p.Until, BeforeID: p.BeforeID, MaxRows: p.MaxRows,
		}
		if !first {
			along.Before = ptr(int32(f.Before.Count))
		}
		rows, err = v.q.ListAttackersByTraversal(ctx, along)
	case AttackersRecent:
		if !first {
			p.Before = &f.Before.LastSeen
		}
		rows, err = v.q.ListAttackersRecent(ctx, p)
	}
	return convert(rows, err, toAttacker)
}

// Attacker returns one attacker, or a NotFound fault (attacker_not_found).
func (v *View) Attacker(ctx context.Context, id uuid.UUID) (Attacker, error) {
	row, err := v.q.GetAttacker(ctx, id)
	if err != nil {
		return Attacker{}, notFound(err, attackerNotFound())
	}
	return toAttacker(row), nil
}

// AttackerByIP is Attacker for an address.
func (v *View) AttackerByIP(ctx context.Context, ip netip.Addr) (Attacker, error) {
	row, err := v.q.GetAttackerByIP(ctx, ip)
	if err != nil {
		return Attacker{}, notFound(err, attackerNotFound())
	}
	return toAttacker(row), nil
}

func toAttacker(r dbsqlc.Attacker) Attacker {
	return Attacker{
		ID: r.ID, IP: r.IP, FirstSeen: r.FirstSeen, LastSeen: r.LastSeen, Events: r.EventCount, Sessions: r.SessionCount,
		Commands: r.CommandCount, Bounties: r.BountyCount, Credentials: r.CredentialCount, Services: r.Services, Interacted: r.Interacted,
		Scanned: r.Scanned, Deckies: r.Deckies, VictimDomains: r.VictimDomains,
	}
}
