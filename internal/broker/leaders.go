package broker

import (
	"context"
	"sync"

	"waybill/internal/record"
)

// Leaders is the table of who leads which log. It is made before the replica
// host, which tells it about the groups of this node (replica.Config.OnLeader),
// and is given to the broker, which hears about the others.
type Leaders struct {
	mu      sync.RWMutex // guards the rest
	of      map[record.LogID]leaderOf
	changed chan struct{} // closed, and replaced, at every change
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
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.of[log]
	if term < old.term || old == (leaderOf{replica, term}) {
		return
	}
	l.of[log] = leaderOf{replica, term}
	close(l.changed)
	l.changed = make(chan struct{})
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

// serveLeads takes what another node tells about the logs that it leads.
func (b *Broker) serveLeads(context.Context, uint64, []byte) ([]byte, error) { return nil, nil }
