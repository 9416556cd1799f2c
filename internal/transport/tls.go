package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// LoadTLS returns the configuration of mutual TLS for both ends, from PEM files:
// a node's certificate and key, and who signs the nodes' certificates. When the
// files change, new connections use the new ones; files that cannot be used leave the
// old ones in force, which is logged.
func LoadTLS(cert, key, ca string, log *slog.Logger) (*tls.Config, error) {
	k := &keys{files: [3]string{cert, key, ca}, log: log}
	k.stamp = k.look()
	if err := k.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, _ := k.current()
			return cert, nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, _ := k.current()
			return cert, nil
		},
		ClientAuth: tls.RequireAnyClientCert,
		// Who signs may change, and a node is known by its number, not by the name
		// that was dialed: verify does on both ends what these two leave out.
		InsecureSkipVerify:     true,
		VerifyConnection:       k.verify,
		SessionTicketsDisabled: true, // each connection is judged by the files of its day
	}, nil
}

// keys are certificates that are read again when their files change.
type keys struct {
	files [3]string // cert, key, ca
	log   *slog.Logger

	mu     sync.Mutex // guards the rest
	looked time.Time
	stamp  string // of the files, as they were when they were read, or could not be
	cert   *tls.Certificate
	ca     *x509.CertPool
}

// current returns what is in force now.
func (k *keys) current() (*tls.Certificate, *x509.CertPool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); now.Sub(k.looked) >= time.Second {
		k.looked = now
		if stamp := k.look(); stamp != k.stamp {
			k.stamp = stamp
			if err := k.load(); err != nil {
				k.log.Error("the node's changed certificates cannot be used; the old ones stay in force", "err", err)
			} else {
				k.log.Info("the node's changed certificates are in force")
			}
		}
	}
	return k.cert, k.ca
}

// look is a text that changes with the files.
func (k *keys) look() string {
	var b strings.Builder
	for _, name := range k.files {
		if info, err := os.Stat(name); err != nil {
			b.WriteString(err.Error())
		} else {
			fmt.Fprintf(&b, "%d %d,", info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

func (k *keys) load() error {
	cert, err := tls.LoadX509KeyPair(k.files[0], k.files[1])
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", k.files[0], k.files[1], err)
	}
	if _, err := nodeOf(cert.Leaf); err != nil {
		return fmt.Errorf("certificate %s: %w", k.files[0], err)
	}
	pem, err := os.ReadFile(k.files[2])
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", k.files[2])
	}
	k.cert, k.ca = &cert, pool
	return nil
}

// verify checks that who signs for this cluster has signed the peer's certificate.
func (k *keys) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the other end shows no certificate")
	}
	_, ca := k.current()
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: ca, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

// NodeURI names a node in its certificate.
func NodeURI(node uint64) *url.URL {
	return &url.URL{Scheme: "waybill", Host: "node", Path: "/" + strconv.FormatUint(node, 10)}
}

// nodeOf is the node that a certificate is for.
func nodeOf(cert *x509.Certificate) (uint64, error) {
	for _, u := range cert.URIs {
		if u.Scheme != "waybill" || u.Host != "node" {
			continue
		}
		if node, err := strconv.ParseUint(strings.TrimPrefix(u.Path, "/"), 10, 64); err == nil && node != 0 {
			return node, nil
		}
	}
	return 0, errors.New("it names no node (a URI waybill://node/NUMBER is missing)")
}

// isLoopback reports whether an address cannot be reached from other machines.
func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
