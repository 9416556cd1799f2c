package group

import (
	"encoding/binary"
	"slices"
)

// consumerType is the protocol type whose metadata is a subscription.
const consumerType = "consumer"

// subscribed reports whether a member may consume the topic. One whose
// metadata cannot be read may consume any.
func (g *group) subscribed(topic string) bool {
	for _, mem := range g.members {
		for _, p := range mem.protocols {
			topics, ok := subscription(p.Metadata)
			if !ok || slices.Contains(topics, topic) {
				return true
			}
		}
	}
	return false
}

// subscription reads the topics of a consumer's metadata (ConsumerProtocol:
// int16 version, then an int32 count of strings with int16 lengths; what
// follows depends on the version).
func subscription(b []byte) (topics []string, ok bool) {
	if len(b) < 6 || int16(binary.BigEndian.Uint16(b)) < 0 {
		return nil, false
	}
	n := int32(binary.BigEndian.Uint32(b[2:]))
	b = b[6:]
	for ; n > 0; n-- {
		if len(b) < 2 {
			return nil, false
		}
		size := int(int16(binary.BigEndian.Uint16(b)))
		if b = b[2:]; size < 0 || size > len(b) {
			return nil, false
		}
		topics = append(topics, string(b[:size]))
		b = b[size:]
	}
	return topics, n == 0
}
