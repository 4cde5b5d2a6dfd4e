package docker_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/compose"
)

// another makes a decoy program nobody else has and switches the runtime to it. It returns the name of its image.
func (b *bundle) another(t *testing.T) string {
	t.Helper()
	program, err := os.ReadFile(fakeDecoy)
	require.NoError(t, err)
	b.opts.DecoyBinary = filepath.Join(t.TempDir(), "decoy")
	require.NoError(t, os.WriteFile(b.opts.DecoyBinary, append(program, uuid.NewString()...), 0o755))
	b.reopen(t)
	return b.imageName(t)
}

func (b *bundle) images(t *testing.T) []string {
	t.Helper()
	list, err := b.engine.ImageList(t.Context(), client.ImageListOptions{})
	require.NoError(t, err)
	var names []string
	for _, i := range list.Items {
		names = append(names, i.RepoTags...)
	}
	return names
}

// Not parallel: it removes what other tests are about to use.
func TestImages_OldOnesGoUnlessAContainerNeedsThem(t *testing.T) { //nolint:paralleltest // prunes everybody's images
	b := setup(t)
	foreign := b.foreignImage(t)
	unused := b.another(t)
	used := b.another(t)
	d := b.converged(t, "web", service("ssh", 22, "ok"))
	b.kill(t, d, "ssh") // a container that ended needs its image too: its log is still in it
	b.kill(t, d, "")
	now := b.another(t)
	require.Subset(t, b.images(t), []string{unused, used, now}, "young images stay: somebody may be about to use them")

	require.NoError(t, b.PruneImages(t.Context()))
	left := b.images(t)
	require.NotContains(t, left, unused)
	require.Subset(t, left, []string{used, now, foreign})
	b.converge(t, d)
	require.NoError(t, b.PruneImages(t.Context()))
	require.NotContains(t, b.images(t), used, "after the last container it goes")
}

// foreignImage is an image without our label, though its name could be ours.
func (b *bundle) foreignImage(t *testing.T) string {
	t.Helper()
	made, err := b.engine.ContainerCreate(t.Context(), client.ContainerCreateOptions{Image: b.imageName(t)})
	require.NoError(t, err)
	name := "decnet-decoy:foreign-" + b.opts.Installation.String()[:8]
	_, err = b.engine.ContainerCommit(t.Context(), made.ID, client.ContainerCommitOptions{
		Reference: name, Changes: []string{"LABEL " + compose.LabelRole + "=other"},
	})
	require.NoError(t, err)
	_, err = b.engine.ContainerRemove(t.Context(), made.ID, client.ContainerRemoveOptions{})
	require.NoError(t, err)
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() { _, _ = b.engine.ImageRemove(ctx, name, client.ImageRemoveOptions{Force: true}) })
	return name
}

func TestImages_OneThatIsMissingIsBuiltAgain(t *testing.T) { //nolint:paralleltest // prunes everybody's images
	b := setup(t)
	name := b.another(t)
	_, err := b.engine.ImageRemove(t.Context(), name, client.ImageRemoveOptions{Force: true})
	require.NoError(t, err)
	d := b.converged(t, "web", service("ssh", 22, "ok")) // without another Prepare
	require.Equal(t, name, b.inspect(t, d, "ssh").Config.Image)

	inUse := b.inspect(t, d, "ssh").Image
	_, err = b.engine.ImageRemove(t.Context(), name, client.ImageRemoveOptions{})
	require.Error(t, err, "the engine keeps what is used")
	require.NoError(t, b.PruneImages(t.Context()))
	_, err = b.engine.ImageInspect(t.Context(), inUse)
	require.NoError(t, err)
}
