package prove

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	brokertest "waybill/test/broker"
	"waybill/test/check"
	clustertest "waybill/test/cluster"
)

// injector makes a fault happen, and undoes it.
type injector struct {
	inject func(context.Context, *scene) error
	hold   time.Duration
	heal   func(context.Context, *scene) error
	peers  bool // it needs more than one node
}

// scene is where a fault happens.
type scene struct {
	*rig
	victim *clustertest.Node   // the node that leads
	others []*clustertest.Node // in random order
}

// builds are of the binaries of faults that cannot be made to happen to the usual one.
var builds = map[string]func(testing.TB) string{"clock": brokertest.BuildWithClock}

// bulky are the faults that need messages of some size. A full WAL file is kept only when what it has of
// a log lies in pieces of 4 KiB and is 64 KiB: with small messages there is none.
var bulky = map[string]bool{"rot-wal": true, "cut-wal": true, "rot-segment": true, "cut-segment": true}

func nothing(context.Context, *scene) error { return nil }

// hold is how long most faults last: longer than an election, and than a client's patience.
// holdLong is longer than the broker lets anyone wait before it refuses.
const (
	hold     = 5 * time.Second
	holdLong = 13 * time.Second
	filling  = 20 * time.Second // how long the load may take to fill a WAL file that is kept
)

// injectors are the faults of promise.yaml.
var injectors = map[string]injector{
	"none":     {nothing, 2 * time.Second, nothing, false},
	"link-cut": {cutLinks, 0, nothing, false},

	"kill-leader":    {killVictim, hold, launchAll, true},
	"kill-all":       {killAll, 0, launchAll, false},
	"power-minority": {powerVictim, hold, powerBack, true},
	"power-all":      {powerAll, 0, powerBack, false},

	"pause-leader":     {pauseVictim, hold, resumeVictim, true},
	"partition-leader": {isolate(clustertest.Cut), hold, healNetwork, true},
	"stall-leader":     {isolate(clustertest.Stall), hold, healNetwork, true},
	"one-way":          {silence(clustertest.Stall), hold, healNetwork, true},
	"half-open":        {silence(clustertest.HalfOpen), hold, healNetwork, true},
	"non-transitive":   {separate, hold, healNetwork, true},
	"slow-link":        {slowDown, hold, healNetwork, true},

	"full-minority": {fillFollowers(1), hold, freeDisks, true},
	"full-majority": {fillFollowers(2), holdLong, freeDisks, true},
	"eio-minority":  {failVictim, hold, healSyncs, true},
	"eio-majority":  {failMajority, holdLong, healSyncs, true},

	"rot-wal":        {rot(clustertest.KindWAL), hold, nothing, true},
	"rot-segment":    {afterKept(rot(clustertest.KindSegment)), hold, leadAgain, true},
	"rot-checkpoint": {rot(clustertest.KindCheckpoint), hold, nothing, true},
	"rot-top":        {rot(clustertest.KindTop), hold, replaceIfBroken, true},
	"cut-wal":        {truncate(clustertest.KindWAL), hold, nothing, true},
	"cut-segment":    {afterKept(truncate(clustertest.KindSegment)), hold, leadAgain, true},
	"cut-checkpoint": {truncate(clustertest.KindCheckpoint), hold, nothing, true},
	"cut-top":        {truncate(clustertest.KindTop), hold, replaceIfBroken, true},
	"wiped":          {wipe, hold, nothing, true},

	"damaged-majority": {damageEntries, 0, nothing, false},

	"transfer":        {moveLeaders, 0, nothing, true},
	"rolling-restart": {restartEach, 0, nothing, true},
	"membership":      {changeMembers, 0, nothing, true},
	"clock":           {setClocks, 0, nothing, false},
}

// cutLinks resets the clients' connections for a while.
func cutLinks(ctx context.Context, s *scene) error {
	for range 10 {
		s.links.cut()
		pause(ctx, 200*time.Millisecond)
	}
	return nil
}

func killVictim(_ context.Context, s *scene) error { s.victim.Kill(); return nil }

func killAll(_ context.Context, s *scene) error {
	for _, n := range s.cluster.Nodes {
		n.Kill()
	}
	return nil
}

func launchAll(context.Context, *scene) error { return nil } // what does not run is launched after every fault

func powerVictim(_ context.Context, s *scene) error { s.victim.PowerCut(); return nil }

func powerAll(_ context.Context, s *scene) error {
	clustertest.PowerCut(s.cluster.Nodes...)
	return nil
}

// powerBack mounts the disks of the nodes that do not run.
func powerBack(_ context.Context, s *scene) error {
	for _, n := range s.cluster.Nodes {
		if !n.Running() {
			n.Repower()
		}
	}
	return nil
}

func pauseVictim(_ context.Context, s *scene) error  { s.victim.Pause(); return nil }
func resumeVictim(_ context.Context, s *scene) error { s.victim.Resume(); return nil }

// isolate parts the victim from all others, both ways.
func isolate(f clustertest.Fault) func(context.Context, *scene) error {
	return func(_ context.Context, s *scene) error {
		s.cluster.Net.Isolate(s.victim.ID, f)
		return nil
	}
}

// silence lets the victim hear the others, and not be heard.
func silence(f clustertest.Fault) func(context.Context, *scene) error {
	return func(_ context.Context, s *scene) error {
		for _, n := range s.others {
			s.cluster.Net.Set(s.victim.ID, n.ID, f)
		}
		return nil
	}
}

// separate parts the victim from one node; the third one sees both.
func separate(_ context.Context, s *scene) error {
	s.cluster.Net.Between(s.victim.ID, s.others[0].ID, clustertest.Stall)
	return nil
}

func slowDown(_ context.Context, s *scene) error {
	for _, a := range s.cluster.Nodes {
		for _, b := range s.cluster.Nodes {
			if a != b {
				s.cluster.Net.Delay(a.ID, b.ID, 50*time.Millisecond)
			}
		}
	}
	return nil
}

func healNetwork(_ context.Context, s *scene) error { s.cluster.Net.Heal(); return nil }

// fillFollowers fills the disks of some nodes that do not lead.
func fillFollowers(n int) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		for _, node := range s.others[:n] {
			if err := node.FillDisk(); err != nil {
				return err
			}
		}
		if n > 1 {
			s.awaitSilence(ctx)
		}
		return nil
	}
}

// awaitSilence waits until nobody gets acknowledgements any more who should get none: what a node has laid out for its
// write-ahead log is good for some seconds on a full disk.
func (s *scene) awaitSilence(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, name := range s.order {
		line := s.modes[name].acks()
		for s.promise.Modes.Of[name].Expect[majorityClass] == Refused && line.ackedAfter(time.Now().Add(-time.Second)) && limited.Err() == nil {
			pause(limited, 50*time.Millisecond)
		}
	}
	s.note("it was silent %v", limited.Err() == nil)
}

func freeDisks(_ context.Context, s *scene) error {
	var errs []error
	for _, n := range s.cluster.Nodes {
		errs = append(errs, n.FreeDisk())
	}
	return errors.Join(errs...)
}

func failVictim(ctx context.Context, s *scene) error { return failSyncs(ctx, s.victim) }

func failMajority(ctx context.Context, s *scene) error {
	return errors.Join(failSyncs(ctx, s.victim), failSyncs(ctx, s.others[0]))
}

// failSyncs makes a node's syncs fail, and waits until it has ended over that.
func failSyncs(ctx context.Context, n *clustertest.Node) error {
	if err := n.FailSyncs(); err != nil {
		return err
	}
	select {
	case <-n.Exited():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Second):
		return fmt.Errorf("node %d goes on although its syncs fail", n.ID)
	}
}

func healSyncs(_ context.Context, s *scene) error {
	for _, n := range s.cluster.Nodes {
		n.HealSyncs()
	}
	return nil
}

// rot damages all files of a kind of the victim, between its end and its start.
func rot(kind string) func(context.Context, *scene) error {
	return func(_ context.Context, s *scene) error {
		s.victim.Kill()
		files, err := s.victim.Rot(kind, s.rng)
		return damaged(s, kind, files, err)
	}
}

func truncate(kind string) func(context.Context, *scene) error {
	return func(_ context.Context, s *scene) error {
		s.victim.Kill()
		files, err := s.victim.Truncate(kind)
		return damaged(s, kind, files, err)
	}
}

// afterKept waits before a fault until the victim has kept a WAL file: as a segment it is to be damaged, too.
func afterKept(inject func(context.Context, *scene) error) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		limited, cancel := context.WithTimeout(ctx, filling)
		defer cancel()
		for {
			kept, err := s.victim.Kept()
			switch {
			case err != nil:
				return err
			case len(kept) > 0:
				return inject(ctx, s)
			case limited.Err() != nil:
				return fmt.Errorf("%w: node %d has kept no WAL file within %v", errNotRun, s.victim.ID, filling)
			}
			pause(limited, 100*time.Millisecond)
		}
	}
}

// damaged starts the victim again. A run that damaged nothing proves nothing.
func damaged(s *scene, kind string, files []string, err error) error {
	switch {
	case err != nil:
		return err
	case len(files) == 0:
		return fmt.Errorf("%w: there is no file of the kind %q to damage", errNotRun, kind)
	}
	kept, err := s.victim.Kept()
	if err != nil {
		return err
	}
	s.note("node %d: %d files of the kind %q are damaged; it has kept %d WAL files", s.victim.ID, len(files), kind, len(kept))
	return s.victim.Launch()
}

// leadAgain has the victim lead again, when what it found out at its start is rebuilt: who follows reads
// nothing of what lies in its segments, so nobody would find out what else is damaged there. What is read
// in the end comes from it then.
func leadAgain(ctx context.Context, s *scene) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.cluster.AwaitHealth(limited, justDeclared); err != nil {
		return err
	}
	return s.gather(ctx, s.victim)
}

// errNotRun is returned where a fault could not be made to happen: the cell is no run.
var errNotRun = errors.New("the fault did not happen")

// damagedCounters are the messages of each producer that damageEntries looks for; the
// bodies of some are too short to be told apart.
var damagedCounters = []uint32{100, 101, 102}

// damageEntries damages the same messages on a majority, while nobody runs.
func damageEntries(ctx context.Context, s *scene) error {
	if err := killAll(ctx, s); err != nil {
		return err
	}
	majority := append([]*clustertest.Node{s.victim}, s.others...)[:len(s.cluster.Nodes)/2+1]
	for _, n := range majority {
		places := 0
		for id := uint32(1); id <= s.nextID.Load(); id++ {
			for _, counter := range damagedCounters {
				body := check.Value{Producer: id, Counter: counter}.Payload(100)
				found, err := n.DamageBytes(body[:bytes.IndexByte(body, ' ')+5])
				if err != nil {
					return err
				}
				places += found
			}
		}
		if places == 0 {
			return fmt.Errorf("%w: node %d has none of the messages", errNotRun, n.ID)
		}
		s.note("node %d: damaged in %d places", n.ID, places)
	}
	return nil
}

// replaceIfBroken does what an operator does with a node that does not come back: it gives up its
// disk.
func replaceIfBroken(ctx context.Context, s *scene) error {
	if s.victim.Running() {
		if err := s.victim.WaitReady(); err == nil {
			return nil
		}
	}
	s.note("node %d does not come back and is replaced", s.victim.ID)
	s.victim.Kill()
	return wipe(ctx, s)
}

// wipe takes the victim's disk, has the cluster give up its replicas, and starts it empty.
func wipe(ctx context.Context, s *scene) error {
	s.victim.Kill()
	if err := s.victim.Wipe(); err != nil {
		return err
	}
	if err := s.others[0].Change(ctx, "replace", map[string]any{"node": s.victim.ID}); err != nil {
		return err
	}
	return s.victim.Launch()
}

// moveLeaders moves the leaders of all groups about.
func moveLeaders(ctx context.Context, s *scene) error {
	for range 6 {
		to := s.cluster.Nodes[s.rng.IntN(len(s.cluster.Nodes))]
		if err := s.gather(ctx, to); err != nil {
			return err
		}
		pause(ctx, 500*time.Millisecond)
	}
	return nil
}

// restartEach restarts one node after the other, as an upgrade does.
func restartEach(ctx context.Context, s *scene) error {
	for i, n := range s.cluster.Nodes {
		other := s.cluster.Nodes[(i+1)%len(s.cluster.Nodes)]
		if err := other.Change(ctx, "drain", map[string]any{"node": n.ID}); err != nil {
			return err
		}
		if err := s.awaitNoLeaders(ctx, other, n.ID); err != nil {
			return err
		}
		if err := n.Stop(); err != nil {
			return fmt.Errorf("node %d did not stop in order: %w", n.ID, err)
		}
		if err := n.Restart(); err != nil {
			return err
		}
		if err := other.Change(ctx, "drain", map[string]any{"node": n.ID, "undo": true}); err != nil {
			return err
		}
		if err := s.cluster.AwaitHealth(ctx, justDeclared); err != nil {
			return err
		}
	}
	return nil
}

// awaitNoLeaders waits until a node leads nothing.
func (r *rig) awaitNoLeaders(ctx context.Context, ask *clustertest.Node, node uint64) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		status, err := ask.Status(limited)
		if limited.Err() != nil {
			return fmt.Errorf("until node %d leads nothing: %w", node, errors.Join(err, limited.Err()))
		}
		for _, n := range status.Nodes {
			if n.ID == node && n.Leaders == 0 {
				return nil
			}
		}
		pause(limited, 50*time.Millisecond)
	}
}

// setClocks lets clocks jump under way.
func setClocks(ctx context.Context, s *scene) error {
	for _, n := range append([]*clustertest.Node{s.victim}, s.others...)[:min(2, len(s.cluster.Nodes))] {
		for _, jump := range []time.Duration{time.Hour, -time.Hour, -time.Hour} {
			n.SetClock(jump > 0)
			pause(ctx, 1500*time.Millisecond)
		}
		now, err := n.Clock(ctx)
		if err == nil && time.Since(now) < 50*time.Minute {
			err = fmt.Errorf("it is at %v", now)
		}
		if err != nil {
			return fmt.Errorf("%w: the clock of node %d: %w", errNotRun, n.ID, err)
		}
	}
	return nil
}

// changeMembers adds a node and removes the one that leads.
func changeMembers(ctx context.Context, s *scene) error {
	added, err := s.cluster.Add()
	if err != nil {
		return err
	}
	if err := added.WaitReady(); err != nil {
		return err
	}
	if err := added.Change(ctx, "rebalance", map[string]any{}); err != nil {
		return err
	}
	if err := added.Change(ctx, "remove", map[string]any{"node": s.victim.ID}); err != nil {
		return err
	}
	for {
		status, err := added.Status(ctx)
		if err != nil {
			return err
		}
		gone := true
		for _, n := range status.Nodes {
			if n.ID == s.victim.ID { // it is shown as long as anything of it is needed
				gone = false
			}
		}
		if gone {
			s.cluster.Forget(s.victim)
			return nil
		}
		pause(ctx, 100*time.Millisecond)
	}
}
