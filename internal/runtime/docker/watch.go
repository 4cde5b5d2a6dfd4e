package docker

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"github.com/decnet/decnet/internal/compose"
)

const (
	rewatch = time.Second
	// How often, and how far apart, the list is asked for a container that ended.
	listPolls = 100
	listPause = 50 * time.Millisecond
)

// follow reads the engine's events until Close. After the stream broke, something may have ended unseen: that counts as
// an exit.
func (r *Runtime) follow() {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // root of a background loop
	defer cancel()
	r.watch.Go(func() { <-r.closed; cancel() })
	for since := time.Now(); ctx.Err() == nil; since = time.Now() {
		if err := r.followOnce(ctx, since); ctx.Err() == nil {
			r.log.WarnContext(ctx, "events of the Docker engine are not seen", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(rewatch):
			r.exited()
		}
	}
}

func (r *Runtime) followOnce(ctx context.Context, since time.Time) error {
	stream := r.engine.Events(ctx, client.EventsListOptions{
		Since: since.Format(time.RFC3339Nano),
		Filters: client.Filters{}.Add("type", "container").Add("event", "die").
			Add("label", compose.LabelInstallation+"="+r.opts.Installation.String()),
	})
	for {
		select {
		case m := <-stream.Messages:
			r.died(ctx, m)
		case err := <-stream.Err:
			return err
		}
	}
}

// died reports a container that ended by itself.
func (r *Runtime) died(ctx context.Context, m events.Message) {
	if _, ours := r.ending.LoadAndDelete(m.Actor.ID); ours {
		return
	}
	r.log.WarnContext(ctx, "container ended by itself", "container", m.Actor.ID,
		"decky_id", m.Actor.Attributes[compose.LabelDeckyID], "service", m.Actor.Attributes[compose.LabelService],
		"exit", m.Actor.Attributes["exitCode"])
	r.watch.Go(func() {
		r.awaitListed(ctx, m.Actor.ID)
		r.exited()
	})
}

// awaitListed waits until the engine's list of containers shows the end of one: the event comes first, and somebody who
// looks in between would find that all is well.
func (r *Runtime) awaitListed(ctx context.Context, id string) {
	for range listPolls {
		list, err := r.engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("id", id)})
		if err != nil || len(list.Items) == 0 || list.Items[0].State != container.StateRunning {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(listPause):
		}
	}
}

func (r *Runtime) exited() {
	select {
	case r.exits <- struct{}{}:
	default:
	}
}
