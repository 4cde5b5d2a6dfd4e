package db

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
)

// ArtifactFile is an artifact whose content may be on a host.
type ArtifactFile struct {
	ID         uuid.UUID
	DeckyKey   string
	Folder     string // as in the row: the slug of a service
	StoredAs   string
	ReceivedAt time.Time
}

// OldArtifacts lists artifacts whose content was not removed and that came in before a time, oldest first, behind the one
// given; the zero one is before all.
func (s *Store) OldArtifacts(ctx context.Context, before time.Time, after ArtifactFile, limit int) ([]ArtifactFile, error) {
	rows, err := s.queries().ListOldArtifacts(ctx, dbsqlc.ListOldArtifactsParams{
		AfterReceivedAt: after.ReceivedAt, AfterID: after.ID, Horizon: before, MaxRows: int32(limit),
	})
	list := make([]ArtifactFile, len(rows))
	for i, r := range rows {
		list[i] = ArtifactFile{ID: r.ID, DeckyKey: r.DeckyKey, Folder: r.Folder, StoredAs: deref(r.StoredAs), ReceivedAt: r.ReceivedAt}
	}
	return list, interpret(err)
}

// ArtifactsOfFiles finds the artifacts of files: those of the list that have rows, with id and time.
func (s *Store) ArtifactsOfFiles(ctx context.Context, files []ArtifactFile) ([]ArtifactFile, error) {
	p := dbsqlc.ListArtifactsByNameParams{DeckyKeys: []string{}, Folders: []string{}, Names: []string{}}
	for _, f := range files {
		p.DeckyKeys, p.Folders, p.Names = append(p.DeckyKeys, f.DeckyKey), append(p.Folders, f.Folder), append(p.Names, f.StoredAs)
	}
	rows, err := s.queries().ListArtifactsByName(ctx, p)
	list := make([]ArtifactFile, len(rows))
	for i, r := range rows {
		list[i] = ArtifactFile{ID: r.ID, DeckyKey: r.DeckyKey, Folder: r.Folder, StoredAs: deref(r.StoredAs), ReceivedAt: r.ReceivedAt}
	}
	return list, interpret(err)
}

// MarkArtifactsRemoved notes that the content of artifacts is gone; the rows stay.
func (s *Store) MarkArtifactsRemoved(ctx context.Context, ids []uuid.UUID) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := s.queries().MarkArtifactsRemoved(ctx, ids)
	return interpret(err)
}

// MarkRecordingsRemoved notes on the sessions of a decky's service that the shard of a day (its midnight, UTC) goes. others
// are the days of the shards that stay: a session that began shortly before midnight may have its recording there.
func (s *Store) MarkRecordingsRemoved(ctx context.Context, deckyKey, service string, day time.Time, others []time.Time) (int64, error) {
	if others == nil {
		others = []time.Time{}
	}
	n, err := s.queries().MarkRecordingsRemoved(ctx, dbsqlc.MarkRecordingsRemovedParams{
		DeckyKey: deckyKey, Service: service, Shard: day, Others: others,
	})
	return n, interpret(err)
}

// Writing names a shard of recordings that a session which has not ended may write to.
type Writing struct {
	DeckyKey string
	Service  string
	Day      time.Time // midnight, UTC
}

// OpenRecordings lists the days on which open sessions of our own deckies began, of services that record.
func (s *Store) OpenRecordings(ctx context.Context, services []string) (map[Writing]bool, error) {
	rows, err := s.queries().ListOpenSessionDays(ctx, dbsqlc.ListOpenSessionDaysParams{
		Abandoned: interval(AbandonedAfter), Services: services,
	})
	open := make(map[Writing]bool, len(rows))
	for _, r := range rows {
		open[Writing{DeckyKey: r.DeckyKey, Service: r.Service, Day: r.Day.UTC()}] = true
	}
	return open, interpret(err)
}

// AddRemoved counts files that were removed.
func (s *Store) AddRemoved(ctx context.Context, class RetentionClass, n int64) error {
	if n == 0 {
		return nil
	}
	return interpret(s.queries().AddRetentionRemoved(ctx, dbsqlc.AddRetentionRemovedParams{Class: string(class), Removed: n}))
}

// DeckyFolders returns by what names folders belong to deckies that exist, planned ones included: keys and ids.
func (s *Store) DeckyFolders(ctx context.Context) (map[string]bool, error) {
	keys, err := s.queries().ListDeckyFolders(ctx)
	known := make(map[string]bool, len(keys))
	for _, k := range keys {
		known[k] = true
	}
	return known, interpret(err)
}
