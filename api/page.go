package api

import (
	"encoding/base64"
	"time"

	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/fault"
)

// Page is a part of a list. The next part begins at next_cursor, null at the end.
type Page[T any] struct {
	Items      []T     `json:"items" nullable:"false"`
	NextCursor *string `json:"next_cursor"`
}

// PageInput says which part of a list is wanted.
type PageInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"How many at most"`
	Cursor string `query:"cursor" maxLength:"256" doc:"The next_cursor of the part before"`
}

// newPage cuts the one row off that was read to see whether there is more.
func newPage[T any](items []T, limit int, key func(T) string) Page[T] {
	if len(items) <= limit {
		return Page[T]{Items: items}
	}
	items = items[:limit]
	next := encodeCursor(key(items[limit-1]))
	return Page[T]{Items: items, NextCursor: &next}
}

func errCursor() error {
	return fault.New(fault.Unprocessable, "cursor_invalid", "the cursor is not one of ours").
		With(fault.Field{Location: "query.cursor", Message: "must be the next_cursor of an earlier answer"})
}

func (in PageInput) key() (string, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(in.Cursor)
	if err != nil {
		return "", errCursor()
	}
	return string(b), nil
}

// listByName makes a page of a list whose cursor is a name.
func listByName[R, T any](
	in *PageInput, convert func(R) T, name func(T) string, list func(after string, limit int) ([]R, error),
) (*output[Page[T]], error) {
	after, err := in.key()
	if err == nil && after != "" && !auth.ValidName(after) {
		err = errCursor()
	}
	if err != nil {
		return nil, err
	}
	rows, err := list(after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	items := make([]T, len(rows))
	for i, r := range rows {
		items[i] = convert(r)
	}
	return &output[Page[T]]{Body: newPage(items, in.Limit, name)}, nil
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// optional returns nil for "", which stands for "none" inside and is null outside.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
