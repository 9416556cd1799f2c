package transport

import (
	"context"
	"fmt"
	"net"
)

// Dial opens a stream to a service of a peer. ctx bounds the opening. The
// stream is cut when the peer goes down.
func (t *Transport) Dial(ctx context.Context, node uint64, service string) (net.Conn, error) {
	p := t.peer(node)
	if p == nil {
		return nil, fmt.Errorf("node %d: %w: it is no member that this node knows of", node, ErrUnreachable)
	}
	if err := p.reachable(); err != nil {
		return nil, err
	}
	c, err := t.connect(ctx, p.address(), node, kindStream, service)
	if err != nil {
		return nil, err
	}
	return c, nil
}
