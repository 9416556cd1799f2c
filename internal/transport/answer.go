package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// maxCalls bounds the calls of one connection that are being served.
const maxCalls = 1024

// answer serves the calls of an accepted connection.
func (t *Transport) answer(c *conn) {
	ctx, cancel := context.WithCancel(t.ctx)
	s := &callServer{t: t, ctx: ctx, out: newCallConn(c), active: map[uint64]context.CancelFunc{}}
	err := s.read()
	t.log.Debug("transport: a node's calls end", "node", c.peer.Node, "err", err)
	cancel()
	c.cut()
	s.serving.Wait()
}

// callServer serves the calls of one connection.
type callServer struct {
	t       *Transport
	ctx     context.Context // ends with the connection
	out     *callConn
	serving sync.WaitGroup

	mu     sync.Mutex // guards active
	active map[uint64]context.CancelFunc
}

func (s *callServer) read() error {
	r := bufio.NewReaderSize(s.out.conn.Conn, 16<<10)
	for {
		kind, id, body, err := readCall(r)
		if err != nil {
			return err
		}
		switch kind {
		case callRequest:
			err = s.begin(id, body)
		case callCancel:
			s.end(id)
		default:
			err = fmt.Errorf("a request of unknown kind %d", kind)
		}
		if err != nil {
			return err
		}
	}
}

// begin starts to serve a call; its error ends the connection.
func (s *callServer) begin(id uint64, body []byte) error {
	if len(body) < 5 || len(body) < 5+int(body[4]) {
		return errors.New("a request that is too short for what it holds")
	}
	limit := time.Duration(binary.BigEndian.Uint32(body)) * time.Millisecond
	service, request := string(body[5:5+int(body[4])]), body[5+int(body[4]):]

	s.mu.Lock()
	n, taken := len(s.active), s.active[id] != nil
	if taken || n >= maxCalls {
		s.mu.Unlock()
		if taken {
			return fmt.Errorf("two calls have the id %d", id)
		}
		return s.out.send(callFailure, id, []byte("too many calls at the same time"))
	}
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	s.active[id] = cancel
	s.mu.Unlock()
	s.serving.Go(func() {
		defer s.end(id)
		s.serve(ctx, id, service, request)
	})
	return nil
}

// end forgets a call, and cancels it if it is still being served.
func (s *callServer) end(id uint64) {
	s.mu.Lock()
	cancel := s.active[id]
	delete(s.active, id)
	s.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

func (s *callServer) serve(ctx context.Context, id uint64, service string, request []byte) {
	answer, err := s.handle(ctx, service, request)
	if err == nil && len(answer) > maxFrame/2 {
		err = fmt.Errorf("the answer of %d bytes is too large", len(answer))
	}
	if err != nil {
		err = s.out.send(callFailure, id, []byte(err.Error()))
	} else {
		err = s.out.send(callAnswer, id, answer)
	}
	if err != nil {
		s.out.conn.cut() // the caller sees it end
	}
}

func (s *callServer) handle(ctx context.Context, service string, request []byte) ([]byte, error) {
	own := s.t.cfg.Identity().Node
	if s.out.conn.stranger && service != JoinService {
		return nil, fmt.Errorf("node %d serves only %q to a node of no cluster", own, JoinService)
	}
	s.t.mu.Lock()
	answer := s.t.calls[service]
	s.t.mu.Unlock()
	if answer == nil {
		return nil, fmt.Errorf("node %d does not serve %q, or not yet", own, service)
	}
	return answer(ctx, s.out.conn.peer, request)
}
