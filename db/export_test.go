package db

import (
	"context"
	"time"
)

// ViewWithin is View with another limit for a statement.
func (s *Store) ViewWithin(ctx context.Context, limit time.Duration, fn func(*View) error) error {
	return s.view(ctx, limit, fn)
}
