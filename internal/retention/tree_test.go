package retention_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/retention"
)

const (
	stored = "2026-01-02T03:04:05Z_0123456789ab_mail.eml"
	bootID = "0190b6c1-0000-7000-8000-000000000001"
)

// bundle is a tree in a temporary directory, next to a file that is not below it.
type bundle struct {
	t       *testing.T
	tree    retention.Tree
	outside string
}

func setup(t *testing.T) *bundle {
	t.Helper()
	dir := t.TempDir()
	b := &bundle{t: t, tree: retention.Tree{Artifacts: filepath.Join(dir, "artifacts"), Kept: filepath.Join(dir, "kept")}}
	b.outside = filepath.Join(dir, "outside")
	b.write(b.outside, 10)
	return b
}

func (b *bundle) write(path string, bytes int) string {
	b.t.Helper()
	require.NoError(b.t, os.MkdirAll(filepath.Dir(path), 0o750))
	require.NoError(b.t, os.WriteFile(path, []byte(strings.Repeat("x", bytes)), 0o640))
	return path
}

func (b *bundle) artifact(parts ...string) string {
	b.t.Helper()
	return b.write(filepath.Join(append([]string{b.tree.Artifacts}, parts...)...), 5000)
}

func (b *bundle) walk() (files []retention.File, found retention.Found) {
	b.t.Helper()
	found, err := b.tree.Walk(b.t.Context(), time.Now(), func(f retention.File) { files = append(files, f) })
	require.NoError(b.t, err)
	slices.SortFunc(files, func(x, y retention.File) int {
		return strings.Compare(x.Owner+x.Service+x.Name, y.Owner+y.Service+y.Name)
	})
	return files, found
}

func TestWalk_FindsOurFiles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.artifact("web-01", "smtp", stored)
	b.artifact("web-01", "ssh", stored)
	b.artifact("web-01", "ssh", "transcripts", "sessions-2026-01-02.jsonl")
	b.artifact("web-01", "docker-api", stored)
	b.write(filepath.Join(b.tree.Kept, bootID, "web-01", "docker-api", bootID+".log"), 100)
	files, found := b.walk()
	require.Zero(t, found.Foreign)
	require.Len(t, files, 5)
	var kinds []retention.Kind
	for _, f := range files {
		kinds = append(kinds, f.Kind)
		require.Positive(t, f.Bytes)
		require.WithinDuration(t, time.Now(), f.At, time.Minute)
	}
	require.ElementsMatch(t, []retention.Kind{retention.Artifact, retention.Artifact, retention.Recording, retention.Artifact, retention.Log}, kinds)
	for _, f := range files {
		outcome, err := b.tree.Remove(f)
		require.NoError(t, err)
		require.Equal(t, retention.Removed, outcome, "%+v", f)
		outcome, err = b.tree.Remove(f)
		require.NoError(t, err)
		require.Equal(t, retention.Missing, outcome, "twice")
	}
	files, _ = b.walk()
	require.Empty(t, files)
}

func TestWalk_NoTreeIsEmpty(t *testing.T) {
	t.Parallel()
	b := setup(t)
	files, found := b.walk()
	require.Empty(t, files)
	require.Equal(t, retention.Found{}, found)
}

func TestDay(t *testing.T) {
	t.Parallel()
	day, ok := retention.File{Kind: retention.Recording, Name: "sessions-2026-02-28.jsonl"}.Day()
	require.True(t, ok)
	require.Equal(t, "2026-02-28T00:00:00Z", day.Format(time.RFC3339))
	_, ok = retention.File{Kind: retention.Recording, Name: "sessions-2026-02-30.jsonl"}.Day()
	require.False(t, ok, "a day that does not exist")
}

// What a decoy can put into its folders besides files of ours is left alone, wherever it points.
func TestWalk_LeavesForeignThingsAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	spool := filepath.Join(b.tree.Artifacts, "web-01", "ssh")
	other := b.artifact("web-02", "ssh", "transcripts", "sessions-2026-01-02.jsonl")
	require.NoError(t, os.MkdirAll(filepath.Join(spool, "transcripts"), 0o750))
	hostile := map[string]func(path string) error{
		"2026-01-02T03:04:05Z_0123456789ab_link":   func(p string) error { return os.Symlink(b.outside, p) },
		"2026-01-02T03:04:05Z_0123456789ab_fifo":   func(p string) error { return syscall.Mkfifo(p, 0o640) },
		"2026-01-02T03:04:05Z_0123456789ab_dir":    func(p string) error { return os.Mkdir(p, 0o750) },
		"2026-01-02T03:04:05Z_0123456789ab_hard":   func(p string) error { return os.Link(b.outside, p) },
		"2026-01-02T03:04:05Z_0123456789ab_line\n": func(p string) error { return os.WriteFile(p, nil, 0o640) },
		"2026-01-02T03:04:05Z_0123456789ab_sp ace": func(p string) error { return os.WriteFile(p, nil, 0o640) },
		"2026-01-02T03:04:05Z_0123456789AB_upper":  func(p string) error { return os.WriteFile(p, nil, 0o640) },
		"log": func(p string) error { return os.Symlink("../../web-02/ssh/transcripts", p) },
		"transcripts/sessions-2026-01-02.jsonl\n":       func(p string) error { return os.WriteFile(p, nil, 0o640) },
		"transcripts/sessions-2026-02-30.jsonl":         func(p string) error { return os.WriteFile(p, nil, 0o640) },
		"transcripts/sessions-2026-01-03.jsonl":         func(p string) error { return os.Symlink(other, p) },
		"transcripts/sessions-2026-01-04.jsonl":         func(p string) error { return os.Mkdir(p, 0o750) },
		"transcripts/" + stored:                         func(p string) error { return os.WriteFile(p, nil, 0o640) },
		"\xff\xfe":                                      func(p string) error { return os.WriteFile(p, nil, 0o640) },
		"2026-01-02T03:04:05Z_0123456789ab_\u202egpj.x": func(p string) error { return os.WriteFile(p, nil, 0o640) },
	}
	for name, make := range hostile {
		require.NoError(t, make(filepath.Join(spool, name)), name)
	}
	// Folders of owners and services that are links, or have no names of ours.
	require.NoError(t, os.Symlink("web-02", filepath.Join(b.tree.Artifacts, "web-03")))
	require.NoError(t, os.Symlink("ssh", filepath.Join(b.tree.Artifacts, "web-02", "telnet")))
	b.artifact("Web-04", "ssh", stored)
	b.artifact("web-05", "..ssh", stored)
	b.artifact("web-06\n", "ssh", stored)
	// A link in place of transcripts to those of another decky.
	require.NoError(t, os.MkdirAll(filepath.Join(b.tree.Artifacts, "web-07", "ssh"), 0o750))
	require.NoError(t, os.Symlink("../../web-02/ssh/transcripts", filepath.Join(b.tree.Artifacts, "web-07", "ssh", "transcripts")))

	for _, name := range []string{bootID + ".log.part", "x.log", bootID + ".log\n"} {
		b.write(filepath.Join(b.tree.Kept, bootID, "web-01", "ssh", name), 10)
	}
	b.write(filepath.Join(b.tree.Kept, "web-01", "ssh", bootID+".log"), 10)

	before := snapshot(t, filepath.Dir(b.tree.Artifacts))
	files, found := b.walk()
	require.Len(t, files, 1, "%+v", files)
	require.Equal(t, "web-02", files[0].Owner)
	require.Equal(t, len(hostile)+6+4, found.Foreign)

	for name := range hostile {
		for _, kind := range retention.Kinds() {
			for _, owner := range []string{"web-01", "web-03", "web-07", "..", "", "web-01/ssh", "web-01\n"} {
				outcome, err := b.tree.Remove(retention.File{Kind: kind, Owner: owner, Service: "ssh", Name: filepath.Base(name)})
				require.NoError(t, err)
				require.NotEqual(t, retention.Removed, outcome, "%s %s", owner, name)
			}
		}
	}
	outcome, err := b.tree.Remove(retention.File{Kind: retention.Recording, Owner: "web-07", Service: "ssh", Name: "sessions-2026-01-02.jsonl"})
	require.NoError(t, err)
	require.Equal(t, retention.Foreign, outcome, "behind a link")
	require.Equal(t, before, snapshot(t, filepath.Dir(b.tree.Artifacts)))
}

func snapshot(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		all = append(all, path+" "+e.Type().String())
		return err
	}))
	return all
}

// A decoy cannot make its files look younger, or larger, than they are.
func TestWalk_BelievesNoClaims(t *testing.T) {
	t.Parallel()
	b := setup(t)
	path := b.artifact("web-01", "ssh", stored)
	require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(1000*time.Hour)))
	require.NoError(t, os.Truncate(path, 1<<40))
	files, _ := b.walk()
	require.WithinDuration(t, time.Now(), files[0].At, time.Minute)
	require.Less(t, files[0].Bytes, int64(1<<20))
}

func TestWalk_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, name := range []string{"a", "b", "c"} {
		b.artifact(name, "ssh", stored)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.tree.Walk(ctx, time.Now(), func(retention.File) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
}

func TestRemoveFolder_OnlyIdleEmptyOnes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.artifact("web-01", "ssh", stored)
	for _, dir := range []string{"web-02/ssh", "web-03/smtp"} {
		require.NoError(t, os.MkdirAll(filepath.Join(b.tree.Artifacts, dir), 0o750))
	}
	age := func(dir string) {
		past := time.Now().Add(-2 * time.Hour)
		require.NoError(t, os.Chtimes(filepath.Join(b.tree.Artifacts, dir), past, past))
	}
	age("web-02/ssh")
	_, found := b.walk()
	require.Len(t, found.Idle, 1)
	require.Equal(t, "web-02", found.Idle[0].Owner)
	require.True(t, b.tree.RemoveFolder(found.Idle[0]))
	require.False(t, b.tree.RemoveFolder(found.Idle[0]), "it is gone")
	require.DirExists(t, filepath.Join(b.tree.Artifacts, "web-03/smtp"), "made a moment ago")

	age("web-02")
	age("web-03/smtp")
	_, found = b.walk()
	require.Len(t, found.Idle, 2)
	b.artifact("web-03", "smtp", stored)
	for _, f := range found.Idle {
		require.Equal(t, f.Owner == "web-02", b.tree.RemoveFolder(f), "one was used in the meantime")
	}
	require.NoDirExists(t, filepath.Join(b.tree.Artifacts, "web-02"))
}

func TestStock_RemembersTheOldest(t *testing.T) {
	t.Parallel()
	s := retention.NewStock(3)
	now := time.Now()
	for _, age := range []int{5, 1, 9, 3, 7, 2} {
		s.Add(retention.File{Name: string(rune('0' + age)), Bytes: int64(age), At: now.Add(-time.Duration(age) * time.Hour)})
	}
	files, all := s.Files()
	require.False(t, all)
	require.Equal(t, []string{"9", "7", "5"}, []string{files[0].Name, files[1].Name, files[2].Name})
	require.EqualValues(t, 27, s.Bytes)
	require.EqualValues(t, 6, s.Count)
	require.Equal(t, files[0].At, s.Oldest)
}

// FuzzRemove has names of any kind: nothing but a file of ours is ever removed, and nothing outside its folder.
func FuzzRemove(f *testing.F) {
	for _, name := range []string{stored, "sessions-2026-01-02.jsonl", bootID + ".log", "..", "a/b", "x\n", ""} {
		f.Add("web-01", "ssh", name)
	}
	f.Add("..", "ssh", stored)
	dir := f.TempDir()
	tree := retention.Tree{Artifacts: filepath.Join(dir, "artifacts")}
	keep := filepath.Join(dir, "artifacts", "web-01", "ssh", "keep")
	if err := os.MkdirAll(keep, 0o750); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, owner, service, name string) {
		for _, kind := range retention.Kinds() {
			outcome, err := tree.Remove(retention.File{Kind: kind, Owner: owner, Service: service, Name: name})
			require.NoError(t, err)
			require.NotEqual(t, retention.Removed, outcome)
		}
		require.DirExists(t, keep)
	})
}
