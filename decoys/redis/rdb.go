package redis

import (
	"encoding/binary"
	"fmt"
	"hash/crc64"
	"strconv"
	"strings"
)

// Opcodes and types of the dump format that every release loads.
const (
	rdbString, rdbList, rdbSet, rdbZSet, rdbHash      = 0, 1, 2, 3, 4
	rdbAux, rdbExpireMillis, rdbSelect, rdbEOF   byte = 0xfa, 0xfc, 0xfe, 0xff
)

// jones is the polynomial of Redis' checksum, reflected.
var jones = crc64.MakeTable(0x95ac9329ac4bc9b5)

// checksum starts from zero and is not inverted, unlike that of the library.
func checksum(b []byte) uint64 { return ^crc64.Update(^uint64(0), jones, b) }

// rdbVersion is the format version of the claimed release.
func (v version) rdbVersion() int {
	switch {
	case v.atLeast(7, 2):
		return 11
	case v.atLeast(7, 0):
		return 10
	case v.atLeast(5, 0):
		return 9
	}
	return 8
}

func rdbLength(b []byte, n int) []byte {
	switch {
	case n < 1<<6:
		return append(b, byte(n))
	case n < 1<<14:
		return append(b, byte(n>>8)|0x40, byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0x80), uint32(n))
}

func rdbText(b []byte, s string) []byte { return append(rdbLength(b, len(s)), s...) }

func (v *value) rdbType() byte {
	return map[kind]byte{kindString: rdbString, kindList: rdbList, kindSet: rdbSet, kindZSet: rdbZSet, kindHash: rdbHash}[v.kind]
}

// rdbValue appends the content of a value in its plain encoding.
func rdbValue(b []byte, v *value) []byte {
	if v.kind == kindString {
		return rdbText(b, v.text)
	}
	b = rdbLength(b, v.len())
	for _, e := range v.list {
		b = rdbText(b, e)
	}
	for _, m := range v.members() {
		if b = rdbText(b, m); v.kind == kindHash {
			b = rdbText(b, v.fields[m])
		}
	}
	for _, m := range v.ranked() {
		score := strconv.FormatFloat(v.scores[m], 'g', 17, 64)
		b = append(rdbText(b, m), byte(len(score)))
		b = append(b, score...)
	}
	return b
}

// snapshot is the dump of all data that a follower is sent.
func (s *Server) snapshot() []byte {
	b := fmt.Appendf(nil, "REDIS%04d", s.v.rdbVersion())
	for _, aux := range [][2]string{
		{"redis-ver", s.v.text},
		{"redis-bits", "64"},
		{"ctime", strconv.FormatInt(s.host.Now().Unix(), 10)},
		{"used-mem", strconv.Itoa(900_000 + s.db.size)},
		{"repl-stream-db", "0"},
		{"repl-id", s.host.ID.Hex(20, "redis-replid")},
		{"repl-offset", "0"},
	} {
		b = rdbText(rdbText(append(b, rdbAux), aux[0]), aux[1])
	}
	for db := range databases {
		keys := s.db.list(db)
		if len(keys) == 0 {
			continue
		}
		b = rdbLength(append(b, rdbSelect), db)
		for _, k := range keys {
			v := s.db.get(db, k)
			if v == nil {
				continue
			}
			if !v.expires.IsZero() {
				b = binary.LittleEndian.AppendUint64(append(b, rdbExpireMillis), uint64(v.expires.UnixMilli()))
			}
			b = rdbValue(rdbText(append(b, v.rdbType()), k), v)
		}
	}
	b = append(b, rdbEOF)
	return binary.LittleEndian.AppendUint64(b, checksum(b))
}

// psync sends a follower the data, once; nothing follows it.
func psync(c *client, args []string) {
	if c.s.master != "" {
		c.fail("NOMASTERLINK Can't SYNC while not connected with my master")
		return
	}
	if strings.EqualFold(args[0], "psync") {
		c.simple("FULLRESYNC " + c.s.host.ID.Hex(20, "redis-replid") + " 0")
	}
	dump := c.s.snapshot()
	c.out.WriteString("$" + strconv.Itoa(len(dump)) + "\r\n")
	c.out.Write(dump)
}

func dump(c *client, args []string) {
	v := c.s.db.get(c.db, args[1])
	if v == nil {
		c.null()
		return
	}
	b := rdbValue([]byte{v.rdbType()}, v)
	b = binary.LittleEndian.AppendUint16(b, uint16(c.s.v.rdbVersion()))
	c.bulk(string(binary.LittleEndian.AppendUint64(b, checksum(b))))
}
