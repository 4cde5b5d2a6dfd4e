package topology_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/topology"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestHosts_InOrderWithoutNetworkGatewayAndBroadcast(t *testing.T) {
	t.Parallel()
	h, err := topology.NewHosts(prefix("10.0.0.8/29"))
	require.NoError(t, err)
	for _, want := range []string{"10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14"} {
		got, err := h.Next()
		require.NoError(t, err)
		require.Equal(t, want, got.String())
	}
	_, err = h.Next()
	refused(t, fault.Conflict, "addresses_exhausted", err)
}

func TestHosts_ReleasedOnesComeAfterTheOthers(t *testing.T) {
	t.Parallel()
	h, err := topology.NewHosts(prefix("10.0.0.0/29"))
	require.NoError(t, err)
	require.NoError(t, h.Reserve(ip("10.0.0.5")))
	refused(t, fault.Conflict, "address_in_use", h.Reserve(ip("10.0.0.5")))
	for range 3 {
		_, err := h.Next()
		require.NoError(t, err)
	}
	h.Release(ip("10.0.0.4"))
	h.Release(ip("10.0.0.2"))
	h.Release(ip("10.0.0.2"))
	h.Release(ip("10.0.0.6")) // never taken
	for _, want := range []string{"10.0.0.6", "10.0.0.2", "10.0.0.4"} {
		got, err := h.Next()
		require.NoError(t, err)
		require.Equal(t, want, got.String())
	}
	_, err = h.Next()
	refused(t, fault.Conflict, "addresses_exhausted", err)
	h.Release(ip("10.0.0.3"))
	require.NoError(t, h.Reserve(ip("10.0.0.3")))
	_, err = h.Next()
	refused(t, fault.Conflict, "addresses_exhausted", err)
}

func TestHosts_Refusals(t *testing.T) {
	t.Parallel()
	h, err := topology.NewHosts(prefix("10.0.0.0/24"))
	require.NoError(t, err)
	for _, bad := range []string{"10.0.0.0", "10.0.0.1", "10.0.0.255", "10.0.1.2", "::ffff:10.0.0.9", "fd00::2"} {
		refused(t, fault.Unprocessable, "address_invalid", h.Reserve(ip(bad)))
	}
	refused(t, fault.Unprocessable, "address_invalid", h.Reserve(netip.Addr{}))
	for _, bad := range []string{"10.0.0.0/31", "10.0.0.0/32", "10.0.0.1/24", "fd00::/64", "0.0.0.0/0", "127.0.0.0/24"} {
		_, err := topology.NewHosts(prefix(bad))
		refused(t, fault.Unprocessable, "subnet_invalid", err)
	}
	_, err = topology.NewHosts(netip.Prefix{})
	refused(t, fault.Unprocessable, "subnet_invalid", err)
}

func TestParseBase(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"172.16.0.0/12": "172.16.0.0/12", "10.0": "10.0.0.0/16", "10.0.": "10.0.0.0/16", "10.1.2.3": "10.1.2.0/24",
		"10.1.2.3.": "10.1.2.0/24", "10.1.2.3/16": "10.1.0.0/16", "192.168.7.9/24": "192.168.7.0/24", "11.0.0.0/8": "11.0.0.0/8",
	} {
		got, err := topology.ParseBase(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got.String(), text)
	}
	for _, bad := range []string{
		"", ".", "10", "10.0.0", "10.0..", "300.1", "10.256", "10.0.0.0/25", "10.0.0.0/32", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/",
		"10.0/16", "0.0.0.0/0", "10.0.0.0/7", "127.0", "127.0.0.1", "0.0", "224.0", "255.255", "169.254", "fd00::/16", "::", "a.b",
		" 10.0", "10.0 ", "1e1.0", "-1.0", "10.00", strings.Repeat("1.", 1000),
	} {
		_, err := topology.ParseBase(bad)
		refused(t, fault.Unprocessable, "subnet_base_invalid", err)
	}
}

func TestSubnets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		base     string
		reserved []string
		want     string // "" when exhausted
	}{
		{"10.0.0.0/16", nil, "10.0.0.0/24"},
		{"10.0.0.0/16", []string{"10.0.0.0/24", "10.0.1.0/24"}, "10.0.2.0/24"},
		{"10.0.0.0/16", []string{"10.0.1.0/24", "10.0.0.0/24"}, "10.0.2.0/24"},
		{"10.0.0.0/16", []string{"10.0.0.0/20"}, "10.0.16.0/24"},
		{"10.0.0.0/16", []string{"10.0.0.128/25"}, "10.0.1.0/24"},
		{"10.0.0.0/16", []string{"10.0.0.4/30", "10.0.1.255/32"}, "10.0.2.0/24"},
		{"10.0.0.0/16", []string{"10.0.0.5/22"}, "10.0.4.0/24"}, // host bits ignored
		{"10.0.0.0/16", []string{"garbage", "", "fd00::/8", "10.0.0.0"}, "10.0.0.0/24"},
		{"10.0.0.0/16", []string{"10.0.0.0/8"}, ""},
		{"10.0.0.0/16", []string{"0.0.0.0/0"}, ""},
		{"10.0.5.0/24", nil, "10.0.5.0/24"},
		{"10.0.5.0/24", []string{"10.0.5.7/32"}, ""},
		{"223.255.255.0/24", []string{"223.255.255.0/24"}, ""}, // nothing behind it
		{"172.16.0.0/12", []string{"172.16.0.0/16", "172.16.3.0/24", "172.17.0.0/24"}, "172.17.1.0/24"},
	} {
		got, err := topology.NextSubnet(prefix(c.base), topology.Reserved(c.reserved...))
		if c.want == "" {
			refused(t, fault.Conflict, "subnets_exhausted", err)
			continue
		}
		require.NoError(t, err, c)
		require.Equal(t, c.want, got.String(), c)
	}
}

func TestSubnets_ATwelveGives4096(t *testing.T) {
	t.Parallel()
	base, err := topology.ParseBase(topology.LiveBase)
	require.NoError(t, err)
	s := topology.NewSubnets(base, nil)
	for range 4096 {
		p, err := s.Next()
		require.NoError(t, err)
		require.True(t, base.Contains(p.Addr()))
	}
	_, err = s.Next()
	refused(t, fault.Conflict, "subnets_exhausted", err)
}

func TestSubnets_AreTheLowestThatOverlapNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		base := prefix("10.0.0.0/20")
		reserved := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
			a := netip.AddrFrom4([4]byte{10, 0, byte(rapid.IntRange(0, 20).Draw(t, "c")), byte(rapid.IntRange(0, 255).Draw(t, "d"))})
			return netip.PrefixFrom(a, rapid.IntRange(19, 32).Draw(t, "bits")).Masked()
		}), 0, 12).Draw(t, "reserved")
		var want, got []netip.Prefix
		for c := range 16 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(c), 0}), 24)
			free := true
			for _, r := range reserved {
				free = free && !r.Overlaps(p)
			}
			if free {
				want = append(want, p)
			}
		}
		s := topology.NewSubnets(base, reserved)
		for {
			p, err := s.Next()
			if err != nil {
				break
			}
			got = append(got, p)
		}
		require.Equal(t, want, got)
	})
}

func FuzzParseBase(f *testing.F) {
	for _, s := range []string{"10.0", "172.16.0.0/12", "10.0.0.0/25", "a.b", "1.2.3.4.", "/24", "::ffff:1.2.3.4/24"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := topology.ParseBase(text)
		if err != nil {
			refused(t, fault.Unprocessable, "subnet_base_invalid", err)
			return
		}
		s, err := topology.NextSubnet(p, nil)
		require.NoError(t, err)
		require.True(t, p.Overlaps(s))
		_, err = topology.CheckSubnet(s.String())
		require.NoError(t, err)
	})
}
