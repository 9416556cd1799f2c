package cli

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestMain lets the test binary be the node that `waybill dev` starts: it starts
// the binary that it runs in.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		os.Exit(Main())
	}
	os.Exit(m.Run())
}

// lines is a buffer that tells when a line with a certain text was written.
type lines struct {
	buf  bytes.Buffer
	want string
	seen chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.buf.Write(p)
	if l.want != "" && strings.Contains(l.buf.String(), l.want) {
		l.want = ""
		close(l.seen)
	}
	return len(p), nil
}

// devTestPort is neither one of those that other tests choose for their brokers nor one that the system gives to
// outgoing connections: the tests of packages run side by side.
const devTestPort = "32710"

func TestDev(t *testing.T) {
	out := &lines{want: "waybill cluster status --url", seen: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	code := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		code <- Run(ctx, []string{"dev", "--nodes", "1", "--base-port", devTestPort, "--data-dir", t.TempDir(), "--", "--log-format", "json"},
			strings.NewReader(""), out, &stderr)
	}()
	select {
	case <-out.seen:
	case c := <-code:
		t.Fatalf("it ended with %d\n%s%s", c, out.buf.String(), stderr.String())
	case <-time.After(time.Minute):
		t.Fatal("it does not come up")
	}
	stop()
	if c := <-code; c != exitOK {
		t.Errorf("code %d: %s", c, stderr.String())
	}
	if log := out.buf.String(); !strings.Contains(log, "\nnode 1 | ") || !strings.Contains(log, `"msg":"stopped"`) {
		t.Errorf("the node's log is not there, or it was not stopped in order:\n%s", log)
	}
}

func TestDevUsage(t *testing.T) {
	for _, args := range []string{"dev --nodes 0", "dev --nodes 10", "dev now", "dev now -- --log-level debug"} {
		if code, _, stderr := run(t, "", strings.Fields(args)...); code != exitUsage {
			t.Errorf("%s: code %d, %s", args, code, stderr)
		}
	}
}

// Each node has the ports of the one before + 10, and knows the others.
func TestDevPorts(t *testing.T) {
	d := &dev{nodes: 3, dir: "d", ports: devPorts(0)}
	want := "serve --data-dir d/node2 --amqp 127.0.0.1:5682 --kafka 127.0.0.1:9102 --http 127.0.0.1:15682 " +
		"--node-id 2 --cluster-listen 127.0.0.1:7210 --join 127.0.0.1:7200,127.0.0.1:7210,127.0.0.1:7220"
	if got := strings.Join(d.serveArgs(2), " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A node that ends by itself is told of; when all have, there is nothing left to run.
func TestDevReportsWhoEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := &dev{nodes: 2, out: &lineWriter{to: &out}, exits: make(chan *devNode, 2), children: make([]*devNode, 2)}
		d.exits <- &devNode{id: 2, status: errExitZero}
		d.exits <- &devNode{id: 1, status: errExitZero}
		if err := d.watch(t.Context()); err == nil {
			t.Error("it goes on without nodes")
		}
		if !strings.HasPrefix(out.String(), "node 2 ended by itself (exit status 0); 1 of 2 are left\n") {
			t.Error(out.String())
		}
	})
}

func TestNodeWriterKeepsLinesWhole(t *testing.T) {
	var out bytes.Buffer
	w := &lineWriter{to: &out}
	one, two := w.node(1), w.node(2)
	for _, part := range []string{"a", "b\nc", "\n\n"} {
		if _, err := one.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		if _, err := two.Write([]byte("x\n")); err != nil {
			t.Fatal(err)
		}
	}
	if want := "node 2 | x\nnode 1 | ab\nnode 2 | x\nnode 1 | c\nnode 1 | \nnode 2 | x\n"; out.String() != want {
		t.Errorf("%q", out.String())
	}
	if _, err := one.Write(bytes.Repeat([]byte("y"), maxLine+1)); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "y\n") {
		t.Error("a line without end is kept for ever")
	}
}
