package api

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/spool"
)

// ArtifactBody is a file or a mail that a decoy has kept.
type ArtifactBody struct {
	ID         string    `json:"id"`
	Kind       string    `json:"kind" enum:"file,mail"`
	Time       time.Time `json:"time"`
	Decky      string    `json:"decky" doc:"Its name"`
	DeckyKey   string    `json:"decky_key"`
	Service    string    `json:"service"`
	StoredAs   *string   `json:"stored_as" doc:"Null when the content is with a foreign sensor"`
	SHA256     *string   `json:"sha256"`
	Size       *int64    `json:"size"`
	OrigPath   *string   `json:"orig_path" doc:"As the intruder called it"`
	Session    *string   `json:"session" doc:"As the decoy calls it"`
	AttackerID string    `json:"attacker_id"`
	AttackerIP string    `json:"attacker_ip"`
	Available  bool      `json:"available" doc:"The content was kept, and has not been removed since"`
}

type artifactsInput struct {
	ListInput
	PlaceFilter
	Kind   string `query:"kind" enum:"file,mail"`
	SHA256 string `query:"sha256" pattern:"^[0-9a-f]{64}$"`
}

func (s *server) registerArtifacts() {
	registerList(s, viewer, get("list-artifacts", "/artifacts", "List captured files and mails, newest first", "artifacts"), s.listArtifacts)
	register(s, viewer, get("get-artifact", "/artifacts/{id}", "One captured file or mail", "artifacts"), s.getArtifact)
	content := get("get-artifact-content", "/artifacts/{id}/content", "The content of a captured file or mail: it is hostile", "artifacts")
	content.Responses = map[string]*huma.Response{"200": {
		Description: "The bytes as they came",
		Content:     map[string]*huma.MediaType{contentType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
	}}
	s.endless[routeOf(content.Path)] = true
	register(s, operator, content, s.getContent)
}

func (s *server) listArtifacts(_ context.Context, in *artifactsInput) (pager[ArtifactBody], error) {
	return scoped(in.PlaceFilter, func(ctx context.Context, v *db.View, scope db.Scope, before db.Place, limit int) ([]db.Artifact, error) {
		return v.Artifacts(ctx, db.ArtifactFilter{Scope: scope, Kind: in.Kind, SHA256: in.SHA256, Before: before, Limit: limit})
	}, func(a db.Artifact) db.Place { return db.Place{Time: a.Time, ID: a.ID} }, toArtifactBody)
}

func (s *server) getArtifact(ctx context.Context, in *UUIDPath) (*output[ArtifactBody], error) {
	return one(ctx, s, func(v *db.View) (ArtifactBody, error) {
		a, err := v.Artifact(ctx, in.uuid())
		return toArtifactBody(a), err
	})
}

const contentType = "application/octet-stream"

func (s *server) getContent(ctx context.Context, in *UUIDPath) (*huma.StreamResponse, error) {
	found, err := one(ctx, s, func(v *db.View) (db.Artifact, error) { return v.Artifact(ctx, in.uuid()) })
	if err != nil {
		return nil, err
	}
	a := found.Body
	gone := fault.New(fault.NotFound, "content_not_found", "there is no content of the artifact any more")
	// The name is checked although it was when it was stored: it becomes part of a header.
	if a.Removed || !ingest.ValidStoredAs(a.StoredAs) {
		return nil, gone
	}
	f, err := spool.Open(s.deps.ArtifactsRoot, a.DeckyKey, a.Folder, a.StoredAs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, gone.Wrap(err)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer f.Close()
		c := humagin.Unwrap(hc)
		c.Header("Content-Type", contentType)
		c.Header("Content-Disposition", `attachment; filename="`+a.StoredAs+`"`)
		c.Header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
		c.Header("Content-Length", strconv.FormatInt(info.Size(), 10))
		s.stream(c, func(w io.Writer) error {
			_, err := io.CopyN(w, f, info.Size())
			return err
		})
	}}, nil
}

func toArtifactBody(a db.Artifact) ArtifactBody {
	return ArtifactBody{
		ID: a.ID.String(), Kind: a.Kind, Time: a.Time.UTC(), Decky: a.DeckyName, DeckyKey: a.DeckyKey, Service: a.Service,
		StoredAs: optional(a.StoredAs), SHA256: optional(a.SHA256), Size: a.Size, OrigPath: optional(a.OrigPath),
		Session: optional(a.Session), AttackerID: a.AttackerID.String(), AttackerIP: a.AttackerIP.String(),
		Available: a.StoredAs != "" && !a.Removed,
	}
}
