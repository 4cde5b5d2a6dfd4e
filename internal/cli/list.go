package cli

import (
	"context"
	"net/url"

	"github.com/decnet/decnet/internal/service"
)

// listPage is what every list has besides its items.
type listPage struct {
	NextCursor *string `json:"next_cursor"`
}

// list prints one page, or all of them. In a table the way to the next page is told on Stderr.
func (s *session) list(ctx context.Context, path string, q url.Values, p page, table func(reply) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.flags.timeout)
	defer cancel()
	for {
		query, err := p.query(q)
		if err != nil {
			return err
		}
		r, err := s.client.get(ctx, path+query)
		if err != nil {
			return s.refused(late(ctx, err))
		}
		if err := s.print(r, table); err != nil {
			return err
		}
		next := nextCursor(r)
		if next == "" || next == p.cursor {
			return nil
		}
		if !p.all {
			if s.format() == outputTable {
				s.note("more: --cursor %s", Clean(next))
			}
			return nil
		}
		p.cursor = next
	}
}

func nextCursor(r reply) string {
	var l listPage
	if r.decode(&l) != nil || l.NextCursor == nil {
		return ""
	}
	return *l.NextCursor
}

// offeredServices returns the slugs that can be put on a decky by this version.
func offeredServices() []string {
	var names []string
	for _, d := range service.All() {
		if !d.Singleton {
			names = append(names, d.Name)
		}
	}
	return names
}
