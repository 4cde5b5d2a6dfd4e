package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/fault"
)

// Forms of a list.
const (
	formatJSON   = "json"
	formatCSV    = "csv"
	formatNDJSON = "ndjson"
)

var formatTypes = map[string]string{formatCSV: "text/csv; charset=utf-8; header=present", formatNDJSON: "application/x-ndjson"}

const (
	// downloadPage is how many rows are read at a time; an event may have 40 KiB.
	downloadPage = 500
	// downloadChunk must be taken within downloadPatience, and all of a download within downloadLimit: meanwhile the database
	// keeps what it showed at the beginning.
	downloadChunk    = 32 << 10
	downloadPatience = 30 * time.Second
	downloadLimit    = 30 * time.Minute
	// maxDownloads bounds those under way, each of which holds a connection to the database.
	maxDownloads = 4
)

// acceptKey is where the Accept header is left, which Huma must not see.
const acceptKey = "accept"

// formatOf returns the form in which a list is wanted: what the query says, else the first type of the Accept header that is
// one of ours.
func formatOf(c *gin.Context) string {
	if f := c.Query("format"); f != "" {
		return f
	}
	for part := range strings.SplitSeq(c.GetString(acceptKey), ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil || strings.Trim(params["q"], "0.") == "" && params["q"] != "" {
			continue
		}
		switch media {
		case "text/csv":
			return formatCSV
		case "application/x-ndjson":
			return formatNDJSON
		case "application/json", "application/*", "*/*":
			return formatJSON
		}
	}
	return formatJSON
}

// download is a list on its way to a client, as it was at one moment.
type download[T any] struct {
	*server
	c      *gin.Context
	name   string
	format string
	rows   int
	read   pager[T]
}

// rowWriter writes rows in one form. flush makes sure that all of them left.
type rowWriter interface {
	row(v any) error
	flush() error
}

func (d download[T]) serve(after string) {
	select {
	case d.downloading <- struct{}{}:
		defer func() { <-d.downloading }()
	default:
		d.refuse(d.c, &retryError{after: 10 * time.Second, err: fault.New(fault.RateLimited, "downloads_busy", "too many downloads are under way")})
		return
	}
	ctx, cancel := context.WithTimeout(d.c.Request.Context(), downloadLimit)
	defer cancel()
	go func() {
		select {
		case <-d.deps.Stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	out := newPatientWriter(d.c.Writer)
	defer out.close()
	var rows rowWriter
	err := d.deps.Store.View(ctx, func(v *db.View) error {
		return d.pages(ctx, v, after, func() rowWriter {
			d.headers()
			rows = newRowWriter[T](d.format, out)
			return rows
		})
	})
	switch {
	case err == nil:
	case rows == nil:
		d.refuse(d.c, err)
	default:
		d.broken(err, rows)
	}
}

// pages reads page by page; begin is called once the first is there.
func (d download[T]) pages(ctx context.Context, v *db.View, after string, begin func() rowWriter) error {
	var rows rowWriter
	for left := d.rows; ; {
		limit := min(left, downloadPage)
		page, err := d.read(ctx, v, after, limit)
		if err != nil {
			return err
		}
		if rows == nil {
			rows = begin()
		}
		for _, e := range page {
			if err := rows.row(e.body); err != nil {
				return err
			}
		}
		if left -= len(page); len(page) < limit || left == 0 {
			return rows.flush()
		}
		after = page[len(page)-1].key
	}
}

func (d download[T]) headers() {
	name := "decnet-" + d.name + "-" + time.Now().UTC().Format("20060102T150405Z") + "." + d.format
	d.c.Header("Content-Type", formatTypes[d.format])
	d.c.Header("Content-Disposition", `attachment; filename="`+name+`"`)
	d.c.Status(http.StatusOK)
}

// broken lets the client notice that a download is not complete, in the one way that is left.
func (d download[T]) broken(err error, rows rowWriter) {
	ctx := d.c.Request.Context()
	p := d.problem(ctx, err)
	if ctx.Err() == nil && p.Status < http.StatusInternalServerError {
		d.log(ctx, asFault(err), err)
	}
	if d.format == formatNDJSON {
		if rows.row(map[string]any{"error": p}) == nil && rows.flush() == nil {
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// patientWriter gives up a client that does not take what is written in time.
type patientWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newPatientWriter(w http.ResponseWriter) *patientWriter {
	return &patientWriter{w: w, control: http.NewResponseController(w)}
}

func (p *patientWriter) Write(b []byte) (n int, err error) {
	for chunk := range slices.Chunk(b, downloadChunk) {
		_ = p.control.SetWriteDeadline(time.Now().Add(downloadPatience)) // not every writer has deadlines
		m, err := p.w.Write(chunk)
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// close leaves the connection fit for another request.
func (p *patientWriter) close() { _ = p.control.SetWriteDeadline(time.Time{}) }

func newRowWriter[T any](format string, out *patientWriter) rowWriter {
	b := bufio.NewWriterSize(out, downloadChunk)
	if format == formatCSV {
		w := &csvRows{out: b, csv: csv.NewWriter(b), columns: columnsOf(reflect.TypeFor[T]())}
		_ = w.csv.Write(w.columns) // an error stays with the writer
		return w
	}
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	return &ndjsonRows{out: b, enc: enc}
}

type ndjsonRows struct {
	out *bufio.Writer
	enc *json.Encoder
}

func (w *ndjsonRows) row(v any) error { return w.enc.Encode(v) }
func (w *ndjsonRows) flush() error    { return w.out.Flush() }

type csvRows struct {
	out     *bufio.Writer
	csv     *csv.Writer
	columns []string
}

// columnsOf lists the names of a body's fields in their order.
func columnsOf(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func (w *csvRows) row(v any) error {
	value := reflect.ValueOf(v)
	cells := make([]string, len(w.columns))
	for i := range cells {
		cell, err := csvCell(value.Field(i).Interface())
		if err != nil {
			return fmt.Errorf("write column %s: %w", w.columns[i], err)
		}
		cells[i] = cell
	}
	return w.csv.Write(cells)
}

func (w *csvRows) flush() error {
	w.csv.Flush()
	return w.csv.Error()
}

// csvCell returns text as it is, nothing for null, and everything else in JSON.
func csvCell(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	raw := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	switch {
	case string(raw) == "null":
		return "", nil
	case raw[0] != '"':
		return string(raw), nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", err
	}
	return harmless(text), nil
}

// harmless keeps spreadsheets from taking an intruder's text for a formula.
func harmless(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

// stream sends what write writes, and breaks the connection when that fails: the client has the status already.
func (s *server) stream(c *gin.Context, write func(io.Writer) error) {
	out := newPatientWriter(c.Writer)
	defer out.close()
	c.Status(http.StatusOK)
	b := bufio.NewWriterSize(out, downloadChunk)
	err := write(b)
	if err == nil {
		err = b.Flush()
	}
	if err == nil {
		return
	}
	ctx := c.Request.Context()
	if ctx.Err() == nil {
		s.deps.Log.WarnContext(ctx, "a stream ended early", "request_id", requestIDOf(ctx), "err", err)
	}
	panic(http.ErrAbortHandler)
}
