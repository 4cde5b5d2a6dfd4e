package db

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/ingest"
)

// fact is something an event says, with the id of who did it.
type fact[T any] struct {
	*ingest.Event
	attacker uuid.UUID
	is       T
}

// facts lists what the events of known attackers say, sorted by key; of equal keys the first sighting is left.
func facts[T any](in *ingestion, of func(*ingest.Extraction) []T, compare func(a, b fact[T]) int) []fact[T] {
	var list []fact[T]
	for _, x := range in.kept {
		attacker, known := in.attackers.id(x.Event.Attacker)
		if !known {
			continue
		}
		for _, is := range of(x) {
			list = append(list, fact[T]{&x.Event, attacker, is})
		}
	}
	slices.SortStableFunc(list, compare)
	return slices.CompactFunc(list, func(a, b fact[T]) bool { return compare(a, b) == 0 })
}

func (in *ingestion) storeCommands(ctx context.Context) error {
	list := facts(in, func(x *ingest.Extraction) []ingest.Command { return x.Commands }, func(a, b fact[ingest.Command]) int {
		return cmp.Or(strings.Compare(a.Source.DeckyKey, b.Source.DeckyKey), strings.Compare(a.is.ID, b.is.ID))
	})
	if len(list) == 0 {
		return nil
	}
	var p dbsqlc.InsertCommandsParams
	for _, f := range list {
		c, text := &f.is, storable(f.is.Text)
		p.Ids, p.DeckyKeys, p.Refs = append(p.Ids, newID()), append(p.DeckyKeys, f.Source.DeckyKey), append(p.Refs, c.ID)
		p.DeckyNames, p.Services = append(p.DeckyNames, f.Source.DeckyName), append(p.Services, c.Service)
		p.Sessions, p.AttackerIDs = append(p.Sessions, c.Session), append(p.AttackerIDs, f.attacker)
		p.AttackerIPs, p.Times = append(p.AttackerIPs, f.Attacker), append(p.Times, c.Time)
		p.Lines, p.Texts = append(p.Lines, lineNumber(f.Line)), append(p.Texts, text)
		p.Uids, p.Usernames = append(p.Uids, storable(c.UID)), append(p.Usernames, storable(c.User))
		p.Directories, p.Srcs = append(p.Directories, storable(c.Dir)), append(p.Srcs, storable(c.Src))
		p.Documents = append(p.Documents, vector(ingest.TextDocument(text)))
	}
	fresh, err := in.tx.q.InsertCommands(ctx, p)
	in.attackers.count(fresh, func(r *attackerRow) *int64 { return &r.commands })
	return err
}

func (in *ingestion) storeBounties(ctx context.Context) error {
	list := facts(in, func(x *ingest.Extraction) []ingest.Bounty { return x.Bounties }, func(a, b fact[ingest.Bounty]) int {
		return bytes.Compare(a.is.Key[:], b.is.Key[:])
	})
	if len(list) == 0 {
		return nil
	}
	var p dbsqlc.InsertBountiesParams
	for i := range list {
		f := &list[i]
		p.Ids, p.Keys = append(p.Ids, newID()), append(p.Keys, f.is.Key[:])
		p.Types, p.Kinds = append(p.Types, string(f.is.Type)), append(p.Kinds, f.is.Kind)
		p.DeckyKeys, p.DeckyNames = append(p.DeckyKeys, f.Source.DeckyKey), append(p.DeckyNames, f.Source.DeckyName)
		p.Services, p.AttackerIDs = append(p.Services, f.Service), append(p.AttackerIDs, f.attacker)
		p.AttackerIPs, p.Payloads = append(p.AttackerIPs, f.Attacker), append(p.Payloads, f.is.Payload)
		p.Times = append(p.Times, f.Time)
	}
	fresh, err := in.tx.q.InsertBounties(ctx, p)
	in.attackers.count(fresh, func(r *attackerRow) *int64 { return &r.bounties })
	return err
}

func (in *ingestion) storeArtifacts(ctx context.Context) error {
	type keyed struct {
		*ingest.Artifact
		key ingest.Hash
	}
	list := facts(in, func(x *ingest.Extraction) []keyed {
		if x.Artifact == nil {
			return nil
		}
		return []keyed{{x.Artifact, x.Artifact.Key(x.Event.Source)}}
	}, func(a, b fact[keyed]) int { return bytes.Compare(a.is.key[:], b.is.key[:]) })
	if len(list) == 0 {
		return nil
	}
	var p dbsqlc.InsertArtifactsParams
	for i := range list {
		f, a := &list[i], list[i].is.Artifact
		stored := a.StoredAs
		if f.Source.Imported() {
			stored = "" // the content is with the sensor
		}
		p.Ids, p.Keys, p.Kinds = append(p.Ids, newID()), append(p.Keys, f.is.key[:]), append(p.Kinds, string(a.Kind))
		p.DeckyKeys, p.DeckyNames = append(p.DeckyKeys, f.Source.DeckyKey), append(p.DeckyNames, f.Source.DeckyName)
		p.Services, p.Folders = append(p.Services, f.Service), append(p.Folders, a.Folder)
		p.StoredAs, p.Sha256s = append(p.StoredAs, stored), append(p.Sha256s, a.SHA256)
		p.Sizes, p.OrigPaths = append(p.Sizes, a.Size), append(p.OrigPaths, storable(a.OrigPath))
		p.Sessions, p.AttackerIDs = append(p.Sessions, a.Session), append(p.AttackerIDs, f.attacker)
		p.AttackerIPs, p.Times = append(p.AttackerIPs, f.Attacker), append(p.Times, f.Time)
	}
	return in.tx.q.InsertArtifacts(ctx, p)
}
