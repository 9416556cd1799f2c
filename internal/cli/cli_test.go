package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill/internal/auth"
)

// run runs a command line and returns what it printed.
func run(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitCodes(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(bad, []byte("[kafka]\nnum.partition = 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"", exitOK, "Available Commands", ""},
		{"--help", exitOK, "serve", ""},
		{"serve --help", exitOK, "WAYBILL_KAFKA_NUM_PARTITIONS", ""},
		{"version", exitOK, "waybill ", ""},
		{"debug", exitOK, "segment", ""},
		{"sreve", exitUsage, "", "unknown command"},
		{"serve --prot 1", exitUsage, "", "unknown flag"},
		{"serve now", exitUsage, "", "serve --help"},
		{"serve --amqp nowhere", exitUsage, "", "is not an address"},
		{"serve --config " + bad, exitUsage, "", bad + `:2: unknown key "kafka.num.partition"`},
		{"serve --data-dir /dev/null/x", exitFailure, "", "/dev/null"},
		{"certs --nodes one", exitUsage, "", "not the number of a node"},
		{"certs", exitUsage, "", "for which nodes?"},
		{"debug wal", exitUsage, "", "debug wal --help"},
		{"debug wal /none/1.wal", exitFailure, "", "/none"},
	} {
		code, stdout, stderr := run(t, "", strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("waybill %s: code %d, want %d\n%s%s", c.args, code, c.code, stdout, stderr)
		}
		if c.code == exitOK && stderr != "" || c.code != exitOK && stdout != "" {
			t.Errorf("waybill %s: the wrong stream\nstdout: %s\nstderr: %s", c.args, stdout, stderr)
		}
	}
}

func TestCerts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	code, stdout, stderr := run(t, "", "certs", "--dir", dir, "--nodes", "1,2", "--hosts", "localhost,127.0.0.1")
	if code != exitOK || stderr != "" || strings.Count(stdout, "\n") != 6 {
		t.Fatalf("code %d\n%s%s", code, stdout, stderr)
	}
	for _, name := range strings.Fields(stdout) {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
	if code, _, stderr := run(t, "", "certs", "--dir", dir, "--nodes", "2,3"); code != exitFailure || !strings.Contains(stderr, "not overwritten") {
		t.Errorf("code %d\n%s", code, stderr)
	}
}

func TestHashPassword(t *testing.T) {
	for _, typed := range []string{"secret", "secret\r\nmore"} {
		code, hash, stderr := run(t, typed, "hash-password")
		if code != exitOK {
			t.Fatalf("%q: %d %s", typed, code, stderr)
		}
		a, err := auth.New(auth.Options{Users: map[string]string{"alice": strings.TrimSpace(hash)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Login("PLAIN", "alice", "secret", nil); err != nil {
			t.Errorf("%q: %v", typed, err)
		}
	}
	for _, blank := range []string{"", "\n", "  \n"} {
		if code, out, _ := run(t, blank, "hash-password"); code != exitFailure || out != "" {
			t.Errorf("%q: %d %s", blank, code, out)
		}
	}
}

// firstWrite is a buffer that tells when it was first written to.
type firstWrite struct {
	buf     bytes.Buffer
	written chan struct{}
	once    sync.Once
}

func (f *firstWrite) Write(p []byte) (int, error) {
	defer f.once.Do(func() { close(f.written) })
	return f.buf.Write(p)
}

// TestServe runs the command with flags over environment over file, stops it, and reads
// what it left behind with the debug commands.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	data, file := filepath.Join(dir, "data"), filepath.Join(dir, "waybill.toml")
	text := "data-dir = \"" + filepath.Join(dir, "wrong") + "\"\n[amqp]\nlisten = \"127.0.0.1:0\"\n[kafka]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:1\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WAYBILL_HTTP", "127.0.0.1:0")
	t.Setenv("WAYBILL_DATA_DIR", filepath.Join(dir, "also-wrong"))
	t.Setenv("WAYBILL_DISK_WAL_FILE_SIZE", "1MiB")

	ctx, stop := context.WithCancelCause(t.Context())
	out := &firstWrite{written: make(chan struct{})}
	var log bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, []string{"serve", "--config", file, "--data-dir", data, "--log-format", "json"}, strings.NewReader(""), out, &log)
	}()
	select {
	case <-out.written:
	case <-time.After(time.Minute):
		stop(errors.New("too late"))
		<-code
		t.Fatalf("it did not start:\n%s", log.String())
	}
	stop(errors.New("the test has seen enough"))
	if c := <-code; c != exitOK {
		t.Fatalf("code %d\n%s", c, log.String())
	}
	if !strings.Contains(out.buf.String(), data) || !strings.Contains(log.String(), `"msg":"stopped"`) {
		t.Errorf("%s\n%s", out.buf.String(), log.String())
	}
	for kind, pattern := range map[string]string{"wal": "wal/*.wal", "checkpoint": "checkpoint/*"} {
		files, err := filepath.Glob(filepath.Join(data, pattern))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 && kind == "wal" {
			t.Errorf("no file %s", pattern)
		}
		for _, f := range files {
			if c, text, stderr := run(t, "", "debug", kind, f); c != exitOK || text == "" {
				t.Errorf("debug %s %s: %d %s %s", kind, f, c, text, stderr)
			}
		}
	}
}
