package service_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/internal/service"
)

// TestMySQLVersion_IsReadAlike: what the registry accepts, the decoy accepts, and nothing else.
func TestMySQLVersion_IsReadAlike(t *testing.T) {
	t.Parallel()
	d, ok := service.Lookup("mysql")
	require.True(t, ok)
	for version, good := range map[string]bool{
		"8.0.36": true, "5.7.44-log": true, "8.0.36-0ubuntu0.22.04.1": true, "10.11.6-MariaDB-0+deb12u1": true, "5.5.5-10.11.6-MariaDB": true,
		"8.0": false, "8": false, "hunter2": false, "8.0.36-": false, "8.0.36 x": false, "8.0.36\n": false, "100.0.0": false, "8.0.36-a\x00b": false, "8.0.36-" + strings.Repeat("a", 60): false,
	} {
		_, err := d.Validate("config", map[string]any{"version": version})
		require.Equal(t, good, err == nil, "%q", version)
		raw, err := json.Marshal(map[string]string{"version": version})
		require.NoError(t, err)
		_, err = config.Config{ServiceConfig: raw}.DecodeMySQL()
		require.Equal(t, good, err == nil, "%q", version)
	}
	_, err := config.Config{ServiceConfig: []byte(`{"version":"8.0.36"}`)}.DecodePostgres()
	require.Error(t, err)
}
