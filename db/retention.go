package db

import (
	"context"
	"errors"
	"time"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/fault"
)

// RetentionClass is a kind of what ingest keeps.
type RetentionClass string

// Classes. The content of the last three but imports is files; a class of rows is trimmed by Trim.
const (
	RetainEvents      RetentionClass = "events"
	RetainSessions    RetentionClass = "sessions" // with their commands
	RetainBounties    RetentionClass = "bounties"
	RetainCredentials RetentionClass = "credentials"
	RetainImports     RetentionClass = "imports"
	RetainArtifacts   RetentionClass = "artifacts"
	RetainRecordings  RetentionClass = "recordings"
	RetainLogs        RetentionClass = "logs"
)

// RetentionClasses returns all classes in the order in which they are shown.
func RetentionClasses() []RetentionClass {
	return append(RowClasses(), RetainArtifacts, RetainRecordings, RetainLogs)
}

// RowClasses returns the classes whose content is rows.
func RowClasses() []RetentionClass {
	return []RetentionClass{RetainEvents, RetainSessions, RetainBounties, RetainCredentials, RetainImports}
}

// RetentionLimits says how much of a class is kept; 0 is no limit.
type RetentionLimits struct {
	MaxAgeDays int
	MaxBytes   int64
	MaxRows    int64
}

// Usage is how much there is of a class.
type Usage struct {
	Rows  int64
	Bytes int64
	// Oldest is when the oldest of it came in; zero when there is none.
	Oldest time.Time
}

// Retention is what is kept of a class, and what the last pass found.
type Retention struct {
	Class RetentionClass
	RetentionLimits
	// Horizon is the database's now less the age: what came in before goes. Zero without a limit of age.
	Horizon   time.Time
	UpdatedAt time.Time
	UpdatedBy string
	// Usage is as of MeasuredAt, nil before the first pass.
	Usage      Usage
	MeasuredAt *time.Time
	// Removed counts what was ever removed: rows, or files.
	Removed int64
}

// Retention returns the settings of all classes in the order of RetentionClasses.
func (s *Store) Retention(ctx context.Context) ([]Retention, error) {
	rows, err := s.queries().ListRetention(ctx)
	if err != nil {
		return nil, interpret(err)
	}
	known := make(map[RetentionClass]Retention, len(rows))
	for _, r := range rows {
		known[RetentionClass(r.Class)] = toRetention(r)
	}
	all := make([]Retention, 0, len(rows))
	for _, class := range RetentionClasses() {
		if r, ok := known[class]; ok {
			all = append(all, r)
		}
	}
	return all, nil
}

func toRetention(r dbsqlc.ListRetentionRow) Retention {
	out := Retention{
		Class:           RetentionClass(r.Class),
		RetentionLimits: RetentionLimits{MaxAgeDays: int(r.MaxAgeDays), MaxBytes: deref(r.MaxBytes), MaxRows: deref(r.MaxRows)},
		UpdatedAt:       r.UpdatedAt, UpdatedBy: r.UpdatedBy, Removed: r.Removed, MeasuredAt: r.MeasuredAt,
		Usage: Usage{Rows: deref(r.Rows), Bytes: deref(r.Bytes), Oldest: deref(r.Oldest)},
	}
	if r.MaxAgeDays > 0 {
		out.Horizon = r.Horizon
	}
	return out
}

// SetRetention changes the limits of a class, or returns a NotFound fault (retention_class_not_found).
func (s *Store) SetRetention(ctx context.Context, class RetentionClass, l RetentionLimits, actor string) (Retention, error) {
	n, err := s.queries().SetRetention(ctx, dbsqlc.SetRetentionParams{
		Class: string(class), MaxAgeDays: optional(int32(l.MaxAgeDays)), MaxBytes: optional(l.MaxBytes), MaxRows: optional(l.MaxRows),
		UpdatedBy: actor,
	})
	if err != nil {
		return Retention{}, interpret(err)
	}
	all, err := s.Retention(ctx)
	for _, r := range all {
		if r.Class == class {
			return r, nil
		}
	}
	if err == nil && n == 0 {
		err = fault.New(fault.NotFound, "retention_class_not_found", "there is no such class")
	}
	return Retention{}, err
}

// RecordUsage stores what a pass found of a class.
func (s *Store) RecordUsage(ctx context.Context, class RetentionClass, u Usage) error {
	return interpret(s.queries().RecordRetentionUsage(ctx, dbsqlc.RecordRetentionUsageParams{
		Class: string(class), Rows: &u.Rows, Bytes: &u.Bytes, Oldest: optional(u.Oldest),
	}))
}

// exactBelow is up to how many rows a table is counted; a larger one is counted only when it may be near its quota.
const exactBelow = 500_000

// samplePages is how many pages of a table are looked at for the mean size of a row.
const samplePages = 200

// table is one table of a class.
type table struct {
	name   string
	count  func(*dbsqlc.Queries, context.Context) (int64, error)
	sample func(*dbsqlc.Queries, context.Context, float64) (float64, error)
}

func tablesOf(class RetentionClass) []table {
	switch class {
	case RetainEvents:
		return []table{{"events", (*dbsqlc.Queries).CountEvents, (*dbsqlc.Queries).SampleEvents}}
	case RetainSessions:
		return []table{
			{"sessions", (*dbsqlc.Queries).CountSessions, (*dbsqlc.Queries).SampleSessions},
			{"commands", (*dbsqlc.Queries).CountCommands, (*dbsqlc.Queries).SampleCommands},
		}
	case RetainBounties:
		return []table{{"bounties", (*dbsqlc.Queries).CountBounties, (*dbsqlc.Queries).SampleBounties}}
	case RetainCredentials:
		return []table{{"credentials", (*dbsqlc.Queries).CountCredentials, (*dbsqlc.Queries).SampleCredentials}}
	case RetainImports:
		return []table{{"imports", (*dbsqlc.Queries).CountImports, (*dbsqlc.Queries).SampleImports}}
	case RetainArtifacts, RetainRecordings, RetainLogs:
	}
	return nil
}

// Measurement is the usage of a class of rows, and what its limits mean in rows.
type Measurement struct {
	Usage
	// Excess is how many of the oldest rows must go for a quota.
	Excess int64
}

// Measure returns how much there is of a class of rows. Bytes are those of the tables with their indexes. Large tables are
// guessed as the planner does, but counted before a quota takes rows away: the guess lags behind what was removed.
//
// A quota in bytes is one in rows of mean size. Removing rows does not make a table smaller: vacuum makes the room usable
// again for what comes in.
func (s *Store) Measure(ctx context.Context, r Retention) (Measurement, error) {
	var m Measurement
	tables := tablesOf(r.Class)
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = t.name
	}
	found, err := s.queries().MeasureRelations(ctx, names)
	if err != nil {
		return m, interpret(err)
	}
	known := map[string]dbsqlc.MeasureRelationsRow{}
	for _, f := range found {
		known[f.Name] = f
		m.Bytes += f.Bytes
		m.Rows += int64(f.Rows)
	}
	if m.Rows < exactBelow || guessedNear(m, r.RetentionLimits) || unknownRows(found) {
		if err := s.count(ctx, tables, known); err != nil {
			return m, err
		}
		m.Rows = 0
		for _, f := range known {
			m.Rows += int64(f.Rows)
		}
	}
	if m.Oldest, err = s.oldest(ctx, r.Class); err != nil {
		return m, err
	}
	most, err := s.mostRows(ctx, r.RetentionLimits, m.Rows, tables, known)
	if most > 0 {
		m.Excess = max(0, m.Rows-most)
	}
	return m, err
}

func unknownRows(found []dbsqlc.MeasureRelationsRow) bool {
	for _, f := range found {
		if f.Rows < 0 {
			return true
		}
	}
	return false
}

// guessedNear reports whether a guess is too close to a quota to be relied on. All bytes are an upper bound of what rows take.
func guessedNear(m Measurement, l RetentionLimits) bool {
	return l.MaxRows > 0 && m.Rows >= l.MaxRows/5*4 || l.MaxBytes > 0 && m.Bytes >= l.MaxBytes/5*4
}

func (s *Store) count(ctx context.Context, tables []table, known map[string]dbsqlc.MeasureRelationsRow) error {
	for _, t := range tables {
		n, err := t.count(s.queries(), ctx)
		if err != nil {
			return interpret(err)
		}
		f := known[t.name]
		f.Rows = float64(n)
		known[t.name] = f
	}
	return nil
}

// mostRows returns how many rows the quotas of a class allow, 0 for any number.
func (s *Store) mostRows(
	ctx context.Context, l RetentionLimits, rows int64, tables []table, known map[string]dbsqlc.MeasureRelationsRow,
) (int64, error) {
	var bytes float64
	if l.MaxBytes == 0 || rows == 0 {
		return l.MaxRows, nil
	}
	for _, t := range tables {
		f := known[t.name]
		mean, err := t.sample(s.queries(), ctx, min(100, 100*samplePages/float64(max(f.Pages, 1))))
		if err != nil {
			return 0, interpret(err)
		}
		if f.Rows > 0 && mean == 0 {
			return l.MaxRows, nil // only pages that were emptied were looked at; another pass looks at others
		}
		// Indexes add to a row what they add to the table.
		bytes += f.Rows * mean * float64(f.Bytes) / float64(max(f.TableBytes, 1))
	}
	most := max(1, int64(float64(l.MaxBytes)/bytes*float64(rows)))
	if l.MaxRows > 0 {
		most = min(most, l.MaxRows)
	}
	return most, nil
}

func (s *Store) oldest(ctx context.Context, class RetentionClass) (time.Time, error) {
	q := s.queries()
	find := map[RetentionClass]func(context.Context) (time.Time, error){
		RetainEvents: q.OldestEvent, RetainSessions: q.OldestSessionRow, RetainBounties: q.OldestBounty,
		RetainCredentials: q.OldestCredential, RetainImports: q.OldestImport,
	}[class]
	at, err := find(ctx)
	if errors.Is(err, ErrNoRows) {
		return time.Time{}, nil
	}
	return at, interpret(err)
}
