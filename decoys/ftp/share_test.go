package ftp_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/ftp"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
)

func TestShare_SizesAndContentsAgree(t *testing.T) {
	t.Parallel()
	for _, product := range products {
		b := setup(t, product, false, nil)
		c := b.login(t)
		c.cmd("TYPE I")
		paths := c.paths("/")
		require.GreaterOrEqual(t, len(paths), 8, product)
		for i, p := range paths {
			data, replies := c.get("RETR " + p)
			require.Contains(t, replies, "226", "%s %s", product, p)
			require.Equal(t, "213 "+strconv.Itoa(len(data)), c.cmd("SIZE "+p))
			require.Regexp(t, `^213 20\d{12}$`, c.cmd("MDTM "+p))
			line, _ := c.get("LIST " + p)
			require.Contains(t, line, " "+strconv.Itoa(len(data))+" ", product)
			require.True(t, strings.HasSuffix(line, filepath.Base(p)+"\r\n"), "%s %q", product, line)
			if strings.HasSuffix(p, ".gz") {
				z, err := gzip.NewReader(strings.NewReader(data))
				require.NoError(t, err, p)
				_, err = io.Copy(io.Discard, z)
				require.NoError(t, err, p)
			}
			if i > 0 && len(data) > 10 {
				require.Equal(t, "350", c.cmd("REST 7")[:3])
				rest, _ := c.get("RETR " + p)
				require.Equal(t, data[7:], rest, product)
			}
		}
		b.log.Wait(t, `download_attempt \[[^\n]*src_ip="127.0.0.1" src_port="\d+" path="`+regexp.QuoteMeta(paths[0])+`"`)
	}
}

func TestShare_DiffersPerDeckyStaysAndHoldsNoPasswords(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	host := func(name string) *persona.Host {
		return persona.New(persona.Options{Identity: identity.New(name, "i"), Distro: "debian", Now: func() time.Time { return now }})
	}
	listings := map[string]bool{}
	for i := range 15 {
		h := host(fmt.Sprint("d", i))
		files := ftp.SharedFiles(h, now)
		total, names := 0, []string{}
		for p, data := range files {
			total += len(data)
			names = append(names, fmt.Sprint(p, len(data)))
			text := data
			if strings.Contains(p, ".gz ") {
				z, err := gzip.NewReader(bytes.NewReader(data))
				require.NoError(t, err)
				text, err = io.ReadAll(z)
				require.NoError(t, err)
			}
			if !strings.Contains(p, ".bin ") && !strings.Contains(p, ".pdf ") {
				require.NotRegexp(t, `(?i)passw|secret|token|api.?key|decnet|decky|honey`, string(text), p)
			}
		}
		require.Less(t, total, 4<<20)
		require.Equal(t, files, ftp.SharedFiles(host(fmt.Sprint("d", i)), now.Add(48*time.Hour)), "the same until the week ends")
		later := ftp.SharedFiles(h, now.Add(7*24*time.Hour))
		for p, data := range later {
			if old, ok := files[p]; ok && !strings.Contains(p, "backup.log") {
				require.Equal(t, old, data, p)
			}
		}
		listings[strings.Join(slices.Sorted(slices.Values(names)), "\n")] = true
	}
	require.Len(t, listings, 15)
}
