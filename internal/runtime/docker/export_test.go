package docker

import "context"

// PruneImages removes old images whatever their age.
func (r *Runtime) PruneImages(ctx context.Context) error {
	r.prepare.Lock()
	defer r.prepare.Unlock()
	return r.pruneImages(ctx, 0)
}
