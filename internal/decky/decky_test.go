package decky_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

func rnd() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func code(err error) string {
	if f, ok := fault.As(err); ok {
		return f.Code
	}
	return ""
}

func TestCheckFleetName(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"web-01", "0", "a", strings.Repeat("a", 63), "deadbeef", "a1b2c3d4e-x"} {
		require.NoError(t, decky.CheckFleetName(good), good)
	}
	for _, bad := range []string{
		"", "-web", "Web", "web_01", "web.01", "web 01", "web\n", "wéb", strings.Repeat("a", 64), strings.Repeat("a", 10_000),
		"events", "services", "archetypes", "deploy", "deadbeef-web", "01234567-", "../x", "a/b", "'; drop table deckies --",
	} {
		require.Equal(t, "decky_name_invalid", code(decky.CheckFleetName(bad)), "%.80q", bad)
	}
}

func TestAddService_KeepsOrderAndLeavesItsArgumentAlone(t *testing.T) {
	t.Parallel()
	none := make([]decky.Service, 0, 4)
	one, err := decky.AddService(none, decky.Service{Name: "ssh", Revision: 2})
	require.NoError(t, err)
	require.Equal(t, []string{"ssh"}, decky.Names(one))
	require.Empty(t, none[:cap(none)][0].Name, "the array behind the argument is not shared")
	_, err = decky.AddService(one, decky.Service{Name: "ssh"})
	require.Equal(t, "service_already_present", code(err))
}

func TestRemoveService_LastOneLeavesAnEmptyList(t *testing.T) {
	t.Parallel()
	one := []decky.Service{{Name: "ssh"}}
	left, err := decky.RemoveService(one, "ssh")
	require.NoError(t, err)
	require.Equal(t, []string{}, decky.Names(left))
	require.Equal(t, []string{"ssh"}, decky.Names(one))
	_, err = decky.RemoveService(left, "ssh")
	require.Equal(t, "service_not_present", code(err))
}

func TestPool_HandsOutEveryHostOnceInOrder(t *testing.T) {
	t.Parallel()
	p := decky.Pool{Prefix: netip.MustParsePrefix("10.0.0.0/29")}
	var used []netip.Addr
	for range 5 {
		a, err := p.Next(used)
		require.NoError(t, err)
		used = append(used, a)
	}
	require.Equal(t, "10.0.0.2", used[0].String())
	require.Equal(t, "10.0.0.6", used[4].String(), "the gateway and the broadcast address are not handed out")
	_, err := p.Next(used)
	require.Equal(t, "addresses_exhausted", code(err))
	a, err := p.Next(append(used[:1], used[2:]...))
	require.NoError(t, err)
	require.Equal(t, "10.0.0.3", a.String(), "a released address is handed out again")
}

func TestPool_TinySubnetsHaveNothingToGive(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"10.0.0.1/32", "10.0.0.0/31", "10.0.0.0/30"} {
		p := decky.Pool{Prefix: netip.MustParsePrefix(prefix)}
		a, err := p.Next(nil)
		if prefix == "10.0.0.0/30" {
			require.NoError(t, err)
			require.Equal(t, "10.0.0.2", a.String())
			continue
		}
		require.Equal(t, "addresses_exhausted", code(err), prefix)
	}
}

func TestPool_Check(t *testing.T) {
	t.Parallel()
	p := decky.Pool{Prefix: decky.LoopbackPool}
	a, err := p.Check("127.66.3.4")
	require.NoError(t, err)
	require.Equal(t, "127.66.3.4", a.String())
	for _, bad := range []string{"", "127.66.0.0", "127.66.0.1", "127.66.255.255", "127.0.0.1", "::1", "127.66.3", "127.66.3.4/24", "x"} {
		_, err := p.Check(bad)
		require.Equal(t, "address_invalid", code(err), bad)
	}
}

func TestPool_NextIsNeverUsedNorReserved(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := decky.Pool{Prefix: netip.PrefixFrom(netip.MustParseAddr("10.1.0.0"), rapid.IntRange(24, 29).Draw(t, "bits"))}
		var used []netip.Addr
		for range rapid.IntRange(0, 40).Draw(t, "n") {
			used = append(used, netip.AddrFrom4([4]byte{10, 1, 0, rapid.Byte().Draw(t, "host")}))
		}
		a, err := p.Next(used)
		if err != nil {
			return
		}
		require.NotContains(t, used, a)
		_, err = p.Check(a.String())
		require.NoError(t, err)
	})
}

func TestArchetypes_OfferOnlyWhatExists(t *testing.T) {
	t.Parallel()
	offered := decky.Archetypes()
	require.NotEmpty(t, offered)
	for _, a := range offered {
		require.NotEmpty(t, a.Services, a.Slug)
		for _, s := range a.Services {
			_, ok := service.Lookup(s)
			require.True(t, ok, "%s offers %s", a.Slug, s)
		}
	}
	require.Equal(t, offered, decky.Archetypes(), "asking does not change the table")
}

func TestComplete_Defaults(t *testing.T) {
	t.Parallel()
	s, err := decky.Spec{Name: "web-01"}.Complete(rnd())
	require.NoError(t, err)
	require.Equal(t, "debian", s.Distro)
	require.Equal(t, "linux", s.NmapOS)
	require.Regexp(t, `^SRV-[A-Z]+-\d\d$`, s.Hostname)
	require.Equal(t, []string{}, s.Services)
	s, err = decky.Spec{Name: "web-01", Archetype: "linux-server"}.Complete(rnd())
	require.NoError(t, err)
	require.Contains(t, s.Services, "ssh")
	s, err = decky.Spec{Name: "web-01", Archetype: "linux-server", Services: []string{}}.Complete(rnd())
	require.NoError(t, err)
	require.Empty(t, s.Services, "an empty list is a wish, not an omission")
}

func TestComplete_HostnamesFollowTheDistribution(t *testing.T) {
	t.Parallel()
	for distro, style := range map[string]string{
		"debian": `^SRV-[A-Z]+-[1-9]\d$`, "ubuntu20": `^SRV-[A-Z]+-[1-9]\d$`, "rocky9": `^[a-z]+[1-9]\d\.localdomain$`,
		"fedora": `\.localdomain$`, "alpine": `^[a-z]+-[1-9]\d$`, "kali": `^[a-z]+-[a-z]+$`,
	} {
		s, err := decky.Spec{Name: "web-01", Distro: distro}.Complete(rnd())
		require.NoError(t, err)
		require.Regexp(t, style, s.Hostname, distro)
		require.True(t, service.ValidHostname(s.Hostname))
	}
}

func TestComplete_Refusals(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]decky.Spec{
		"decky_name_invalid":        {Name: "events"},
		"unknown_archetype":         {Name: "a", Archetype: "mainframe"},
		"unknown_distro":            {Name: "a", Distro: "slackware"},
		"unknown_nmap_os":           {Name: "a", NmapOS: "plan9"},
		"hostname_invalid":          {Name: "a", Hostname: "a b"},
		"unknown_service":           {Name: "a", Services: []string{"gopher"}},
		"service_already_present":   {Name: "a", Services: []string{"ssh", "ssh"}},
		"service_config_undeclared": {Name: "a", Services: []string{}, Configs: map[string]service.Config{"ssh": {}}},
		"config_invalid":            {Name: "a", Services: []string{"ssh"}, Configs: map[string]service.Config{"ssh": {"user": "ROOT!"}}},
	} {
		_, err := s.Complete(rnd())
		require.Equal(t, want, code(err))
		require.Equal(t, fault.Unprocessable, fault.KindOf(err), want)
		f, _ := fault.As(err)
		require.NotEmpty(t, f.Fields, "%s names no field", want)
	}
}
