//go:build linux

package powercut_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	brokertest "waybill/test/broker"
	"waybill/test/check"
	"waybill/test/powercut"
)

const (
	diskSize   = 4 << 30
	drainEvery = 25               // cycles
	patience   = 30 * time.Second // for anything that a running broker must answer

	// Small files, so that every cycle has some that fill, are written out,
	// and are recycled.
	walFileSize = 1 << 20
	segmentSize = 256 << 10
)

// rig is a broker on a disk whose power is cut again and again, with the
// clients that load it, and what they know.
type rig struct {
	t      *testing.T
	disk   *powercut.Disk
	broker *brokertest.Broker
	rng    *rand.Rand // of the test's goroutine alone
	seed   uint64
	binary string
	below  bool // all cuts are below the file system

	amqp     *amqpLoad
	kafka    *kafkaLoad
	declared *declarations

	power atomic.Bool // off: errors are to be expected

	took, restartTook time.Duration
	recoveryCuts      int     // beside one in every cycle
	cutsBelow         int     // of all these
	direct            float64 // bytes that were written past the page cache

	mu       sync.Mutex
	problems []string // what went wrong beside the checkers' findings
	cycles   int      // completed
}

// newRig has all cuts below the file system if below, of a broker that writes past the page cache whenever it can.
func newRig(t *testing.T, binary string, seed uint64, below bool) *rig {
	t.Helper()
	disk := powercut.NewDisk(t, diskSize)
	direct := [...]string{"auto", "always"}[seed%2]
	if below {
		direct = "always"
	}
	r := &rig{
		t: t, disk: disk, seed: seed, binary: binary, below: below, rng: rand.New(rand.NewPCG(seed, 0)),
		broker: brokertest.New(t, brokertest.Options{
			Binary:  binary,
			DataDir: filepath.Join(disk.Dir, "data"),
			Env: []string{
				fmt.Sprint("WAYBILL_DISK_WAL_FILE_SIZE=", walFileSize),
				fmt.Sprint("WAYBILL_DISK_SEGMENT_SIZE=", segmentSize),
				"WAYBILL_DISK_DIRECT_IO=" + direct,
			},
		}),
	}
	r.broker.Restart()
	r.power.Store(true)
	r.amqp = newAMQPLoad(r)
	r.kafka = newKafkaLoad(r)
	r.declared = new(declarations)
	return r
}

// problem notes what must not happen. A broken broker may have many.
func (r *rig) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf("cycle %d: ", r.cycles)+fmt.Sprintf(format, args...))
}

// failed tells whether err ends a client's work, and notes it as a problem
// when the power was on.
func (r *rig) failed(what string, err error) bool {
	if err != nil && r.power.Load() {
		r.problem("%s: %v", what, err)
	}
	return err != nil
}

// run cuts the power so many times, or until stop returns true after a cycle.
// It returns an error when it had to give up, because the broker did not come back.
func (r *rig) run(cycles int, stop func() bool) error {
	for n := range cycles {
		began := time.Now()
		if err := r.cycle(); err != nil {
			return fmt.Errorf("cycle %d: %w", r.cycles, err)
		}
		last := n == cycles-1
		if (n+1)%drainEvery == 0 || last {
			if err := r.drain(last); err != nil {
				return fmt.Errorf("cycle %d: drain: %w", r.cycles, err)
			}
		}
		r.took += time.Since(began)
		r.mu.Lock()
		r.cycles++
		r.mu.Unlock()
		if stop() {
			return nil
		}
	}
	return nil
}

// cycle loads the broker, cuts the power, restarts, and looks at what must be
// there at once.
func (r *rig) cycle() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var clients sync.WaitGroup
	for _, start := range []func(context.Context, *sync.WaitGroup) error{r.amqp.start, r.kafka.start, r.declare} {
		if err := start(ctx, &clients); err != nil {
			return err
		}
	}
	pause(r.within(20*time.Millisecond, 150*time.Millisecond))
	if !r.broker.Running() {
		return errors.New("the broker ended under load, before the power was cut")
	}
	direct, err := r.directBytes(ctx)
	if err != nil {
		return err
	}
	r.direct += direct
	r.power.Store(false)
	r.cut()
	cancel()
	r.amqp.hangUp()
	clients.Wait()
	r.remount()
	for r.rng.IntN(4) == 0 { // the power fails again, during recovery
		if err := r.broker.Launch(); err != nil {
			return err
		}
		pause(r.within(0, 50*time.Millisecond))
		r.cut()
		r.remount()
		r.recoveryCuts++
	}

	began := time.Now()
	if err := errors.Join(r.broker.Launch(), r.broker.WaitReady()); err != nil {
		return err
	}
	r.restartTook += time.Since(began)
	r.power.Store(true)
	return r.verify()
}

// directBytes is what this life of the broker has written past the page cache.
func (r *rig) directBytes(ctx context.Context) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.broker.HTTP+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	req.SetBasicAuth("guest", "guest")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "waybill_wal_direct_bytes_total "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("%s: no metric of what is written past the page cache", resp.Status)
}

// cut cuts the power and ends the process. Half of the cuts are below the file system, and half are of the file system
// alone, which loses other things.
func (r *rig) cut() {
	if r.below || r.rng.IntN(2) == 0 {
		if r.rng.IntN(2) == 0 { // something of the cache gets to the disk, in any order
			r.disk.Spill(r.rng)
		}
		r.disk.Cut()
		r.cutsBelow++
	} else {
		r.disk.CutFS()
	}
	pause(r.within(0, 3*time.Millisecond)) // in which it could ack what is lost
	r.broker.Kill()
}

func (r *rig) remount() {
	r.disk.Unmount()
	r.disk.Mount()
}

func (r *rig) within(from, to time.Duration) time.Duration {
	return from + time.Duration(r.rng.Int64N(int64(to-from)))
}

// pause lets the load run; nothing is waited for.
func pause(d time.Duration) { <-time.After(d) }

// verify looks at what must be there after every cut.
func (r *rig) verify() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.kafka.fetchCommits(ctx); err != nil {
		return fmt.Errorf("committed offsets: %w", err)
	}
	if err := r.checkDeclared(ctx); err != nil {
		return fmt.Errorf("what was declared: %w", err)
	}
	return nil
}

// drain reads everything.
func (r *rig) drain(last bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	return errors.Join(r.amqp.drain(ctx), r.kafka.drain(ctx, last))
}

// lost counts what was acknowledged and is not there.
func (r *rig) lost() (n int) {
	for _, rep := range r.reports() {
		n += rep.Count(check.Lost) + rep.Count(check.Unseen) + rep.Count(check.CommitLost)
	}
	return n + r.declared.lost
}

func (r *rig) reports() map[string]*check.Report {
	all := map[string]*check.Report{"Kafka": r.kafka.checker.Report(), "commits": r.kafka.commits.Report()}
	for _, q := range r.amqp.queues {
		all["queue "+q.name] = q.checker.Report()
	}
	return all
}

// err tells all that is wrong.
func (r *rig) err() error {
	var errs []error
	for name, rep := range r.reports() {
		// A delivery that was under way when the power failed may come again,
		// and the broker cannot know that it was sent.
		if err := rep.Err(check.Duplicated); err != nil && name != "Kafka" {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		} else if err := rep.Err(); err != nil && name == "Kafka" {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	for i, p := range r.problems {
		if i == 20 {
			errs = append(errs, fmt.Errorf("and %d problems more", len(r.problems)-i))
			break
		}
		errs = append(errs, errors.New(p))
	}
	return errors.Join(errs...)
}

// summary tells what was done and found.
// kept is how many former WAL files the newest checkpoint lists as segments.
func (r *rig) kept() int {
	r.t.Helper()
	var last error
	for range 5 { // the broker runs: a newer one may have taken its place meanwhile
		names, err := filepath.Glob(filepath.Join(r.disk.Dir, "data", "checkpoint", "*.ckpt"))
		if err != nil || len(names) == 0 {
			r.t.Fatalf("checkpoints: %v, %v", names, err)
		}
		out, err := exec.Command(r.binary, "debug", "checkpoint", slices.Max(names)).CombinedOutput()
		if err == nil {
			return strings.Count(string(out), ", WAL file ")
		}
		last = fmt.Errorf("%w: %s", err, out)
	}
	r.t.Fatal(last)
	return 0
}

func (r *rig) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d power cuts under load and %d during recovery, of them %d below the file system; %v a cycle, of which the restart %v; seed %d\n",
		r.cycles, r.recoveryCuts, r.cutsBelow, (r.took / time.Duration(max(1, r.cycles))).Round(time.Millisecond),
		(r.restartTook / time.Duration(max(1, r.cycles))).Round(time.Millisecond), r.seed)
	attempted, acked, invented, duplicates := 0, 0, 0, 0
	for name, rep := range r.reports() {
		if name != "commits" {
			attempted += rep.Attempted
			acked += rep.Acked
			invented += rep.Count(check.Unexpected) + rep.Count(check.Malformed)
			duplicates += rep.Duplicates
		}
	}
	fmt.Fprintf(&b, "sent %d, acked %d, lost %d, invented %d, duplicates %d\n", attempted, acked, r.lost(), invented, duplicates)
	fmt.Fprintf(&b, "declared %d, of them lost %d; %.1f MB written past the page cache\n", r.declared.checked, r.declared.lost, r.direct/1e6)
	for _, q := range r.amqp.queues {
		fmt.Fprintf(&b, "queue %s: %v\n", q.name, q.checker.Report())
	}
	fmt.Fprintf(&b, "Kafka: %v\ncommits: %v", r.kafka.checker.Report(), r.kafka.commits.Report())
	return b.String()
}
