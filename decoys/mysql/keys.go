package mysql

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"sync"
	"time"

	"github.com/decnet/decnet/decoys/persona"
)

const (
	rsaBits      = 2048
	tlsFile      = "server.pem" // key, certificate and the certificate of its authority
	passwordFile = "private_key.pem"
	validity     = 3650 * 24 * time.Hour
)

// keys are the keys of one decky, made like those a server makes itself at its first start: when they are first needed, kept in
// the state directory. It is safe for concurrent use.
type keys struct {
	state   *os.Root
	release release
	made    time.Time

	mu     sync.Mutex
	conf   *tls.Config
	secret *passwordKey
}

// passwordKey is what clients without TLS encrypt their password with.
type passwordKey struct {
	private *rsa.PrivateKey
	public  []byte // PEM
}

// newKeys dates the keys to some days before the machine's last boot.
func newKeys(state *os.Root, h *persona.Host, r release) *keys {
	days := 2 + h.ID.Rand("mysql-installed").IntN(60)
	return &keys{state: state, release: r, made: h.Started.Add(-time.Duration(days) * 24 * time.Hour).Truncate(time.Second)}
}

// password returns the key for passwords.
func (k *keys) password() (*passwordKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.secret != nil {
		return k.secret, nil
	}
	blocks, err := k.load(passwordFile, func() ([]*pem.Block, error) {
		key, err := rsa.GenerateKey(rand.Reader, rsaBits)
		if err != nil {
			return nil, err
		}
		return []*pem.Block{{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}}, nil
	})
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS1PrivateKey(blocks[0].Bytes)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	k.secret = &passwordKey{private: key, public: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
	return k.secret, nil
}

// tls returns the configuration of the server's side. Clients are asked for a certificate, as the server does that knows an authority.
func (k *keys) tls() (*tls.Config, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conf != nil {
		return k.conf, nil
	}
	blocks, err := k.load(tlsFile, k.certify)
	if err != nil {
		return nil, err
	}
	if len(blocks) != 3 {
		return nil, errors.New("certificate file is not complete")
	}
	key, err := x509.ParsePKCS1PrivateKey(blocks[0].Bytes)
	if err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(blocks[2].Bytes)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	lowest, highest := k.release.protocols()
	k.conf = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{blocks[1].Bytes, blocks[2].Bytes}, PrivateKey: key}},
		MinVersion:   lowest, MaxVersion: highest, ClientAuth: tls.RequestClientCert, ClientCAs: pool,
	}
	return k.conf, nil
}

// certify makes an authority, which is forgotten, and a certificate signed by it.
func (k *keys) certify() ([]*pem.Block, error) {
	authority, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, err
	}
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, err
	}
	ca, server := k.template(1, "CA", []byte{0x30, 3, 1, 1, 0xff}), k.template(2, "Server", []byte{0x30, 0})
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &authority.PublicKey, authority)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, server, ca, &key.PublicKey, authority)
	if err != nil {
		return nil, err
	}
	return []*pem.Block{
		{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}, {Type: "CERTIFICATE", Bytes: der}, {Type: "CERTIFICATE", Bytes: caDER},
	}, nil
}

// template spells the basic constraints itself: with the library's own way come key identifiers, which these certificates lack.
func (k *keys) template(serial int64, role string, constraints []byte) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), SignatureAlgorithm: x509.SHA256WithRSA, NotBefore: k.made, NotAfter: k.made.Add(validity),
		Subject:         pkix.Name{CommonName: fmt.Sprintf("MySQL_Server_%s_Auto_Generated_%s_Certificate", k.release.short, role)},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: constraints}},
	}
}

// load returns the blocks of a file, making it when it is missing. The caller holds the lock.
func (k *keys) load(name string, generate func() ([]*pem.Block, error)) ([]*pem.Block, error) {
	raw, err := k.state.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return k.make(name, generate)
	}
	if err != nil {
		return nil, err
	}
	var blocks []*pem.Block
	for b, rest := pem.Decode(raw); b != nil; b, rest = pem.Decode(rest) {
		blocks = append(blocks, b)
	}
	if len(blocks) == 0 {
		return nil, errors.New("key file is malformed")
	}
	return blocks, nil
}

// make writes to a temporary name first, so that a crash never leaves half a file.
func (k *keys) make(name string, generate func() ([]*pem.Block, error)) ([]*pem.Block, error) {
	blocks, err := generate()
	if err != nil {
		return nil, err
	}
	f, err := k.state.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		if err == nil {
			err = pem.Encode(f, b)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = k.state.Rename(name+".new", name)
	}
	return blocks, err
}
