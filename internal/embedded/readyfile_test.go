package embedded_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/fault"
)

func readyFile() embedded.ReadyFile {
	return embedded.ReadyFile{
		APIURL: "http://127.0.0.1:8080/api/v1", TemporalAddress: "127.0.0.1:7233", TemporalUIURL: "http://127.0.0.1:8233",
		TemporalNamespace: "decnet", NATSURL: "nats://token@127.0.0.1:4222", DatabaseURL: "postgres:///decnet",
		Runtime: "process", AdminUser: "admin", AdminPasswordFile: "/data/admin-password", DataDir: "/data", PID: os.Getpid(),
	}
}

func TestReadyFile_RoundTripIsPrivateAndRemovable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ready.json")
	require.NoError(t, readyFile().Write(path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	r, err := embedded.ReadReadyFile(path)
	require.NoError(t, err)
	require.Equal(t, readyFile(), r)
	require.NoError(t, embedded.RemoveReadyFile(path))
	require.NoFileExists(t, path)
	require.NoError(t, embedded.RemoveReadyFile(path))
}

func TestReadyFile_OfAnotherProcessIsNotRemoved(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ready.json")
	r := readyFile()
	r.PID = 1
	require.NoError(t, r.Write(path))
	require.NoError(t, embedded.RemoveReadyFile(path))
	require.FileExists(t, path)
	_, err := embedded.ReadReadyFile(path)
	require.NoError(t, err)
}

func TestReadyFile_StaleMissingAndDamagedAreTold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ready.json")
	_, err := embedded.ReadReadyFile(path)
	requireFault(t, err, fault.Unavailable, "not_running")

	over := exec.Command("true")
	require.NoError(t, over.Run())
	r := readyFile()
	r.PID = over.Process.Pid
	require.NoError(t, r.Write(path))
	_, err = embedded.ReadReadyFile(path)
	requireFault(t, err, fault.Unavailable, "ready_file_stale")

	for _, text := range []string{"", "{", "[]", "{}", `{"pid": 1}`} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err = embedded.ReadReadyFile(path)
		requireFault(t, err, fault.Invalid, "ready_file_damaged")
	}
	r.APIURL = ""
	require.Error(t, r.Write(path))
}
