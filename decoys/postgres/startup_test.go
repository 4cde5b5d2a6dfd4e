package postgres

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseStartup(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]struct {
		user, database string
		physical       bool
		err            error
	}{
		"user\x00bob\x00\x00":                             {user: "bob", database: "bob"},
		"user\x00bob\x00database\x00app\x00\x00":          {user: "bob", database: "app"},
		"user\x00bob\x00database\x00\x00\x00":             {user: "bob", database: "bob"},
		"user\x00bob\x00user\x00eve\x00\x00":              {user: "eve", database: "eve"},
		"user\x00" + strings.Repeat("u", 80) + "\x00\x00": {user: strings.Repeat("u", 63), database: strings.Repeat("u", 63)},
		"\x00":                     {},
		"":                         {err: errLayout},
		"user\x00bob\x00":          {user: "bob", database: "bob", err: errLayout},
		"user\x00bob":              {user: "bob", database: "bob", err: errLayout},
		"user\x00":                 {err: errLayout},
		"user":                     {err: errLayout},
		"user\x00bob\x00\x00x\x00": {user: "bob", database: "bob", err: errLayout},
		"user\x00bob\x00replication\x00TR\x00\x00":                    {user: "bob", database: "bob", physical: true},
		"user\x00bob\x00replication\x00off\x00\x00":                   {user: "bob", database: "bob"},
		"user\x00bob\x00replication\x00o\x00\x00":                     {user: "bob", database: "bob", err: errReplication},
		"user\x00bob\x00replication\x00\x00\x00":                      {user: "bob", database: "bob", err: errReplication},
		"replication\x00x\x00user\x00bob\x00\x00":                     {err: errReplication},
		"user\x00bob\x00replication\x00database\x00\x00":              {user: "bob", database: "bob"},
		"user\x00bob\x00_pq_.a\x00b\x00application_name\x00n\x00\x00": {user: "bob", database: "bob"},
	} {
		s, err := parseStartup(3<<16, []byte(body))
		require.ErrorIs(t, err, want.err, "%q", body)
		require.Equal(t, []any{want.user, want.database, want.physical}, []any{s.user, s.database, s.physical}, "%q", body)
	}
	s, err := parseStartup(3<<16, []byte("user\x00bob\x00_pq_.a\x00b\x00application_name\x00n\x00\x00"))
	require.NoError(t, err)
	require.Equal(t, []string{"_pq_.a"}, s.unknown)
	require.Equal(t, "n", s.param("application_name"))
	old := parseOldStartup(2<<16, append(append([]byte("app"), make([]byte, 61)...), "bob\x00\x00"...))
	require.Equal(t, []string{"bob", "app"}, []string{old.user, old.database})
}

func FuzzStartup(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2f"))
	f.Add([]byte("\x00\x00\x00\x13\x00\x03\x00\x00user\x00bob\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x28\x00\x03\x00\x02user\x00bob\x00_pq_.x\x00y\x00replication\x00on\x00\x00"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		protocol, body, err := readStartup(bytes.NewReader(b))
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(body), maxStartup-minStartup)
		s, err := parseStartup(protocol, body)
		require.True(t, err == nil || errors.Is(err, errLayout) || errors.Is(err, errReplication))
		require.LessOrEqual(t, max(len(s.user), len(s.database)), maxName)
		require.LessOrEqual(t, len(s.params), maxParams)
		_ = parseOldStartup(protocol, body)
	})
}
