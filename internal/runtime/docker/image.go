package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/client"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/fault"
)

// imageName is the repository of images; the tag is a hash of the program.
const imageName = "decnet-decoy"

// imageGrace is how old an image must be that is pruned: another installation may have built it a moment ago for a
// container it is about to make.
const imageGrace = time.Hour

const dockerfile = "FROM scratch\nCOPY decoy /decoy\nENTRYPOINT [\"/decoy\"]\n"

// fingerprint tells whether the program changed on disk without reading it.
type fingerprint struct {
	size     int64
	modified time.Time
}

// ensureImage builds the image of the decoy program from a context in memory, with the engine's classic builder: FROM
// scratch needs no registry. The engine's cache of images is not trusted: an image somebody removed is built again.
func (r *Runtime) ensureImage(ctx context.Context) error {
	info, err := os.Stat(r.opts.DecoyBinary)
	if err != nil || !info.Mode().IsRegular() {
		return fault.New(fault.Unavailable, "decoy_binary_missing", "the decoy program is missing").Wrap(err)
	}
	now := fingerprint{info.Size(), info.ModTime()}
	if r.image != "" && r.built == now {
		found, err := r.hasImage(ctx, r.image)
		if found || err != nil {
			return err
		}
	}
	program, err := os.ReadFile(r.opts.DecoyBinary)
	if err != nil {
		return fault.New(fault.Unavailable, "decoy_binary_missing", "the decoy program cannot be read").Wrap(err)
	}
	image := imageOf(program)
	found, err := r.hasImage(ctx, image)
	if err != nil {
		return err
	}
	if !found {
		if err := r.buildImage(ctx, image, program); err != nil {
			return err
		}
		r.log.InfoContext(ctx, "image built", "image", image)
	}
	r.image, r.built = image, now
	r.scopes.setImage(image)
	if err := r.pruneImages(ctx, imageGrace); err != nil {
		r.log.WarnContext(ctx, "old images were not removed", "err", err)
	}
	return nil
}

// restoreImage builds an image again that somebody removed after Prepare. When the program changed meanwhile, what was
// to be started with the old one must be planned anew: that is Unavailable.
func (r *Runtime) restoreImage(ctx context.Context, image string) error {
	r.prepare.Lock()
	defer r.prepare.Unlock()
	if err := r.ensureImage(ctx); err != nil {
		return err
	}
	if r.image != image {
		return fault.New(fault.Unavailable, "decoy_binary_changed", "the decoy program was replaced just now")
	}
	return nil
}

// pruneImages removes images of former decoy programs, of all installations on this engine, which no container uses; the
// engine refuses to remove one that is used, if only by a container that ended.
func (r *Runtime) pruneImages(ctx context.Context, grace time.Duration) error {
	list, err := r.engine.ImageList(ctx, client.ImageListOptions{
		Filters: client.Filters{}.Add("label", compose.LabelRole+"="+compose.RoleImage),
	})
	if err != nil {
		return engineError(ctx, "list images", err)
	}
	for _, i := range list.Items {
		if slices.Contains(i.RepoTags, r.image) || time.Since(time.Unix(i.Created, 0)) < grace {
			continue
		}
		_, err := r.engine.ImageRemove(ctx, i.ID, client.ImageRemoveOptions{PruneChildren: true})
		switch {
		case err == nil:
			r.log.InfoContext(ctx, "old image removed", "image", i.ID)
		case !errdefs.IsConflict(err) && !errdefs.IsNotFound(err):
			return engineError(ctx, "remove image", err)
		}
	}
	return nil
}

// ImageOf returns the name of the image of a decoy program.
func ImageOf(path string) (string, error) {
	program, err := os.ReadFile(path)
	if err != nil {
		return "", fault.New(fault.Unavailable, "decoy_binary_missing", "the decoy program cannot be read").Wrap(err)
	}
	return imageOf(program), nil
}

func imageOf(program []byte) string {
	sum := sha256.Sum256(program)
	return imageName + ":" + hex.EncodeToString(sum[:8])
}

func (r *Runtime) hasImage(ctx context.Context, image string) (bool, error) {
	_, err := r.engine.ImageInspect(ctx, image)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, engineError(ctx, "look for image", err)
}

func (r *Runtime) buildImage(ctx context.Context, image string, program []byte) error {
	archive, err := buildContext(program)
	if err != nil {
		return err
	}
	out, err := r.engine.ImageBuild(ctx, archive, client.ImageBuildOptions{
		Tags: []string{image}, Version: build.BuilderV1, Remove: true, ForceRemove: true, NoCache: true, NetworkMode: "none",
		Labels: map[string]string{compose.LabelRole: compose.RoleImage},
	})
	if err != nil {
		return engineError(ctx, "build image", err)
	}
	defer out.Body.Close()
	if err := buildOutcome(out.Body); err != nil {
		return fault.New(fault.Unavailable, "image_build_failed", "the Docker engine could not build the decoy image").Wrap(err)
	}
	return nil
}

// buildContext packs the program and its Dockerfile. Times are fixed: the same program gives the same bytes.
func buildContext(program []byte) (io.Reader, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name    string
		mode    int64
		content []byte
	}{{"Dockerfile", 0o444, []byte(dockerfile)}, {"decoy", 0o555, program}} {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Format: tar.FormatPAX}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("pack build context: %w", err)
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, fmt.Errorf("pack build context: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack build context: %w", err)
	}
	return &b, nil
}

// buildOutcome reads the engine's messages to their end; a failed build is told there, not by the status of the call.
func buildOutcome(messages io.Reader) error {
	d := json.NewDecoder(messages)
	for {
		var m struct {
			Error string `json:"error"`
		}
		err := d.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read build messages: %w", err)
		case m.Error != "":
			return errors.New(m.Error)
		}
	}
}
