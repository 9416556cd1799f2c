package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMessages sends from every node to every other one, frames of all sizes, in order.
func TestMessages(t *testing.T) {
	nodes := []*node{start(t, 1), start(t, 2), start(t, 3)}
	meet(t, nodes...)
	sizes := []int{1, 100, copyLimit, copyLimit + 1, scratchSize, 1 << 20, 3<<20 + 7}
	frame := func(from, i int) string {
		return strings.Repeat(string(rune('a'+(from+i)%26)), sizes[i%len(sizes)])
	}
	const count = 40
	for _, from := range nodes {
		for _, to := range nodes {
			if from == to {
				continue
			}
			for i := range count {
				f := []byte(frame(int(from.id), i))
				if !from.Send(to.id, f[:len(f)/3], f[len(f)/3:]) {
					t.Fatalf("node %d drops a frame for node %d", from.id, to.id)
				}
			}
		}
	}
	for _, to := range nodes {
		for _, from := range nodes {
			if from == to {
				continue
			}
			eventually(t, "all frames are there", func() bool { return len(to.frames(from.id)) == count })
			for i, got := range to.frames(from.id) {
				if got != frame(int(from.id), i) {
					t.Fatalf("node %d got as frame %d of node %d: %.20q… of %d bytes", to.id, i, from.id, got, len(got))
				}
			}
		}
	}
	if nodes[0].Send(9, []byte("x")) || nodes[0].Send(1, []byte("x")) || nodes[0].Send(2, nil) {
		t.Error("a frame to nobody, to itself, or an empty one was taken")
	}
}

// TestDownAndUp stops a node and starts it again, on the same port.
func TestDownAndUp(t *testing.T) {
	one, two := start(t, 1), start(t, 2, aside)
	meet(t, one, two)
	addr := two.Addr().String()
	fastest := time.Hour
	for range 3 { // the machine may be busy with other things
		began := time.Now()
		two.Close()
		eventually(t, "node 2 is down", func() bool { return !one.up(2) })
		fastest = min(fastest, time.Since(began))
		if one.Send(2, []byte("x")) {
			t.Error("a frame to a node that is down was taken")
		}
		if _, err := one.Call(testContext(t), 2, "x", nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("a call to a node that is down: %v", err)
		}
		two = start(t, 2, func(c *Config) { c.Listen = addr })
		two.SetPeers(map[uint64]string{1: one.Addr().String()})
		eventually(t, "node 2 is up again", func() bool { return one.up(2) && two.up(1) })
	}
	if fastest > 900*time.Millisecond {
		t.Errorf("a node that refuses connections was down after %v only", fastest)
	}
	one.Send(2, []byte("again"))
	eventually(t, "the frame is there", func() bool { return len(two.frames(1)) == 1 })
	one.mu.Lock()
	defer one.mu.Unlock()
	if got := strings.Join(one.seen, ", "); got != "2 up"+strings.Repeat(", 2 down, 2 up", 3) {
		t.Errorf("node 1 was told: %s", got)
	}
}

// TestReset cuts a connection that can be made anew: the peer does not go down.
func TestReset(t *testing.T) {
	one, two := start(t, 1), start(t, 2)
	p := newProxy(t, two.Addr())
	two.SetPeers(map[uint64]string{1: one.Addr().String()})
	one.SetPeers(map[uint64]string{2: p.addr()})
	eventually(t, "both are up", func() bool { return one.up(2) && two.up(1) })
	for i := range 5 {
		l := one.peer(2).link.Load()
		eventually(t, "a heartbeat is answered", func() bool { return l.heard.Load() > 0 })
		p.cut()
		eventually(t, "there is a new link", func() bool { now := one.peer(2).link.Load(); return now != nil && now != l })
		want := fmt.Sprint("frame ", i)
		eventually(t, "a frame passes", func() bool {
			one.Send(2, []byte(want))
			got := two.frames(1)
			return len(got) > 0 && got[len(got)-1] == want
		})
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if got := strings.Join(one.seen, ", "); got != "2 up" {
		t.Errorf("node 1 was told: %s", got)
	}
}

// TestSilence makes the network swallow what passes, both ways or one: the
// peer is down after a second, its streams and calls end, and it comes back.
func TestSilence(t *testing.T) {
	for name, swallow := range map[string][2]bool{"both ways": {true, true}, "to the node": {true, false}, "from the node": {false, true}} {
		t.Run(name, func(t *testing.T) {
			one, two := start(t, 1), start(t, 2)
			p := newProxy(t, two.Addr())
			two.SetPeers(map[uint64]string{1: one.Addr().String()})
			one.SetPeers(map[uint64]string{2: p.addr()})
			two.Handle("echo", func(_ Identity, c net.Conn) { io.Copy(c, c) })
			two.HandleCall("wait", func(ctx context.Context, _ Identity, _ []byte) ([]byte, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			eventually(t, "node 2 is up", func() bool { return one.up(2) })
			stream, err := one.Dial(testContext(t), 2, "echo")
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			called := make(chan error, 1)
			go func() {
				_, err := one.Call(testContext(t), 2, "wait", nil)
				called <- err
			}()
			eventually(t, "the call is under way", func() bool {
				c := one.peer(2).caller.alive()
				if c == nil {
					return false
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				return len(c.waiting) == 1
			})
			began := time.Now()
			p.set(false, swallow[0], swallow[1])
			eventually(t, "node 2 is down", func() bool { return !one.up(2) })
			if took := time.Since(began); took < 800*time.Millisecond || took > 8*time.Second {
				t.Errorf("a silent node was down after %v", took)
			}
			if err := <-called; !errors.Is(err, ErrLost) {
				t.Errorf("the call ends with %v", err)
			}
			if _, err := stream.Read(make([]byte, 1)); err == nil {
				t.Error("the stream goes on")
			}
			p.set(false, false, false)
			eventually(t, "node 2 is up again", func() bool { return one.up(2) })
		})
	}
}

// TestSlowPeer: a peer whose handler is stuck holds up nobody else, and gets no
// more than its queue holds.
func TestSlowPeer(t *testing.T) {
	one, two, three := start(t, 1), start(t, 2), start(t, 3)
	stuck := make(chan struct{})
	two.OnMessage(func(Identity, []byte) { <-stuck })
	defer close(stuck)
	meet(t, one, two, three)
	frame := make([]byte, 1<<20)
	sent := 0
	for one.Send(2, frame) {
		if sent++; sent > 200 {
			t.Fatal("a queue without an end")
		}
	}
	if sent < maxQueued>>20-1 {
		t.Errorf("only %d MiB were taken", sent)
	}
	if !one.Send(3, []byte("still")) {
		t.Error("a frame to another peer was dropped")
	}
	eventually(t, "another peer gets its frame", func() bool { return len(three.frames(1)) == 1 })
}

func TestCalls(t *testing.T) {
	one, two := start(t, 1), start(t, 2)
	two.HandleCall("double", func(_ context.Context, from Identity, request []byte) ([]byte, error) {
		if from != one.who {
			return nil, fmt.Errorf("from %+v", from)
		}
		return append(request, request...), nil
	})
	two.HandleCall("fail", func(context.Context, Identity, []byte) ([]byte, error) { return nil, errors.New("the reason") })
	ended := make(chan error, 1)
	two.HandleCall("wait", func(ctx context.Context, _ Identity, _ []byte) ([]byte, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	})
	meet(t, one, two)
	ctx := testContext(t)

	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			request := bytes.Repeat([]byte{byte(i)}, i*i*10)
			answer, err := one.Call(ctx, 2, "double", request)
			if err != nil || !bytes.Equal(answer, append(request, request...)) {
				t.Errorf("call %d: %d bytes, %v", i, len(answer), err)
			}
		})
	}
	all.Wait()

	var remote *RemoteError
	if _, err := one.Call(ctx, 2, "fail", nil); !errors.As(err, &remote) || remote.Text != "the reason" || remote.Node != 2 {
		t.Errorf("fail: %v", err)
	}
	if _, err := one.Call(ctx, 2, "nothing", nil); !errors.As(err, &remote) || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("nothing: %v", err)
	}
	if _, err := one.Call(ctx, 7, "double", nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody: %v", err)
	}

	// Who waits no longer is not served any longer.
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond) // it has to leave before
	defer cancel()
	if _, err := one.Call(short, 2, "wait", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	<-ended
	given, giveUp := context.WithCancel(ctx)
	go func() {
		eventually(t, "the call is under way", func() bool {
			c := one.peer(2).caller.alive()
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.waiting) == 1
		})
		giveUp()
	}()
	if _, err := one.Call(given, 2, "wait", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	<-ended

	// A machine that was busy may hear of the server's deadline before of its own.
	overdue := &lateContext{Context: ctx, done: make(chan struct{})}
	late := make(chan error, 1)
	go func() {
		_, err := one.Call(overdue, 2, "wait", nil)
		late <- err
	}()
	<-ended
	eventually(t, "the answer is there", func() bool {
		c := one.peer(2).caller.alive()
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.waiting) == 0
	})
	close(overdue.done)
	if err := <-late; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("overdue: %v", err)
	}

	// A node that is gone is not called; one that goes loses its calls.
	called := make(chan error, 1)
	go func() {
		_, err := one.Call(ctx, 2, "wait", nil)
		called <- err
	}()
	eventually(t, "the call is under way", func() bool {
		c := one.peer(2).caller.alive()
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.waiting) == 1
	})
	two.Close()
	if err := <-called; err == nil {
		t.Error("a call to a node that went has an answer")
	}
	eventually(t, "a node that is gone is not reachable", func() bool {
		_, err := one.Call(ctx, 2, "double", nil)
		return errors.Is(err, ErrUnreachable)
	})
}

// lateContext has a deadline that has passed, and whose timer is late.
type lateContext struct {
	context.Context
	done chan struct{}
}

func (c *lateContext) Deadline() (time.Time, bool) { return time.Unix(1, 0), true }
func (c *lateContext) Done() <-chan struct{}       { return c.done }

func (c *lateContext) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestStreams(t *testing.T) {
	one, two := start(t, 1), start(t, 2)
	two.Handle("upper", func(from Identity, c net.Conn) {
		b := make([]byte, 5)
		if _, err := io.ReadFull(c, b); err != nil {
			t.Error(err)
		}
		fmt.Fprintf(c, "%s for node %d", bytes.ToUpper(b), from.Node)
	})
	meet(t, one, two)
	c, err := one.Dial(testContext(t), 2, "upper")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "hello")
	if got := readAll(t, c); got != "HELLO for node 1" {
		t.Errorf("got %q", got)
	}
	if _, err := one.Dial(testContext(t), 2, "lower"); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), `"lower"`) {
		t.Errorf("a service that is not there: %v", err)
	}
}

// TestRemovedPeer: who is a member no longer is disconnected.
func TestRemovedPeer(t *testing.T) {
	one, two := start(t, 1), start(t, 2)
	two.Handle("echo", func(_ Identity, c net.Conn) { io.Copy(c, c) })
	meet(t, one, two)
	c, err := one.Dial(testContext(t), 2, "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	one.SetPeers(map[uint64]string{1: one.Addr().String()})
	eventually(t, "node 2 is down", func() bool { return !one.up(2) })
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the stream goes on")
	}
	if one.Send(2, []byte("x")) {
		t.Error("a frame was taken")
	}
	one.SetPeers(map[uint64]string{2: two.Addr().String()})
	eventually(t, "node 2 is up again", func() bool { return one.up(2) })
}

// TestNeverUp: that a peer is down is told also when it never was up.
func TestNeverUp(t *testing.T) {
	one := start(t, 1)
	one.SetPeers(map[uint64]string{2: "127.0.0.1:1"})
	eventually(t, "it is known to be down", func() bool {
		one.mu.Lock()
		defer one.mu.Unlock()
		return len(one.seen) == 1 && one.seen[0] == "2 down"
	})
}

// TestMovedPeer gives a peer another address.
func TestMovedPeer(t *testing.T) {
	one, two := start(t, 1), start(t, 2)
	one.SetPeers(map[uint64]string{2: "127.0.0.1:1"})
	one.SetPeers(map[uint64]string{2: two.Addr().String()})
	eventually(t, "node 2 is up", func() bool { return one.up(2) })
}

// TestStrangers: a node of no cluster may ask to join, and nothing else.
func TestStrangers(t *testing.T) {
	one, fresh := start(t, 1), start(t, 4)
	fresh.become(Identity{Node: 4, Store: "store4"})
	one.HandleCall(JoinService, func(_ context.Context, from Identity, request []byte) ([]byte, error) {
		return fmt.Appendf(nil, "%s node %d, %s", request, from.Node, from.Store), nil
	})
	one.HandleCall("secret", func(context.Context, Identity, []byte) ([]byte, error) { return []byte("secret"), nil })
	ctx, addr := testContext(t), one.Addr().String()
	who, answer, err := fresh.CallAddr(ctx, addr, JoinService, []byte("welcome"))
	if err != nil || string(answer) != "welcome node 4, store4" || who != one.who {
		t.Errorf("join: %q of %+v, %v", answer, who, err)
	}
	if _, answer, err = fresh.CallAddr(ctx, addr, "secret", nil); err == nil || !strings.Contains(err.Error(), "no cluster") {
		t.Errorf("another service: %q, %v", answer, err)
	}
	fresh.SetPeers(map[uint64]string{1: addr})
	if _, err := fresh.Call(ctx, 1, JoinService, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("as a member: %v", err)
	}
	if _, err := fresh.Dial(ctx, 1, "x"); err == nil || !strings.Contains(err.Error(), "no cluster") {
		t.Errorf("a stream: %v", err)
	}

	// It may be told to become a member, and then it is one, at once.
	fresh.become(Identity{Cluster: "c", Node: 4, Replica: 7, Store: "store4"})
	fresh.SetPeers(map[uint64]string{1: addr})
	eventually(t, "node 1 is up", func() bool { return fresh.up(1) })
}

// TestRefusals: nobody connects as whom it is not.
func TestRefusals(t *testing.T) {
	one := start(t, 1, func(c *Config) {
		c.Admit = func(who Identity) error {
			if who.Store == "old" {
				return errors.New("node 2 has another data directory")
			}
			return nil
		}
	})
	for name, c := range map[string]struct {
		who  Identity
		to   uint64
		want string
	}{
		"another cluster":   {Identity{Cluster: "d", Node: 2}, 1, "another cluster"},
		"another node":      {Identity{Cluster: "c", Node: 2}, 3, "this is node 1, not node 3"},
		"the same number":   {Identity{Cluster: "c", Node: 1}, 1, "two nodes have that number"},
		"no number":         {Identity{Cluster: "c"}, 1, "without a number"},
		"not admitted":      {Identity{Cluster: "c", Node: 2, Store: "old"}, 1, "another data directory"},
		"a name for itself": {Identity{Cluster: strings.Repeat("x", 1<<16), Node: 2}, 1, "another cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			other := start(t, 9)
			other.become(c.who)
			other.OnPeer(nil)
			p := newPeer(other.Transport, c.to, one.Addr().String())
			_, err := p.dial()
			if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestStartingNode: until somebody takes its messages a node is not up.
func TestStartingNode(t *testing.T) {
	one, two := start(t, 1), start(t, 2)
	two.OnMessage(nil)
	p := newPeer(one.Transport, 2, two.Addr().String())
	if _, err := p.dial(); err == nil || !strings.Contains(err.Error(), "starting") {
		t.Errorf("got %v", err)
	}
}

// TestPlaintext: without certificates, loopback only, on both ends.
func TestPlaintext(t *testing.T) {
	if tr, err := New(Config{Listen: ":0", Logger: quiet(t)}); err == nil {
		tr.Close()
		t.Error("a node without certificates listens to everybody")
	}
	one, two := start(t, 1), start(t, 2)
	outside := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7200}
	for name, c := range map[string]addressed{"from": {local: outside}, "to": {remote: outside}} {
		c.Conn, _ = net.Pipe()
		if c.local == nil {
			c.local = one.Addr()
		}
		if c.remote == nil {
			c.remote = two.Addr()
		}
		if _, err := one.secure(t.Context(), c, nil); err == nil {
			t.Errorf("%s another machine: plaintext is allowed", name)
		}
		c.Conn.Close()
	}
}

// addressed is a connection with addresses of its own.
type addressed struct {
	net.Conn
	local, remote net.Addr
}

func (a addressed) LocalAddr() net.Addr  { return a.local }
func (a addressed) RemoteAddr() net.Addr { return a.remote }

// TestSilentStrangers: who says nothing, or nonsense, is limited in number and time.
func TestSilentStrangers(t *testing.T) {
	one := start(t, 1)
	var silent []net.Conn
	for range maxHandshakes {
		c, err := net.Dial("tcp", one.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	// One more is cut without an answer, once all the others are counted.
	eventually(t, "one more is cut", func() bool {
		c, err := net.Dial("tcp", one.Addr().String())
		if err != nil {
			return false
		}
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err = c.Read(make([]byte, 1))
		return err == io.EOF || err != nil && !errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "reset")
	})
	for _, c := range silent[:10] {
		fmt.Fprint(c, "GET / HTTP/1.1\r\n\r\n")
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Error("nonsense is answered")
		}
	}
	two := start(t, 2)
	eventually(t, "there is room again", func() bool {
		p := newPeer(two.Transport, 1, one.Addr().String())
		l, err := p.dial()
		if err == nil {
			l.conn.Close()
		}
		return err == nil
	})
}

func TestConnectionsOfANodeAreLimited(t *testing.T) {
	one, two := start(t, 1), start(t, 2)
	two.Handle("wait", func(_ Identity, c net.Conn) { io.Copy(io.Discard, c) })
	meet(t, one, two)
	for range maxPerNode {
		c, err := one.Dial(testContext(t), 2, "wait")
		if err != nil {
			return
		}
		defer c.Close()
	}
	t.Error("there is no limit")
}

// TestCloseDuringEverything closes a node while others talk to it; nothing is left behind.
func TestCloseDuringEverything(t *testing.T) {
	for range 5 {
		one, two := start(t, 1), start(t, 2)
		two.HandleCall("echo", func(_ context.Context, _ Identity, request []byte) ([]byte, error) { return request, nil })
		two.Handle("echo", func(_ Identity, c net.Conn) { io.Copy(c, c) })
		meet(t, one, two)
		var busy sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			busy.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					one.Send(2, []byte("x"))
					one.Call(t.Context(), 2, "echo", []byte("x"))
					if c, err := one.Dial(t.Context(), 2, "echo"); err == nil {
						c.Close()
					}
				}
			})
		}
		two.Close()
		one.Close()
		close(stop)
		busy.Wait()
		if err := one.Close(); err != nil {
			t.Error(err)
		}
	}
}
