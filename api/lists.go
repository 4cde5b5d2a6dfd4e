package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/fault"
)

// ListInput says which part of a list is wanted, and in which form.
type ListInput struct {
	PageInput
	Format  string `query:"format" enum:"json,csv,ndjson" doc:"csv and ndjson answer with the whole filtered list as a download; so does Accept: text/csv or application/x-ndjson"`
	MaxRows int    `query:"max_rows" minimum:"1" maximum:"1000000" default:"100000" doc:"How many rows a download has at most"`
}

func (in *ListInput) list() *ListInput { return in }

// TimeRange bounds a list in time.
type TimeRange struct {
	From time.Time `query:"from" doc:"Not before (RFC 3339)"`
	To   time.Time `query:"to" doc:"Before (RFC 3339)"`
}

// PlaceFilter narrows a list to where and by whom it was done.
type PlaceFilter struct {
	TimeRange
	Attacker string `query:"attacker" maxLength:"64" doc:"The attacker's uuid or address"`
	Decky    string `query:"decky" maxLength:"128" doc:"The key of a decky; of imports: import: and the sensor's name"`
	Service  string `query:"service" maxLength:"64"`
}

// entry is an item of a list with the cursor behind it.
type entry[T any] struct {
	body T
	key  string
}

// pager reads the part of a list behind a cursor, "" for its beginning.
type pager[T any] func(ctx context.Context, v *db.View, after string, limit int) ([]entry[T], error)

// registerList adds a list of T that is paged, and downloaded as a whole. prepare checks what was asked for.
func registerList[I, T any](s *server, who access, op huma.Operation, prepare func(context.Context, *I) (pager[T], error)) {
	name := op.Path[strings.LastIndexByte(op.Path, '/')+1:]
	s.downloads[routeOf(op.Path)] = true
	s.documentList(&op, reflect.TypeFor[Page[T]](), reflect.TypeFor[T]())
	op.Middlewares = append(op.Middlewares, s.checkQuery)
	register(s, who, op, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		read, err := prepare(ctx, in)
		if err != nil {
			return nil, err
		}
		asked := any(in).(interface{ list() *ListInput }).list()
		after, err := asked.key()
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			c := humagin.Unwrap(hc)
			if format := formatOf(c); format != formatJSON {
				download[T]{server: s, c: c, name: name, format: format, rows: asked.MaxRows, read: read}.serve(after)
				return
			}
			servePage(s, c, read, after, asked.Limit)
		}}, nil
	})
}

func routeOf(path string) string {
	return Prefix + strings.NewReplacer("{", ":", "}", "").Replace(path)
}

func servePage[T any](s *server, c *gin.Context, read pager[T], after string, limit int) {
	ctx := c.Request.Context()
	var found []entry[T]
	err := s.deps.Store.View(ctx, func(v *db.View) (err error) {
		found, err = read(ctx, v, after, limit+1)
		return err
	})
	if err != nil {
		s.refuse(c, err)
		return
	}
	cut := newPage(found, limit, func(e entry[T]) string { return e.key })
	page := Page[T]{Items: make([]T, len(cut.Items)), NextCursor: cut.NextCursor}
	for i, e := range cut.Items {
		page.Items[i] = e.body
	}
	s.answer(c, page)
}

// answer writes JSON as Huma would.
func (s *server) answer(c *gin.Context, body any) {
	c.Header("Content-Type", "application/json")
	c.Status(http.StatusOK)
	_ = json.NewEncoder(c.Writer).Encode(body) // only the connection can fail
}

// checkQuery refuses texts that the database would not take.
func (s *server) checkQuery(hc huma.Context, next func(huma.Context)) {
	c := humagin.Unwrap(hc)
	query := c.Request.URL.Query()
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range query[name] {
			if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
				s.refuse(c, errFilter(name, "must be text in UTF-8 without zero bytes"))
				return
			}
		}
	}
	next(hc)
}

// errFilter says that a filter is not usable.
func errFilter(name, why string) error {
	return fault.New(fault.Unprocessable, "filter_invalid", "a filter is not usable").
		With(fault.Field{Location: "query." + name, Message: why})
}

// documentList says what a list answers with in each form.
func (s *server) documentList(op *huma.Operation, page, item reflect.Type) {
	schemas := s.api.OpenAPI().Components.Schemas
	op.Responses = map[string]*huma.Response{"200": {
		Description: "A part of the list, or all of it as a download. A download that cannot be finished ends with a line {\"error\": ...} " +
			"(ndjson) or by the connection being broken (csv).",
		Content: map[string]*huma.MediaType{
			"application/json":     {Schema: schemas.Schema(page, true, "")},
			"application/x-ndjson": {Schema: schemas.Schema(item, true, "")},
			"text/csv":             {Schema: &huma.Schema{Type: huma.TypeString}},
		},
	}}
}

// scope makes a filter of what was asked for. The attacker is looked up when the list is read.
func (f PlaceFilter) scope() db.Scope {
	return db.Scope{Decky: f.Decky, Service: f.Service, From: f.From, To: f.To}
}

// attackerRef is an attacker as a client names one: by uuid or by address.
type attackerRef struct {
	id uuid.UUID
	ip netip.Addr
}

// parseAttacker reads a reference; ok is false if it is none.
func parseAttacker(text string) (ref attackerRef, ok bool) {
	if id, err := uuid.Parse(text); err == nil && len(text) == 36 {
		return attackerRef{id: id}, true
	}
	ip, err := netip.ParseAddr(text)
	return attackerRef{ip: ip.WithZone("").Unmap()}, err == nil
}

// find returns the attacker's id; ok is false if there is no such attacker. Everybody is the zero id.
func (r attackerRef) find(ctx context.Context, v *db.View) (id uuid.UUID, ok bool, err error) {
	if !r.ip.IsValid() {
		return r.id, true, nil
	}
	a, err := v.AttackerByIP(ctx, r.ip)
	if fault.KindOf(err) == fault.NotFound {
		return uuid.Nil, false, nil
	}
	return a.ID, err == nil, err
}

// attacker reads the filter; everybody is the zero reference.
func (f PlaceFilter) attacker() (attackerRef, error) {
	if f.Attacker == "" {
		return attackerRef{}, nil
	}
	ref, ok := parseAttacker(f.Attacker)
	if !ok {
		return attackerRef{}, errFilter("attacker", "must be a uuid or an address")
	}
	return ref, nil
}

// scoped is a pager of a list that PlaceFilter narrows and that is ordered by a time: read gets the filter complete.
func scoped[R, T any](
	f PlaceFilter, read func(context.Context, *db.View, db.Scope, db.Place, int) ([]R, error), place func(R) db.Place, body func(R) T,
) (pager[T], error) {
	ref, err := f.attacker()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, v *db.View, after string, limit int) ([]entry[T], error) {
		before, err := parsePlace(after)
		if err != nil {
			return nil, err
		}
		scope := f.scope()
		var ok bool
		if scope.Attacker, ok, err = ref.find(ctx, v); err != nil || !ok {
			return nil, err
		}
		rows, err := read(ctx, v, scope, before, limit)
		return entries(rows, err, func(r R) string { return placeKey(place(r)) }, body)
	}, nil
}

func entries[R, T any](rows []R, err error, key func(R) string, body func(R) T) ([]entry[T], error) {
	if err != nil {
		return nil, err
	}
	out := make([]entry[T], len(rows))
	for i, r := range rows {
		out[i] = entry[T]{body: body(r), key: key(r)}
	}
	return out, nil
}

// Cursors are numbers and ids separated by dots; times are microseconds since 1970, as exact as the database's.

func placeKey(p db.Place) string { return cursorOf(p.ID, p.Time.UnixMicro()) }

func cursorOf(id uuid.UUID, numbers ...int64) string {
	var b strings.Builder
	for _, n := range numbers {
		b.WriteString(strconv.FormatInt(n, 10) + ".")
	}
	return b.String() + id.String()
}

func parsePlace(cursor string) (db.Place, error) {
	numbers, id, err := parseCursor(cursor, 1)
	return db.Place{Time: micros(numbers[0]), ID: id}, err
}

// micros returns the time of a cursor.
func micros(n int64) time.Time { return time.UnixMicro(n).UTC() }

// parseCursor reads what cursorOf made of n numbers; all are zero for "".
func parseCursor(cursor string, n int) (numbers []int64, id uuid.UUID, err error) {
	numbers = make([]int64, n)
	if cursor == "" {
		return numbers, uuid.Nil, nil
	}
	parts := strings.Split(cursor, ".")
	if len(parts) != n+1 || len(parts[n]) != 36 {
		return numbers, uuid.Nil, errCursor()
	}
	for i := range n {
		if numbers[i], err = strconv.ParseInt(parts[i], 10, 64); err != nil {
			return numbers, uuid.Nil, errCursor()
		}
	}
	// What is no time of ours would be none of the database's.
	if id, err = uuid.Parse(parts[n]); err != nil || id == uuid.Nil || numbers[0] > maxMicros || numbers[0] < -maxMicros {
		return numbers, uuid.Nil, errCursor()
	}
	return numbers, id, nil
}

// maxMicros is the year 6430 and, negated, -2490.
const maxMicros = 1 << 57

// encodeCursor is how a key is shown.
func encodeCursor(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }
