package ssh

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

const maxSniff = 64 << 10

var errBadKexInit = errors.New("malformed KEXINIT")

// KexInit holds the name lists of a key exchange message that fingerprints use.
type KexInit struct {
	Kex, HostKeys               string
	CiphersCS, CiphersSC        string
	MACsCS, MACsSC              string
	CompressionCS, CompressnSC_ string
}

// ParseKexInit reads the payload of an SSH_MSG_KEXINIT (RFC 4253 section 7.1).
func ParseKexInit(p []byte) (KexInit, error) {
	var k KexInit
	if len(p) < 17 || p[0] != 20 {
		return k, errBadKexInit
	}
	p = p[17:]
	for _, f := range []*string{&k.Kex, &k.HostKeys, &k.CiphersCS, &k.CiphersSC, &k.MACsCS, &k.MACsSC, &k.CompressionCS, &k.CompressnSC_} {
		if len(p) < 4 {
			return k, errBadKexInit
		}
		n := int64(binary.BigEndian.Uint32(p))
		if n > int64(len(p)-4) {
			return k, errBadKexInit
		}
		*f = string(p[4 : 4+n])
		p = p[4+n:]
	}
	return k, nil
}

// HASSH returns the client fingerprint: MD5 of kex, encryption, MAC and compression lists, client to server.
func (k KexInit) HASSH() string {
	sum := md5.Sum([]byte(strings.Join([]string{k.Kex, k.CiphersCS, k.MACsCS, k.CompressionCS}, ";")))
	return hex.EncodeToString(sum[:])
}

// sniffed is a connection whose first plain bytes are looked at before the transport gets them. It answers a wrong
// identification line as OpenSSH does.
type sniffed struct {
	net.Conn
	idle func() time.Duration

	mu    sync.Mutex
	buf   []byte
	done  bool
	found func(version string, k *KexInit)
	bad   func(first []byte)
}

func (s *sniffed) Read(p []byte) (int, error) {
	if s.idle != nil {
		if d := s.idle(); d > 0 {
			_ = s.Conn.SetReadDeadline(time.Now().Add(d))
		}
	}
	n, err := s.Conn.Read(p)
	if n > 0 && !s.look(p[:n]) {
		_, _ = s.Conn.Write([]byte("Invalid SSH identification string.\r\n"))
		return 0, io.EOF
	}
	return n, err
}

// look reports whether the connection may go on.
func (s *sniffed) look(p []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return true
	}
	s.buf = append(s.buf, p...)
	line, rest, ok := bytes.Cut(s.buf, []byte("\n"))
	if !ok {
		if len(s.buf) > 255 {
			s.done = true
			s.bad(s.buf)
			return false
		}
		return true
	}
	version := strings.TrimRight(string(line), "\r")
	if !strings.HasPrefix(version, "SSH-2.0-") && !strings.HasPrefix(version, "SSH-1.99-") {
		s.done = true
		s.bad(line)
		return false
	}
	if len(rest) < 5 {
		return true
	}
	size := int64(binary.BigEndian.Uint32(rest))
	if size > maxSniff || size < 2 {
		s.finish(version, nil)
	} else if int64(len(rest)) >= 4+size {
		s.finish(version, packetPayload(rest[4:4+size]))
	}
	return true
}

func packetPayload(p []byte) []byte {
	pad := int(p[0])
	if pad+1 > len(p) {
		return nil
	}
	return p[1 : len(p)-pad]
}

func (s *sniffed) finish(version string, payload []byte) {
	s.done, s.buf = true, nil
	k, err := ParseKexInit(payload)
	if err != nil {
		s.found(version, nil)
		return
	}
	s.found(version, &k)
}
