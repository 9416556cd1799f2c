package prove

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	clustertest "waybill/test/cluster"
	"waybill/test/powercut"
)

// Settings say how to run.
type Settings struct {
	Nodes  int // 0: 3
	Binary string
	Modes  []string
	Env    []string // of the nodes, beside what a run needs
	Seed   uint64
	Whole  time.Duration // how long the cluster may take to be whole after the fault; 0: patience
}

// diskSize is that of each node's disk; it takes no more of the machine's than is written.
const diskSize = 2 << 30

// Run runs a fault once and returns what came out for each mode. The error is of the run
// itself: it is no result, of no cell.
func (p *Promise) Run(t testing.TB, name string, s Settings) (map[string]Result, []string, error) {
	f := p.Faults.Of[name]
	inj, ok := injectors[name]
	switch {
	case !ok:
		return nil, nil, fmt.Errorf("%w: nobody wrote it", errNotRun)
	case inj.peers && s.Nodes == 1:
		return nil, nil, fmt.Errorf("%w: it needs more than one node", errNotRun)
	}
	o := clustertest.Options{Nodes: s.Nodes, Binary: s.Binary, Env: []string{
		// Small files, so that every kind of file is there within seconds.
		"WAYBILL_DISK_WAL_FILE_SIZE=1MiB", "WAYBILL_DISK_SEGMENT_SIZE=256KiB",
		"WAYBILL_KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0",
		// Who leads is the run's to say.
		"WAYBILL_CLUSTER_LEADERS_RETURN_AFTER=0",
	}}
	if bulky[name] {
		o.Env = append(o.Env, "WAYBILL_DISK_WAL_FILE_SIZE=2MiB")
	}
	o.Env = append(o.Env, s.Env...)
	if build := builds[name]; build != nil {
		o.Binary = build(t)
	}
	if f.Needs == "root" {
		if err := powercut.Unavailable(); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errNotRun, err)
		}
		o.Disks = diskSize
	}
	r := &rig{t: t, promise: p, rng: rand.New(rand.NewPCG(s.Seed, 0)), single: s.Nodes == 1, whole: s.Whole, bulky: bulky[name]}
	r.cluster = clustertest.New(t, o)
	defer r.stop()
	r.newModes(s.Modes)
	results, err := r.run(name, f, inj)
	return results, r.noted(), err
}

// stop ends the nodes: the next run of a test should not have to share the machine with them.
func (r *rig) stop() {
	for _, n := range r.cluster.Nodes {
		n.Resume()
		n.HealSyncs()
		n.Kill()
	}
}

func (r *rig) run(name string, f Fault, inj injector) (map[string]Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := errors.Join(r.cluster.Launch(), r.cluster.WaitReady()); err != nil {
		return nil, fmt.Errorf("%w: the cluster does not start: %w", errEarly, err)
	}
	if err := r.each("prepare", func(m mode) error { return r.prepare(ctx, m) }); err != nil {
		return nil, fmt.Errorf("%w: %w", errEarly, err)
	}
	load, end := context.WithCancel(ctx)
	defer end()
	var clients sync.WaitGroup
	for _, m := range r.modes {
		clients.Go(func() { m.run(load) })
	}
	pause(ctx, loadBefore)
	s := r.scene()
	if inj.peers && !r.single {
		if err := r.gather(ctx, s.victim); err != nil {
			end()
			clients.Wait()
			return nil, fmt.Errorf("%w: %w", errEarly, err)
		}
	}
	t := times{fault: time.Now()}
	if err := inj.inject(ctx, s); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	pause(ctx, inj.hold)
	if err := inj.heal(ctx, s); err != nil {
		return nil, fmt.Errorf("heal %s: %w", name, err)
	}
	if err := r.cluster.Launch(); err != nil {
		return nil, err
	}
	t.healed = time.Now()
	whole := r.awaitService(ctx, f, t.healed)
	pause(ctx, loadAfter)
	t.end = time.Now()
	end()
	clients.Wait()
	return r.results(ctx, f, t, whole), nil
}

// errEarly is returned for a run that ended before its fault. It says nothing about the fault.
var errEarly = errors.New("the run has ended before the fault")

// prepare has a mode declare what it needs. A client that was too slow for its own timeouts tries again.
func (r *rig) prepare(ctx context.Context, m mode) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := m.prepare(limited)
		if err == nil || limited.Err() != nil {
			return err
		}
		r.note("prepare: %v", err)
		pause(limited, 200*time.Millisecond)
	}
}

// times of a run.
type times struct{ fault, healed, end time.Time }

// scene chooses who is hit.
func (r *rig) scene() *scene {
	victim := r.cluster.Nodes[r.rng.IntN(len(r.cluster.Nodes))]
	others := r.cluster.Others(victim)
	r.rng.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	return &scene{r, victim, others}
}

// gather moves the leadership of all groups to a node, so that what happens to it
// happens to the leader in every mode, and waits until it is so.
func (r *rig) gather(ctx context.Context, to *clustertest.Node) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		groups, err := to.Groups(limited)
		if err != nil {
			if limited.Err() != nil {
				return fmt.Errorf("gather the leaders: %w", err)
			}
			r.note("gather the leaders: %v", err)
			pause(limited, 100*time.Millisecond)
			continue
		}
		left := 0
		for _, g := range groups {
			if g.Leader == to.ID || justDeclared(g.What) {
				continue
			}
			left++
			if err := to.Change(limited, "transfer", map[string]any{"log": g.Log, "to": to.ID}); err != nil {
				r.note("transfer of %s: %v", g.What, err)
			}
		}
		if left == 0 {
			return nil
		}
		if limited.Err() != nil {
			return fmt.Errorf("%d groups are not led by node %d after %v", left, to.ID, patience)
		}
		pause(limited, 100*time.Millisecond)
	}
}

// awaitService waits until all modes get acknowledgements again, and the cluster is whole.
func (r *rig) awaitService(ctx context.Context, f Fault, since time.Time) error {
	limited, cancel := context.WithTimeout(ctx, r.patience(f))
	defer cancel()
	for _, name := range r.order {
		line := r.modes[name].acks()
		for line != nil && !line.ackedAfter(since) {
			if limited.Err() != nil {
				return fmt.Errorf("%s gets no acknowledgement within %v after the fault", name, r.patience(f))
			}
			pause(limited, 20*time.Millisecond)
		}
	}
	if r.single {
		return r.cluster.WaitReady()
	}
	err := r.cluster.AwaitHealth(limited, justDeclared)
	r.note("the cluster was healthy %v after the end of the fault (%v)", time.Since(since).Round(10*time.Millisecond), err)
	return err
}

// results drains and judges. Modes are drained side by side.
func (r *rig) results(ctx context.Context, f Fault, t times, whole error) map[string]Result {
	var mu sync.Mutex
	all := map[string]Result{}
	_ = r.each("drain", func(m mode) error { // what fails stands in its result
		limited, cancel := context.WithTimeout(ctx, r.patience(f))
		defer cancel()
		err := m.drain(limited)
		if f.Class == damagedClass && err == nil {
			err = r.awaitRebuilt(limited)
		}
		held := f.Class == heldClass && r.tellsOfHeld(ctx) // damage is found by who reads
		mu.Lock()
		defer mu.Unlock()
		for n, other := range r.modes {
			if other == m {
				all[n] = r.judge(n, f, t, m, errors.Join(whole, err), held)
			}
		}
		return nil
	})
	return all
}

var (
	damagedLog = regexp.MustCompile(`msg="damaged segment" log=(\d+)`)
	rebuiltLog = regexp.MustCompile(`msg="a copy of a log that was damaged is rebuilt" log=(\d+)`)
)

// awaitRebuilt waits until every copy that was found damaged when it was read is rebuilt.
func (r *rig) awaitRebuilt(ctx context.Context) error {
	for {
		var left []string
		for _, n := range r.cluster.Nodes {
			damaged := map[string]struct{}{}
			for line := range strings.Lines(n.Log()) {
				if m := damagedLog.FindStringSubmatch(line); m != nil {
					damaged[m[1]] = struct{}{}
				} else if m := rebuiltLog.FindStringSubmatch(line); m != nil {
					delete(damaged, m[1])
				}
			}
			for log := range damaged {
				left = append(left, fmt.Sprintf("log %s of node %d", log, n.ID))
			}
		}
		switch {
		case len(left) == 0:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("damaged copies are not rebuilt: %v", left)
		}
		pause(ctx, 200*time.Millisecond)
	}
}

// justDeclared reports whether a group is one of those that declareMode makes all the time.
func justDeclared(group string) bool {
	return strings.Contains(group, declaredName) || strings.Contains(group, createdName)
}

// majorityClass is the class of faults that take the majority's disks.
const majorityClass = "F6"

// damagedClass is the class of faults that damage what one node has.
const damagedClass = "F7"

// heldClass is the class of faults after which a log may be held offline.
const heldClass = "F8"

// patience is how long the cluster may take to be whole after the fault. What is held
// offline is so for ever.
func (r *rig) patience(f Fault) time.Duration {
	if f.Class == heldClass {
		return f.Recover
	}
	return cmp.Or(r.whole, patience)
}

// tellsOfHeld reports whether a node says that logs are held, are damaged, or have no leader.
func (r *rig) tellsOfHeld(ctx context.Context) bool {
	for _, n := range r.cluster.Nodes {
		if log := n.Log(); strings.Contains(log, "level=ERROR") && strings.Contains(log, "damaged") {
			return true
		}
		if offline, err := n.Metric(ctx, "waybill_logs_offline"); err == nil && offline > 0 {
			return true
		}
		if status, err := n.Status(ctx); err == nil && status.LeaderlessTotal > 0 {
			return true
		}
	}
	return false
}
