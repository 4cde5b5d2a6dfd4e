package boot

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/uuid"
)

// Locks is a mutex per decky whose waiters give up with their context. Its memory grows with the number of deckies ever
// seen by this process, some ten bytes each. The zero value is ready.
type Locks struct{ m sync.Map }

// Lock waits for the decky; unlock is nil with an error.
func (k *Locks) Lock(ctx context.Context, id uuid.UUID) (unlock func(), err error) {
	v, _ := k.m.LoadOrStore(id, make(chan struct{}, 1))
	ch := v.(chan struct{})
	select {
	case ch <- struct{}{}:
		return func() { <-ch }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for decky %s: %w", id, context.Cause(ctx))
	}
}
