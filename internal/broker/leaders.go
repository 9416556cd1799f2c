package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"waybill/internal/record"
)

// Leaders is the table of who leads which log, and which replicas are in sync with
// the leader. It is made before the replica host, which tells it about the groups of this
// node (replica.Config.OnLeader, OnInSync), and is given to the broker. Who is in sync
// only the leader knows, and who leads a group without a replica here: they
// tell the other nodes (see herald).
type Leaders struct {
	mu      sync.RWMutex // guards the rest
	of      map[record.LogID]leaderOf
	sync    map[record.LogID]syncOf
	heard   map[record.LogID]leaderOf          // of other nodes, which have told that they lead
	changed chan struct{}                      // closed, and replaced, at every change of leaders
	tell    func(log record.LogID, moved bool) // hears of every change, of the leader or of who is in sync; nil before the broker is open
}

// leaderOf is who leads a log: a replica id, 0 for nobody.
type leaderOf struct {
	replica uint64
	term    uint64
}

// syncOf is who was in sync with the leader of a term. The list is never changed.
type syncOf struct {
	term     uint64
	replicas []uint64
}

// NewLeaders returns an empty table.
func NewLeaders() *Leaders {
	return &Leaders{of: map[record.LogID]leaderOf{}, sync: map[record.LogID]syncOf{}, heard: map[record.LogID]leaderOf{}, changed: make(chan struct{})}
}

// Set notes that a replica leads a log in a term; 0: that nobody does any more.
// It may be called from any goroutine, and does not block.
func (l *Leaders) Set(log record.LogID, replica, term uint64) {
	if tell := l.set(log, leaderOf{replica, term}); tell != nil {
		tell(log, true)
	}
}

// SetInSync notes which replicas are in sync with the leader of a term. It may be
// called from any goroutine, and does not block; the list is kept.
func (l *Leaders) SetInSync(log record.LogID, term uint64, replicas []uint64) {
	l.mu.Lock()
	old := l.sync[log]
	if term < old.term || term == old.term && slices.Equal(old.replicas, replicas) {
		l.mu.Unlock()
		return
	}
	l.sync[log] = syncOf{term, replicas}
	tell := l.tell
	l.mu.Unlock()
	if tell != nil {
		tell(log, false)
	}
}

// inSync is what was heard last of who is in sync; exact when that is of the term
// of the leader that is known, and there is one.
func (l *Leaders) inSync(log record.LogID) (replicas []uint64, exact bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	who, s := l.of[log], l.sync[log]
	return s.replicas, len(s.replicas) > 0 && who.replica != 0 && who.term == s.term
}

func (l *Leaders) set(log record.LogID, now leaderOf) (tell func(record.LogID, bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.of[log]
	if now.term < old.term || now == old {
		return nil
	}
	l.of[log] = now
	close(l.changed)
	l.changed = make(chan struct{})
	return l.tell
}

// hear sets who hears of every change.
func (l *Leaders) hear(tell func(log record.LogID, moved bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tell = tell
}

func (l *Leaders) get(log record.LogID) leaderOf {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.of[log]
}

// change returns a channel that is closed at the next change.
func (l *Leaders) change() <-chan struct{} {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.changed
}

// forget drops a log that was deleted.
func (l *Leaders) forget(log record.LogID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, log)
	delete(l.sync, log)
	delete(l.heard, log)
}

// hearFrom notes that a replica of another node has told that it leads.
func (l *Leaders) hearFrom(log record.LogID, leader leaderOf) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if leader.term >= l.heard[log].term {
		l.heard[log] = leader
	}
}

// recall falls back on what was heard of a log about which raft does not tell any more, as
// its copy here is held offline. Nobody tells it once more.
func (l *Leaders) recall(log record.LogID) {
	l.mu.RLock()
	known, heard := l.of[log], l.heard[log]
	l.mu.RUnlock()
	if known.replica == 0 && heard.replica != 0 {
		l.Set(log, heard.replica, heard.term)
	}
}

// led lists the logs that a replica leads.
func (l *Leaders) led(replica uint64) (logs []record.LogID) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for log, who := range l.of {
		if who.replica == replica {
			logs = append(logs, log)
		}
	}
	return logs
}

// wait returns when it is known who leads the log.
func (l *Leaders) wait(ctx context.Context, log record.LogID) error {
	for {
		changed := l.change()
		if l.get(log).replica != 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// herald tells other nodes which logs are led here, and which replicas are in sync.
// What could not be told is told again.
type herald struct {
	b    *Broker
	wake chan struct{}

	mu   sync.Mutex                           // guards news
	news map[uint64]map[record.LogID]struct{} // to be told, by node
}

// heraldPause is the time between tries to tell a node that does not answer.
const heraldPause = time.Second

func newHerald(b *Broker) *herald {
	return &herald{b: b, wake: make(chan struct{}, 1), news: map[uint64]map[record.LogID]struct{}{}}
}

// tell has everyone hear about a log.
func (h *herald) tell(log record.LogID) {
	if h.b.leaders.get(log).replica != h.b.cfg.Replica {
		return
	}
	for _, n := range h.b.members.load().nodes {
		if n.Member() && n.ID != h.b.cfg.Node {
			h.add(n.ID, log)
		}
	}
}

// greet tells a node that has just begun everything that is led here.
func (h *herald) greet(node uint64) {
	if h.b.members.load().byID[node] == nil || node == h.b.cfg.Node {
		return
	}
	for _, log := range h.b.leaders.led(h.b.cfg.Replica) {
		h.add(node, log)
	}
}

func (h *herald) add(node uint64, log record.LogID) {
	h.mu.Lock()
	if h.news[node] == nil {
		h.news[node] = map[record.LogID]struct{}{}
	}
	h.news[node][log] = struct{}{}
	h.mu.Unlock()
	signal(h.wake)
}

// run tells until ctx ends.
func (h *herald) run(ctx context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-h.wake:
		case <-retry.C:
		case <-ctx.Done():
			return
		}
		if !h.round(ctx) {
			retry.Reset(heraldPause)
		}
	}
}

// round tells every node its news, all at the same time; false when one of
// them has not heard.
func (h *herald) round(ctx context.Context) bool {
	h.mu.Lock()
	all := h.news
	h.news = map[uint64]map[record.LogID]struct{}{}
	h.mu.Unlock()
	var wait sync.WaitGroup
	for node, logs := range all {
		if n := h.b.members.load().byID[node]; n == nil || !n.Member() {
			continue
		}
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, heraldPause)
			defer cancel()
			if _, err := h.b.cfg.Cluster.Call(ctx, node, "leads", h.b.encodeLeads(logs)); err != nil {
				h.mu.Lock()
				defer h.mu.Unlock()
				for log := range h.news[node] {
					logs[log] = struct{}{}
				}
				h.news[node] = logs
			}
		})
	}
	wait.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.news) == 0
}

// encodeLeads: the replica id of this node, and then of each log that it leads log,
// term, number of replicas in sync, and their ids; all uvarints.
func (b *Broker) encodeLeads(logs map[record.LogID]struct{}) []byte {
	data := binary.AppendUvarint(nil, b.cfg.Replica)
	for log := range logs {
		l := b.leaders.get(log)
		if l.replica != b.cfg.Replica {
			continue
		}
		inSync, exact := b.leaders.inSync(log)
		if !exact {
			inSync = nil
		}
		data = binary.AppendUvarint(binary.AppendUvarint(data, uint64(log)), l.term)
		data = binary.AppendUvarint(data, uint64(len(inSync)))
		for _, id := range inSync {
			data = binary.AppendUvarint(data, id)
		}
	}
	return data
}

var errLeads = errors.New("broker: not a list of led logs")

// serveLeads takes what another node tells about the logs that it leads.
func (b *Broker) serveLeads(_ context.Context, from uint64, request []byte) ([]byte, error) {
	var numbers []uint64
	for len(request) > 0 {
		n, k := binary.Uvarint(request)
		if k <= 0 {
			return nil, fmt.Errorf("%w, from node %d", errLeads, from)
		}
		numbers, request = append(numbers, n), request[k:]
	}
	if len(numbers) == 0 {
		return nil, fmt.Errorf("%w, from node %d", errLeads, from)
	}
	leader, rest := numbers[0], numbers[1:]
	for len(rest) > 0 {
		if len(rest) < 3 || rest[2] > uint64(len(rest)-3) {
			return nil, fmt.Errorf("%w, from node %d", errLeads, from)
		}
		log, term, n := record.LogID(rest[0]), rest[1], 3+int(rest[2])
		// Of a log that has a replica here raft tells, unless it is held offline, see recall.
		b.leaders.hearFrom(log, leaderOf{leader, term})
		if g := b.groupOf(log); g == nil || g.Failure() != nil {
			b.leaders.Set(log, leader, term)
		}
		if n > 3 {
			b.leaders.SetInSync(log, term, rest[3:n])
		}
		rest = rest[n:]
	}
	return nil, nil
}
