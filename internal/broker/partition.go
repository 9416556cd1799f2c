package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/internal/topic"
)

// Partition is one partition of a topic: one log. Safe for concurrent use.
//
// Its machine is changed on the group's shard only, under mu; so the shard
// reads it without the lock, and everyone else with it. Reads of records do not pass
// through the shard: they go to the log, below the high watermark.
//
// Every node has an object for every partition. Only that of the leader serves
// clients; the others know where the records are. One without a
// replica on its node has no group, and failed is errElsewhere.
type Partition struct {
	b      *Broker
	topic  string
	number int32
	id     record.LogID
	group  *replica.Group // nil when failed is set
	failed error          // why the log could not be opened

	config atomic.Pointer[topic.Config]
	start  atomic.Int64 // first offset kept
	high   atomic.Int64 // high watermark
	size   atomic.Int64 // bytes kept
	epoch  atomic.Int32 // leader epoch: the raft term
	gone   atomic.Pointer[error]

	mu      sync.Mutex // guards machine
	machine *topic.Topic

	watchers watchers
	unread   seldom         // what is said about records that cannot be read
	shard    partitionShard // what only the group's shard touches
}

// newPartition is called on the catalog's shard. When its log cannot be opened
// the partition is offline: every verb answers with the reason.
func newPartition(b *Broker, name string, number int32, log record.LogID, configs map[string]string) *Partition {
	p := &Partition{b: b, topic: name, number: number, id: log, machine: topic.New()}
	p.setConfig(configs)
	p.group, p.failed = b.openGroup(p.String(), log, p)
	if p.failed == nil {
		p.group.Start()
	}
	return p
}

// String names the partition in messages.
func (p *Partition) String() string {
	return fmt.Sprintf("partition %d of topic '%s'", p.number, p.topic)
}

// configure tells the partition that its topic's configs changed.
func (p *Partition) configure(configs map[string]string) {
	p.setConfig(configs)
	if p.failed == nil {
		p.group.Post(configChanged{})
	}
}

// setConfig takes configs that were checked when they were set.
func (p *Partition) setConfig(configs map[string]string) {
	c, err := topic.ParseConfig(p.b.cfg.TopicDefaults, configs)
	if err != nil {
		panic(fmt.Sprintf("broker: topic '%s' has a config that was never accepted: %v", p.topic, err))
	}
	p.config.Store(c)
}

// remove: the topic was deleted.
func (p *Partition) remove() {
	p.end(replica.ErrRemoved)
	p.b.host.Remove(p.id)
}

// leave: a replica comes to this node, or has left it. Another object takes over.
func (p *Partition) leave() {
	p.end(errElsewhere)
	if p.failed == nil || !errors.Is(p.failed, errElsewhere) {
		p.b.host.Remove(p.id)
	}
}

// end notes why the object serves no more, and wakes those who wait for it.
func (p *Partition) end(reason error) {
	p.gone.CompareAndSwap(nil, &reason)
	p.watchers.wakeAll()
}

// AppendResult is what became of an appended batch.
type AppendResult struct {
	Base     record.Offset // offset of the batch's first record
	LogStart record.Offset
	Time     int64 // log append time in ms, -1 when the topic keeps the producer's
	Err      error // an *Error with its Kafka Code, or nil: durable
}

// Appender hears what became of its appends. It is called once for each, from
// a shard or before Append returns, and must not block.
type Appender interface {
	Appended(tag int, r AppendResult)
}

// Append adds one record batch (magic 2), given byte for byte as the producer
// sent it. It belongs to the broker from now on. It is checked here, on the
// caller's goroutine. to hears of it once it is committed, or refused. Append
// blocks while the node holds too many bytes that are not durable yet. When
// its copies are not there within the timeout it is answered with NOT_ENOUGH_REPLICAS_AFTER_APPEND or
// REQUEST_TIMED_OUT, and may still be committed.
func (p *Partition) Append(batch []byte, timeout time.Duration, to Appender, tag int) {
	p.append(batch, nil, timeout, to, tag)
}

// AppendRoom is how much of the memory of AppendWhole lies before the batch.
const AppendRoom = topic.Overhead

// AppendWhole is Append of the batch behind the first [AppendRoom] bytes of mem, for large ones: that memory itself is kept, so
// nobody may look at it any more, whatever becomes of the batch.
func (p *Partition) AppendWhole(mem []byte, timeout time.Duration, to Appender, tag int) {
	p.append(mem[AppendRoom:], mem, timeout, to, tag)
}

func (p *Partition) append(batch, mem []byte, timeout time.Duration, to Appender, tag int) {
	b, err := p.checkBatch(batch)
	if err == nil {
		err = p.writable()
	}
	if err != nil {
		to.Appended(tag, p.refused(err))
		return
	}
	p.b.budget.acquire(int64(len(b)))
	if !p.group.PostLazily(&appendEvent{batch: b, mem: mem, to: to, tag: tag, timeout: timeout}) {
		p.b.budget.release(int64(len(b)))
		to.Appended(tag, p.refused(notLeader(p, replica.ErrClosed)))
	}
}

// writable says why nothing can be appended at the moment.
func (p *Partition) writable() error {
	if err := p.available(); err != nil {
		return err
	}
	if p.b.alarmed() {
		return &Error{Kind: Unavailable, Code: codeKafkaStorageError,
			Text: fmt.Sprintf("publishing is blocked: %s", p.b.Alarm())}
	}
	if err := p.Err(); err != nil {
		return err
	}
	return p.enough(codeNotEnoughReplicas)
}

// enough says when there are fewer replicas that keep up than
// min.insync.replicas.
func (p *Partition) enough(code int16) error {
	n := p.config.Load().MinInsync
	if n <= 1 {
		return nil
	}
	if live := p.group.Live(); live < n {
		return &Error{Kind: Unavailable, Code: code,
			Text: fmt.Sprintf("min.insync.replicas of topic '%s' is %d, and %d replicas keep up", p.topic, n, live)}
	}
	return nil
}

// available says why the partition cannot be used.
func (p *Partition) available() error {
	if gone := p.gone.Load(); gone != nil {
		return notLeader(p, *gone)
	}
	if errors.Is(p.failed, errElsewhere) {
		return notLeader(p, p.failed)
	}
	if p.failed != nil {
		return &Error{Kind: Unavailable, Code: codeKafkaStorageError,
			Text: fmt.Sprintf("%s is held offline: %v", p, p.failed)}
	}
	return nil
}

// Err is nil while the partition can be used: it has a leader, and this node
// is it.
func (p *Partition) Err() error {
	if err := p.available(); err != nil {
		return err
	}
	if !p.group.Leads() {
		return notLeader(p, replica.ErrNotLeader)
	}
	return nil
}

// settled waits until it is known who leads the partition, or it will never be.
func (p *Partition) settled(ctx context.Context) error {
	if p.failed != nil && !errors.Is(p.failed, errElsewhere) { // held offline: waiting would not help
		return nil
	}
	var err error
	if p.b.cfg.Cluster != nil {
		err = p.b.leaders.wait(ctx, p.id)
	} else {
		select {
		case <-p.group.Settled():
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		return unavailable(fmt.Sprintf("wait for the leader of %s", p), err)
	}
	return nil
}

// PartitionState is where a partition is, as far as this node knows. Its
// numbers are node ids.
type PartitionState struct {
	Leader   uint64 // 0: none that is known, or that can be reached
	Epoch    int32
	Replicas []uint64 // the preferred leader first
	InSync   []uint64 // as the leader has told
	Offline  []uint64 // of Replicas, those that cannot be reached
}

// State tells where the partition is.
func (p *Partition) State() PartitionState {
	s := PartitionState{Epoch: p.Epoch()}
	if place := p.b.places.get(p.id); place != nil {
		s.Replicas = p.b.nodesOf(place.Replicas)
	}
	for _, node := range s.Replicas {
		if p.b.isDown(node) {
			s.Offline = append(s.Offline, node)
		}
	}
	held := p.failed != nil && !errors.Is(p.failed, errElsewhere)
	switch leader, term, ok := p.b.LeaderOf(p.id); {
	case leader == p.b.cfg.Node && p.Err() != nil:
		if held {
			s.Offline = append(s.Offline, leader)
		}
	case ok && !p.b.isDown(leader):
		s.Leader, s.Epoch = leader, max(s.Epoch, int32(term))
	}
	s.InSync = p.inSync(&s)
	return s
}

// inSync is who is in sync, as the leader has told. What it has not told yet is not
// claimed: then it is the leader alone, or without one those that were last.
func (p *Partition) inSync(s *PartitionState) []uint64 {
	if p.b.cfg.Cluster == nil {
		return without(s.Replicas, s.Offline)
	}
	if p.Err() == nil {
		return p.b.nodesOf(p.group.InSync())
	}
	told, exact := p.b.leaders.inSync(p.id)
	switch {
	case exact:
		return p.b.nodesOf(told)
	case s.Leader != 0:
		return []uint64{s.Leader}
	}
	return without(p.b.nodesOf(told), s.Offline)
}

func without(list, but []uint64) []uint64 {
	return slices.DeleteFunc(slices.Clone(list), func(id uint64) bool { return slices.Contains(but, id) })
}

// ReplicationFactor is the number of replicas that the topic's partitions have.
func (t *Topic) ReplicationFactor() int {
	if len(t.Partitions) > 0 && t.Partitions[0] != nil {
		if p := t.Partitions[0].b.places.get(t.Partitions[0].id); p != nil {
			return len(p.Replicas)
		}
	}
	return t.Factor
}

func (p *Partition) refused(err error) AppendResult {
	return AppendResult{Base: -1, LogStart: record.Offset(p.start.Load()), Time: -1, Err: err}
}

// Offsets returns the log start and the high watermark.
func (p *Partition) Offsets() (start, high record.Offset) {
	return record.Offset(p.start.Load()), record.Offset(p.high.Load())
}

// Size is the number of bytes of the batches that are kept, give or take
// a stretch of the retention's index.
func (p *Partition) Size() int64 { return p.size.Load() }

// Epoch returns the current leader epoch.
func (p *Partition) Epoch() int32 { return p.epoch.Load() }

// EndOfEpoch returns the largest leader epoch not above epoch, and the offset
// at which it ended (KIP-101); -1, -1 when none is known.
func (p *Partition) EndOfEpoch(epoch int32) (int32, record.Offset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.machine.EndOfEpoch(epoch, p.epoch.Load())
}

// EpochAt is the leader epoch in which the record at an offset was written; -1
// when that is not known.
func (p *Partition) EpochAt(off record.Offset) int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.machine.EpochAt(off)
}

// DeleteBefore drops the records before the offset to; -1 stands for the high
// watermark. done is called once it is durable, from a shard or before
// DeleteBefore returns, with the log start.
func (p *Partition) DeleteBefore(to record.Offset, done func(start record.Offset, err error)) {
	if err := p.available(); err != nil {
		done(-1, err)
		return
	}
	if !p.group.Post(&deleteEvent{to: to, done: done}) {
		done(-1, notLeader(p, replica.ErrClosed))
	}
}

// Watch has c signalled (without blocking, once) when the high watermark
// passes off, or the partition is served from here no longer; it signals at once when that has
// happened. Unwatch forgets c.
func (p *Partition) Watch(off record.Offset, c chan<- struct{}) {
	p.watchers.add(off, c)
	// The high watermark is stored before the watchers are looked at, and
	// read here after c was added: one of the two sees the other.
	if record.Offset(p.high.Load()) > off || p.Err() != nil {
		signal(c)
	}
}

// Unwatch ends Watch.
func (p *Partition) Unwatch(c chan<- struct{}) { p.watchers.remove(c) }

// watchers are those who wait for the high watermark.
type watchers struct {
	n  atomic.Int32 // len(of), so that an append without watchers needs no lock
	mu sync.Mutex
	of map[chan<- struct{}]record.Offset
}

func (w *watchers) add(off record.Offset, c chan<- struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = make(map[chan<- struct{}]record.Offset)
	}
	w.of[c] = off
	w.n.Store(int32(len(w.of)))
}

func (w *watchers) remove(c chan<- struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.of, c)
	w.n.Store(int32(len(w.of)))
}

// wake signals those who wait for an offset below high.
func (w *watchers) wake(high record.Offset) {
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for c, off := range w.of {
		if off < high {
			signal(c)
			delete(w.of, c)
		}
	}
	w.n.Store(int32(len(w.of)))
}

func (w *watchers) wakeAll() { w.wake(1<<63 - 1) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it holds a signal already
	}
}

// notLeader words why a partition is not served from here.
func notLeader(p *Partition, err error) *Error {
	if errors.Is(err, replica.ErrRemoved) {
		return &Error{Kind: NotFound, Code: codeUnknownTopicOrPartition, Text: fmt.Sprintf("topic '%s' was deleted", p.topic)}
	}
	e := unavailable(p.String(), err)
	e.Code = codeNotLeader
	return e
}

// nowMs is the time in milliseconds.
func (p *Partition) nowMs() int64 { return p.b.cfg.Now().UnixMilli() }

// fromMs is the inverse of UnixMilli, with 0 for no time.
func fromMs(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
