package api

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/decnet/decnet/internal/fault"
)

const (
	uploadType = "application/octet-stream"
	// uploadSilence is how long a client may send nothing of a body that is not read into memory.
	uploadSilence = 30 * time.Second
)

var errUploadMedia = fault.New(fault.UnsupportedMedia, "unsupported_media_type", "the body must be "+uploadType)

func errImportTooLarge(limit int64) *fault.Error {
	return fault.New(fault.TooLarge, "body_too_large", "the body is larger than %d bytes", limit)
}

// upload is the body of a request that is read while it comes.
type upload struct {
	writer  http.ResponseWriter
	request *http.Request
	control *http.ResponseController
}

// streamBody leaves the body to the operation, which gets it from uploadOf.
func (s *server) streamBody(ctx huma.Context, next func(huma.Context)) {
	c := humagin.Unwrap(ctx)
	u := &upload{writer: c.Writer, request: c.Request, control: http.NewResponseController(c.Writer)}
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), uploadKey, u))
	next(ctx)
}

func uploadOf(ctx context.Context) *upload {
	u, _ := ctx.Value(uploadKey).(*upload)
	return u
}

// refused returns why the body is not even begun with.
func (u *upload) refused(limit int64) error {
	mediaType, _, _ := strings.Cut(u.request.Header.Get("Content-Type"), ";")
	switch {
	case !strings.EqualFold(strings.TrimSpace(mediaType), uploadType):
		return errUploadMedia
	case u.request.ContentLength > limit:
		return errImportTooLarge(limit)
	}
	return nil
}

// limited returns the body, which fails with an *http.MaxBytesError behind so many bytes.
func (u *upload) limited(limit int64) io.Reader {
	return patient{u.control, http.MaxBytesReader(u.writer, u.request.Body, limit)}
}

// done ends the wait for the client: a read deadline that is left would cancel the request.
func (u *upload) done() { _ = u.control.SetReadDeadline(time.Time{}) }

// patient gives the client some time for every part, not for the whole.
type patient struct {
	control *http.ResponseController
	r       io.Reader
}

func (p patient) Read(b []byte) (int, error) {
	_ = p.control.SetReadDeadline(time.Now().Add(uploadSilence)) // not every writer has deadlines
	return p.r.Read(b)
}
