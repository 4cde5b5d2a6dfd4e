package shell

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/vfs"
)

func cmdHead(c *call) int {
	args := c.args
	for i, a := range args {
		if len(a) > 1 && a[0] == '-' && strings.Trim(a[1:], "0123456789") == "" {
			args[i] = "-n" + a[1:]
		}
	}
	o, files := c.flags("nc")
	n := number(o, 10, "n", "lines")
	tail := c.args[0] == "tail"
	many := len(files) > 1
	return c.sources(files, func(name string, r io.Reader) {
		if many {
			c.printf("==> %s <==\n", name)
		}
		if has(o, "c", "bytes") {
			k := int64(number(o, 0, "c", "bytes"))
			if !tail {
				_, _ = io.CopyN(c.out, r, min(k, maxOutput))
				return
			}
			b, _ := io.ReadAll(io.LimitReader(r, vfs.MaxFileBytes))
			_, _ = c.out.Write(b[max(len(b)-int(k), 0):])
			return
		}
		c.headLines(r, n, tail, strings.HasPrefix(o["n"], "+"))
		if tail && has(o, "f", "F") {
			<-c.ctx.Done()
		}
	})
}

func (c *call) headLines(r io.Reader, n int, tail, from bool) {
	var ring []string
	i := 0
	c.eachLine(r, func(l string) bool {
		i++
		switch {
		case !tail && n < 0:
			ring = append(ring, l)
		case !tail:
			if i > n {
				return false
			}
			c.printf("%s\n", l)
		case from:
			if i >= n {
				c.printf("%s\n", l)
			}
		default:
			if ring = append(ring, l); len(ring) > n {
				ring = ring[1:]
			}
		}
		return tail || n < 0 || i < n
	})
	if !tail && n < 0 {
		ring = ring[:max(len(ring)+n, 0)]
	}
	for _, l := range ring {
		c.printf("%s\n", l)
	}
}

func cmdWc(c *call) int {
	o, files := c.flags("")
	all := !has(o, "l", "w", "c", "m")
	return c.sources(files, func(name string, r io.Reader) {
		b, _ := io.ReadAll(io.LimitReader(r, vfs.MaxFileBytes))
		var parts []string
		for _, v := range []struct {
			opt string
			n   int
		}{{"l", strings.Count(string(b), "\n")}, {"w", len(strings.Fields(string(b)))}, {"c", len(b)}} {
			if all || has(o, v.opt) || v.opt == "c" && has(o, "m") {
				if all {
					parts = append(parts, fmt.Sprintf("%7d", v.n))
				} else {
					parts = append(parts, itoa(v.n))
				}
			}
		}
		if name != "-" {
			parts = append(parts, name)
		}
		c.printf("%s\n", strings.Join(parts, " "))
	})
}

// basicRegexp turns a POSIX basic expression into ours: \( \) \{ \} \| \+ \? swap meaning with the bare characters.
func cmdUniq(c *call) int {
	o, files := c.flags("")
	lines, st := c.allLines(files)
	for i := 0; i < len(lines); {
		j := i
		for j < len(lines) && lines[j] == lines[i] {
			j++
		}
		switch {
		case has(o, "d") && j-i < 2, has(o, "u") && j-i > 1:
		case has(o, "c"):
			c.printf("%7d %s\n", j-i, lines[i])
		default:
			c.printf("%s\n", lines[i])
		}
		i = j
	}
	return st
}

func cmdCut(c *call) int {
	o, files := c.flags("dfcb")
	d := o["d"]
	if d == "" {
		d = "\t"
	}
	list, bytes := o["f"], false
	if list == "" {
		bytes = true
		if list = o["c"]; list == "" {
			list = o["b"]
		}
	}
	if list == "" {
		return c.fail(1, "you must specify a list of bytes, characters, or fields\nTry 'cut --help' for more information.")
	}
	return c.sources(files, func(_ string, r io.Reader) {
		c.eachLine(r, func(l string) bool {
			parts := strings.Split(l, d)
			if bytes {
				parts, d = strings.Split(l, ""), ""
			} else if len(parts) == 1 {
				c.printf("%s\n", l)
				return true
			}
			var out []string
			for i, p := range parts {
				if inList(list, i+1) {
					out = append(out, p)
				}
			}
			c.printf("%s\n", strings.Join(out, d))
			return true
		})
	})
}

func inList(list string, n int) bool {
	for _, p := range strings.Split(list, ",") {
		lo, hi, ranged := strings.Cut(p, "-")
		a, _ := strconv.Atoi(lo)
		b, _ := strconv.Atoi(hi)
		if !ranged {
			b = a
		} else if hi == "" {
			b = 1 << 30
		}
		if n >= a && n <= b {
			return true
		}
	}
	return false
}

func cmdTr(c *call) int {
	o, sets := c.flags("")
	if len(sets) == 0 {
		return c.fail(1, "missing operand\nTry 'tr --help' for more information.")
	}
	from := trSet(sets[0])
	to := ""
	if len(sets) > 1 {
		to = trSet(sets[1])
	}
	var last rune = -1
	b, _ := io.ReadAll(io.LimitReader(c.in, vfs.MaxFileBytes))
	out := strings.Map(func(r rune) rune {
		i := strings.IndexRune(from, r)
		if has(o, "c", "C") {
			if i = -1; !strings.ContainsRune(from, r) {
				i = 0
			}
		}
		if i >= 0 && has(o, "d") {
			return -1
		}
		if i >= 0 && to != "" {
			r = []rune(to)[min(i, len([]rune(to))-1)]
		}
		if has(o, "s") && r == last && (i >= 0 || strings.ContainsRune(to, r)) {
			return -1
		}
		last = r
		return r
	}, string(b))
	c.printf("%s", out)
	return 0
}

func trSet(s string) string {
	s = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\r`, "\r", `\0`, "\x00", "[:upper:]", "A-Z", "[:lower:]", "a-z", "[:digit:]", "0-9", "[:space:]", " \t\n\r", "[:alpha:]", "a-zA-Z", "[:alnum:]", "a-zA-Z0-9").Replace(s)
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if i+2 < len(s) && s[i+1] == '-' && s[i] <= s[i+2] {
			for ch := int(s[i]); ch <= int(s[i+2]); ch++ {
				b.WriteByte(byte(ch))
			}
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func cmdBase64(c *call) int {
	o, files := c.flags("w")
	return c.sources(files, func(_ string, r io.Reader) {
		b, _ := io.ReadAll(io.LimitReader(r, vfs.MaxFileBytes))
		if has(o, "d", "D", "decode") {
			clean := strings.Join(strings.Fields(string(b)), "")
			out, err := base64.StdEncoding.DecodeString(clean)
			if err != nil {
				out, _ = base64.StdEncoding.DecodeString(clean[:len(clean)/4*4])
			}
			_, _ = c.out.Write(out)
			if err != nil {
				c.fail(1, "invalid input")
			}
			return
		}
		s := base64.StdEncoding.EncodeToString(b)
		w := number(o, 76, "w", "wrap")
		for w > 0 && len(s) > w {
			c.printf("%s\n", s[:w])
			s = s[w:]
		}
		c.printf("%s\n", s)
	})
}

func cmdSum(c *call) int {
	_, files := c.flags("")
	news := map[string]func() hash.Hash{"md5sum": md5.New, "sha1sum": sha1.New, "sha256sum": sha256.New, "sha512sum": sha512.New}
	return c.sources(files, func(name string, r io.Reader) {
		h := news[c.args[0]]()
		_, _ = io.Copy(h, r)
		c.printf("%s  %s\n", hex.EncodeToString(h.Sum(nil)), name)
	})
}

func cmdXxd(c *call) int {
	o, files := c.flags("lnsNc")
	return c.sources(files, func(_ string, r io.Reader) {
		limit := int64(number(o, maxOutput/8, "l", "n", "N"))
		b, _ := io.ReadAll(io.LimitReader(r, limit))
		if has(o, "p") {
			c.printf("%s\n", hex.EncodeToString(b))
			return
		}
		for i := 0; i < len(b) && !c.stopped(); i += 16 {
			row := b[i:min(i+16, len(b))]
			var left strings.Builder
			for j, v := range row {
				if fmt.Fprintf(&left, "%02x", v); j%2 == 1 {
					left.WriteByte(' ')
				}
			}
			text := strings.Map(func(r rune) rune {
				if r < 32 || r > 126 {
					return '.'
				}
				return r
			}, string(latin1(row)))
			c.printf("%08x: %-40s %s\n", i, left.String(), text)
		}
	})
}

func latin1(b []byte) []rune {
	out := make([]rune, len(b))
	for i, v := range b {
		out[i] = rune(v)
	}
	return out
}

func cmdTee(c *call) int {
	o, files := c.flags("")
	b, _ := io.ReadAll(io.LimitReader(c.in, vfs.MaxFileBytes))
	_, _ = c.out.Write(b)
	status := 0
	for _, f := range files {
		data := b
		if has(o, "a") {
			old, _ := c.s.fs.ReadFile(c.cred(), c.abs(f))
			data = append(old, b...)
		}
		if err := c.save(f, data, 0); err != nil {
			status = c.fail(1, "%s: %s", f, reason(err))
		}
	}
	return status
}

func cmdYes(c *call) int {
	text := "y\n"
	if len(c.args) > 1 {
		text = strings.Join(c.args[1:], " ") + "\n"
	}
	chunk := []byte(strings.Repeat(text, max(1024/len(text), 1)))
	for !c.stopped() {
		_, _ = c.out.Write(chunk)
	}
	return 1
}

func cmdSeq(c *call) int {
	var n []int
	for _, a := range c.args[1:] {
		v, err := strconv.Atoi(a)
		if err != nil {
			return c.fail(1, "invalid floating point argument: ‘%s’", a)
		}
		n = append(n, v)
	}
	first, step, last := 1, 1, 0
	switch len(n) {
	case 1:
		last = n[0]
	case 2:
		first, last = n[0], n[1]
	case 3:
		first, step, last = n[0], n[1], n[2]
	default:
		return c.fail(1, "missing operand\nTry 'seq --help' for more information.")
	}
	for i := first; step != 0 && (step > 0 && i <= last || step < 0 && i >= last) && !c.stopped(); i += step {
		c.printf("%d\n", i)
	}
	return 0
}

func cmdSleep(c *call) int {
	if len(c.args) < 2 {
		return c.fail(1, "missing operand\nTry 'sleep --help' for more information.")
	}
	var total time.Duration
	for _, a := range c.args[1:] {
		unit := time.Second
		if u, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[a[max(len(a)-1, 0)]]; ok {
			unit, a = u, a[:len(a)-1]
		}
		f, err := strconv.ParseFloat(a, 64)
		if err != nil || f < 0 {
			return c.fail(1, "invalid time interval ‘%s’\nTry 'sleep --help' for more information.", a)
		}
		total += time.Duration(min(f, 1e6) * float64(unit))
	}
	return c.wait(total)
}

// wait pauses until the time is over or the line is interrupted.
func (c *call) wait(d time.Duration) int {
	select {
	case <-c.ctx.Done():
		return 130
	case <-time.After(d):
		return 0
	}
}

func cmdRev(c *call) int {
	_, files := c.flags("")
	lines, st := c.allLines(files)
	if c.args[0] == "tac" {
		slices.Reverse(lines)
	}
	for _, l := range lines {
		if c.args[0] == "rev" {
			r := []rune(l)
			slices.Reverse(r)
			l = string(r)
		}
		c.printf("%s\n", l)
	}
	return st
}
