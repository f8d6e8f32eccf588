package redisconn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"gatehouse/auth"
)

func TestTLS_VerifiesAndReusesTheConnection(t *testing.T) {
	cert, roots := selfSigned(t)
	m := miniredis.NewMiniRedis()
	m.RequireAuth("pw")
	if err := m.StartTLS(&tls.Config{Certificates: []tls.Certificate{cert}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	r, err := Open("rediss://:pw@" + m.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Ping(t.Context()); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("got error %v for an unknown authority, want one that wraps ErrUnavailable", err)
	}
	r.tls.RootCAs = roots
	for range 3 {
		if err := r.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s := r.Stats(); s.Active != 1 {
		t.Errorf("got %+v, want the one connection reused", s)
	}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
