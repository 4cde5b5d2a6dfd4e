// Package certificate keeps the TLS certificate of a decoy: one that was given, or one the decky makes for itself at first
// start and keeps, as the packages and habits of its distribution would have made it.
//
// Nothing in it may tell that it was made here: subjects are UTF-8 strings as OpenSSL writes them, the extensions and their
// order are OpenSSL's, the serial is as long and as random, and the day it was made lies before the machine was last booted.
package certificate

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// File is the name of the key and certificate in the decoy's state.
const File = "tls.pem"

const (
	rsaBits  = 2048
	lifetime = 3650 * 24 * time.Hour
)

// Options says what a made certificate is like.
type Options struct {
	// State is the directory it is kept in.
	State *os.Root
	// Name is the common name and the one alternative name.
	Name string
	// Distro is a distribution of the persona. Debian's family gets what its package ssl-cert makes, others what
	// `openssl req -x509` does.
	Distro string
	// From is when it is valid from.
	From time.Time
}

// Lazy is a certificate that is loaded or made at its first use: making the key takes a second on a bad day. It is safe
// for concurrent use.
type Lazy struct {
	get func() (*tls.Certificate, error)
}

// Given returns the certificate of a PEM chain and its key.
func Given(chain, key string) (*Lazy, error) {
	c, err := tls.X509KeyPair([]byte(chain), []byte(key))
	if err != nil {
		return nil, errors.New("certificate and key do not belong together") // the cause may quote them
	}
	return &Lazy{get: func() (*tls.Certificate, error) { return &c, nil }}, nil
}

// Kept returns the certificate in the state directory, which is made when there is none for that name.
func Kept(o Options) *Lazy {
	return &Lazy{get: sync.OnceValues(func() (*tls.Certificate, error) {
		if c, err := o.load(); err == nil {
			return c, nil
		}
		return o.make()
	})}
}

// Get returns the certificate. The same error comes back every time.
func (l *Lazy) Get() (*tls.Certificate, error) { return l.get() }

// load fails when there is no certificate, or one that is damaged or has another name.
func (o Options) load() (*tls.Certificate, error) {
	raw, err := o.State.ReadFile(File)
	if err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(raw, raw)
	if err != nil {
		return nil, err
	}
	if c.Leaf.Subject.CommonName != o.Name {
		return nil, errors.New("certificate has another name")
	}
	return &c, nil
}

func (o Options) make() (*tls.Certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	template, err := o.template(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	raw := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	raw = append(raw, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := o.keep(raw); err != nil {
		return nil, fmt.Errorf("keep certificate: %w", err)
	}
	c, err := tls.X509KeyPair(raw, raw)
	return &c, err
}

// keep writes to a temporary name first, so that a crash never leaves half a key.
func (o Options) keep(raw []byte) error {
	f, err := o.State.OpenFile(File+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(raw); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return o.State.Rename(File+".new", File)
}

// template is signed by itself. Every extension is given as it is, for the library has an order of its own.
func (o Options) template(key *rsa.PublicKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
	if err != nil {
		return nil, err
	}
	subject, err := subjectOf(o.Name)
	if err != nil {
		return nil, err
	}
	id := sha1.Sum(x509.MarshalPKCS1PublicKey(key)) // RFC 5280 section 4.2.1.2
	t := &x509.Certificate{
		SerialNumber: serial, RawSubject: subject, SignatureAlgorithm: x509.SHA256WithRSA,
		NotBefore: o.From.UTC(), NotAfter: o.From.UTC().Add(lifetime),
	}
	t.ExtraExtensions, err = o.extensions(id[:])
	return t, err
}

// oids of extensions (RFC 5280 section 4.2.1).
var (
	oidSubjectKey   = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidAlternative  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidConstraints  = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidAuthorityKey = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidCommonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
)

// extensions are those of ssl-cert: no authority, alternative name, and from OpenSSL 3 on the key's identifier; or those of
// `openssl req -x509 -addext subjectAltName=...`: both identifiers, an authority, the alternative name.
func (o Options) extensions(id []byte) ([]pkix.Extension, error) {
	subjectKey, err := asn1.Marshal(id)
	if err != nil {
		return nil, err
	}
	alternative, err := asn1.Marshal([]asn1.RawValue{alternativeName(o.Name)})
	if err != nil {
		return nil, err
	}
	noAuthority, authority := []byte{0x30, 0}, []byte{0x30, 3, 1, 1, 0xff}
	switch o.Distro {
	case "debian", "kali", "ubuntu22":
		return []pkix.Extension{{Id: oidConstraints, Value: noAuthority}, {Id: oidAlternative, Value: alternative}, {Id: oidSubjectKey, Value: subjectKey}}, nil
	case "ubuntu20":
		return []pkix.Extension{{Id: oidConstraints, Value: noAuthority}, {Id: oidAlternative, Value: alternative}}, nil
	}
	authorityKey, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: id}})
	return []pkix.Extension{
		{Id: oidSubjectKey, Value: subjectKey},
		{Id: oidAuthorityKey, Value: authorityKey},
		{Id: oidConstraints, Critical: true, Value: authority},
		{Id: oidAlternative, Value: alternative},
	}, err
}

// alternativeName is a dNSName, or an iPAddress for what is one.
func alternativeName(name string) asn1.RawValue {
	if ip, err := netip.ParseAddr(name); err == nil {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 7, Bytes: ip.AsSlice()}
	}
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(name)}
}

// subjectOf is a common name as OpenSSL spells it, which the library would make a PrintableString.
func subjectOf(name string) ([]byte, error) {
	type attribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	a, err := asn1.Marshal(attribute{oidCommonName, asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(strings.ToValidUTF8(name, ""))}})
	if err != nil {
		return nil, err
	}
	rdn, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: a})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: rdn})
}
