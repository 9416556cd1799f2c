package replica

import (
	"errors"
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"waybill/internal/record"
	"waybill/internal/storage"
	"waybill/internal/vfs"
)

var seedFlag = flag.Uint64("replica.seed", 0, "replays one run of the tests with faults")

func newSeed(t *testing.T) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("replay with -run %s -replica.seed %d", t.Name(), seed)
	return seed
}

// TestReplicates: what is acknowledged is on all replicas, and the preferred
// leader of a new group leads at once.
func TestReplicates(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 2)
	took := w.until("leaders", time.Second, func() bool { return w.leader(1) != nil && w.leader(2) != nil })
	t.Logf("leaders after %s", took)
	if m := w.leader(1); m.id != 1 {
		t.Errorf("node %d leads, not the preferred one", m.id)
	}
	w.puts(1, 50)
	w.puts(2, 50)
	w.check()
}

// TestFailover: when the leader's node dies another one leads well within a second.
func TestFailover(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1)
	w.puts(1, 10)
	var worst time.Duration
	for range 10 {
		w.until("a leader", 5*time.Second, func() bool { return w.leader(1) != nil })
		w.puts(1, 3)
		dead := w.leader(1).id
		w.crash(dead)
		worst = max(worst, w.until("another leader", 5*time.Second, func() bool { return w.leader(1) != nil }))
		w.puts(1, 3)
		w.restart(dead)
		w.run(300 * time.Millisecond)
	}
	t.Logf("the slowest took %s", worst)
	if worst > 700*time.Millisecond {
		t.Errorf("the slowest of 10 took %s", worst)
	}
	w.check()
}

// TestTransfer: leadership is handed over under load without losing anything;
// publishing goes on within 300 ms.
func TestTransfer(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1)
	w.puts(1, 10)
	for range 10 {
		from := w.leader(1)
		to := w.voters[(slices.Index(w.voters, from.id)+1)%3]
		for range 20 {
			w.put(1)
		}
		from.ledgers[1].group.Transfer(to)
		took := w.until("the new leader", 2*time.Second, func() bool {
			w.put(1)
			m := w.leader(1)
			return m != nil && m.id == to
		})
		if took > 300*time.Millisecond {
			t.Errorf("the transfer took %s", took)
		}
	}
	w.check()
}

// TestTransferToNobody: a transfer to a replica that does not answer is given
// up, and proposals go on.
func TestTransferToNobody(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1)
	w.puts(1, 5)
	lead := w.leader(1)
	to := w.voters[(slices.Index(w.voters, lead.id)+1)%3]
	w.net.cut[[2]uint64{lead.id, to}] = true
	lead.ledgers[1].group.Transfer(to)
	w.step()
	w.puts(1, 1)
	w.check()
}

// TestMembership: a group moves, replica by replica, from nodes 1, 2, 3 to 3, 4,
// 5 under load; node 1 is the leader at first.
func TestMembership(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1)
	w.puts(1, 20)
	w.start(4, vfs.NewMem())
	w.start(5, vfs.NewMem())
	want := []uint64{3, 4, 5}
	w.reconfigure(1, want)
	w.until("the new membership", 20*time.Second, func() bool {
		w.put(1)
		m := w.leader(1)
		if m == nil {
			return false
		}
		voters, learners := m.ledgers[1].group.Members()
		return sameSet(voters, want) && len(learners) == 0
	})
	w.check()
	// The old ones can go.
	w.crash(1)
	w.crash(2)
	w.puts(1, 5)
	w.check()
}

func (w *world) reconfigure(g record.LogID, want []uint64) {
	for _, id := range w.ids {
		if m := w.nodes[id]; m.host != nil {
			m.ledgers[g].group.Reconfigure(want)
		}
	}
}

// TestShrinkToOne: a group of three becomes a group of one, which goes on alone,
// also after a power cut, and grows again.
func TestShrinkToOne(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1)
	w.puts(1, 20)
	is := func(want []uint64) func() bool {
		return func() bool {
			m := w.leader(1)
			if m == nil {
				return false
			}
			voters, learners := m.ledgers[1].group.Members()
			return sameSet(voters, want) && len(learners) == 0
		}
	}
	w.reconfigure(1, []uint64{2})
	w.until("one voter", 20*time.Second, is([]uint64{2}))
	w.crash(1)
	w.crash(3)
	w.puts(1, 5)
	w.crash(2)
	w.restart(2)
	w.puts(1, 5)
	w.restart(1)
	w.restart(3)
	w.reconfigure(1, []uint64{1, 2, 3})
	w.until("three voters", 20*time.Second, is([]uint64{1, 2, 3}))
	w.check()
}

// TestRead: a read point on any replica is not before what was acknowledged
// anywhere when it was asked for.
func TestRead(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1)
	w.puts(1, 10)
	for i := range 30 {
		w.puts(1, 1)
		want := w.acked[1][len(w.acked[1])-1]
		m := w.nodes[w.voters[i%3]]
		l := m.ledgers[1]
		answered := false
		l.group.Read(func(err error) {
			answered = true
			if err != nil || !slices.Contains(l.values, want) {
				t.Errorf("node %d: error %v, it has not applied %d", m.id, err, want)
			}
		})
		w.until("the read", 3*time.Second, func() bool { return answered })
	}
	lead := w.leader(1)
	for _, id := range w.voters { // nobody hears it any more
		w.net.cut[[2]uint64{lead.id, id}], w.net.cut[[2]uint64{id, lead.id}] = true, true
	}
	lead.ledgers[1].group.Read(func(err error) {
		if err == nil && lead.host != nil && len(w.net.cut) > 0 {
			t.Error("a leader that is cut off answers a read")
		}
	})
	w.run(5 * time.Second)
	w.check()
}

// TestMinCopies: with three copies wanted, nothing is acknowledged, or visible anywhere,
// while one node is away.
func TestMinCopies(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1)
	w.puts(1, 10)
	w.run(500 * time.Millisecond)
	for _, id := range w.ids {
		w.nodes[id].ledgers[1].group.SetMinCopies(3)
	}
	lead := w.leader(1)
	if n := lead.ledgers[1].group.Live(); n != 3 {
		t.Errorf("%d are in sync", n)
	}
	away := w.voters[(slices.Index(w.voters, lead.id)+1)%3]
	w.crash(away)
	before := len(w.acked[1])
	for range 5 {
		w.put(1)
		w.run(20 * time.Millisecond)
	}
	w.run(time.Second)
	if n := len(w.acked[1]); n != before {
		t.Errorf("%d were acknowledged with two copies", n-before)
	}
	for _, id := range w.voters {
		if m := w.nodes[id]; m.host != nil && len(m.ledgers[1].values) > 10 {
			t.Errorf("node %d has applied what has two copies only", id)
		}
	}
	if n := lead.ledgers[1].group.Live(); n != 2 {
		t.Errorf("%d are in sync", n)
	}
	w.restart(away)
	w.until("acknowledgements", 10*time.Second, func() bool { return len(w.acked[1]) == before+5 })
	w.check()
}

// TestSleep: idle groups stop ticking; a put, and the death of the leader's node,
// wake them.
func TestSleep(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 5)
	for _, g := range w.groups {
		w.puts(g, 3)
	}
	asleep := func() bool {
		for _, m := range w.nodes {
			if m.host != nil && len(m.host.shards[0].clock.awake) > 0 {
				return false
			}
		}
		return true
	}
	w.until("sleep", 10*time.Second, asleep)
	w.run(10 * time.Second)
	if !asleep() || len(w.net.list) > 0 {
		t.Error("they woke up by themselves")
	}
	w.puts(1, 1)
	if asleep() {
		t.Error("a put did not wake the group")
	}
	w.until("sleep", 10*time.Second, asleep)
	dead := w.leader(1).id
	w.crash(dead)
	took := w.until("another leader", 5*time.Second, func() bool { return w.leader(1) != nil })
	t.Logf("another leader after %s", took)
	w.puts(1, 1)
	w.until("sleep of two", 10*time.Second, asleep)
	w.restart(dead)
	w.until("sleep of three", 20*time.Second, asleep)
	w.check()
}

// TestSleepWaitsForWhoIsBack: a node that was down counts as in sync again though nothing is
// proposed, also when it answers long after it was found to be up.
func TestSleepWaitsForWhoIsBack(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1)
	w.puts(1, 3)
	lead := w.leader(1)
	back := lead.id%3 + 1
	inSync := func(n int) func() bool {
		return func() bool { return lead.ledgers[1].group.Live() == n }
	}
	w.until("three in sync", 10*time.Second, inSync(3))
	w.peer(lead.id, back, false)
	w.until("two in sync", time.Second, inSync(2))
	w.net.cut[[2]uint64{back, lead.id}] = true // it hears its leader, and is not heard
	w.peer(lead.id, back, true)
	w.run(5 * time.Second)
	clear(w.net.cut)
	w.until("three in sync again", 10*time.Second, func() bool {
		lead = w.leader(1)
		return lead != nil && inSync(3)()
	})
	w.check()
}

// TestSleepCountsWhoIsBack: a node that comes back in the last moment before a group falls asleep, and has
// everything, is in sync while the group sleeps.
func TestSleepCountsWhoIsBack(t *testing.T) {
	w := newWorld(t, 5, 3, 1)
	w.puts(1, 3)
	lead := w.leader(1)
	back := lead.id%3 + 1
	g := lead.ledgers[1].group
	w.crash(back)
	quiet := func(ticks int) func() bool { return func() bool { return g.clock.quiet >= ticks } }
	w.until("nearly asleep", 10*time.Second, quiet(sleepAfter-2))
	w.run(50 * time.Millisecond) // what was sent to it is lost
	w.restart(back)
	w.peer(lead.id, back, false) // the leader has not noticed yet
	w.until("the last heartbeat", time.Second, quiet(sleepAfter-1))
	w.peer(lead.id, back, true)
	w.until("sleep", 10*time.Second, func() bool { return g.clock.place == 0 })
	if n := g.Live(); n != 3 {
		t.Errorf("asleep with %d replicas in sync: %v", n, g.InSync())
	}
}

// TestCloseHandsOver: a leader that is stopped in order says so, and another one
// leads at once.
func TestCloseHandsOver(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1)
	w.puts(1, 5)
	lead := w.leader(1).id
	w.net.delayExtra = 0 // nothing overtakes that
	w.run(5 * time.Millisecond)
	w.stop(lead) // in order: it says so
	took := w.until("another leader", 5*time.Second, func() bool { return w.leader(1) != nil })
	if took > 300*time.Millisecond {
		t.Errorf("it took %s", took)
	}
	w.check()
}

// TestFaults: random faults on three or five nodes; nothing acknowledged is
// lost, and all replicas apply the same.
func TestFaults(t *testing.T) {
	runs := 6
	if testing.Short() {
		runs = 2
	}
	for range runs {
		t.Run("", func(t *testing.T) { faults(t, newSeed(t), 40) })
		t.Run("bodies", func(t *testing.T) { faults(t, newSeed(t), 40, withBodies) })
	}
}

func faults(t *testing.T, seed uint64, rounds int, options ...func(*world)) {
	rng := rand.New(rand.NewPCG(seed, 2))
	nodes := 3 + 2*rng.IntN(2)
	w := newWorld(t, seed, nodes, 2, options...)
	for range rounds {
		w.fault(rng)
		for range 20 + rng.IntN(200) {
			for _, g := range w.groups {
				if rng.IntN(4) == 0 {
					w.put(g)
				}
			}
			w.step()
			w.waver(rng)
		}
	}
	w.check()
}

// waver tells nodes of others that they went and came, true or not.
func (w *world) waver(rng *rand.Rand) {
	if rng.IntN(200) == 0 {
		a, b := w.voters[rng.IntN(len(w.voters))], w.voters[rng.IntN(len(w.voters))]
		w.peer(a, b, rng.IntN(2) == 0)
	}
}

func (w *world) fault(rng *rand.Rand) {
	pick := func() uint64 { return w.voters[rng.IntN(len(w.voters))] }
	switch rng.IntN(10) {
	case 0: // the power of one, if it is up
		if m := w.nodes[pick()]; m.host != nil {
			w.crash(m.id)
		}
	case 1: // of all
		for _, id := range w.voters {
			if w.nodes[id].host != nil {
				w.crash(id)
			}
		}
		for _, id := range w.voters {
			w.restart(id)
		}
	case 2, 3: // somebody comes back
		if m := w.nodes[pick()]; m.host == nil {
			w.restart(m.id)
		}
	case 4: // one way only
		w.net.cut[[2]uint64{pick(), pick()}] = true
	case 5: // cut off
		alone := pick()
		for _, id := range w.voters {
			w.net.cut[[2]uint64{alone, id}], w.net.cut[[2]uint64{id, alone}] = true, true
		}
	case 6:
		w.net.drop, w.net.dup = rng.Float64()*0.3, rng.Float64()*0.3
		w.net.delayMin, w.net.delayExtra = time.Duration(rng.IntN(3))*time.Millisecond, time.Duration(rng.IntN(50))*time.Millisecond
	case 7:
		if m := w.leader(w.groups[rng.IntN(len(w.groups))]); m != nil {
			m.ledgers[1].group.Transfer(pick())
			m.ledgers[2].group.Transfer(0)
		}
	case 8, 9:
		w.heal()
	}
}

func withBodies(w *world) { w.bodies = true }

// TestSnapshot: a node that was away for so long that its leader has dropped
// entries it lacks gets the machine's state and the live entries, and can lead then.
func TestSnapshot(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1, withBodies)
	w.puts(1, 10)
	away := w.voters[(slices.Index(w.voters, w.leader(1).id)+1)%3]
	w.crash(away)
	w.fill(1, away)
	w.restart(away)
	w.until("the same everywhere", 20*time.Second, func() bool { return w.same(1) })
	if n := counterValue(w.nodes[away].host.metrics.snapshots); n == 0 {
		t.Error("it needed no snapshot")
	}
	w.leader(1).ledgers[1].group.Transfer(away)
	w.until("its leadership", 5*time.Second, func() bool { m := w.leader(1); return m != nil && m.id == away })
	w.puts(1, 5)
	w.crash(away)
	w.restart(away)
	w.check()
}

// TestSnapshotThroughFaults: power cuts and leader changes while a snapshot is fetched.
func TestSnapshotThroughFaults(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1, withBodies)
	w.puts(1, 10)
	for range 5 {
		away := w.voters[w.rng.IntN(3)]
		if w.nodes[away].host == nil {
			continue
		}
		w.crash(away)
		w.fill(1, away)
		w.net.drop = 0.2
		w.restart(away)
		w.run(time.Duration(w.rng.IntN(40)) * time.Millisecond)
		if m := w.leader(1); m != nil && w.rng.IntN(2) == 0 {
			w.crash(m.id)
			w.run(time.Duration(w.rng.IntN(400)) * time.Millisecond)
			w.restart(m.id)
		} else {
			w.crash(away)
			w.restart(away)
		}
		w.check()
	}
}

// fill proposes until the leader's log begins after what a node has.
func (w *world) fill(g record.LogID, away uint64) {
	w.t.Helper()
	log := w.nodes[away].ledgers[g].group.log
	last := log.LastIndex()
	for w.leader(g) == nil || w.leader(g).ledgers[g].group.log.FirstIndex() <= last+1 {
		w.puts(g, 20)
	}
}

// TestSnapshotOfWhatItHas: a follower that was heard of no more, but heard, has all
// entries and does not know that the last one is committed. Its leader has
// dropped what came before, and offers a snapshot; the follower needs nothing of it.
func TestSnapshotOfWhatItHas(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 2, withBodies)
	w.puts(1, 10)
	lead := w.leader(1)
	follower := w.nodes[w.voters[(slices.Index(w.voters, lead.id)+1)%3]]
	group := follower.ledgers[1].group
	for _, id := range w.voters {
		w.net.cut[[2]uint64{follower.id, id}] = true
	}
	w.puts(1, 5)
	for _, id := range w.voters { // nobody is heard: the next one is not committed yet
		w.net.cut[[2]uint64{id, lead.id}] = true
	}
	w.put(1)
	w.run(10 * time.Millisecond)
	for _, id := range w.voters {
		w.net.cut[[2]uint64{id, lead.id}] = id == follower.id
		w.net.cut[[2]uint64{id, follower.id}] = true
		w.peer(id, follower.id, false)
	}
	log := lead.ledgers[1].group.log
	for log.FirstIndex() <= log.LastIndex() {
		w.until("a leader", 20*time.Second, func() bool { return w.leader(1) == lead && w.leader(2) != nil })
		w.puts(2, 20)
	}
	if group.last != log.LastIndex() || group.applied >= group.last {
		t.Fatalf("the follower is at %d of %d, the leader at %d", group.applied, group.last, log.LastIndex())
	}
	w.heal()
	w.until("the same everywhere", 2*time.Second, func() bool { return w.same(1) })
	w.until("all in sync", 2*time.Second, func() bool { return w.leader(1).ledgers[1].group.Live() == 3 })
	w.check()
}

// TestNewNode: a node without the log joins a group whose log begins later.
func TestNewNode(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1, withBodies)
	w.puts(1, 10)
	w.fill(1, 2)
	w.start(4, vfs.NewMem())
	w.reconfigure(1, []uint64{1, 2, 4})
	w.until("the new member", 20*time.Second, func() bool {
		m := w.leader(1)
		if m == nil {
			return false
		}
		voters, _ := m.ledgers[1].group.Members()
		return sameSet(voters, []uint64{1, 2, 4})
	})
	w.check()
}

// TestColdFollower: a follower gets entries that the leader has on disk only, without a
// snapshot, and without a read on the leader's shard.
func TestColdFollower(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1)
	w.noCheckpoint = true
	w.puts(1, 10)
	away := w.voters[(slices.Index(w.voters, w.leader(1).id)+1)%3]
	w.crash(away)
	lead := w.leader(1)
	log := lead.ledgers[1].group.log
	for {
		w.puts(1, 20)
		if _, err := log.Entries(log.FirstIndex(), log.FirstIndex()+1, 1, false); errors.Is(err, storage.ErrCold) {
			break
		}
	}
	w.restart(away)
	w.until("the same everywhere", 20*time.Second, func() bool { return w.same(1) })
	if n := counterValue(w.nodes[away].host.metrics.snapshots); n != 0 {
		t.Errorf("it fetched %v snapshots", n)
	}
	w.noCheckpoint = false
	w.check()
}

// TestReadAheadOfAFormerTerm: a leader has read entries for a follower that another
// leader replaced before this one led again. It must send what its log has now.
func TestReadAheadOfAFormerTerm(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1)
	w.noCheckpoint = true
	w.puts(1, 10)
	away := w.voters[(slices.Index(w.voters, w.leader(1).id)+1)%3]
	w.crash(away)
	group := w.leader(1).ledgers[1].group
	var former []*raftpb.Entry
	for {
		w.puts(1, 20)
		from := group.log.FirstIndex() + record.Index(len(former))
		entries, err := group.log.Entries(from, group.log.LastIndex()+1, 1<<40, false)
		if errors.Is(err, storage.ErrCold) {
			break
		}
		for _, e := range entries {
			e = proto.CloneOf(e)
			if n := len(e.GetData()); n > 0 {
				e.Data[n-1] ^= 1 // a value that was never committed
			}
			former = append(former, e)
		}
	}
	group.catchUp.ahead = ahead{term: group.raftTerm - 1, pieces: [][]*raftpb.Entry{former}}
	w.restart(away)
	w.until("the same everywhere", 20*time.Second, func() bool { return w.same(1) })
	w.noCheckpoint = false
	w.check()
}

// TestInvalidMessages: what no correct replica would send neither stops the node, nor
// changes anything.
func TestInvalidMessages(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1)
	w.puts(1, 10)
	lead := w.leader(1)
	follower := w.nodes[w.voters[(slices.Index(w.voters, lead.id)+1)%3]]
	_, term := lead.ledgers[1].group.Leader()
	entry := func(index, term uint64, data []byte) *raftpb.Entry {
		return &raftpb.Entry{Type: raftpb.EntryNormal.Enum(), Index: &index, Term: &term, Data: data}
	}
	n := func(v uint64) *uint64 { return &v }
	for i, m := range []*raftpb.Message{
		{Type: raftpb.MsgHup.Enum(), Term: n(term)},
		{Type: raftpb.MsgProp.Enum(), Term: n(term), Entries: []*raftpb.Entry{entry(0, 0, []byte("x"))}},
		{Type: raftpb.MsgApp.Enum(), Entries: []*raftpb.Entry{entry(1, 1, nil)}},
		{Type: raftpb.MsgApp.Enum(), Term: n(term), Index: n(5), Entries: []*raftpb.Entry{entry(7, 1, nil)}},
		{Type: raftpb.MsgApp.Enum(), Term: n(term), Index: n(5), Entries: []*raftpb.Entry{entry(6, term, []byte("no header"))}},
		{Type: raftpb.MsgReadIndex.Enum()},
		{Type: raftpb.MsgReadIndexResp.Enum(), Term: n(term)},
		{Type: raftpb.MsgHeartbeatResp.Enum(), Term: n(term), Context: []byte("short")},
		{Type: raftpb.MsgSnap.Enum(), Term: n(term)},
		{Type: raftpb.MsgStorageAppendResp.Enum(), Term: n(term), Index: n(3)},
		{Type: raftpb.MsgAppResp.Enum(), Term: n(term), Index: n(1 << 40)},
	} {
		for _, to := range []*member{lead, follower} {
			from := w.voters[(slices.Index(w.voters, to.id)+1)%3]
			frame := sealFrame(AppendMessage([]byte{frameVersion}, 1, m))
			if err := to.host.Receive(from, frame); err == nil && m.GetType() != raftpb.MsgAppResp {
				t.Errorf("message %d is taken", i)
			}
			w.settle(to)
		}
	}
	w.puts(1, 5)
	w.check()
}

// TestLostLog: a replica that is told that it has acknowledged what it does
// not have is held offline; it neither votes nor acknowledges, and the node goes on.
func TestLostLog(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 2)
	w.puts(1, 10)
	lead := w.leader(1)
	m := w.nodes[w.voters[(slices.Index(w.voters, lead.id)+1)%3]]
	_, term := lead.ledgers[1].group.Leader()
	heartbeat := &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), Term: &term, Commit: new(uint64(1000))}
	if err := m.host.Receive(lead.id, sealFrame(AppendMessage([]byte{frameVersion}, 1, heartbeat))); err != nil {
		t.Fatal(err)
	}
	w.puts(1, 5)
	if !m.ledgers[1].group.stopped {
		t.Error("it goes on")
	}
	w.puts(2, 5)
}

func counterValue(c prometheus.Counter) float64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		panic(err)
	}
	return m.GetCounter().GetValue()
}

// TestNoVoteBeforeJoining: a replica that is no member yet, as far as it knows, votes
// for nobody: it may have voted in a former life.
func TestNoVoteBeforeJoining(t *testing.T) {
	w := newWorld(t, newSeed(t), 3, 1)
	w.puts(1, 10)
	w.start(4, vfs.NewMem())
	w.settle(w.nodes[4])
	for _, kind := range []raftpb.MessageType{raftpb.MsgVote, raftpb.MsgPreVote} {
		m := &raftpb.Message{Type: &kind, Term: new(uint64(50)), Index: new(uint64(1000)), LogTerm: new(uint64(49))}
		if err := w.nodes[4].host.Receive(3, sealFrame(AppendMessage([]byte{frameVersion}, 1, m))); err != nil {
			t.Fatal(err)
		}
		w.settle(w.nodes[4])
	}
	if slices.ContainsFunc(w.net.list, func(e envelope) bool { return e.from == 4 }) {
		t.Error("it answers")
	}
	w.check()
}
