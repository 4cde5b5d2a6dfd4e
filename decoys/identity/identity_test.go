package identity_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/identity"
)

func TestIdentity_IsStableAndVaries(t *testing.T) {
	t.Parallel()
	a, again, b := identity.New("web-01", "i"), identity.New("web-01", "i"), identity.New("web-02", "i")
	sum := sha256.Sum256([]byte("web-01:i"))
	require.Equal(t, binary.BigEndian.Uint64(sum[:8]), a.Seed())
	ns := sha256.Sum256([]byte("web-01:mac"))
	require.Equal(t, hex.EncodeToString(ns[:4]), a.Hex(4, "mac"))
	first := sha256.Sum256([]byte("web-01:x:0"))
	require.Equal(t, first[:], a.Bytes(40, "x")[:32])
	require.Equal(t, a.UUID("u"), again.UUID("u"))
	require.NotEqual(t, a.UUID("u"), b.UUID("u"))
	require.Len(t, a.Hex(100, "long"), 200)
	require.Equal(t, a.Rand("r").Uint64(), again.Rand("r").Uint64())
	require.Equal(t, identity.Pick(a, "p", []int{1, 2, 3}), identity.Pick(again, "p", []int{1, 2, 3}))
	now := time.Now()
	up := a.Uptime(now, now)
	require.GreaterOrEqual(t, up, time.Hour)
	require.Equal(t, up+time.Minute, a.Uptime(now, now.Add(time.Minute)))
	require.Equal(t, "x", identity.PickWeighted(a, "w", []identity.Weighted[string]{{Value: "x", Weight: 3}}))
}
