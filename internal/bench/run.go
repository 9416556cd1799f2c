package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Target is a broker that is spoken to in some protocol. [NewAMQP] and
// [NewKafka] make one; it serves one run at a time.
type Target interface {
	// names returns the protocol and the client.
	names() (protocol, client string)
	// setup declares what the load needs and returns how many messages are there.
	setup(ctx context.Context) (backlog int64, err error)
	// copies is how often a message is consumed.
	copies() int64
	producer(ctx context.Context, i int, out *outlet) (worker, error)
	consumer(ctx context.Context, i int, in *recorder) (worker, error)
	teardown(ctx context.Context) error
	// ping connects and disconnects.
	ping(ctx context.Context) error
}

// worker is a producer or a consumer that is connected.
type worker interface {
	// run works until the source is empty and everything is answered, or until
	// close, which is no error.
	run() error
	close()
}

// settleTime bounds the wait for what is under way when the measuring ends.
const settleTime = 10 * time.Second

// run is the state of a Run.
type run struct {
	load     Load
	target   Target
	progress io.Writer

	left     *atomic.Int64
	refused  atomic.Int64
	confirms *recorder
	arrivals *recorder
	outlets  []*outlet
	workers  []worker
	expected int64 // messages to consume; 0: unknown

	wg     sync.WaitGroup
	failed chan error // the first failure of a worker
	closed atomic.Bool
}

// Run puts the load on the target and returns what it measured. It prints its progress
// once a second. When ctx ends, so does the measuring; what came out until then
// is returned.
func Run(ctx context.Context, load Load, target Target, progress io.Writer) (*Result, error) {
	if err := load.check(); err != nil {
		return nil, err
	}
	r := &run{
		load: load, target: target, progress: progress,
		confirms: newRecorder(false), arrivals: newRecorder(load.Phase == Drain),
		failed: make(chan error, 1),
	}
	if load.Phase == Drain && load.Rate > 0 {
		r.arrivals.interval = 1e9 / load.Rate
	}
	if load.Messages > 0 {
		r.left = new(atomic.Int64)
		r.left.Store(load.Messages)
	}
	began := time.Now()
	backlog, err := target.setup(ctx)
	if err != nil {
		return nil, err
	}
	setup := time.Since(began)
	r.expected = load.Messages * target.copies()
	if load.Phase == Drain {
		r.expected = backlog
		if backlog == 0 {
			return nil, fmt.Errorf("%w: there is no backlog to drain in %q", ErrLoad, load.Name)
		}
	}
	result, err := r.measured(ctx)
	r.close()
	if !load.Keep {
		err = errors.Join(err, target.teardown(context.WithoutCancel(ctx)))
	}
	if err != nil {
		return nil, err
	}
	result.Setup = setup.Seconds()
	return result, nil
}

// measured starts the workers, measures, and lets them finish.
func (r *run) measured(ctx context.Context) (*Result, error) {
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	m := &meter{run: r}
	if r.load.Warmup > 0 {
		r.start()
		if err := r.wait(ctx, func() bool { return false }, r.load.Warmup); err != nil {
			return nil, err
		}
	}
	if err := m.begin(); err != nil {
		return nil, err
	}
	if r.load.Warmup == 0 { // the first message counts
		r.start()
	}
	duration := r.load.Duration
	if r.load.Messages > 0 || r.load.Phase == Drain && duration == 0 {
		duration = 1 << 62
	}
	if err := r.wait(ctx, r.complete, duration); err != nil {
		return nil, err
	}
	if err := m.end(); err != nil {
		return nil, err
	}
	for _, o := range r.outlets {
		o.stop()
	}
	if err := r.wait(ctx, r.settled(), settleTime); err != nil {
		return nil, err
	}
	return m.result(), nil
}

// connect connects all workers, consumers first.
func (r *run) connect(ctx context.Context) error {
	for i := range r.load.Consumers {
		w, err := r.target.consumer(ctx, i, r.arrivals)
		if err != nil {
			return fmt.Errorf("consumer %d: %w", i, err)
		}
		r.workers = append(r.workers, w)
	}
	interval := 0.0
	if r.load.Rate > 0 {
		interval = 1e9 * float64(r.load.Producers) / r.load.Rate
	}
	for i := range r.load.Producers {
		offset := int64(interval * float64(i) / float64(r.load.Producers)) // evenly between the others
		o := &outlet{newSource(r.load.InFlight, interval, offset, r.left), r.confirms, &r.refused}
		w, err := r.target.producer(ctx, i, o)
		if err != nil {
			return fmt.Errorf("producer %d: %w", i, err)
		}
		r.outlets = append(r.outlets, o)
		r.workers = append(r.workers, w)
	}
	return nil
}

// start lets the workers go.
func (r *run) start() {
	now := time.Now().UnixNano()
	for _, o := range r.outlets {
		o.begin(now)
	}
	for _, w := range r.workers {
		r.wg.Go(func() {
			if err := w.run(); err != nil && !r.closed.Load() {
				select {
				case r.failed <- err:
				default:
				}
			}
		})
	}
}

// wait returns when done says so, after the duration, when ctx ends, or when a
// worker fails, which is its error. Meanwhile it prints the progress.
func (r *run) wait(ctx context.Context, done func() bool, d time.Duration) error {
	end := time.NewTimer(d)
	defer end.Stop()
	check := time.NewTicker(5 * time.Millisecond)
	defer check.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	confirmed, consumed := r.confirms.counted(), r.arrivals.counted()
	for !done() {
		select {
		case err := <-r.failed:
			return err
		case <-ctx.Done():
			return nil
		case <-end.C:
			return nil
		case <-check.C:
		case <-second.C:
			a, b := r.confirms.counted(), r.arrivals.counted()
			_, err := fmt.Fprintf(r.progress, "confirmed %d/s, p99 %v   consumed %d/s, p99 %v\n",
				a-confirmed, r.confirms.p99(), b-consumed, r.arrivals.p99())
			if err != nil {
				return err
			}
			confirmed, consumed = a, b
		}
	}
	return nil
}

// complete reports whether all the messages of a load with a number are through.
func (r *run) complete() bool {
	if r.load.Messages > 0 && r.load.Producers > 0 && r.confirms.counted()+r.refused.Load() < r.load.Messages {
		return false
	}
	if r.load.Consumers > 0 {
		return r.expected > 0 && r.arrivals.counted() >= r.expected-r.refused.Load()*r.target.copies()
	}
	return r.load.Messages > 0
}

// settled returns a test whether nothing is under way: all that was sent is
// answered, and the consumers have it or have stopped getting any for a second.
func (r *run) settled() func() bool {
	seen, at := r.arrivals.counted(), time.Now()
	return func() bool {
		if r.pending() > 0 {
			return false
		}
		if r.load.Consumers == 0 || r.load.Phase == Drain {
			return true
		}
		if n := r.arrivals.counted(); n != seen {
			seen, at = n, time.Now()
		}
		return seen >= r.confirms.counted()*r.target.copies() || time.Since(at) > time.Second
	}
}

func (r *run) pending() int64 {
	n := 0
	for _, o := range r.outlets {
		n += o.pending()
	}
	return int64(n)
}

// close ends all workers and waits for them.
func (r *run) close() {
	r.closed.Store(true)
	for _, o := range r.outlets {
		o.stop()
	}
	r.arrivals.stop()
	for _, w := range r.workers {
		w.close()
	}
	r.wg.Wait()
}
