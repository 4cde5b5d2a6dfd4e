package activities

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/retention"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/temporalfault"
)

const (
	// trimFiles is how many files of a kind go in one execution.
	trimFiles = 5000
	// artifactBatch is how many artifacts are dealt with between two writes.
	artifactBatch = 200
	// settled is how long nobody must have written to a file before a quota takes it.
	settled = time.Hour
)

// Files removes files of the decoys of one host. Store, Tree.Artifacts, Now and Log are required.
type Files struct {
	Store *db.Store
	Tree  retention.Tree
	Now   func() time.Time
	Log   *slog.Logger
}

// TrimFilesResult says what a pass over the files did.
type TrimFilesResult struct {
	Removed int64 `json:"removed,omitempty"`
	// Foreign counts what lies where our files are and is none of them.
	Foreign int  `json:"foreign,omitempty"`
	More    bool `json:"more,omitempty"`
}

// TrimFiles removes artifacts, recordings and kept logs by age and then by quota, the oldest first, and the empty folders of
// deckies that are gone. Artifacts are as old as their rows, which stay; other files, and those nobody knows, as their last
// change. What may still be written is left alone.
//
// Idempotency: it looks at what there is each time; a file that is gone already is marked as one that was removed, and the
// sessions of a recording are marked before it goes.
func (f *Files) TrimFiles(ctx context.Context) (TrimFilesResult, error) {
	stop := beat(ctx)
	defer stop()
	out, err := f.trim(ctx)
	if out.Removed > 0 || out.Foreign > 0 {
		f.Log.InfoContext(ctx, "files of decoys were looked through", "removed", out.Removed, "foreign", out.Foreign, "more", out.More)
	}
	if err != nil && ctx.Err() != nil {
		return out, ctx.Err()
	}
	return out, temporalfault.Wrap(err)
}

// classOf tells by which settings files of a kind are kept.
func classOf(k retention.Kind) db.RetentionClass {
	return map[retention.Kind]db.RetentionClass{
		retention.Artifact: db.RetainArtifacts, retention.Recording: db.RetainRecordings, retention.Log: db.RetainLogs,
	}[k]
}

func (f *Files) trim(ctx context.Context) (out TrimFilesResult, err error) {
	all, err := f.Store.Retention(ctx)
	if err != nil {
		return out, err
	}
	settings := map[db.RetentionClass]db.Retention{}
	for _, s := range all {
		settings[s.Class] = s
	}
	if err := f.agedArtifacts(ctx, settings[db.RetainArtifacts], &out); err != nil {
		return out, err
	}
	stocks := map[retention.Kind]*retention.Stock{}
	for _, k := range retention.Kinds() {
		stocks[k] = retention.NewStock(trimFiles)
	}
	days := map[db.Writing][]time.Time{} // of shards, by decky and service
	found, err := f.Tree.Walk(ctx, f.Now(), func(file retention.File) {
		stocks[file.Kind].Add(file)
		if day, ok := file.Day(); ok {
			of := db.Writing{DeckyKey: file.Owner, Service: runtime.ServiceFromFileName(file.Service)}
			days[of] = append(days[of], day)
		}
	})
	out.Foreign = found.Foreign
	if err != nil {
		return out, err
	}
	for _, k := range retention.Kinds() {
		p := &filePass{Files: f, Retention: settings[classOf(k)], stock: stocks[k], days: days, out: &out}
		if err := p.run(ctx, k); err != nil {
			return out, err
		}
	}
	return out, f.prune(ctx, found.Idle)
}

// agedArtifacts removes the content of artifacts that came in too long ago, whatever the age of the file.
func (f *Files) agedArtifacts(ctx context.Context, s db.Retention, out *TrimFilesResult) error {
	var after db.ArtifactFile
	for n := 0; !s.Horizon.IsZero(); n += artifactBatch {
		if n >= trimFiles {
			out.More = true
			return nil
		}
		batch, err := f.Store.OldArtifacts(ctx, s.Horizon, after, artifactBatch)
		if err != nil || len(batch) == 0 {
			return err
		}
		after = batch[len(batch)-1]
		var gone []uuid.UUID
		var removed int64
		for _, a := range batch {
			outcome, err := f.Tree.Remove(fileOf(a))
			if err != nil {
				f.Log.WarnContext(ctx, "an artifact could not be removed", "decky", a.DeckyKey, "artifact_id", a.ID, "err", err)
				continue
			}
			gone = append(gone, a.ID)
			if outcome == retention.Removed {
				removed++
			}
		}
		if err := f.gone(ctx, db.RetainArtifacts, gone, removed, out); err != nil {
			return err
		}
	}
	return nil
}

func (f *Files) gone(ctx context.Context, class db.RetentionClass, ids []uuid.UUID, removed int64, out *TrimFilesResult) error {
	out.Removed += removed
	if err := f.Store.MarkArtifactsRemoved(ctx, ids); err != nil {
		return err
	}
	return f.Store.AddRemoved(ctx, class, removed)
}

func fileOf(a db.ArtifactFile) retention.File {
	return retention.File{Kind: retention.Artifact, Owner: a.DeckyKey, Service: runtime.ServiceFileName(a.Folder), Name: a.StoredAs}
}

// filePass is the work on the files of one kind.
type filePass struct {
	*Files
	db.Retention
	stock *retention.Stock
	days  map[db.Writing][]time.Time
	out   *TrimFilesResult
}

// run removes what is too old and then what is too much, and records what is left.
func (p *filePass) run(ctx context.Context, kind retention.Kind) error {
	files, all := p.stock.Files()
	candidates, err := p.candidates(ctx, kind, files)
	if err != nil {
		return err
	}
	used := db.Usage{Rows: p.stock.Count, Bytes: p.stock.Bytes}
	var removed int64
	for _, c := range candidates {
		if !p.goes(c, used) {
			used.Oldest = earlier(used.Oldest, c.in)
			continue
		}
		ok, err := p.remove(ctx, c)
		if err != nil {
			return err
		}
		if !ok {
			used.Oldest = earlier(used.Oldest, c.in)
			continue
		}
		removed++
		used.Rows, used.Bytes = used.Rows-1, used.Bytes-c.Bytes
	}
	p.out.Removed += removed
	p.out.More = p.out.More || !all && removed > 0
	if err := p.Store.AddRemoved(ctx, p.Class, removed); err != nil {
		return err
	}
	return p.Store.RecordUsage(ctx, p.Class, used)
}

// earlier returns the earlier of two times; zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// candidate is a file that may go.
type candidate struct {
	retention.File
	// in is when it came in.
	in time.Time
	// id is that of the artifact, uuid.Nil when there is no row of it.
	id uuid.UUID
	// busy files may still be written.
	busy bool
}

// goes reports whether a file is too old, or the oldest while there is too much.
func (p *filePass) goes(c candidate, used db.Usage) bool {
	switch {
	case c.busy:
		return false
	case !p.Horizon.IsZero() && c.in.Before(p.Horizon):
		return true
	}
	return p.MaxBytes > 0 && used.Bytes > p.MaxBytes || p.MaxRows > 0 && used.Rows > p.MaxRows
}

// candidates orders files by when they came in.
func (p *filePass) candidates(ctx context.Context, kind retention.Kind, files []retention.File) ([]candidate, error) {
	list := make([]candidate, len(files))
	recent := p.Now().Add(-settled)
	for i, f := range files {
		list[i] = candidate{File: f, in: f.At, busy: f.At.After(recent)}
	}
	var err error
	switch kind {
	case retention.Artifact:
		err = p.rows(ctx, list)
	case retention.Recording:
		err = p.writing(ctx, list)
	case retention.Log:
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return a.in.Compare(b.in) })
	return list, err
}

// rows finds the artifacts of files that are about to go. One that has a row is complete.
func (p *filePass) rows(ctx context.Context, list []candidate) error {
	over := p.MaxBytes > 0 && p.stock.Bytes > p.MaxBytes || p.MaxRows > 0 && p.stock.Count > p.MaxRows
	byFile := map[db.ArtifactFile]int{}
	var asked []db.ArtifactFile
	for i, c := range list {
		if over || !p.Horizon.IsZero() && c.in.Before(p.Horizon) {
			a := db.ArtifactFile{DeckyKey: c.Owner, Folder: runtime.ServiceFromFileName(c.Service), StoredAs: c.Name}
			byFile[a] = i
			asked = append(asked, a)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	found, err := p.Store.ArtifactsOfFiles(ctx, asked)
	for _, a := range found {
		i := byFile[db.ArtifactFile{DeckyKey: a.DeckyKey, Folder: a.Folder, StoredAs: a.StoredAs}]
		list[i].id, list[i].in, list[i].busy = a.ID, a.ReceivedAt, false
	}
	return err
}

// writing finds the recordings that may still be written: those of today, and of the days on which open sessions began.
func (p *filePass) writing(ctx context.Context, list []candidate) error {
	open, err := p.Store.OpenRecordings(ctx, []string{"ssh", "telnet"})
	if err != nil {
		return err
	}
	today := p.Now().UTC().Truncate(24 * time.Hour)
	for i, c := range list {
		day, _ := c.Day()
		began := db.Writing{DeckyKey: c.Owner, Service: runtime.ServiceFromFileName(c.Service), Day: day}
		list[i].busy = c.busy || !day.Before(today) || open[began]
	}
	return nil
}

// remove removes a file and marks whose content it was. False is for files that stay.
func (p *filePass) remove(ctx context.Context, c candidate) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := p.forget(ctx, c); err != nil {
		return false, err
	}
	outcome, err := p.Tree.Remove(c.File)
	if err != nil {
		p.Log.WarnContext(ctx, "a file could not be removed", "class", p.Class, "decky", c.Owner, "err", err)
		return false, nil
	}
	if c.id != uuid.Nil {
		if err := p.Store.MarkArtifactsRemoved(ctx, []uuid.UUID{c.id}); err != nil {
			return false, err
		}
	}
	return outcome != retention.Foreign, nil
}

// forget marks the sessions whose recording goes. It comes first: afterwards nobody knows which file was there.
func (p *filePass) forget(ctx context.Context, c candidate) error {
	day, ok := c.Day()
	if !ok {
		return nil
	}
	of := db.Writing{DeckyKey: c.Owner, Service: runtime.ServiceFromFileName(c.Service)}
	p.days[of] = slices.DeleteFunc(p.days[of], day.Equal)
	_, err := p.Store.MarkRecordingsRemoved(ctx, of.DeckyKey, of.Service, day, p.days[of])
	return err
}

// prune removes empty folders of deckies that are gone. Keys are read after the folders were found empty: a decky is a row
// before it has a folder.
func (f *Files) prune(ctx context.Context, idle []retention.Folder) error {
	if len(idle) == 0 {
		return nil
	}
	known, err := f.Store.DeckyFolders(ctx)
	if err != nil {
		return err
	}
	for _, folder := range idle {
		if !known[folder.Owner] {
			f.Tree.RemoveFolder(folder)
		}
	}
	return nil
}
