package runtime_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/runtime"
)

func TestServiceFileName_IsUndoneByServiceFromFileName(t *testing.T) {
	t.Parallel()
	for slug, file := range map[string]string{"ssh": "ssh", "docker_api": "docker-api", "a_b_c": "a-b-c"} {
		require.Equal(t, file, runtime.ServiceFileName(slug))
		require.Equal(t, slug, runtime.ServiceFromFileName(file))
	}
}

func TestSpoolName_BothMailServicesShareOne(t *testing.T) {
	t.Parallel()
	require.Equal(t, "smtp", runtime.SpoolName("smtp"))
	require.Equal(t, "smtp", runtime.SpoolName("smtp_relay"))
	require.Equal(t, "docker-api", runtime.SpoolName("docker_api"))
}
