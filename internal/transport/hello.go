package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A hello, and the answer to one:
//
//	8  magic
//	2  version that the sender speaks; in the answer the one that both will
//	2  oldest version that the sender still speaks
//	2  length of the rest
//	1  kind; in the answer 0, or 1 when the connection is refused
//	8  node
//	8  replica
//	8  node that the sender wants to talk to, 0: whoever it is
//	…  cluster, store, service (in the answer: why it is refused), each with a length of 2
const (
	magic       = "WAYBILL\x00"
	helloHeader = len(magic) + 6
	helloFixed  = 1 + 8 + 8 + 8
	maxHello    = 4 << 10 // bytes of the rest

	version       = 1
	oldestVersion = 1
)

// kind is what a connection is for.
type kind uint8

const (
	kindMessages kind = iota + 1
	kindCalls
	kindStream
)

type hello struct {
	version, oldest uint16
	kind            kind
	who             Identity
	to              uint64
	service         string
}

const (
	accepted kind = 0
	refused  kind = 1
)

var errNotWaybill = errors.New("the other end does not speak Waybill's node-to-node protocol (is it a node's cluster-listen address, and have both nodes certificates, or neither?)")

func (h *hello) encode() []byte {
	b := []byte(magic)
	b = binary.BigEndian.AppendUint16(b, h.version)
	b = binary.BigEndian.AppendUint16(b, h.oldest)
	at := len(b)
	b = append(b, 0, 0, byte(h.kind))
	b = binary.BigEndian.AppendUint64(b, h.who.Node)
	b = binary.BigEndian.AppendUint64(b, h.who.Replica)
	b = binary.BigEndian.AppendUint64(b, h.to)
	for _, s := range []string{h.who.Cluster, h.who.Store, h.service} {
		s = s[:min(len(s), maxHello/4)]
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	return b
}

// readHello reads not a byte beyond the hello.
func readHello(r io.Reader) (*hello, error) {
	var head [helloHeader]byte
	if _, err := io.ReadFull(r, head[:len(magic)]); err != nil {
		return nil, cut(err)
	}
	if string(head[:len(magic)]) != magic {
		return nil, errNotWaybill
	}
	rest := head[len(magic):]
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, cut(err)
	}
	n := int(binary.BigEndian.Uint16(rest[4:]))
	if n < helloFixed || n > maxHello {
		return nil, fmt.Errorf("a hello of %d bytes, not from %d to %d", n, helloFixed, maxHello)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, cut(err)
	}
	h := &hello{version: binary.BigEndian.Uint16(rest), oldest: binary.BigEndian.Uint16(rest[2:])}
	return h, h.parse(body)
}

func (h *hello) parse(b []byte) error {
	h.kind = kind(b[0])
	h.who.Node = binary.BigEndian.Uint64(b[1:])
	h.who.Replica = binary.BigEndian.Uint64(b[9:])
	h.to = binary.BigEndian.Uint64(b[17:])
	b = b[helloFixed:]
	for _, s := range []*string{&h.who.Cluster, &h.who.Store, &h.service} {
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return errors.New("a hello that is too short for what it holds")
		}
		n := 2 + int(binary.BigEndian.Uint16(b))
		*s, b = string(b[2:n]), b[n:]
	}
	return nil // what follows is of a later version
}

// common is the version to speak with who said h.
func (h *hello) common() (uint16, error) {
	v := min(h.version, version)
	if v < max(h.oldest, oldestVersion) {
		return 0, fmt.Errorf("it speaks version %d to %d of the node-to-node protocol, this node %d to %d: upgrade one version at a time",
			h.oldest, h.version, oldestVersion, version)
	}
	return v, nil
}
