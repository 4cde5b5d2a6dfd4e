package session_test

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/artifact"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/recording"
	"github.com/decnet/decnet/decoys/session"
	"github.com/decnet/decnet/decoys/shell"
)

func open(t *testing.T, free uint64) (*session.Session, *bytes.Buffer) {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = root.Close() })
	require.NoError(t, recording.Prepare(root))
	left := func() (uint64, error) { return free, nil }
	log := &bytes.Buffer{}
	return session.New(session.Options{
		Log: eventlog.New(log, "n", "telnet", "b", 1, nil), Service: "telnet", Machine: shell.NewMachine(persona.New(persona.Options{Identity: identity.New("n", "i"), Distro: "debian"})),
		Records: recording.NewStore(root, left), Artifacts: artifact.NewStore(root, left, nil),
	}, session.Client{Src: "192.0.2.7", Port: "5", User: "root"}), log
}

func TestSession_EndsOnceWhateverHappened(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		free     uint64
		recorded bool
		want     []string
	}{
		{1 << 40, true, []string{"session_opened", "parse_error", "session_recorded", "session_closed", `has_recording="true"`}},
		{1, true, []string{"session_opened", `session_skipped [relay@55555 boot="b" n="2"`, `reason="disk_pressure"`, "file_skipped", `has_recording="false"`}},
		{1 << 40, false, []string{"session_opened", "session_closed", `has_recording="false"`}},
	} {
		s, log := open(t, c.free)
		s.Begin(session.Program{Kind: "exec", Command: "id", Recorded: c.recorded})
		out := &bytes.Buffer{}
		sh := s.Shell(shell.Options{Out: s.Output(out), Err: s.Output(out), In: s.Input(strings.NewReader("in"))})
		require.Equal(t, 255, s.Guard("exec", func() int {
			require.Zero(t, sh.Exec(t.Context(), "id -un; echo x > /tmp/x; curl -s http://h.example/"+strings.Repeat("u", 5000)+" | true"))
			panic("hostile")
		}))
		require.Equal(t, "root\n", out.String())
		s.Finish(sh.Close())
		for _, w := range c.want {
			require.Contains(t, log.String(), w)
		}
		require.Equal(t, 1, strings.Count(log.String(), " session_closed "))
		require.Contains(t, log.String(), `src_ip="192.0.2.7"`)
		require.NotContains(t, log.String(), strings.Repeat("u", 4500))
	}
}

func TestResize_TakesNonsenseForNothing(t *testing.T) {
	t.Parallel()
	s, _ := open(t, 1<<40)
	s.Resize(0, 1<<31)
	s.Begin(session.Program{Kind: "shell", Recorded: true})
	tty := s.Terminal(io.Discard)
	cols, rows := tty.Size()
	require.Equal(t, [2]int{80, 24}, [2]int{cols, rows})
	s.Resize(132, 50)
	cols, rows = tty.Size()
	require.Equal(t, [2]int{132, 50}, [2]int{cols, rows})
	s.Finish(0)
}

func TestPasswordAttempt_CutsAndOmits(t *testing.T) {
	t.Parallel()
	log := &bytes.Buffer{}
	l := eventlog.New(log, "n", "telnet", "b", 1, nil)
	session.PasswordAttempt(l, session.Client{Src: "192.0.2.7", User: strings.Repeat("u", 999)}, "password", []byte("a\x00b"), false)
	session.PasswordAttempt(l, session.Client{}, "password", bytes.Repeat([]byte{0xff}, 5000), true)
	session.PasswordAttempt(l, session.Client{}, "password", nil, false)
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	require.Contains(t, lines[0], ` auth-helper - auth_attempt `)
	require.Contains(t, lines[0], `username="`+strings.Repeat("u", 255)+`"`)
	require.Contains(t, lines[0], `secret_printable="a" secret_b64="YQ==" outcome="failure"`)
	require.Contains(t, lines[1], `secret_printable="`+strings.Repeat("?", 1024)+`"`)
	require.NotContains(t, lines[2], "secret")
}
