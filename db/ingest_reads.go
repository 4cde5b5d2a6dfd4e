package db

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/topology"
)

// DeckyOutput names the output of one service of a decky.
type DeckyOutput struct {
	DeckyID uuid.UUID
	Service string
}

// IngestFile names a file of decoy output; File is the hash of its first line, in hex.
type IngestFile struct {
	DeckyID uuid.UUID
	Service string
	File    string
}

// IngestDecky is what ingest must know of a decky.
type IngestDecky struct {
	Key  string
	Name string
	// TopologyID is uuid.Nil for the fleet.
	TopologyID uuid.UUID
}

// IngestCursors returns how far the files of a host are dealt with. A file that is not in it was not met before.
func (s *Store) IngestCursors(ctx context.Context, hostID string) (map[IngestFile]int64, error) {
	rows, err := s.queries().ListIngestCursors(ctx, hostID)
	cursors := make(map[IngestFile]int64, len(rows))
	for _, r := range rows {
		cursors[IngestFile{r.DeckyID, r.Service, r.File}] = r.Position
	}
	return cursors, interpret(err)
}

// DeleteIngestCursors forgets files that are gone for good. A file that comes back is read from its beginning, and the line
// numbers tell what was read before.
func (s *Store) DeleteIngestCursors(ctx context.Context, hostID string, files []IngestFile) error {
	p := dbsqlc.DeleteIngestCursorsParams{HostID: hostID}
	for _, f := range files {
		p.DeckyIds, p.Services, p.Files = append(p.DeckyIds, f.DeckyID), append(p.Services, f.Service), append(p.Files, f.File)
	}
	if len(files) == 0 {
		return nil
	}
	return interpret(s.queries().DeleteIngestCursors(ctx, p))
}

// IngestSequences returns the line numbers seen of every decky and service.
func (s *Store) IngestSequences(ctx context.Context) (map[DeckyOutput]ingest.Sequence, error) {
	rows, err := s.queries().ListIngestSequences(ctx)
	if err != nil {
		return nil, interpret(err)
	}
	sequences := make(map[DeckyOutput]ingest.Sequence, len(rows))
	for _, r := range rows {
		var seq ingest.Sequence
		if err := json.Unmarshal(r.Sequence, &seq); err != nil {
			return nil, fmt.Errorf("line numbers of decky %s, service %s: %w", r.DeckyID, r.Service, err)
		}
		sequences[DeckyOutput{r.DeckyID, r.Service}] = seq
	}
	return sequences, nil
}

// RecentSelfChecks lists the connections of our own since a time.
func (s *Store) RecentSelfChecks(ctx context.Context, since time.Time) ([]ingest.SelfCheck, error) {
	rows, err := s.queries().ListSelfChecks(ctx, since)
	checks := make([]ingest.SelfCheck, len(rows))
	for i, r := range rows {
		checks[i] = ingest.SelfCheck{
			DeckyKey: r.Key, Service: r.Service, Local: netip.AddrPortFrom(r.LocalIP, uint16(r.LocalPort)), At: r.At,
		}
	}
	return checks, interpret(err)
}

// IngestDeckies returns deckies by id, those that are gone included. One that never was is not in it.
func (s *Store) IngestDeckies(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]IngestDecky, error) {
	rows, err := s.queries().ListIngestDeckies(ctx, ids)
	deckies := make(map[uuid.UUID]IngestDecky, len(rows))
	for _, r := range rows {
		d := IngestDecky{Key: r.Key, Name: r.Name}
		d.TopologyID, _ = topology.IDFromScope(r.Scope)
		deckies[r.ID] = d
	}
	return deckies, interpret(err)
}
