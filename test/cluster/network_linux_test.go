package clustertest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echo is a server that sends every line back.
func echo(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l
}

// dialed is a connection of "node 1", which is this process, to node 2 behind the proxy.
type dialed struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *dialed {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &dialed{c, bufio.NewReader(c)}
}

// said sends a line and waits so long for it to come back.
func (d *dialed) said(line string, wait time.Duration) error {
	if _, err := io.WriteString(d, line+"\n"); err != nil {
		return err
	}
	return d.hears(line, wait)
}

func (d *dialed) hears(line string, wait time.Duration) error {
	if err := d.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	got, err := d.r.ReadString('\n')
	if err == nil && got != line+"\n" {
		err = errors.New("got " + got)
	}
	return err
}

const soon, never = 30 * time.Second, 50 * time.Millisecond

func startNetwork(t *testing.T) (*Network, string) {
	n := newNetwork(t)
	n.started(1, os.Getpid())
	addr := n.add(t, 2, echo(t).Addr().String())
	n.add(t, 1, "127.0.0.1:1")
	return n, addr
}

func TestNetworkStallsEachDirection(t *testing.T) {
	n, addr := startNetwork(t)
	c := dial(t, addr)
	if err := c.said("one", soon); err != nil {
		t.Fatal(err)
	}
	for i, d := range [][2]uint64{{1, 2}, {2, 1}} {
		n.Set(d[0], d[1], Stall)
		line := []string{"two", "three"}[i]
		if err := c.said(line, never); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v: it passes: %v", d, err)
		}
		n.Heal()
		if err := c.hears(line, soon); err != nil {
			t.Errorf("%v: after the stall: %v", d, err)
		}
	}
}

func TestNetworkCuts(t *testing.T) {
	n, addr := startNetwork(t)
	c := dial(t, addr)
	if err := c.said("one", soon); err != nil {
		t.Fatal(err)
	}
	n.Isolate(1, Cut)
	if err := c.said("two", soon); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection lives: %v", err)
	}
	if err := dial(t, addr).said("three", soon); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new connection is made: %v", err)
	}
	n.Heal()
	if err := dial(t, addr).said("four", soon); err != nil {
		t.Errorf("after the cut: %v", err)
	}
}

func TestNetworkHalfOpen(t *testing.T) {
	n, addr := startNetwork(t)
	c := dial(t, addr)
	if err := c.said("one", soon); err != nil {
		t.Fatal(err)
	}
	n.Set(1, 2, HalfOpen)
	if err := c.said("two", never); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the sender is told: %v", err)
	}
	n.Heal()
	if err := c.hears("two", soon); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after it: %v", err)
	}
}

func TestNetworkDelays(t *testing.T) {
	n, addr := startNetwork(t)
	const delay = 60 * time.Millisecond
	n.Delay(1, 2, delay)
	began := time.Now()
	if err := dial(t, addr).said("one", soon); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < delay {
		t.Errorf("it took %v", took)
	}
}

// What no node's process has dialed is not let through.
func TestNetworkKnowsWhoDials(t *testing.T) {
	n, addr := startNetwork(t)
	n.started(1, os.Getppid())
	if err := dial(t, addr).said("one", soon); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stranger is let through: %v", err)
	}
}
