package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"waybill/internal/catalog"
	"waybill/internal/record"
)

// The verbs of membership. Each returns when the catalog has decided; moving
// replicas and leaders goes on after that. They may be called on any node, and
// repeated.

// AddNode admits a node with a new data directory to the cluster, and returns
// who it is: its replica id is for that data directory alone.
func (b *Broker) AddNode(ctx context.Context, id uint64, store, addr string) (Node, error) {
	r, err := b.change(ctx, &catalog.Command{AddNode: &catalog.AddNode{ID: id, Store: store, Addr: addr}})
	if err != nil {
		return Node{}, err
	}
	return *r.Node, nil
}

// RemoveNode takes a node out for good: its leaders and replicas move to
// other nodes first. The node must run until Nodes does not list it any more, unless it is
// lost; then what it had a copy of is copied from the other replicas.
func (b *Broker) RemoveNode(ctx context.Context, id uint64) error {
	_, err := b.change(ctx, &catalog.Command{RemoveNode: &catalog.RemoveNode{ID: id}})
	return err
}

// ReplaceNode gives up the data directory of a node, because it is lost. The
// node gets a new replica id everywhere, and comes back with an empty data directory.
func (b *Broker) ReplaceNode(ctx context.Context, id uint64) error {
	n := b.members.load().byID[id]
	if n == nil || !n.Member() {
		return b.noNode(id)
	}
	if id == b.cfg.Node {
		return errorf(PreconditionFailed, "node %d answers this itself, so its data directory is not lost", id)
	}
	if n.State == catalog.Joining && n.Store == "" {
		return nil // done before, and it has not come back yet
	}
	_, err := b.change(ctx, &catalog.Command{ReplaceNode: &catalog.ReplaceNode{ID: id, Replica: n.Replica}})
	return err
}

// GiveUp is ReplaceNode for a node that says itself that its data directory, which has
// the id store, is damaged. It is done when every log with a replica there has a majority of
// replicas elsewhere that are up to date; else the error says what is missing.
// AccessRefused: it will never be done.
func (b *Broker) GiveUp(ctx context.Context, id uint64, store string) error {
	n := b.members.load().byID[id]
	switch {
	case n == nil || !n.Member() || id == b.cfg.Node || store == "":
		return errorf(AccessRefused, "node %d is not another member of this cluster", id)
	case n.State == catalog.Joining && n.Store == "":
		return nil // done before
	case n.Store != store:
		return errorf(AccessRefused, "node %d is a member with another data directory", id)
	}
	for _, p := range b.places.all() {
		if !p.Holds(n.Replica) {
			continue
		}
		if err := b.spare(p, n.Replica); err != nil {
			return fmt.Errorf("the data directory of node %d is still needed: %w", id, err)
		}
	}
	_, err := b.change(ctx, &catalog.Command{ReplaceNode: &catalog.ReplaceNode{ID: id, Replica: n.Replica}})
	return err
}

// DrainNode moves all leaders off a node and keeps new ones away; undo lets
// them come back.
func (b *Broker) DrainNode(ctx context.Context, id uint64, undo bool) error {
	_, err := b.change(ctx, &catalog.Command{DrainNode: &catalog.DrainNode{ID: id, End: undo}})
	return err
}

// Rebalance spreads replicas and leaders evenly over the nodes, and gives what was made
// when there were fewer nodes the replicas that it would get now.
func (b *Broker) Rebalance(ctx context.Context) error {
	_, err := b.change(ctx, &catalog.Command{Rebalance: &catalog.Rebalance{}})
	return err
}

func (b *Broker) noNode(id uint64) *Error {
	return errorf(NotFound, "node %d is not a member of this cluster", id)
}

// transfer is the request of service "transfer".
type transfer struct {
	Log record.LogID `json:"log"`
	To  uint64       `json:"to"` // node; 0: any
}

// Transfer asks the leader of a log to hand over to the replica on another node,
// or to any other one when to is 0. It returns when another one leads. A node
// that is named is the preferred one from then on; otherwise the leadership
// returns after a while, see [Config.LeadersReturn].
func (b *Broker) Transfer(ctx context.Context, log record.LogID, to uint64) error {
	if err := b.transferOnce(ctx, log, to); err != nil || to == 0 {
		return err
	}
	return b.prefer(ctx, log, to)
}

// prefer makes a node the preferred one to lead a log. The catalog's own log prefers none.
func (b *Broker) prefer(ctx context.Context, log record.LogID, to uint64) error {
	p, n := b.places.get(log), b.members.load().byID[to]
	if log == catalog.LogID || p == nil || n == nil || p.Replicas[0] == n.Replica {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(p.Replicas), func(id uint64) bool { return id == n.Replica })
	if len(others) == len(p.Replicas) {
		return nil // it was moved away meanwhile
	}
	_, err := b.change(ctx, &catalog.Command{Place: &catalog.Place{Log: log, Replicas: append([]uint64{n.Replica}, others...)}})
	if err != nil {
		return fmt.Errorf("node %d leads log %d now, but is not preferred for it: %w", to, log, err)
	}
	return nil
}

func (b *Broker) transferOnce(ctx context.Context, log record.LogID, to uint64) error {
	if b.places.get(log) == nil {
		return errorf(NotFound, "there is no replicated log %d", log)
	}
	leader, term, ok := b.LeaderOf(log)
	if !ok {
		return errorf(Unavailable, "log %d has no leader at the moment, try again", log)
	}
	if leader == to {
		return nil
	}
	if err := b.askTransfer(ctx, leader, transfer{log, to}); err != nil {
		return err
	}
	for {
		changed := b.leaders.change()
		if _, now, ok := b.LeaderOf(log); ok && now > term {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return unavailable(fmt.Sprintf("transfer the leadership of log %d", log), ctx.Err())
		}
	}
}

func (b *Broker) askTransfer(ctx context.Context, leader uint64, t transfer) error {
	if leader == b.cfg.Node {
		return b.transfer(ctx, t)
	}
	request, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if _, err := b.cfg.Cluster.Call(ctx, leader, "transfer", request); err != nil {
		return errorf(Unavailable, "node %d, which leads log %d: %v", leader, t.Log, err)
	}
	return nil
}

func (b *Broker) serveTransfer(ctx context.Context, _ uint64, request []byte) ([]byte, error) {
	var t transfer
	if err := json.Unmarshal(request, &t); err != nil {
		return nil, fmt.Errorf("broker: not a transfer: %w", err)
	}
	return nil, b.transfer(ctx, t)
}

// catchUpTimeout is how long a transfer waits for the new leader to be up to date.
const catchUpTimeout = 5 * time.Second

// transfer hands over a group that is led here, as soon as the other replica
// has everything.
func (b *Broker) transfer(ctx context.Context, t transfer) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	for {
		err := b.tryTransfer(t)
		if !errors.Is(err, errBehind) {
			return err
		}
		select {
		case <-time.After(handOverPause):
		case <-ctx.Done():
			return errorf(PreconditionFailed, "log %d: %v; wait until it is", t.Log, err)
		}
	}
}

var errBehind = errors.New("the other replica is not up to date")

func (b *Broker) tryTransfer(t transfer) error {
	p, g := b.places.get(t.Log), b.groupOf(t.Log)
	if p == nil || g == nil || !g.Leads() {
		return errorf(Unavailable, "log %d is not led by node %d any more, try again", t.Log, b.cfg.Node)
	}
	to := b.successor(p, g)
	if t.To != 0 {
		n := b.members.load().byID[t.To]
		if n == nil {
			return b.noNode(t.To)
		}
		if to = n.Replica; !slices.Contains(p.Replicas, to) {
			return errorf(PreconditionFailed, "node %d has no replica of log %d", t.To, t.Log)
		}
		if !slices.Contains(g.InSync(), to) {
			return errBehind
		}
	}
	if to == 0 {
		return errBehind
	}
	g.Transfer(to)
	return nil
}

// handOverPause is the time between looks at what is still led here.
const handOverPause = 20 * time.Millisecond

// HandOver moves everything that is led here to other nodes, as far as there
// are replicas that are up to date, and returns when that is done or ctx
// ends: who stops after it leaves nothing without a leader.
func (b *Broker) HandOver(ctx context.Context) error {
	if b.cfg.Cluster == nil {
		return nil
	}
	for {
		left := 0
		for _, log := range b.leaders.led(b.cfg.Replica) {
			p, g := b.places.get(log), b.groupOf(log)
			if p == nil || g == nil || !g.Leads() {
				continue
			}
			if to := b.successor(p, g); to != 0 {
				g.Transfer(to)
				left++
			}
		}
		if left == 0 {
			return nil
		}
		select {
		case <-time.After(handOverPause):
		case <-ctx.Done():
			return fmt.Errorf("broker: %d raft groups are still led here: %w", left, ctx.Err())
		}
	}
}

// Log is one replicated log, as this node knows it.
type Log struct {
	ID       record.LogID
	What     string   // "queue 'orders' in vhost '/'", "partition 3 of topic 'clicks'", …
	Leader   uint64   // node; 0: none that is known
	Term     uint64   // of the leader
	Replicas []uint64 // the nodes that should have it, the preferred leader first
	InSync   []uint64 // those of Replicas that are up to date; nil: the leader has not told yet
	Leaving  []uint64 // the nodes that shall not have it any more; their votes may count still
	Moving   bool     // its raft group has not got the wanted members yet, as far as that is known here
}

// Logs lists all replicated logs.
func (b *Broker) Logs() []Log {
	var logs []Log
	add := func(id record.LogID, what string) {
		p := b.places.get(id)
		if p == nil {
			return
		}
		l := Log{ID: id, What: what, Replicas: b.nodesOf(p.Replicas), Leaving: b.nodesOf(p.Leaving)}
		l.Leader, l.Term, _ = b.LeaderOf(id)
		if inSync, exact := b.leaders.inSync(id); exact {
			l.InSync = b.nodesOf(inSync)
		}
		l.Moving = p.Rebuilding != nil
		if g := b.groupOf(id); g != nil {
			// A follower that does not know the new members yet could not be elected by them.
			voters, learners := g.Members()
			l.Moving = l.Moving || len(learners) > 0 || !sameReplicas(voters, p.Replicas)
			if g.Leads() {
				l.InSync = b.nodesOf(g.InSync())
			}
		}
		logs = append(logs, l)
	}
	add(catalog.LogID, "the catalog")
	for i, c := range b.coordinatorList() {
		add(c.id, fmt.Sprintf("coordinator %d of consumer groups", i))
	}
	for _, v := range b.vhosts.values() {
		for _, q := range v.queues.values() {
			add(q.spec.Log, q.String())
		}
	}
	for _, t := range b.Topics() {
		for _, p := range t.Partitions {
			add(p.id, p.String())
		}
	}
	return logs
}

func sameReplicas(a, b []uint64) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// seen is the request of service "seen".
type seen struct {
	Index record.Index   `json:"index"` // that the catalog must have reached
	Logs  []record.LogID `json:"logs"`  // that must have a leader
}

// everywhereTimeout is how long the others may take to see what is new.
const everywhereTimeout = 2 * time.Second

// everywhere waits until the nodes that can be reached know what the catalog of this one
// does, and who leads the logs. It is a courtesy to clients that go to another
// node next; who is too slow is not waited for.
func (b *Broker) everywhere(ctx context.Context, logs []record.LogID) {
	if b.cfg.Cluster == nil {
		return
	}
	request, err := json.Marshal(seen{b.directory.reached.now(), logs})
	if err != nil {
		panic("broker: " + err.Error()) // numbers can be encoded
	}
	ctx, cancel := context.WithTimeout(ctx, everywhereTimeout)
	defer cancel()
	done := make(chan struct{})
	n := 0
	for _, node := range b.members.load().nodes {
		if node.ID == b.cfg.Node || node.Run == "" || !node.Member() || b.isDown(node.ID) {
			continue
		}
		n++
		go func() {
			_, _ = b.cfg.Cluster.Call(ctx, node.ID, "seen", request) // it hears of it later, then
			done <- struct{}{}
		}()
	}
	for range n {
		<-done
	}
}

func (b *Broker) serveSeen(ctx context.Context, _ uint64, request []byte) ([]byte, error) {
	var s seen
	if err := json.Unmarshal(request, &s); err != nil {
		return nil, fmt.Errorf("broker: not a question: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, everywhereTimeout)
	defer cancel()
	err := b.directory.reached.wait(ctx, s.Index, b.directory.closed)
	for _, log := range s.Logs {
		err = errors.Join(err, b.leaders.wait(ctx, log))
	}
	return nil, err
}
