package catalog

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"waybill/internal/record"
)

// follower keeps a registry in step with a catalog from its changes alone, as
// the broker does, and fails when a change cannot be followed.
type follower struct {
	t    *rapid.T
	have map[string]bool
	logs map[record.LogID]string // every id ever seen, and whose it is
}

func newFollower(t *rapid.T) *follower {
	return &follower{t: t, have: map[string]bool{}, logs: map[record.LogID]string{}}
}

func (f *follower) follow(changes []Change) {
	for _, c := range changes {
		f.change(c)
	}
}

func (f *follower) change(c Change) {
	switch {
	case c.Exchange != nil:
		f.flip("x"+c.Exchange.Name, c.Gone)
	case c.Queue != nil:
		f.flip("q"+c.Queue.Name, c.Gone)
		f.own(c.Queue.Log, "q"+c.Queue.Name, c.Gone)
	case c.Topic != nil:
		for i, log := range c.Topic.Partitions {
			f.own(log, fmt.Sprintf("t%s/%d", c.Topic.Name, i), c.Gone)
		}
		delete(f.have, "t"+c.Topic.Name)
		if !c.Gone {
			f.have["t"+c.Topic.Name] = true
		}
	case c.Binding != nil:
		for _, end := range []string{"x" + c.Binding.Source, end(c.Binding.Destination, c.Binding.ToExchange)} {
			if !f.have[end] {
				f.t.Fatalf("binding %s (gone %t) without its end %s", c.Binding.ID(), c.Gone, end)
			}
		}
		f.flip("b"+c.Binding.ID(), c.Gone)
	case c.Coordinator != 0:
		f.own(c.Coordinator, "coordinator", c.Gone)
	}
}

// flip: what comes was not there, what goes was.
func (f *follower) flip(name string, gone bool) {
	if f.have[name] != gone {
		f.t.Fatalf("%s: gone %t, but present %t", name, gone, f.have[name])
	}
	if gone {
		delete(f.have, name)
	} else {
		f.have[name] = true
	}
}

// own: a log id belongs to one thing for ever.
func (f *follower) own(id record.LogID, name string, gone bool) {
	if owner, ok := f.logs[id]; ok && owner != name {
		f.t.Fatalf("log %d of %s was given to %s", id, owner, name)
	} else if !ok && gone {
		f.t.Fatalf("log %d of %s goes without having come", id, name)
	}
	f.logs[id] = name
}

func (f *follower) check(c *Catalog) {
	fresh := newFollower(f.t)
	fresh.follow(c.Changes())
	if !maps.Equal(fresh.have, f.have) {
		f.t.Fatalf("following the changes gives\n%v\nbut the catalog holds\n%v", f.have, fresh.have)
	}
}

func drawCommand(t *rapid.T) *Command {
	name := func(kind string) string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, kind) }
	flag := func(what string) bool { return rapid.Bool().Draw(t, what) }
	source := func() string { return rapid.SampledFrom([]string{"a", "b", "c", "amq.direct", ""}).Draw(t, "source") }
	binding := func() Binding {
		b := Binding{Source: source(), Key: name("key"), ToExchange: flag("to exchange")}
		b.Destination = name("destination")
		return b
	}
	switch rapid.IntRange(0, 17).Draw(t, "command") {
	case 0:
		return &Command{Start: &Start{Node: 1, ClusterID: "other", Coordinators: 3}}
	case 1, 2:
		x := Exchange{Name: source(), Type: "direct", Durable: flag("durable"), AutoDelete: flag("auto-delete"), Node: 1}
		return &Command{DeclareExchange: &DeclareExchange{VHost: DefaultVHost, Exchange: x}}
	case 3:
		return &Command{DeleteExchange: &DeleteExchange{VHost: DefaultVHost, Name: source(), IfUnused: flag("if unused")}}
	case 4, 5:
		q := Queue{Name: name("queue"), Durable: flag("durable"), Exclusive: flag("exclusive"), Node: 1, Owner: 7}
		return &Command{DeclareQueue: &DeclareQueue{VHost: DefaultVHost, Queue: q}}
	case 6:
		return &Command{DeleteQueue: &DeleteQueue{VHost: DefaultVHost, Name: name("queue")}}
	case 7, 8:
		return &Command{Bind: &Bind{VHost: DefaultVHost, Binding: binding()}}
	case 9:
		return &Command{Unbind: &Unbind{VHost: DefaultVHost, Binding: binding()}}
	case 10:
		return &Command{CreateTopic: &CreateTopic{Name: name("topic"), Partitions: int32(rapid.IntRange(0, 3).Draw(t, "n"))}}
	case 11, 12, 13, 14, 15:
		return drawMembership(t)
	default:
		if flag("delete") {
			return &Command{DeleteTopic: &DeleteTopic{Name: name("topic")}}
		}
		return &Command{AddPartitions: &AddPartitions{Name: name("topic"), Total: int32(rapid.IntRange(0, 5).Draw(t, "n"))}}
	}
}

// TestCommands: whatever is declared and deleted, the changes can be followed
// and lead to the same state; a refused command changes nothing; a second replica that
// reads the encoded commands, and one that is restored from a snapshot in the
// middle, hold the same.
func TestCommands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, two := New(), New()
		f := newFollower(t)
		behind, late := New(), newFollower(t) // gets states instead of commands
		start := &Command{Start: &Start{Node: 1, ClusterID: "first", Coordinators: 2}}
		for n := rapid.IntRange(1, 60).Draw(t, "commands"); n > 0; n-- {
			cmd := start
			if one.ClusterID() != "" {
				cmd = drawCommand(t)
			}
			encoded := cmd.Append(nil)
			before := string(one.Snapshot(nil))
			r := one.Apply(cmd)
			if r.Err != nil && (len(r.Changes) > 0 || string(one.Snapshot(nil)) != before) {
				t.Fatalf("%s was refused (%v) and changed something", encoded, r.Err)
			}
			f.follow(r.Changes)

			copied, rest, err := ParseCommand(encoded)
			if err != nil || len(rest) != 0 {
				t.Fatalf("parse %s: %v, %d bytes left", encoded, err, len(rest))
			}
			two.Apply(copied)
			if rapid.IntRange(0, 4).Draw(t, "catch up") == 0 {
				late.follow(one.Diff(behind))
				late.check(one)
				if err := behind.Restore(one.Snapshot(nil)); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.IntRange(0, 9).Draw(t, "restore") == 0 {
				restored := New()
				if err := restored.Restore(two.Snapshot(nil)); err != nil {
					t.Fatal(err)
				}
				two = restored
			}
		}
		f.check(one)
		checkPlacements(t, one)
		if a, b := one.Snapshot(nil), two.Snapshot(nil); string(a) != string(b) {
			t.Fatalf("replicas differ:\n%s\n%s", a, b)
		}
	})
}

func mustApply(t *testing.T, c *Catalog, cmd Command) Result {
	t.Helper()
	r := c.Apply(&cmd)
	if r.Err != nil {
		t.Fatalf("%s: %v", cmd.Append(nil)[1:], r.Err)
	}
	return r
}

func started(t *testing.T) *Catalog {
	c := New()
	mustApply(t, c, Command{Start: &Start{Node: 1, ClusterID: "id", Coordinators: 1}})
	return c
}

// TestStartDropsMemory: what is not durable dies with its node, and takes its
// bindings along; the rest stays.
func TestStartDropsMemory(t *testing.T) {
	c := started(t)
	declare := func(q Queue) {
		mustApply(t, c, Command{DeclareQueue: &DeclareQueue{VHost: "/", Queue: q}})
		mustApply(t, c, Command{Bind: &Bind{VHost: "/", Binding: Binding{Source: "amq.fanout", Destination: q.Name}}})
	}
	declare(Queue{Name: "durable", Durable: true})
	declare(Queue{Name: "memory", Node: 1})
	declare(Queue{Name: "exclusive", Durable: true, Exclusive: true, Node: 1, Owner: 5})
	declare(Queue{Name: "elsewhere", Node: 2})
	mustApply(t, c, Command{Start: &Start{Node: 1}})
	v := c.VHost("/")
	if got := strings.Join(v.Queues(), " "); got != "durable elsewhere" {
		t.Errorf("queues after a start: %s", got)
	}
	if n := len(v.Bindings()); n != 2 {
		t.Errorf("%d bindings after a start, want 2", n)
	}
}

// TestAutoDeleteExchange: it goes with its last binding, and along with it an
// exchange that was bound to it only.
func TestAutoDeleteExchange(t *testing.T) {
	c := started(t)
	for _, name := range []string{"up", "down"} {
		mustApply(t, c, Command{DeclareExchange: &DeclareExchange{VHost: "/", Exchange: Exchange{Name: name, Type: "fanout", Durable: true, AutoDelete: true}}})
	}
	mustApply(t, c, Command{DeclareQueue: &DeclareQueue{VHost: "/", Queue: Queue{Name: "q", Durable: true}}})
	mustApply(t, c, Command{Bind: &Bind{VHost: "/", Binding: Binding{Source: "up", Destination: "down", ToExchange: true}}})
	mustApply(t, c, Command{Bind: &Bind{VHost: "/", Binding: Binding{Source: "down", Destination: "q"}}})
	mustApply(t, c, Command{DeleteQueue: &DeleteQueue{VHost: "/", Name: "q"}})
	if v := c.VHost("/"); v.Exchange("up") != nil || v.Exchange("down") != nil {
		t.Errorf("auto-delete exchanges are left: %v", v.Exchanges())
	}
}

// TestDeclarationsAreCompared: the words are RabbitMQ's; clients look for them.
func TestDeclarationsAreCompared(t *testing.T) {
	c := started(t)
	args := func(table record.Table) []byte {
		b, err := EncodeArgs(table)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	declare := func(q Queue) *Error {
		return c.Apply(&Command{DeclareQueue: &DeclareQueue{VHost: "/", Queue: q}}).Err
	}
	if err := declare(Queue{Name: "q", Durable: true, Args: args(record.Table{"x-message-ttl": int32(5)})}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		q    Queue
		kind Kind
		text string
	}{
		{Queue{Name: "q", Durable: true, Args: args(record.Table{"x-message-ttl": int64(5)})}, 0, ""},
		{Queue{Name: "q", Args: args(record.Table{"x-message-ttl": int64(5)})}, Inequivalent, "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'"},
		{Queue{Name: "q", Durable: true}, Inequivalent, "inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received none but current is the value '5' of type 'signedint'"},
	} {
		err := declare(test.q)
		if test.kind == 0 {
			if err != nil {
				t.Errorf("an equal declaration was refused: %v", err)
			}
			continue
		}
		if err == nil || err.Kind != test.kind || err.Text != test.text {
			t.Errorf("got %v, want kind %d: %s", err, test.kind, test.text)
		}
	}
}

// FuzzParseCommand: no bytes from a log make it panic, and what it reads can
// be written and read again.
func FuzzParseCommand(f *testing.F) {
	f.Add((&Command{Start: &Start{Node: 1, ClusterID: "x"}}).Append(nil))
	f.Add((&Command{CreateTopic: &CreateTopic{Name: "t", Partitions: 3}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		cmd, rest, err := ParseCommand(b)
		if err != nil {
			if !errors.Is(err, ErrCommand) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if len(rest) >= len(b) {
			t.Fatal("nothing was read")
		}
		again, _, err := ParseCommand(cmd.Append(nil))
		if err != nil || string(again.Append(nil)) != string(cmd.Append(nil)) {
			t.Fatalf("read again: %v", err)
		}
		New().Apply(cmd)
	})
}

// FuzzRestore: no snapshot makes it panic, and a refused one changes nothing.
func FuzzRestore(f *testing.F) {
	c := New()
	c.Apply(&Command{Start: &Start{Node: 1, ClusterID: "x", Coordinators: 2}})
	f.Add(c.Snapshot(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := New()
		if err := c.Restore(b); err != nil && len(c.VHosts()) > 0 {
			t.Fatal("a refused snapshot left something behind")
		}
		c.Snapshot(nil)
	})
}
