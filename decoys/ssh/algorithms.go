package ssh

import (
	"golang.org/x/crypto/ssh"
)

// profile is what one generation of OpenSSH offers, in its order, without what this implementation cannot do
// (sntrup761x25519, group18, umac, hmac-sha1-etm, gssapi).
type profile struct {
	kex, ciphers, macs []string
	hostKeys           []string // signature algorithms in order; the matching keys are made at first start
}

const (
	curveLibSSH = "curve25519-sha256@libssh.org"
	rsa512      = ssh.KeyAlgoRSASHA512
	rsa256      = ssh.KeyAlgoRSASHA256
)

var (
	ecdh       = []string{ssh.KeyExchangeCurve25519, curveLibSSH, ssh.KeyExchangeECDHP256, ssh.KeyExchangeECDHP384, ssh.KeyExchangeECDHP521}
	dhModern   = []string{ssh.KeyExchangeDHGEXSHA256, ssh.KeyExchangeDH16SHA512, ssh.KeyExchangeDH14SHA256}
	ctrThenGCM = []string{ssh.CipherChaCha20Poly1305, ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR, ssh.CipherAES128GCM, ssh.CipherAES256GCM}
	macsCommon = []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM, ssh.HMACSHA256, ssh.HMACSHA512, ssh.HMACSHA1}
	keysModern = []string{rsa512, rsa256, ssh.KeyAlgoECDSA256, ssh.KeyAlgoED25519}
	keysOld    = []string{ssh.KeyAlgoRSA, rsa512, rsa256, ssh.KeyAlgoECDSA256, ssh.KeyAlgoED25519}
	keys82     = []string{rsa512, rsa256, ssh.KeyAlgoRSA, ssh.KeyAlgoECDSA256, ssh.KeyAlgoED25519}
)

// profiles follow kex.h and myproposal.h of the versions, and the system-wide crypto policy on Red Hat's systems.
var profiles = map[string]profile{
	"7.4": {
		kex: join(ecdh, ssh.KeyExchangeDHGEXSHA256, ssh.KeyExchangeDH16SHA512, ssh.InsecureKeyExchangeDHGEXSHA1, ssh.KeyExchangeDH14SHA256,
			ssh.InsecureKeyExchangeDH14SHA1, ssh.InsecureKeyExchangeDH1SHA1),
		ciphers: join(ctrThenGCM, ssh.InsecureCipherAES128CBC, ssh.InsecureCipherTripleDESCBC), macs: macsCommon, hostKeys: keysOld,
	},
	"8.2": {kex: join(ecdh, dhModern...), ciphers: ctrThenGCM, macs: macsCommon, hostKeys: keys82},
	"8.9": {kex: join(ecdh, dhModern...), ciphers: ctrThenGCM, macs: macsCommon, hostKeys: keysModern},
	"9.0": {kex: join(ecdh, dhModern...), ciphers: ctrThenGCM, macs: macsCommon, hostKeys: keysModern},
	"9.9": {kex: join([]string{ssh.KeyExchangeMLKEM768X25519}, join(ecdh, dhModern...)...), ciphers: ctrThenGCM, macs: macsCommon, hostKeys: keysModern},
	"rhel9": {
		kex:     join(ecdh, ssh.KeyExchangeDHGEXSHA256, ssh.KeyExchangeDH14SHA256, ssh.KeyExchangeDH16SHA512),
		ciphers: []string{ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305, ssh.CipherAES256CTR, ssh.CipherAES128GCM, ssh.CipherAES128CTR},
		macs:    []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM, ssh.HMACSHA256, ssh.HMACSHA1, ssh.HMACSHA512}, hostKeys: keysModern,
	},
}

func join(a []string, b ...string) []string { return append(append([]string(nil), a...), b...) }

// publicKeyAlgorithms is the content of server-sig-algs.
var publicKeyAlgorithms = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256, rsa512, rsa256, ssh.KeyAlgoRSA,
}
