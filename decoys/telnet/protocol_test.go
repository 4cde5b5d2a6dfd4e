package telnet_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/telnet"
)

func TestDecode_TakesCommandsOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"plain", "ls\r\n", "ls\r"},
		{"cr nul", "ls\r\x00x", "ls\rx"},
		{"lone cr, lone lf", "a\rb\nc\n\n", "a\rb\nc\n\n"},
		{"doubled iac", "a\xff\xffb", "a\xffb"},
		{"doubled iac after cr", "\r\xff\xff\n", "\r\xff\n"},
		{"options", "\xff\xfb\x18\xff\xfd\x03a\xff\xfc\x01\xff\xfe\x03b", "ab"},
		{"two byte commands", "\xff\xf1a\xff\xf4b\xff\xf9\xff\xf6", "ab"},
		{"subnegotiation", "a\xff\xfa\x18\x00xterm\xff\xf0b", "ab"},
		{"iac in subnegotiation", "\xff\xfa\x27a\xff\xffb\xff\xf0c", "c"},
		{"command instead of the end", "\xff\xfa\x27a\xff\xfd\x03c", "c"},
		{"endless subnegotiation", "\xff\xfa\x27" + strings.Repeat("x", 512) + "id\r", "id\r"},
		{"cut off", "a\xff", "a"},
	} {
		whole := telnet.NewDecoder(nil).Decode([]byte(c.in))
		require.Equal(t, c.want, string(whole), c.name)
		d := telnet.NewDecoder(nil)
		var parts []byte
		for i := range len(c.in) {
			parts = append(parts, d.Decode([]byte{c.in[i]})...)
		}
		require.Equal(t, c.want, string(parts), "%s, byte by byte", c.name)
	}
}

func TestDecode_ReportsWindowsAndOptions(t *testing.T) {
	t.Parallel()
	var sizes [][2]uint16
	d := telnet.NewDecoder(func(cols, rows uint16) { sizes = append(sizes, [2]uint16{cols, rows}) })
	d.Decode([]byte("\xff\xfb\x1f\xff\xfa\x1f\x00\x84\x00\x32\xff\xf0\xff\xfa\x1f\x00\xff\xff\x00\x18\xff\xf0\xff\xfa\x1f\x00\x50\xff\xf0"))
	require.Equal(t, [][2]uint16{{132, 50}, {255, 24}}, sizes)
	require.Equal(t, "fb1f fa1f00840032 fa1f00ff0018 fa1f0050", d.Options())
	d.Decode(bytes.Repeat([]byte("\xff\xfb\x18"), 10_000))
	require.LessOrEqual(t, len(d.Options()), 384)
}

// FuzzDecode checks that splitting the input anywhere changes nothing and that nothing is made up.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"root\r\n", "\xff\xfd\x01\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0", "\xff\xfa\xff\xff\xff\xf0", "\xff\xff\xff", "\r\x00\r\n\r\xff\xf1\n"} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, in []byte, at int) {
		whole := telnet.NewDecoder(func(uint16, uint16) {})
		all := whole.Decode(in)
		require.LessOrEqual(t, len(all), len(in))
		split := telnet.NewDecoder(func(uint16, uint16) {})
		at = max(0, at) % (len(in) + 1)
		parts := append(split.Decode(in[:at]), split.Decode(in[at:])...)
		require.Equal(t, string(all), string(parts))
		require.Equal(t, whole.Options(), split.Options())
		require.LessOrEqual(t, len(whole.Options()), 384)
	})
}
