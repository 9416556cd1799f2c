package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	authorityLife = 20 * 365 * 24 * time.Hour
	nodeLife      = 10 * 365 * 24 * time.Hour
	clockSkew     = time.Hour // by which clocks of nodes may differ when certificates are made
)

// MakeCertificates makes, in dir, an authority (ca.crt, ca.key), and with it the
// certificate and key of each node (node-3.crt, node-3.key); hosts are the names and
// IP addresses that they bear beside the node's number. An authority that is
// there is used; a file of a node that is there is not overwritten, but an error. It
// returns the names of the files that it made.
func MakeCertificates(dir string, nodes []uint64, hosts []string) (made []string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, node := range nodes {
		for _, name := range []string{nodeFile(dir, node, "crt"), nodeFile(dir, node, "key")} {
			if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("%s is there already, and is not overwritten", name)
			}
		}
	}
	ca, made, err := authority(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	if err != nil {
		return made, err
	}
	for _, node := range nodes {
		crt, key := nodeFile(dir, node, "crt"), nodeFile(dir, node, "key")
		if err := makePair(crt, key, nodeTemplate(node, hosts), ca); err != nil {
			return made, err
		}
		made = append(made, crt, key)
	}
	return made, nil
}

func nodeFile(dir string, node uint64, suffix string) string {
	return filepath.Join(dir, fmt.Sprintf("node-%d.%s", node, suffix))
}

// authority loads who signs, or makes it where there is none.
func authority(crt, key string) (ca *tls.Certificate, made []string, err error) {
	_, noCert := os.Lstat(crt)
	_, noKey := os.Lstat(key)
	if errors.Is(noCert, fs.ErrNotExist) && errors.Is(noKey, fs.ErrNotExist) {
		if err := makePair(crt, key, authorityTemplate(), nil); err != nil {
			return nil, nil, err
		}
		made = []string{crt, key}
	}
	pair, err := tls.LoadX509KeyPair(crt, key)
	if err != nil {
		return nil, made, fmt.Errorf("%s and %s: %w", crt, key, err)
	}
	if !pair.Leaf.IsCA {
		return nil, made, fmt.Errorf("%s is no certificate of an authority", crt)
	}
	return &pair, made, nil
}

func authorityTemplate() *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Waybill nodes " + now.UTC().Format(time.DateOnly)},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

func nodeTemplate(node uint64, hosts []string) *x509.Certificate {
	now := time.Now()
	c := &x509.Certificate{
		Subject:     pkix.Name{CommonName: fmt.Sprintf("Waybill node %d", node)},
		NotBefore:   now.Add(-clockSkew),
		NotAfter:    now.Add(nodeLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{NodeURI(node)},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, host)
		}
	}
	return c
}

// makePair makes a key, and its certificate, signed by ca, or by itself when that is nil.
func makePair(crt, key string, template *x509.Certificate, ca *tls.Certificate) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return err
	}
	parent, signer := template, any(private)
	if ca != nil {
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	if err := writeNew(key, "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	return writeNew(crt, "CERTIFICATE", der, 0o644)
}

// writeNew writes a PEM file that must not be there.
func writeNew(name, kind string, der []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
