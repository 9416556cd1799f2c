package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"waybill/internal/record"
)

// Leaders is the table of who leads which log. It is made before the replica
// host, which tells it about the groups of this node (replica.Config.OnLeader),
// and is given to the broker. About groups without a replica here their
// leaders tell (see herald).
type Leaders struct {
	mu      sync.RWMutex // guards the rest
	of      map[record.LogID]leaderOf
	changed chan struct{}      // closed, and replaced, at every change
	tell    func(record.LogID) // hears of every change; nil before the broker is open
}

// leaderOf is who leads a log: a replica id, 0 for nobody.
type leaderOf struct {
	replica uint64
	term    uint64
}

// NewLeaders returns an empty table.
func NewLeaders() *Leaders {
	return &Leaders{of: map[record.LogID]leaderOf{}, changed: make(chan struct{})}
}

// Set notes that a replica leads a log in a term; 0: that nobody does any more.
// It may be called from any goroutine, and does not block.
func (l *Leaders) Set(log record.LogID, replica, term uint64) {
	if tell := l.set(log, leaderOf{replica, term}); tell != nil {
		tell(log)
	}
}

func (l *Leaders) set(log record.LogID, now leaderOf) (tell func(record.LogID)) {
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
func (l *Leaders) hear(tell func(record.LogID)) {
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

// herald tells other nodes which logs are led here, where they have no replica
// of their own to hear it from. What could not be told is told again.
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

// tell has everyone hear about a log who has no replica of it.
func (h *herald) tell(log record.LogID) {
	p := h.b.places.get(log)
	if p == nil || h.b.leaders.get(log).replica != h.b.cfg.Replica {
		return
	}
	for _, n := range h.b.members.load().nodes {
		if n.Member() && !p.Holds(n.Replica) {
			h.add(n.ID, log)
		}
	}
}

// greet tells a node that has just begun everything that is led here.
func (h *herald) greet(node uint64) {
	n := h.b.members.load().byID[node]
	if n == nil || node == h.b.cfg.Node {
		return
	}
	for _, log := range h.b.leaders.led(h.b.cfg.Replica) {
		if p := h.b.places.get(log); p != nil && !p.Holds(n.Replica) {
			h.add(node, log)
		}
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

// encodeLeads: the replica id of this node, and then log and term of each
// log that it leads, all uvarints.
func (b *Broker) encodeLeads(logs map[record.LogID]struct{}) []byte {
	data := binary.AppendUvarint(nil, b.cfg.Replica)
	for log := range logs {
		if l := b.leaders.get(log); l.replica == b.cfg.Replica {
			data = binary.AppendUvarint(binary.AppendUvarint(data, uint64(log)), l.term)
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
	if len(numbers)%2 != 1 {
		return nil, fmt.Errorf("%w, from node %d", errLeads, from)
	}
	for i := 1; i < len(numbers); i += 2 {
		log := record.LogID(numbers[i])
		// Of a log that has a replica here raft tells.
		if p := b.places.get(log); p != nil && p.Holds(b.cfg.Replica) {
			continue
		}
		b.leaders.Set(log, numbers[0], numbers[i+1])
	}
	return nil, nil
}
