package broker

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"time"

	"waybill/internal/record"
	"waybill/internal/replica"
)

// queueService is the service of the connections over which queues are reached.
const queueService = "queues"

// Bounds of what is forwarded and not answered.
const (
	linkWindow   = 8 << 20  // bytes of publishes on a link
	streamWindow = 2 << 20  // on one of its streams
	publishFrame = 64 << 10 // bytes of messages in a frame
	dialTimeout  = 5 * time.Second
)

// links are the connections over which this node reaches queues that other
// nodes lead: one to each node, made when it is needed.
type links struct {
	dial func(ctx context.Context, node uint64) (net.Conn, error)
	lost func(node uint64, err error)

	ctx  context.Context // done when the links are closed
	stop context.CancelFunc
	runs sync.WaitGroup // one for each link

	mu     sync.Mutex // guards the rest
	byNode map[uint64]*link
	closed bool
}

func newLinks(dial func(ctx context.Context, node uint64) (net.Conn, error), lost func(node uint64, err error)) *links {
	ls := &links{dial: dial, lost: lost, byNode: map[uint64]*link{}}
	ls.ctx, ls.stop = context.WithCancel(context.Background())
	return ls
}

// get returns the link to a node; nil when the links are closed.
func (ls *links) get(node uint64) *link {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		return nil
	}
	l := ls.byNode[node]
	if l == nil {
		l = &link{links: ls, node: node, out: newOutbox(), streams: map[uint64]*stream{}}
		ls.byNode[node] = l
		ls.runs.Go(l.run)
	}
	return l
}

func (ls *links) forget(l *link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.byNode[l.node] == l {
		delete(ls.byNode, l.node)
	}
}

// close ends all links and waits for them.
func (ls *links) close() {
	ls.mu.Lock()
	ls.closed = true
	ls.mu.Unlock()
	ls.stop()
	ls.runs.Wait()
}

// link is the connection to one node. It lives as long as the connection does.
type link struct {
	links *links
	node  uint64
	out   *outbox

	mu       sync.Mutex // guards the rest; a leaf
	streams  map[uint64]*stream
	last     uint64 // number of the last stream
	inFlight int    // bytes of publishes that are not answered
	starved  []*stream
	down     bool
	hangUp   func() // closes the connection; nil until there is one
}

// stream is a queue's place on a link. What is not said to be guarded belongs to the
// queue's shard.
type stream struct {
	link  *link
	id    uint64
	queue *Queue

	opened bool // the node has said that it leads
	moved  bool // it has said that it leads no longer; no more is sent
	bytes  int  // of publishes that are not answered

	starved bool // guarded by link.mu
}

// Events of a stream for its queue.
type (
	// farFrames are frames that came one after the other.
	farFrames struct {
		stream *stream
		frames []farFrame
	}
	farFrame struct {
		kind frameKind
		body fields
	}
	// farLost: the connection is gone.
	farLost struct{ stream *stream }
	// farRoom: the window of the link has room again.
	farRoom struct{ stream *stream }
)

// open makes a stream for q; nil when the link is down already.
func (l *link) open(q *Queue, log record.LogID) *stream {
	l.mu.Lock()
	if l.down {
		l.mu.Unlock()
		return nil
	}
	l.last++
	s := &stream{link: l, id: l.last, queue: q}
	l.streams[s.id] = s
	l.mu.Unlock()
	l.out.put(frameOpen, s.id, uint64(log))
	return s
}

// leave ends a stream from this side.
func (l *link) leave(s *stream) {
	l.mu.Lock()
	_, there := l.streams[s.id]
	delete(l.streams, s.id)
	l.mu.Unlock()
	if there {
		l.out.put(frameLeave, s.id)
	}
	l.release(s, s.bytes)
	s.bytes = 0
}

// reserve takes n bytes of the window for s, which must not be large already. When there is no
// room it answers false, and farRoom follows.
func (l *link) reserve(s *stream, n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inFlight > 0 && l.inFlight+n > linkWindow {
		if !s.starved {
			s.starved = true
			l.starved = append(l.starved, s)
		}
		return false
	}
	l.inFlight += n
	s.bytes += n
	return true
}

// release gives n bytes of the window back.
func (l *link) release(s *stream, n int) {
	if n == 0 {
		return
	}
	l.mu.Lock()
	l.inFlight -= n
	var fed []*stream
	if l.inFlight <= linkWindow/2 {
		fed, l.starved = l.starved, nil
		for _, s := range fed {
			s.starved = false
		}
	}
	l.mu.Unlock()
	for _, f := range fed {
		if f != s {
			f.queue.driver().Post(&farRoom{f})
		}
	}
}

// publish sends messages, which are numbered from first on.
func (l *link) publish(kind frameKind, s *stream, first uint64, pubs []awayPub) {
	at := l.out.begin(kind, s.id)
	b := binary.AppendUvarint(l.out.buf, first)
	for i := range pubs {
		b = append(b, pubs[i].stored...)
	}
	l.out.buf = b
	l.out.end(at)
}

// run dials, and serves the connection until it ends.
func (l *link) run() {
	ctx, cancel := context.WithTimeout(l.links.ctx, dialTimeout)
	conn, err := l.links.dial(ctx, l.node)
	cancel()
	if err == nil {
		err = l.serve(conn)
		if l.links.ctx.Err() == nil {
			l.links.lost(l.node, err)
		}
	}
	l.links.forget(l)
	l.out.close()
	l.mu.Lock()
	l.down = true
	streams := l.streams
	l.streams = nil
	l.mu.Unlock()
	for _, s := range streams {
		s.queue.driver().Post(&farLost{s})
	}
}

func (l *link) serve(conn net.Conn) error {
	written := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		written <- l.out.run(conn, ended)
		_ = conn.Close()
	}()
	l.mu.Lock()
	l.hangUp = func() { _ = conn.Close() }
	l.mu.Unlock()
	unwatch := context.AfterFunc(l.links.ctx, l.hangUp)
	defer unwatch()
	err := l.read(conn)
	close(ended)
	if failed := <-written; failed != net.ErrClosed {
		err = failed // the reader's error is its consequence, or as good
	}
	return err
}

// read takes frames and hands those of a stream that come together to its queue.
func (l *link) read(conn net.Conn) error {
	r := newFrameReader(patient{conn})
	var batch *farFrames
	flush := func() {
		if batch != nil {
			batch.stream.queue.driver().Post(batch)
			batch = nil
		}
	}
	for {
		kind, id, body, err := r.next()
		if err != nil {
			flush()
			return err
		}
		if kind != framePing {
			if batch == nil || batch.stream.id != id {
				flush()
				l.mu.Lock()
				s := l.streams[id]
				l.mu.Unlock()
				if s != nil {
					batch = &farFrames{stream: s}
				}
			}
			if batch != nil {
				batch.frames = append(batch.frames, farFrame{kind, body})
			}
		}
		if !r.more() || batch != nil && len(batch.frames) >= maxFarFrames {
			flush()
		}
	}
}

// maxFarFrames bounds what is read of a stream before its queue hears of it.
const maxFarFrames = 256

// broken ends the connection because the other node does not keep to the rules.
func (l *link) broken() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hangUp != nil {
		l.hangUp()
	}
}

// dialQueues connects to a node's service for queues.
func (b *Broker) dialQueues(ctx context.Context, node uint64) (net.Conn, error) {
	return b.cfg.Cluster.Dial(ctx, node, queueService)
}

// linkLost tells the operator; what it means for the clients they are told themselves.
func (b *Broker) linkLost(node uint64, err error) {
	b.log.Warn("the connection to another node for its queues is gone; it is made again when it is needed", "node", node, "error", err)
}

// leaderNode names the node that leads a queue, if it is known.
func (b *Broker) leaderNode(q *Queue) (node uint64, ok bool) {
	if !q.spec.Replicated() {
		return q.spec.Node, true
	}
	node, _, ok = b.LeaderOf(q.spec.Log)
	return node, ok
}

// queueOf finds a queue by its log.
func (b *Broker) queueOf(log record.LogID) (*Queue, bool) {
	q, ok := b.byLog.Load(log)
	if !ok {
		return nil, false
	}
	return q.(*Queue), true
}

// closeQueues ends what other nodes have to do with queues.
func (b *Broker) closeQueues() {
	b.guests.close()
	if b.links == nil {
		return
	}
	b.links.close()
	for _, v := range b.vhosts.values() {
		for _, q := range v.queues.values() {
			if g, ok := q.driver().(*loopGroup); ok {
				g.Post(depart{replica.ErrClosed})
			}
		}
	}
}
