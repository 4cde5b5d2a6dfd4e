package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/imports"
	"github.com/decnet/decnet/internal/ingest/foreign"
	"github.com/decnet/decnet/workflows"
)

const (
	defaultImportBytes = 2 << 30
	maxImportName      = 255
	// endLimit bounds noting that an upload broke off, for a client that is gone.
	endLimit = 10 * time.Second
)

// ImportBody is one log of another honeypot that is, or was, read in.
type ImportBody struct {
	ID         string          `json:"id"`
	Format     string          `json:"format" enum:"cowrie,opencanary"`
	Name       string          `json:"name" doc:"What the operator called it"`
	Actor      string          `json:"actor"`
	State      string          `json:"state" enum:"uploading,running,succeeded,failed,cancelled"`
	Fault      *OperationFault `json:"fault,omitempty"`
	BytesTotal int64           `json:"bytes_total" doc:"As uploaded"`
	BytesRead  int64           `json:"bytes_read" doc:"How much of them the reader has taken"`
	Lines      ImportLines     `json:"lines"`
	Stored     int64           `json:"stored" doc:"Events that are new"`
	Duplicates int64           `json:"duplicates" doc:"Events that were known already"`
	// The workflow is there once the upload is complete.
	WorkflowID  string     `json:"workflow_id"`
	WorkflowURL *string    `json:"workflow_url" doc:"In the Temporal Web UI"`
	CreatedAt   time.Time  `json:"created_at"`
	StartedAt   *time.Time `json:"started_at" doc:"When the upload was complete"`
	EndedAt     *time.Time `json:"ended_at"`
}

// ImportLines accounts for every line: read = kept + skipped.
type ImportLines struct {
	Read    int64            `json:"read"`
	Kept    int64            `json:"kept"`
	Skipped int64            `json:"skipped"`
	Reasons map[string]int64 `json:"reasons" nullable:"false" doc:"Skipped lines by reason"`
	Kinds   map[string]int64 `json:"kinds" nullable:"false" doc:"Lines by what the log itself calls them, kept or not"`
}

type createImportInput struct {
	Format string `query:"format" required:"true" enum:"cowrie,opencanary" doc:"Whose log it is"`
	Name   string `query:"name" doc:"What to call it, such as the name of the file; cut at 255 bytes"`
}

type importOutput struct {
	Location string `header:"Location" doc:"Where the import can be followed"`
	Body     ImportBody
}

func (s *server) registerImports() {
	if s.opts.ImportMaxBytes <= 0 {
		s.opts.ImportMaxBytes = defaultImportBytes
	}
	const tag = "imports"
	create := describe(http.MethodPost, "create-import", "/imports", "Upload the log of another honeypot and read it in", tag)
	create.Description = "The body is the log, plain or compressed with gzip, of any length up to the limit of the installation. " +
		"Lines that are known already are not stored again, so a request that is repeated does no harm; Idempotency-Key is not looked at."
	create.DefaultStatus = http.StatusAccepted
	create.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		uploadType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
	}}
	s.uploads[create.Method+" "+template(create.Path)] = true
	register(s, operator, create, s.createImport)
	register(s, viewer, get("list-imports", "/imports", "List imports, newest first", tag), s.listImports)
	register(s, viewer, get("get-import", "/imports/{id}", "One import", tag), s.getImport)
	cancel := describe(http.MethodPost, "cancel-import", "/imports/{id}/cancel", "End an import; what it has stored stays", tag)
	cancel.DefaultStatus = http.StatusAccepted
	register(s, operator, cancel, s.cancelImport)
}

func (s *server) createImport(ctx context.Context, in *createImportInput) (*importOutput, error) {
	body := uploadOf(ctx)
	if err := body.refused(s.opts.ImportMaxBytes); err != nil {
		return nil, err
	}
	im, err := s.deps.Store.CreateImport(ctx, imports.Format(in.Format), importName(in.Name), principalOf(ctx).actor)
	if err != nil {
		return nil, err
	}
	defer body.done()
	if _, err = s.deps.Store.Upload(ctx, im.ID, body.limited(s.opts.ImportMaxBytes)); err == nil {
		im, err = s.deps.Store.FinishUpload(ctx, im.ID)
	}
	if err != nil {
		return nil, s.uploadFailed(ctx, im.ID, err)
	}
	s.deps.Log.InfoContext(ctx, "a log was uploaded", "import_id", im.ID, "bytes", im.BytesTotal,
		"actor", im.Actor, "request_id", requestIDOf(ctx))
	s.deps.Dispatcher.StartImport(ctx, im)
	return s.importAnswer(im), nil
}

// importName makes the client's text one that may be shown.
func importName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name[:min(len(name), maxImportName)])
	if name == "" {
		return "upload"
	}
	return name
}

// uploadFailed ends an import of which not everything came, and says why in words for its client, which may be gone.
func (s *server) uploadFailed(ctx context.Context, id uuid.UUID, cause error) error {
	var tooLarge *http.MaxBytesError
	f, known := fault.As(cause)
	switch {
	case errors.As(cause, &tooLarge):
		f = errImportTooLarge(s.opts.ImportMaxBytes)
	case !known:
		f = imports.Interrupted().Wrap(cause)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	if _, err := s.deps.Store.EndImport(last, id, imports.Failed, f); err != nil {
		s.deps.Log.WarnContext(last, "an upload that broke off is left to recovery", "import_id", id, "err", err)
	}
	return f
}

func (s *server) listImports(ctx context.Context, in *PageInput) (*output[Page[ImportBody]], error) {
	after, err := in.importKey()
	if err != nil {
		return nil, err
	}
	list, err := s.deps.Store.Imports(ctx, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	rows := newPage(list, in.Limit, func(im imports.Import) string {
		return strconv.FormatInt(im.CreatedAt.UnixMicro(), 10) + "/" + im.ID.String()
	})
	page := Page[ImportBody]{Items: make([]ImportBody, len(rows.Items)), NextCursor: rows.NextCursor}
	for i, im := range rows.Items {
		page.Items[i] = s.toImportBody(im)
	}
	return &output[Page[ImportBody]]{Body: page}, nil
}

func (in PageInput) importKey() (db.ImportKey, error) {
	key, err := in.key()
	if err != nil || key == "" {
		return db.ImportKey{}, err
	}
	created, id, _ := strings.Cut(key, "/")
	micros, err := strconv.ParseInt(created, 10, 64)
	at := time.UnixMicro(micros)
	parsed, idErr := uuid.Parse(id)
	if err != nil || idErr != nil || at.Year() < 1 || at.Year() > 9999 || at.IsZero() {
		return db.ImportKey{}, errCursor()
	}
	return db.ImportKey{Created: at, ID: parsed}, nil
}

func (s *server) getImport(ctx context.Context, in *UUIDPath) (*output[ImportBody], error) {
	im, err := s.deps.Store.Import(ctx, in.uuid())
	if err != nil {
		return nil, err
	}
	return &output[ImportBody]{Body: s.toImportBody(im)}, nil
}

func (s *server) cancelImport(ctx context.Context, in *UUIDPath) (*importOutput, error) {
	ended, err := s.deps.Store.EndImport(ctx, in.uuid(), imports.Cancelled, nil)
	if err != nil {
		return nil, err
	}
	im, err := s.deps.Store.Import(ctx, in.uuid())
	if err != nil {
		return nil, err
	}
	if im.State != imports.Cancelled {
		return nil, imports.Final()
	}
	if ended {
		s.deps.Log.InfoContext(ctx, "an import was cancelled", "import_id", im.ID, "actor", principalOf(ctx).actor, "request_id", requestIDOf(ctx))
	}
	return s.importAnswer(im), nil
}

func (s *server) importAnswer(im imports.Import) *importOutput {
	return &importOutput{Location: Prefix + "/imports/" + im.ID.String(), Body: s.toImportBody(im)}
}

func (s *server) toImportBody(im imports.Import) ImportBody {
	body := ImportBody{
		ID: im.ID.String(), Format: string(im.Format), Name: im.Name, Actor: im.Actor, State: string(im.State), Fault: toFaultBody(im.Fault),
		BytesTotal: im.BytesTotal, BytesRead: im.BytesRead, Lines: toImportLines(im.Report), Stored: im.Stored, Duplicates: im.Duplicates,
		WorkflowID: workflows.ImportID(im.ID), CreatedAt: im.CreatedAt.UTC(), StartedAt: utc(im.StartedAt), EndedAt: utc(im.EndedAt),
	}
	body.WorkflowURL = s.workflowURL(body.WorkflowID)
	return body
}

func toImportLines(r foreign.Report) ImportLines {
	lines := ImportLines{Read: r.Read, Kept: r.Kept, Skipped: r.Read - r.Kept, Reasons: map[string]int64{}, Kinds: map[string]int64{}}
	for reason, n := range r.Skipped {
		lines.Reasons[string(reason)] = n
	}
	for kind, n := range r.Kinds {
		lines.Kinds[kind] = n
	}
	return lines
}
