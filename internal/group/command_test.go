package group

import (
	"bytes"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func drawPartition(t *rapid.T) TopicPartition {
	return TopicPartition{rapid.String().Draw(t, "topic"), rapid.Int32().Draw(t, "partition")}
}

func drawCommand(t *rapid.T) command {
	text := func(what string) string { return rapid.String().Draw(t, what) }
	raw := func(what string) []byte { return rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, what) }
	name := text("group")
	switch rapid.IntRange(kindGeneration, kindDelete).Draw(t, "kind") {
	case kindGeneration:
		return &generation{name, rapid.Int32().Draw(t, "generation")}
	case kindOutcome:
		c := &outcome{
			group: name, generation: rapid.Int32().Draw(t, "generation"),
			protocolType: text("type"), protocol: text("protocol"), leader: text("leader"),
			since: rapid.Int64().Draw(t, "since"), members: []outcomeMember{},
		}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			c.members = append(c.members, outcomeMember{
				id: text("id"), instance: text("instance"), clientID: text("client"), clientHost: text("host"),
				session: rapid.Int64().Draw(t, "session"), rebalance: rapid.Int64().Draw(t, "rebalance"),
				protocols: []Protocol{{text("name"), raw("metadata")}}, assignment: raw("assignment"),
			})
		}
		return c
	case kindCommit:
		c := &commit{group: name, offsets: []committed{}}
		for range rapid.IntRange(0, 3).Draw(t, "offsets") {
			c.offsets = append(c.offsets, committed{drawPartition(t), Offset{
				TopicID: [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
				Offset:  rapid.Int64().Draw(t, "offset"), LeaderEpoch: rapid.Int32().Draw(t, "epoch"),
				Metadata: text("metadata"), Time: rapid.Int64().Draw(t, "time"), Expires: rapid.Int64().Draw(t, "expires"),
			}})
		}
		return c
	case kindForget:
		return &forget{name, []TopicPartition{drawPartition(t)}}
	}
	return &remove{name}
}

func TestCommandsSurviveEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in, out []command
		var b []byte
		for range rapid.IntRange(0, 4).Draw(t, "commands") {
			c := drawCommand(t)
			in, b = append(in, c), appendCommand(b, c)
		}
		if err := decodeCommands(b, func(c command) { out = append(out, c) }); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(in, out) {
			t.Fatalf("in %+v, out %+v", in, out)
		}
	})
}

// FuzzRestore feeds a decoder of bytes from the disk: no input makes it panic,
// and a state that it accepts has one encoding.
func FuzzRestore(f *testing.F) {
	for _, c := range []command{
		&generation{"g", 3},
		&outcome{group: "g", generation: 3, protocolType: "consumer", protocol: "range", leader: "m", members: []outcomeMember{
			{id: "m", protocols: []Protocol{{"range", []byte("x")}}, assignment: []byte("y")},
		}},
		&commit{"g", []committed{{TopicPartition{"t", 1}, Offset{Offset: 5, Metadata: "m"}}}},
		&forget{"g", []TopicPartition{{"t", 1}}},
		&remove{"g"},
	} {
		f.Add(appendCommand(nil, c))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := New(DefaultConfig())
		if m.Restore(b) != nil {
			return
		}
		once := m.Snapshot(nil)
		again := New(DefaultConfig())
		if err := again.Restore(once); err != nil {
			t.Fatalf("its own snapshot: %v", err)
		}
		if twice := again.Snapshot(nil); !bytes.Equal(once, twice) {
			t.Fatalf("snapshots differ: %q and %q", once, twice)
		}
	})
}

// FuzzSubscription feeds a decoder of bytes from the network.
func FuzzSubscription(f *testing.F) {
	f.Add(subscribing("t", "u"))
	f.Add([]byte{0, 1, 0x7f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if topics, ok := subscription(b); !ok && len(topics) > len(b) {
			t.Fatalf("%d topics in %d bytes", len(topics), len(b))
		}
	})
}
