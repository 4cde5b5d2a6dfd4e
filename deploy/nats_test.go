package deploy_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

func TestNATSConfig_DemandsTheTokenAndStoresOnDisk(t *testing.T) {
	t.Setenv("DECNET_NATS_TOKEN", "secret")
	o, err := server.ProcessConfigFile("nats.conf")
	require.NoError(t, err)
	require.Equal(t, "secret", o.Authorization)
	require.True(t, o.JetStream)
	require.Equal(t, "/data", o.StoreDir)
	require.Equal(t, time.Second, o.SyncInterval)
	require.Equal(t, "127.0.0.1", o.HTTPHost)
}
