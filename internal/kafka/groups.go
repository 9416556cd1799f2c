package kafka

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

// Codes of the group APIs that this package itself answers with.
const (
	codeNotCoordinator  int16 = 16
	codeGroupIDNotFound int16 = 69
)

// groupOperations are the operations that every client may do on a group, as
// the bits that DescribeGroups tells them in: read, delete, describe.
const groupOperations int32 = 1<<3 | 1<<6 | 1<<8

// noOperations says that the operations were not asked for.
const noOperations int32 = -1 << 31

// GroupConfig is the part of the settings that the coordinators need.
func (s *Settings) GroupConfig() broker.GroupConfig {
	return broker.GroupConfig{
		InitialRebalanceDelay: s.GroupInitialRebalanceDelay,
		MinSessionTimeout:     s.GroupMinSessionTimeout,
		MaxSessionTimeout:     s.GroupMaxSessionTimeout,
		MaxSize:               s.GroupMaxSize,
		OffsetsRetention:      s.OffsetsRetention,
		MaxOffsetMetadata:     s.OffsetMetadataMaxBytes,
		MaxBytes:              broker.DefaultGroupConfig().MaxBytes,
	}
}

// groupAPIs is the part of the table that consumer groups need. All but the
// first are handed to the coordinator in the order of the requests.
func groupAPIs() []api {
	return []api{
		{10, 0, 6, now((*Server).findCoordinator)},
		{8, 2, 10, post((*Server).offsetCommit)},
		{9, 1, 10, post((*Server).offsetFetch)},
		{11, 0, 9, post((*Server).joinGroup)},
		{12, 0, 4, post((*Server).heartbeat)},
		{13, 0, 5, post((*Server).leaveGroup)},
		{14, 0, 5, post((*Server).syncGroup)},
		{15, 0, 6, post((*Server).describeGroups)},
		{16, 0, 5, post((*Server).listGroups)},
		{42, 0, 3, post((*Server).deleteGroups)},
		{47, 0, 0, post((*Server).offsetDelete)},
	}
}

// untilGone returns what answers r. When the client has gone or the server
// drains before it is called, r is answered with gone: a rebalance may take
// minutes, and nobody needs the answer any more.
func untilGone(r *request, gone kmsg.Response) func(kmsg.Response) {
	var answered atomic.Bool
	answer := func(resp kmsg.Response) {
		if answered.CompareAndSwap(false, true) {
			r.reply(resp)
		}
	}
	stop := context.AfterFunc(r.ctx, func() { answer(gone) })
	return func(resp kmsg.Response) {
		stop()
		answer(resp)
	}
}

// gather calls start for each of n questions, and finish with their answers
// once the last one is there.
func gather[T any](n int, start func(i int, done func(T)), finish func([]T)) {
	if n == 0 {
		finish(nil)
		return
	}
	answers := make([]T, n)
	var left atomic.Int64
	left.Store(int64(n))
	for i := range n {
		start(i, func(a T) {
			answers[i] = a
			if left.Add(-1) == 0 {
				finish(answers)
			}
		})
	}
}

// spot is a place in a response: numbers of a topic and of a partition in it.
type spot struct{ topic, partition int }

// onlyOnce returns a function that reports whether a group is asked about for
// the first time in a request. The answer about one group may be large, so a
// request that repeats it is not served again and again.
func onlyOnce() func(group string) bool {
	seen := make(map[string]struct{})
	return func(group string) bool {
		_, again := seen[group]
		seen[group] = struct{}{}
		return !again
	}
}

// newMemberID makes a member id that never was: a name to recognize it by, and
// a random UUID.
func newMemberID(name string) string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%s-%x-%x-%x-%x-%x", name, u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// clientHost is the client's address as Kafka shows it.
func clientHost(r *request) string {
	host, _, err := net.SplitHostPort(r.conn.nc.RemoteAddr().String())
	if err != nil {
		host = r.conn.nc.RemoteAddr().String() // not an IP address
	}
	return "/" + host
}

// text is the string that p points to; a null string is empty.
func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// nullable is nil for an empty string.
func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// groupTopic finds a topic by its id if the request's version uses ids, else by
// its name.
func (s *Server) groupTopic(byID bool, id [16]byte, name string) (*broker.Topic, int16) {
	var t *broker.Topic
	var ok bool
	code := codeUnknownTopicOrPartition
	if byID {
		t, ok = s.cfg.Broker.TopicByID(id)
		code = codeUnknownTopicID
	} else {
		t, ok = s.cfg.Broker.Topic(name)
	}
	if !ok {
		return nil, code
	}
	return t, codeNone
}
