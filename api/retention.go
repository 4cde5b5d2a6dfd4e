package api

import (
	"context"
	"net/http"
	"time"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/fault"
)

// Bounds of the limits.
const (
	mostAgeDays = 36500
	leastBytes  = 1 << 20
	leastRows   = 1000
)

// RetentionBody is what is kept of one class, by ingest time, and what there is of it.
type RetentionBody struct {
	Class      string     `json:"class" enum:"events,sessions,bounties,credentials,imports,artifacts,recordings,logs"`
	MaxAgeDays *int       `json:"max_age_days" doc:"null: of any age"`
	MaxBytes   *int64     `json:"max_bytes" doc:"null: no limit. For rows it stands for the number of rows of mean size: removing rows makes no table smaller at once"`
	MaxRows    *int64     `json:"max_rows" doc:"Rows, or files; null: no limit"`
	Rows       *int64     `json:"rows" doc:"Rows, or files, as last measured; large tables are estimated"`
	Bytes      *int64     `json:"bytes" doc:"Room taken, with indexes, as last measured"`
	Oldest     *time.Time `json:"oldest" doc:"When the oldest came in"`
	Removed    int64      `json:"removed" doc:"Rows, or files, that were ever removed"`
	MeasuredAt *time.Time `json:"measured_at"`
	UpdatedAt  time.Time  `json:"updated_at"`
	UpdatedBy  string     `json:"updated_by"`
}

// RetentionsBody has all classes.
type RetentionsBody struct {
	Items []RetentionBody `json:"items" nullable:"false"`
}

type setRetentionInput struct {
	Class string `path:"class" maxLength:"32"`
	Body  struct {
		MaxAgeDays *int   `json:"max_age_days" nullable:"true" doc:"1 to 36500; null: of any age"`
		MaxBytes   *int64 `json:"max_bytes" nullable:"true" doc:"At least 1 MiB; null: no limit"`
		MaxRows    *int64 `json:"max_rows" nullable:"true" doc:"At least 1000; null: no limit"`
	}
}

func (s *server) registerRetention() {
	register(s, viewer, get("list-retention", "/retention", "What is kept for how long, and how much there is", "retention"), s.listRetention)
	register(s, admin, describe(http.MethodPut, "set-retention", "/retention/{class}",
		"Set what is kept of a class, from the next pass on", "retention"), s.setRetention)
	run := describe(http.MethodPost, "run-retention", "/retention/run", "Have a pass begin now", "retention")
	run.DefaultStatus = http.StatusAccepted
	register(s, admin, run, s.runRetention)
}

// limit is null for none.
func limit[T int | int64](n T) *T {
	if n == 0 {
		return nil
	}
	return &n
}

func toRetentionBody(r db.Retention) RetentionBody {
	body := RetentionBody{
		Class: string(r.Class), MaxAgeDays: limit(r.MaxAgeDays), MaxBytes: limit(r.MaxBytes), MaxRows: limit(r.MaxRows),
		Removed: r.Removed, MeasuredAt: utc(r.MeasuredAt), UpdatedAt: r.UpdatedAt.UTC(), UpdatedBy: r.UpdatedBy,
	}
	if r.MeasuredAt != nil {
		body.Rows, body.Bytes = &r.Usage.Rows, &r.Usage.Bytes
	}
	if !r.Usage.Oldest.IsZero() {
		body.Oldest = utc(&r.Usage.Oldest)
	}
	return body
}

func (s *server) listRetention(ctx context.Context, _ *empty) (*output[RetentionsBody], error) {
	all, err := s.deps.Store.Retention(ctx)
	if err != nil {
		return nil, err
	}
	body := RetentionsBody{Items: make([]RetentionBody, len(all))}
	for i, r := range all {
		body.Items[i] = toRetentionBody(r)
	}
	return &output[RetentionsBody]{Body: body}, nil
}

func (s *server) setRetention(ctx context.Context, in *setRetentionInput) (*output[RetentionBody], error) {
	limits, err := in.limits()
	if err != nil {
		return nil, err
	}
	r, err := s.deps.Store.SetRetention(ctx, db.RetentionClass(in.Class), limits, principalOf(ctx).actor)
	if err != nil {
		return nil, err
	}
	s.deps.Log.InfoContext(ctx, "settings changed", "change", "retention", "class", r.Class, "max_age_days", limits.MaxAgeDays,
		"max_bytes", limits.MaxBytes, "max_rows", limits.MaxRows, "actor", principalOf(ctx).actor, "request_id", requestIDOf(ctx))
	return &output[RetentionBody]{Body: toRetentionBody(r)}, nil
}

// limits checks the body; all that is wrong with it is told at once.
func (in *setRetentionInput) limits() (db.RetentionLimits, error) {
	b := in.Body
	var l db.RetentionLimits
	f := fault.New(fault.Unprocessable, "retention_invalid", "the limits are out of range")
	wrong := false
	refuse := func(field, message string) {
		wrong = true
		f = f.With(fault.Field{Location: "body." + field, Message: message})
	}
	if b.MaxAgeDays != nil {
		if l.MaxAgeDays = *b.MaxAgeDays; l.MaxAgeDays < 1 || l.MaxAgeDays > mostAgeDays {
			refuse("max_age_days", "must be 1 to 36500 days, or null")
		}
	}
	if b.MaxBytes != nil {
		if l.MaxBytes = *b.MaxBytes; l.MaxBytes < leastBytes {
			refuse("max_bytes", "must be at least 1048576, or null")
		}
	}
	if b.MaxRows != nil {
		if l.MaxRows = *b.MaxRows; l.MaxRows < leastRows {
			refuse("max_rows", "must be at least 1000, or null")
		}
	}
	if wrong {
		return l, f
	}
	return l, nil
}

func (s *server) runRetention(ctx context.Context, _ *empty) (*output[DoneBody], error) {
	if s.deps.RunRetention == nil {
		return nil, fault.New(fault.Unavailable, "retention_not_scheduled", "retention is not scheduled here")
	}
	if err := s.deps.RunRetention(ctx); err != nil {
		return nil, err
	}
	s.deps.Log.InfoContext(ctx, "a pass of retention was asked for", "actor", principalOf(ctx).actor, "request_id", requestIDOf(ctx))
	return done("accepted"), nil
}
