package redis

import (
	"bufio"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzReadCommand(f *testing.F) {
	f.Add("*2\r\n$3\r\nGET\r\n$1\r\na\r\n")
	f.Add("PING\r\n")
	f.Add("*1\r\n$-1\r\n")
	f.Add("*3\r\n$1\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		in := bufio.NewReaderSize(strings.NewReader(s), 64)
		for range 100 {
			args, err := readCommand(in)
			if err != nil {
				return
			}
			n := 0
			for _, a := range args {
				n += len(a)
			}
			require.LessOrEqual(t, n, len(s))
		}
	})
}
