package ingester_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/runtime"
)

func TestRun_ReadsWhatIsAppendedAndGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	log := b.path("log")
	b.outputs.set(d.output(log))
	b.write(log, d.commands(3)+"<134>1 half a li")
	stop := b.run()
	b.settles(map[string]int64{"stored": 3})
	b.write(log, "ne\n"+d.commands(2))
	b.settles(map[string]int64{"stored": 5, "malformed": 1})
	stop()
	b.write(log, d.commands(4))
	b.run()
	b.settles(map[string]int64{"stored": 9, "malformed": 1})
	b.once(9)
	require.Equal(t, int64(1), scan[int64](b, "SELECT count(*) FROM attackers WHERE ip = '192.0.2.17' AND event_count = 9"))
}

func TestRun_MissingAndRepeatedLines(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	log := b.path("log")
	b.outputs.set(d.output(log))
	first := d.commands(3)
	lost := d.commands(4)
	require.NotEmpty(t, lost)
	b.write(log, first+first+d.commands(2))
	b.run()
	b.settles(map[string]int64{"stored": 5, "repeated": 3, "missing": 4})
	require.Equal(t, []string{d.boot, "4", "7", "4"}, []string{
		scan[string](b, "SELECT fields->>'boot' FROM events WHERE type = 'log_gap'"),
		scan[string](b, "SELECT fields->>'from' FROM events WHERE type = 'log_gap'"),
		scan[string](b, "SELECT fields->>'to' FROM events WHERE type = 'log_gap'"),
		scan[string](b, "SELECT fields->>'missing' FROM events WHERE type = 'log_gap'"),
	})
	require.Equal(t, "web-01/ssh/noise", scan[string](b, "SELECT decky_key || '/' || service || '/' || class FROM events WHERE type = 'log_gap'"))
	require.Equal(t, int64(6), b.events())
}

func TestRun_EveryLineHasOneOutcome(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	log := b.path("log")
	b.outputs.set(d.output(log))
	connect := func() string { return d.line("connect", ` src_ip="192.0.2.17" src_port="51514"`) }
	native := strings.Replace(d.line("command", ` src_ip="192.0.2.17"`), " ssh - ", " cron - ", 1)
	b.write(log, native+connect()+connect()+"nonsense\n\n"+strings.Repeat("x", 20<<10)+"\n"+d.line("command", ` text="`+strings.Repeat("y", 20<<10)+`"`)+d.commands(1))
	b.run()
	b.settles(map[string]int64{"stored": 3 - 1, "dropped_app": 1, "dropped_rate": 1, "malformed": 2, "too_long": 2, "missing": 1})
}

func TestRun_FollowsALogToTheKeptOnesAndAFreshOneAfterIt(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	log, kept := b.path("log"), b.path("kept.log")
	b.outputs.set(d.output(log))
	b.write(log, d.commands(3))
	b.run()
	b.settles(map[string]int64{"stored": 3})
	b.write(log, d.commands(2))
	require.NoError(t, os.Rename(log, kept))
	ended := d.output(kept)
	ended.Ended = true
	d.reboot()
	b.write(log, d.commands(4))
	b.outputs.set(ended, d.output(log))
	b.settles(map[string]int64{"stored": 9})
	b.once(9)
}

func TestRun_CopyOfAContainersLogIsReadWhereTheContainersEnded(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	live, kept := b.path("live"), b.path("kept")
	first, second := d.commands(50), d.commands(50)
	out := d.output(live)
	out.Format = runtime.OutputJSONFile
	b.outputs.set(out)
	b.write(live, strings.Join(engineForm(first, 100), ""))
	stop := b.run()
	b.settles(map[string]int64{"stored": 50})
	stop()
	require.NoError(t, os.Remove(live))
	b.write(kept, first+second)
	ended := d.output(kept)
	ended.Ended = true
	b.outputs.set(ended)
	b.run()
	b.settles(map[string]int64{"stored": 100, "repeated": 50})
	b.once(100)
}

// TestRun_RotatedFiles rotates as the engine does, in the middle of lines, while the ingester is started again and again.
func TestRun_RotatedFiles(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	log := b.path("json.log")
	list := func() {
		out := d.output()
		out.Format = runtime.OutputJSONFile
		for n := 4; n > 0; n-- {
			if path := fmt.Sprintf("%s.%d", log, n); exists(path) {
				out.Files = append(out.Files, path)
			}
		}
		out.Files = append(out.Files, log)
		b.outputs.set(out)
	}
	objects := engineForm(d.commands(300), 70)
	stop := b.run()
	for i, o := range objects {
		if i%100 == 50 {
			for n := 3; n > 0; n-- {
				_ = os.Rename(fmt.Sprintf("%s.%d", log, n), fmt.Sprintf("%s.%d", log, n+1))
			}
			require.NoError(t, os.Rename(log, log+".1"))
		}
		b.write(log, o)
		list()
		switch {
		case i%100 == 49, i%100 == 95:
			time.Sleep(1500 * time.Millisecond)
		case i%100 == 60:
			stop()
			stop = b.run()
		}
	}
	b.settles(map[string]int64{"stored": 300})
	b.once(300)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestRun_ShortenedLogIsReadAgain(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	log := b.path("log")
	b.outputs.set(d.output(log))
	first := d.commands(5)
	b.write(log, first)
	stop := b.run()
	b.settles(map[string]int64{"stored": 5})
	require.NoError(t, os.Truncate(log, 0))
	b.write(log, d.commands(2))
	b.settles(map[string]int64{"stored": 7})
	stop()
	// Same first line, other end: the stored position is inside a line.
	require.NoError(t, os.Remove(log))
	one, _, _ := strings.Cut(first, "\n")
	b.write(log, one+"\n"+strings.Repeat("z", len(first))+"\n"+d.commands(3))
	b.run()
	b.settles(map[string]int64{"stored": 10, "repeated": 1, "malformed": 1})
	b.once(10)
}

func TestRun_WhatIsNoFileHurtsNobody(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	secret, log := b.path("secret"), b.path("log")
	b.write(secret, d.commands(7))
	require.NoError(t, os.Symlink(secret, b.path("link")))
	require.NoError(t, unix.Mkfifo(b.path("fifo"), 0o600))
	other := newDecoy("web-02")
	b.write(log, other.commands(2))
	for _, name := range []string{"link", "fifo", ".", "missing"} {
		d.reboot()
		b.outputs.set(d.output(b.path(name)), other.output(log))
		stop := b.run()
		b.eventually(func() bool { return b.events() == 2 }, "the other decoy is read")
		time.Sleep(100 * time.Millisecond)
		stop()
	}
	b.once(2)
}

func TestRun_RefusedListingKeepsReading(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	log := b.path("log")
	b.outputs.set(d.output(log))
	b.write(log, d.commands(1))
	b.run()
	b.settles(map[string]int64{"stored": 1})
	b.outputs.mu.Lock()
	b.outputs.err = os.ErrPermission
	b.outputs.mu.Unlock()
	time.Sleep(1100 * time.Millisecond)
	b.write(log, d.commands(1))
	b.settles(map[string]int64{"stored": 2})
	require.Equal(t, 1, strings.Count(b.log.String(), "could not be listed"))
}

func TestRun_GivesBackWhatIsStored(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	log := b.path("log")
	out := d.output(log)
	out.Spare = 5 << 20
	b.outputs.set(out)
	text := d.commands(60_000)
	require.Greater(t, len(text), 8<<20)
	b.write(log, text)
	blocks := func() int64 {
		var st unix.Stat_t
		require.NoError(t, unix.Stat(log, &st))
		return st.Blocks * 512
	}
	before := blocks()
	stop := b.run()
	b.eventually(func() bool { return b.events() == 60_000 }, "all is stored")
	b.eventually(func() bool { return blocks() < before-(3<<20) }, "what the runtime does not need is given back")
	require.Greater(t, blocks(), before-(6<<20), "what the runtime needs is not")
	kept, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Len(t, kept, len(text))
	require.Equal(t, text[:64<<10], string(kept[:64<<10]))
	require.Equal(t, text[5<<20:], string(kept[5<<20:]))
	stop()
	b.write(log, d.commands(5))
	b.run()
	b.settles(map[string]int64{"stored": 60_005})
	b.once(60_005)
}
