package db

import (
	"context"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/ingest"
)

// attackerRow is the row of an attacker of a batch.
type attackerRow struct {
	id  uuid.UUID
	now ingest.Attacker
	// first is the first event of the batch, fresh whether it is the first of all.
	first *ingest.Event
	fresh bool
	// New rows of the batch.
	sessions, commands, bounties, credentials int64
}

type attackerRows map[netip.Addr]*attackerRow

// id returns the id of the row of an address, and whether it has one. An event that nobody did has none.
func (rows attackerRows) id(addr netip.Addr) (uuid.UUID, bool) {
	if r := rows[addr]; r != nil {
		return r.id, true
	}
	return uuid.Nil, false
}

// count adds to a counter of every attacker named.
func (rows attackerRows) count(addrs []netip.Addr, counter func(*attackerRow) *int64) {
	for _, addr := range addrs {
		*counter(rows[addr])++
	}
}

// meetAttackers folds the events into the rows of their attackers, which are locked from here on; updateAttackers writes them.
func (in *ingestion) meetAttackers(ctx context.Context) error {
	in.attackers = attackerRows{}
	for _, x := range in.kept {
		e := &x.Event
		if !e.Attacker.IsValid() {
			continue
		}
		if r := in.attackers[e.Attacker]; r != nil {
			r.now.Add(e)
			continue
		}
		r := &attackerRow{id: newID(), first: e}
		if r.now.Add(e); r.now.Events > 0 {
			in.attackers[e.Attacker] = r
		}
	}
	if len(in.attackers) == 0 {
		return nil
	}
	addrs := sortedKeys(in.attackers, netip.Addr.Compare)
	inserted, err := in.insertAttackers(ctx, addrs)
	if err != nil {
		return err
	}
	var known []netip.Addr
	for _, addr := range addrs {
		r := in.attackers[addr]
		if r.fresh = inserted[r.id]; !r.fresh {
			known = append(known, addr)
			continue
		}
		in.result.NewAttackers++
		if err := in.observed(r); err != nil {
			return err
		}
	}
	return in.lockAttackers(ctx, known)
}

func (in *ingestion) insertAttackers(ctx context.Context, addrs []netip.Addr) (map[uuid.UUID]bool, error) {
	p := dbsqlc.InsertAttackersParams{Ips: addrs}
	for _, addr := range addrs {
		r := in.attackers[addr]
		p.Ids = append(p.Ids, r.id)
		p.FirstSeen, p.LastSeen = append(p.FirstSeen, r.now.FirstSeen), append(p.LastSeen, r.now.LastSeen)
		p.EventCounts = append(p.EventCounts, r.now.Events)
		p.Services, p.Interacted = append(p.Services, in.array(r.now.Services)), append(p.Interacted, in.array(r.now.Interacted))
		p.Scanned, p.Deckies = append(p.Scanned, in.array(r.now.Scanned)), append(p.Deckies, in.array(r.now.Deckies))
		p.VictimDomains = append(p.VictimDomains, in.array(r.now.VictimDomains))
	}
	ids, err := in.tx.q.InsertAttackers(ctx, p)
	inserted := make(map[uuid.UUID]bool, len(ids))
	for _, id := range ids {
		inserted[id] = true
	}
	return inserted, err
}

func (in *ingestion) lockAttackers(ctx context.Context, addrs []netip.Addr) error {
	if len(addrs) == 0 {
		return nil
	}
	stored, err := in.tx.q.LockAttackers(ctx, addrs)
	for _, s := range stored {
		r := in.attackers[s.IP]
		before := ingest.Attacker{
			Addr: s.IP, FirstSeen: s.FirstSeen, LastSeen: s.LastSeen, Events: s.EventCount, Services: s.Services,
			Interacted: s.Interacted, Scanned: s.Scanned, Deckies: s.Deckies, VictimDomains: s.VictimDomains,
		}
		before.Merge(r.now)
		r.id, r.now = s.ID, before
	}
	return err
}

// updateAttackers writes what was folded and counted. A row that was made in this batch holds the fold already.
func (in *ingestion) updateAttackers(ctx context.Context) error {
	var p dbsqlc.UpdateAttackersParams
	for _, addr := range sortedKeys(in.attackers, netip.Addr.Compare) {
		r := in.attackers[addr]
		if r.fresh && r.sessions+r.commands+r.bounties+r.credentials == 0 {
			continue
		}
		p.Ids = append(p.Ids, r.id)
		p.FirstSeen, p.LastSeen = append(p.FirstSeen, r.now.FirstSeen), append(p.LastSeen, r.now.LastSeen)
		p.EventCounts = append(p.EventCounts, r.now.Events)
		p.Services, p.Interacted = append(p.Services, in.array(r.now.Services)), append(p.Interacted, in.array(r.now.Interacted))
		p.Scanned, p.Deckies = append(p.Scanned, in.array(r.now.Scanned)), append(p.Deckies, in.array(r.now.Deckies))
		p.VictimDomains = append(p.VictimDomains, in.array(r.now.VictimDomains))
		p.Sessions, p.Commands = append(p.Sessions, r.sessions), append(p.Commands, r.commands)
		p.Bounties, p.Credentials = append(p.Bounties, r.bounties), append(p.Credentials, r.credentials)
	}
	if len(p.Ids) == 0 {
		return nil
	}
	return in.tx.q.UpdateAttackers(ctx, p)
}

// array returns a list as the text Postgres reads an array from: arrays of arrays of several lengths can be sent in no other way.
func (in *ingestion) array(list []string) string {
	if len(list) == 0 {
		return "{}"
	}
	text, err := in.tx.raw.Conn().TypeMap().Encode(pgtype.TextArrayOID, pgtype.TextFormatCode, list, nil)
	if err != nil { // never, of texts
		panic(err)
	}
	return string(text)
}

// observedPayload is `attacker.observed`.
type observedPayload struct {
	AttackerUUID uuid.UUID `json:"attacker_uuid"`
	AttackerIP   string    `json:"attacker_ip"`
	Decky        string    `json:"decky"`
	Service      string    `json:"service"`
	EventType    string    `json:"event_type"`
	FirstSeen    string    `json:"first_seen"`
}

func (in *ingestion) observed(r *attackerRow) error {
	return in.announce("attacker.observed", "observed", r.id, observedPayload{
		AttackerUUID: r.id, AttackerIP: r.now.Addr.String(), Decky: r.first.Source.DeckyKey, Service: r.first.Service,
		EventType: storable(r.first.Type), FirstSeen: stamp(r.now.FirstSeen),
	})
}

// stamp is how payloads give times.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }
