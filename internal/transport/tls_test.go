package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificates makes those of nodes 1 to 3 and returns their directory.
func certificates(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := MakeCertificates(dir, []uint64{1, 2, 3}, []string{"localhost", "127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// withTLS gives a node the certificate of node, from dir.
func withTLS(t testing.TB, dir string, node uint64) func(*Config) {
	return func(c *Config) {
		var err error
		c.TLS, err = LoadTLS(nodeFile(dir, node, "crt"), nodeFile(dir, node, "key"), filepath.Join(dir, "ca.crt"), quiet(t))
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestTLS runs three nodes on the certificates that we make.
func TestTLS(t *testing.T) {
	dir := certificates(t)
	one, two, three := start(t, 1, withTLS(t, dir, 1)), start(t, 2, withTLS(t, dir, 2)), start(t, 3, withTLS(t, dir, 3))
	two.HandleCall("echo", func(_ context.Context, _ Identity, request []byte) ([]byte, error) { return request, nil })
	meet(t, one, two, three)
	frame := strings.Repeat("x", 100_000)
	one.Send(2, []byte(frame))
	three.Send(2, []byte("small"))
	eventually(t, "the frames are there", func() bool { return len(two.frames(1)) == 1 && len(two.frames(3)) == 1 })
	if two.frames(1)[0] != frame {
		t.Error("the frame has changed")
	}
	if answer, err := three.Call(testContext(t), 2, "echo", []byte("hello")); err != nil || string(answer) != "hello" {
		t.Errorf("%q, %v", answer, err)
	}
	two.Close()
	eventually(t, "node 2 is down", func() bool { return !one.up(2) && !three.up(2) })
}

// dialError is what a node of that id and TLS hears when it dials another.
func dialError(t *testing.T, to *node, id uint64, change ...func(*Config)) error {
	from := start(t, id, change...)
	l, err := newPeer(from.Transport, to.id, to.Addr().String()).dial()
	if err == nil {
		l.conn.Close()
	}
	return err
}

func TestTLSRefusals(t *testing.T) {
	dir, foreign := certificates(t), certificates(t)
	one := start(t, 1, withTLS(t, dir, 1))
	if err := dialError(t, one, 2, withTLS(t, dir, 2)); err != nil {
		t.Errorf("node 2 with its certificate: %v", err)
	}
	for name, err := range map[string]error{
		"another authority":                dialError(t, one, 2, withTLS(t, foreign, 2)),
		"another node":                     dialError(t, one, 2, withTLS(t, dir, 3)),
		"plaintext":                        dialError(t, one, 2),
		"TLS, to plaintext":                dialError(t, start(t, 1), 2, withTLS(t, dir, 2)),
		"to another node":                  dialError(t, start(t, 1, withTLS(t, dir, 3)), 2, withTLS(t, dir, 2)),
		"to a node of another authority":   dialError(t, start(t, 1, withTLS(t, foreign, 1)), 2, withTLS(t, dir, 2)),
		"no certificate":                   dialError(t, one, 2, func(c *Config) { c.TLS = &tls.Config{InsecureSkipVerify: true} }),
		"a version of TLS that is too old": dialError(t, one, 2, withTLS(t, dir, 2), func(c *Config) { c.TLS.MinVersion, c.TLS.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }),
	} {
		if !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: %v", name, err)
	}
}

// TestCertificatesAreReloaded changes the files of a running node.
func TestCertificatesAreReloaded(t *testing.T) {
	dir, next := certificates(t), certificates(t)
	k := &keys{
		files: [3]string{nodeFile(dir, 1, "crt"), nodeFile(dir, 1, "key"), filepath.Join(dir, "ca.crt")},
		log:   quiet(t),
	}
	k.stamp = k.look()
	if err := k.load(); err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		k.mu.Lock()
		k.looked = time.Time{} // a second has passed
		k.mu.Unlock()
		cert, _ := k.current()
		return cert.Leaf.SerialNumber.String()
	}
	first := serial()
	replace := func(name string, data []byte) {
		if err := os.WriteFile(name+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	replace(k.files[0], []byte("rubbish, as long as no certificate is"))
	if serial() != first {
		t.Error("a bad file was taken")
	}
	replace(k.files[0], read(nodeFile(next, 1, "crt")))
	if serial() != first {
		t.Error("a certificate was taken without its key")
	}
	replace(k.files[1], read(nodeFile(next, 1, "key")))
	if serial() == first {
		t.Error("the new certificate was not taken")
	}
}

func TestMakeCertificates(t *testing.T) {
	dir := certificates(t)
	for _, name := range []string{"ca.key", "node-1.key", "node-3.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	before, err := os.ReadFile(nodeFile(dir, 2, "key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := MakeCertificates(dir, []uint64{4, 2}, nil); err == nil || !strings.Contains(err.Error(), "node-2.crt") {
		t.Errorf("overwriting: %v", err)
	}
	if after, err := os.ReadFile(nodeFile(dir, 2, "key")); err != nil || string(after) != string(before) {
		t.Errorf("the key was overwritten, %v", err)
	}
	// A node that comes later is signed by the same authority.
	made, err := MakeCertificates(dir, []uint64{4}, nil)
	if err != nil || fmt.Sprint(made) != fmt.Sprint([]string{nodeFile(dir, 4, "crt"), nodeFile(dir, 4, "key")}) {
		t.Fatalf("a node that comes later: %v, %v", made, err)
	}
	meet(t, start(t, 1, withTLS(t, dir, 1)), start(t, 4, withTLS(t, dir, 4)))
}
