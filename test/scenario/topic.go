package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"waybill/test/check"
	clustertest "waybill/test/cluster"
	"waybill/test/stock"
)

// topic is a topic, used with franz-go.
type topic struct {
	w          *world
	name       string
	partitions int32

	checker check.Kafka
	mu      sync.Mutex
	seen    map[check.Value]bool
	repeats int
}

func newTopic(w *world, name string) *topic {
	return &topic{w: w, name: name, partitions: 1, seen: map[check.Value]bool{}}
}

// groupOf is the consumer group that reads a topic.
func groupOf(topic string) string { return topic + "-readers" }

func (t *topic) words() []string       { return []string{"partition 0 ", "'" + t.name + "'"} }
func (t *topic) report() *check.Report { return t.checker.Report() }

func (t *topic) twice() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.repeats
}

// client makes a client that can reach those nodes only; nil: all.
func (t *topic) client(through []*clustertest.Node, opts ...kgo.Opt) (*kgo.Client, error) {
	if through == nil {
		return stock.Kafka(t.w.cluster.Kafka(), stock.Connect, opts...)
	}
	var addrs []string
	for _, n := range through {
		addrs = append(addrs, n.Broker.Kafka)
	}
	return stock.Kafka(addrs, func(ctx context.Context, network, addr string) (net.Conn, error) {
		if !slices.Contains(addrs, addr) {
			return nil, fmt.Errorf("this client cannot reach %s", addr)
		}
		return stock.Connect(ctx, network, addr)
	}, opts...)
}

func (t *topic) create(ctx context.Context, settings []string) error {
	configs := map[string]*string{}
	for _, s := range settings {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q is not CONFIG=VALUE", s)
		}
		configs[name] = &value
	}
	cl, err := t.client(nil)
	if err != nil {
		return err
	}
	defer cl.Close()
	resp, err := kadm.NewClient(cl).CreateTopic(ctx, t.partitions, -1, configs, t.name)
	if err == nil {
		err = resp.Err
	}
	if errors.Is(err, kerr.TopicAlreadyExists) { // the answer to the first attempt was lost
		return nil
	}
	return err
}

// produce sends *next and counts it up; done is told what became of it.
func (t *topic) produce(ctx context.Context, cl *kgo.Client, next *check.Value, done func(check.Value, error)) {
	v := *next
	next.Counter++
	t.checker.Attempt(v)
	part := int32(v.Counter) % t.partitions
	rec := &kgo.Record{Topic: t.name, Partition: part, Value: v.Payload(bodySize)}
	cl.Produce(ctx, rec, func(rec *kgo.Record, err error) {
		if err == nil {
			t.checker.Partition(t.name, part).Acked(v, rec.Offset)
		}
		done(v, err)
	})
}

func (t *topic) publish(ctx context.Context, n int, next check.Value, through []*clustertest.Node) error {
	cl, err := t.client(through)
	if err != nil {
		return err
	}
	defer cl.Close()
	acked := 0
	return await(ctx, func() error {
		var failed error
		var mu sync.Mutex
		for range n - acked {
			t.produce(ctx, cl, &next, func(_ check.Value, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					acked++
				} else {
					failed = err
				}
			})
		}
		err := cl.Flush(ctx)
		mu.Lock()
		defer mu.Unlock()
		if err = errors.Join(err, failed); acked < n && err == nil {
			err = errors.New("they are not answered")
		}
		if err != nil {
			return fmt.Errorf("%d of %d records are acknowledged: %w", acked, n, err)
		}
		return nil
	})
}

// refused sends each record once.
func (t *topic) refused(ctx context.Context, n int, next check.Value, through []*clustertest.Node) (stock.Count, error) {
	var told stock.Refusals
	cl, err := t.client(through, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.MaxProduceRequestsInflightPerBroker(1), kgo.RecordRetries(0), kgo.RecordDeliveryTimeout(15*time.Second), told.Ear())
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	began := time.Now()
	var mu sync.Mutex
	var open []check.Value
	for range n {
		t.produce(ctx, cl, &next, func(v check.Value, err error) {
			mu.Lock()
			defer mu.Unlock()
			if open = append(open, v); err == nil {
				told.Add(acknowledged)
			}
			told.Error(err)
		})
	}
	err = cl.Flush(ctx)
	found := told.Between(began, time.Now())
	mu.Lock()
	defer mu.Unlock()
	for _, v := range open {
		if definite(found) {
			t.checker.Refused(v)
		}
	}
	return found, err
}

func (t *topic) load(next check.Value) func(context.Context) {
	cl, err := t.client(nil)
	if err != nil {
		t.w.t.Error(err)
		return func(context.Context) {}
	}
	return func(ctx context.Context) {
		defer cl.Close()
		for ctx.Err() == nil {
			for range burst {
				t.produce(context.Background(), cl, &next, func(check.Value, error) {})
			}
			pause(ctx, pace)
		}
		last, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		if err := cl.Flush(last); err != nil {
			t.w.t.Errorf("what was sent last to %s is not answered: %v", t.name, err)
		}
	}
}

func (t *topic) consume(ctx context.Context, n int, through []*clustertest.Node) error {
	cl, err := t.client(through, kgo.ConsumerGroup(groupOf(t.name)), kgo.ConsumeTopics(t.name), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(500*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close() // it leaves the group
	for taken := 0; taken < n; {
		fetches := cl.PollRecords(ctx, n-taken)
		if ctx.Err() != nil {
			return fmt.Errorf("%d of %d records were there: %w", taken, n, ctx.Err())
		}
		records := fetches.Records()
		for _, rec := range records {
			if t.receive(rec) {
				taken++
			}
		}
		if err := cl.CommitRecords(ctx, records...); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	return nil
}

// receive notes what a member of the group has got, and reports whether none had it before.
func (t *topic) receive(rec *kgo.Record) (fresh bool) {
	v, ok := t.look(rec)
	if !ok {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[v] {
		t.repeats++
		return false
	}
	t.seen[v] = true
	return true
}

// look tells the checker what is at an offset.
func (t *topic) look(rec *kgo.Record) (check.Value, bool) {
	v, err := check.ParsePayload(rec.Value)
	if err != nil {
		t.checker.Malformed(fmt.Errorf("offset %d of partition %d: %w", rec.Offset, rec.Partition, err))
		return v, false
	}
	t.checker.Partition(t.name, rec.Partition).Seen(v, rec.Offset)
	return v, true
}

// drain reads the topic from its start to its end.
func (t *topic) drain(ctx context.Context) error {
	at := map[int32]kgo.Offset{}
	for i := range t.partitions {
		at[i] = kgo.NewOffset().At(0)
	}
	cl, err := t.client(nil, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{t.name: at}))
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := t.ends(ctx, cl)
	if err != nil {
		return err
	}
	for p := range t.partitions {
		t.checker.Partition(t.name, p).Drained(0, ends[p])
	}
	next := make([]int64, t.partitions)
	for behind(next, ends) {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read up to %v of %v: %w", next, ends, err)
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			next[rec.Partition] = rec.Offset + 1
			t.look(rec)
		})
	}
	return nil
}

func behind(next, ends []int64) bool {
	for i := range ends {
		if next[i] < ends[i] {
			return true
		}
	}
	return false
}

// ends asks until every partition has told where it ends.
func (t *topic) ends(ctx context.Context, cl *kgo.Client) ([]int64, error) {
	ends := make([]int64, t.partitions)
	err := await(ctx, func() error {
		listed, err := kadm.NewClient(cl).ListEndOffsets(ctx, t.name)
		if err != nil {
			return err
		}
		for i := range ends {
			end, ok := listed.Lookup(t.name, int32(i))
			if !ok || end.Err != nil {
				return fmt.Errorf("the end of partition %d: %w", i, end.Err)
			}
			ends[i] = end.Offset
		}
		return nil
	})
	return ends, err
}

// committed asks for the sum of the group's committed offsets.
func (t *topic) committed(ctx context.Context) (sum int64, err error) {
	cl, err := t.client(nil)
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	offsets, err := kadm.NewClient(cl).FetchOffsets(ctx, groupOf(t.name))
	if err != nil {
		return 0, err
	}
	for i := range t.partitions {
		if one, ok := offsets.Lookup(t.name, i); ok {
			sum, err = sum+max(one.At, 0), errors.Join(err, one.Err)
		}
	}
	return sum, err
}

// kcat reads the topic with another client.
func (t *topic) kcat(ctx context.Context, n int) error {
	cmd := exec.CommandContext(ctx, "kcat", "-C", "-b", strings.Join(t.w.cluster.Kafka(), ","), "-t", t.name,
		"-o", "beginning", "-e", "-q", "-f", `%p %o %s\n`)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("kcat: %w", err)
	}
	lines := 0
	for line := range strings.Lines(string(out)) {
		var part int32
		var offset int64
		_, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		_, value, _ = strings.Cut(value, " ")
		if _, err := fmt.Sscan(line, &part, &offset); err != nil {
			return fmt.Errorf("kcat printed %q: %w", line, err)
		}
		t.look(&kgo.Record{Topic: t.name, Partition: part, Offset: offset, Value: []byte(value)})
		lines++
	}
	if lines != n {
		return fmt.Errorf("kcat has read %d records", lines)
	}
	return nil
}
