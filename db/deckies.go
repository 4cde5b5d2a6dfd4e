package db

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

// RevisionState is whether a revision is wanted now.
type RevisionState string

// The states of a revision that can be read by state; the others are history.
const (
	RevisionPending RevisionState = "pending"
	RevisionActive  RevisionState = "active"
)

// DeckyByName returns a decky with its active revision, or a NotFound fault (decky_not_found).
func (s *Store) DeckyByName(ctx context.Context, scope, name string) (decky.Decky, error) {
	row, err := s.queries().GetDeckyByName(ctx, dbsqlc.GetDeckyByNameParams{Scope: scope, Name: name})
	if err != nil {
		return decky.Decky{}, notFound(err, decky.NotFound())
	}
	all, err := complete(ctx, s.queries(), []dbsqlc.Decky{row})
	if err != nil {
		return decky.Decky{}, err
	}
	return all[0], nil
}

// Deckies lists the deckies of a scope by name with their active revisions, beginning after a name.
func (s *Store) Deckies(ctx context.Context, scope, after string, limit int) ([]decky.Decky, error) {
	rows, err := s.queries().ListDeckies(ctx, dbsqlc.ListDeckiesParams{Scope: scope, AfterName: after, MaxRows: int32(limit)})
	if err != nil {
		return nil, interpret(err)
	}
	return complete(ctx, s.queries(), rows)
}

// AllDeckies lists every decky of which something may run, of all scopes, with its active revision. A decky whose first
// revision never became active, or that is only planned, comes with Removed set: nothing of it is wanted.
func (s *Store) AllDeckies(ctx context.Context) ([]decky.Decky, error) {
	rows, err := s.queries().ListAllDeckies(ctx)
	if err != nil {
		return nil, interpret(err)
	}
	all, err := complete(ctx, s.queries(), rows)
	for i := range all {
		all[i].Removed = all[i].Removed || all[i].Planned
	}
	return all, err
}

// Desired returns what should run of a decky now: its pending revision when it has one, else the active one. A decky
// that does not exist, is gone, only planned, or has neither, comes back with Removed set and no services.
func (s *Store) Desired(ctx context.Context, id uuid.UUID) (decky.Decky, error) {
	q := s.queries()
	row, err := q.GetDecky(ctx, id)
	if fault.KindOf(interpret(err)) == fault.NotFound {
		return decky.Decky{ID: id, Removed: true}, nil
	}
	if err != nil {
		return decky.Decky{}, interpret(err)
	}
	d := toDecky(row)
	if d.Planned {
		d.Removed = true
		return d, nil
	}
	for _, state := range []RevisionState{RevisionPending, RevisionActive} {
		rev, err := q.GetRevisionByState(ctx, dbsqlc.GetRevisionByStateParams{DeckyID: id, State: string(state)})
		if fault.KindOf(interpret(err)) == fault.NotFound {
			continue
		}
		if err != nil {
			return decky.Decky{}, interpret(err)
		}
		services, err := services(ctx, q, rev.ID)
		if err != nil {
			return decky.Decky{}, err
		}
		d.Revision, d.Removed, d.Services = int(rev.Number), rev.Removed, services[rev.ID]
		return d, nil
	}
	d.Removed = true
	return d, nil
}

// complete adds services, revision and endpoints of the active revisions in three queries whatever the number of rows.
func complete(ctx context.Context, q *dbsqlc.Queries, rows []dbsqlc.Decky) ([]decky.Decky, error) {
	deckies, ids := make([]decky.Decky, len(rows)), make([]uuid.UUID, len(rows))
	index := make(map[uuid.UUID]*decky.Decky, len(rows))
	for i, r := range rows {
		deckies[i], ids[i] = toDecky(r), r.ID
		deckies[i].Removed = true
		index[r.ID] = &deckies[i]
	}
	revisions, err := q.ListRevisionsByState(ctx, dbsqlc.ListRevisionsByStateParams{DeckyIds: ids, State: string(RevisionActive)})
	if err != nil {
		return nil, interpret(err)
	}
	revisionIDs := make([]uuid.UUID, len(revisions))
	for i, r := range revisions {
		revisionIDs[i] = r.ID
	}
	byRevision, err := services(ctx, q, revisionIDs...)
	if err != nil {
		return nil, err
	}
	for _, r := range revisions {
		d := index[r.DeckyID]
		d.Revision, d.Removed, d.Services = int(r.Number), r.Removed, byRevision[r.ID]
	}
	endpoints, err := q.ListEndpoints(ctx, ids)
	for _, e := range endpoints {
		index[e.DeckyID].Endpoints = append(index[e.DeckyID].Endpoints, toEndpoint(e))
	}
	return deckies, interpret(err)
}

func services(ctx context.Context, q *dbsqlc.Queries, revisions ...uuid.UUID) (map[uuid.UUID][]decky.Service, error) {
	rows, err := q.ListRevisionServices(ctx, revisions)
	if err != nil {
		return nil, interpret(err)
	}
	byRevision := map[uuid.UUID][]decky.Service{}
	for _, r := range rows {
		config, err := toConfig(r.Config)
		if err != nil {
			return nil, err
		}
		saved, err := toConfig(r.SavedConfig)
		if err != nil {
			return nil, err
		}
		byRevision[r.RevisionID] = append(byRevision[r.RevisionID], decky.Service{
			Name: r.Name, Config: config, SavedConfig: saved, Revision: int(r.Revision), ExpiresAt: r.ExpiresAt, ExpiryID: deref(r.ExpiryID),
		})
	}
	return byRevision, nil
}

func toConfig(raw json.RawMessage) (service.Config, error) {
	if raw == nil {
		return nil, nil
	}
	var c service.Config
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fault.New(fault.Internal, "internal", "a stored configuration cannot be read").Wrap(err)
	}
	return c, nil
}

func toDecky(r dbsqlc.Decky) decky.Decky {
	return decky.Decky{
		ID: r.ID, Scope: r.Scope, Name: r.Name, Key: r.Key, IP: deref(r.IP), Archetype: deref(r.Archetype), Distro: r.Distro,
		Hostname: r.Hostname, NmapOS: r.NmapOS, State: decky.State(r.State), StateReason: r.StateReason,
		Planned: r.Planned, RepairFailures: int(r.RepairFailures), RepairAfter: r.RepairAfter, CreatedAt: r.CreatedAt, LastActivityAt: r.LastActivityAt,
	}
}

func toEndpoint(e dbsqlc.DeckyEndpoint) decky.Endpoint {
	return decky.Endpoint{
		Service: e.Service, Protocol: e.Protocol, Port: uint16(e.Port),
		Listen: netip.AddrPortFrom(e.ListenIP, uint16(e.ListenPort)),
	}
}

// CreateDecky inserts a decky. The caller chose its address; constraints decide about name and address (Conflict).
func (tx *Tx) CreateDecky(ctx context.Context, d decky.Decky) error {
	_, err := tx.q.InsertDecky(ctx, dbsqlc.InsertDeckyParams{
		ID: d.ID, Scope: d.Scope, Name: d.Name, Key: d.Key, IP: optional(d.IP), Archetype: optional(d.Archetype), Distro: d.Distro,
		Hostname: d.Hostname, NmapOS: d.NmapOS,
	})
	return err
}

// UsedAddresses returns the addresses of all deckies and locks allocation to the end of the transaction.
func (tx *Tx) UsedAddresses(ctx context.Context) ([]netip.Addr, error) {
	if err := tx.q.LockAddresses(ctx); err != nil {
		return nil, err
	}
	return tx.q.ListUsedAddresses(ctx)
}

// LockDecky reads a decky with its active revision and locks its row to the end of the transaction. A decky that is not
// there or gone is a NotFound fault.
func (tx *Tx) LockDecky(ctx context.Context, id uuid.UUID) (decky.Decky, error) {
	row, err := tx.q.LockDecky(ctx, id)
	if err != nil {
		return decky.Decky{}, notFound(err, decky.NotFound())
	}
	all, err := complete(ctx, tx.q, []dbsqlc.Decky{row})
	if err != nil {
		return decky.Decky{}, err
	}
	return all[0], nil
}

// SetDeckyState changes a decky's state; torn_down frees its name and address.
func (tx *Tx) SetDeckyState(ctx context.Context, id uuid.UUID, state decky.State, reason string) error {
	return tx.q.SetDeckyState(ctx, dbsqlc.SetDeckyStateParams{ID: id, State: string(state), Reason: reason})
}

// SetRepairs stores how many repairs in a row failed and how long the observer waits before it asks for the next.
func (tx *Tx) SetRepairs(ctx context.Context, id uuid.UUID, failures int, pause time.Duration) error {
	return tx.q.SetRepairs(ctx, dbsqlc.SetRepairsParams{ID: id, Failures: int32(failures), Pause: interval(pause)})
}

// ReplaceEndpoints records where the services of a decky can be reached.
func (s *Store) ReplaceEndpoints(ctx context.Context, deckyID uuid.UUID, list []decky.Endpoint) error {
	return s.InTx(ctx, func(tx *Tx) error {
		if err := tx.q.DeleteEndpoints(ctx, deckyID); err != nil {
			return err
		}
		for _, e := range list {
			if err := tx.q.InsertEndpoint(ctx, dbsqlc.InsertEndpointParams{
				DeckyID: deckyID, Service: e.Service, Protocol: e.Protocol, Port: int32(e.Port),
				ListenIP: e.Listen.Addr(), ListenPort: int32(e.Listen.Port()),
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

// SelfCheck is a connection of our own to a decoy.
type SelfCheck struct {
	DeckyID       uuid.UUID
	Service       string
	Local, Remote netip.AddrPort
}

// RecordSelfCheck notes a connection before it is made, so that ingest can discard it.
func (s *Store) RecordSelfCheck(ctx context.Context, c SelfCheck) error {
	return interpret(s.queries().InsertSelfCheck(ctx, dbsqlc.InsertSelfCheckParams{
		LocalIP: c.Local.Addr(), LocalPort: int32(c.Local.Port()), RemoteIP: c.Remote.Addr(), RemotePort: int32(c.Remote.Port()),
		DeckyID: c.DeckyID, Service: c.Service,
	}))
}
