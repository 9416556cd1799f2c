package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
	"waybill/internal/record"
)

const keyFetch = 1

// budgetPause is how long a Fetch waits before it looks again when the budget
// of all responses is spent.
const budgetPause = 100 * time.Millisecond

// serveFetch waits for records on a goroutine of its own.
func serveFetch(s *Server, r *request) {
	go func() { r.reply(s.fetch(r, r.body.(*kmsg.FetchRequest))) }()
}

// fetch answers with what is there, or waits for it. Fetch sessions are not
// kept: every response is a full one, as the protocol allows.
func (s *Server) fetch(r *request, in *kmsg.FetchRequest) framer {
	f := &fetchResponse{s: s, topics: make([]fetchTopic, 0, len(in.Topics))}
	if r.version >= 7 {
		if f.code = checkSession(in); f.code != codeNone {
			return f
		}
	}
	maxBytes := min(int(in.MaxBytes), int(s.cfg.FetchMaxBytes))
	if r.version < 3 || maxBytes < 0 {
		maxBytes = int(s.cfg.FetchMaxBytes)
	}
	deadline := r.arrived.Add(time.Duration(in.MaxWaitMillis) * time.Millisecond)
	var news chan struct{} // made for the first wait
	for {
		spent := !f.read(in, maxBytes)
		wait := time.Until(deadline)
		if f.failed || f.size >= int(in.MinBytes) && !spent || wait <= 0 || f.partitions() == 0 {
			return f
		}
		if spent {
			wait = min(wait, budgetPause)
		}
		if news == nil {
			news = make(chan struct{}, 1)
		}
		if !f.wait(r.ctx, news, wait) {
			return f
		}
	}
}

// wait returns when there is news or time is up; false: the client has gone, or
// the server drains.
func (f *fetchResponse) wait(ctx context.Context, news chan struct{}, d time.Duration) bool {
	f.watch(news)
	defer f.unwatch(news)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-news:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// checkSession refuses to go on with a session: none was ever opened.
func checkSession(in *kmsg.FetchRequest) int16 {
	switch {
	case in.SessionID != 0:
		return codeFetchSessionIDNotFound
	case in.SessionEpoch > 0:
		return codeInvalidFetchSessionEpoch
	}
	return codeNone
}

// fetchResponse is a Fetch response; its batches are borrowed from the log until it is sent.
type fetchResponse struct {
	s       *Server
	code    int16
	topics  []fetchTopic
	size    int  // bytes of all batches
	failed  bool // a partition has an error, so there is no waiting
	granted int  // bytes taken from the budget
}

type fetchTopic struct {
	name  string
	id    [16]byte
	parts []fetchPart
}

type fetchPart struct {
	number    int32
	code      int16
	partition *broker.Partition // nil when there is none
	result    broker.ReadResult
}

func (f *fetchResponse) partitions() int {
	n := 0
	for i := range f.topics {
		n += len(f.topics[i].parts)
	}
	return n
}

// read fills the response anew; false: the budget is spent, nothing was read.
func (f *fetchResponse) read(in *kmsg.FetchRequest, maxBytes int) bool {
	f.sent() // what an earlier round took
	f.granted = f.s.fetches.take(maxBytes)
	room, spent := f.granted, f.granted == 0 && maxBytes > 0
	f.topics, f.size, f.failed = f.topics[:0], 0, false
	for i := range in.Topics {
		t := &in.Topics[i]
		out := fetchTopic{name: t.Topic, id: t.TopicID, parts: make([]fetchPart, 0, len(t.Partitions))}
		topic, code := f.s.fetchSource(in.Version, t)
		for j := range t.Partitions {
			part := fetchPart{number: t.Partitions[j].Partition, code: code}
			part.result = broker.ReadResult{HighWatermark: -1, LastStable: -1, LogStart: -1}
			if code == codeNone {
				f.readPart(&part, topic, &t.Partitions[j], room-f.size, spent)
			}
			f.failed = f.failed || part.code != codeNone
			out.parts = append(out.parts, part)
		}
		f.topics = append(f.topics, out)
	}
	// A single batch may be larger than what was granted, so this may take more.
	f.s.fetches.give(f.granted - f.size)
	f.granted = f.size
	return !spent
}

// fetchSource finds a topic by its name or, from version 13 on, by its id.
func (s *Server) fetchSource(version int16, t *kmsg.FetchRequestTopic) (*broker.Topic, int16) {
	if version >= 13 {
		if topic, ok := s.cfg.Broker.TopicByID(t.TopicID); ok {
			return topic, codeNone
		}
		return nil, codeUnknownTopicID
	}
	if topic, ok := s.cfg.Broker.Topic(t.Topic); ok {
		return topic, codeNone
	}
	return nil, codeUnknownTopicOrPartition
}

// readPart reads one partition into what room is left. The first partition that
// has anything gives at least one batch, so that a consumer gets on.
func (f *fetchResponse) readPart(part *fetchPart, topic *broker.Topic, in *kmsg.FetchRequestTopicPartition, room int, spent bool) {
	if in.Partition < 0 || int(in.Partition) >= len(topic.Partitions) {
		part.code = codeUnknownTopicOrPartition
		return
	}
	p := topic.Partitions[in.Partition]
	if part.code = checkLeader(p, in.CurrentLeaderEpoch); part.code != codeNone {
		return
	}
	part.partition = p
	if spent {
		part.result.LogStart, part.result.HighWatermark = p.Offsets()
		part.result.LastStable = part.result.HighWatermark
		return
	}
	limit := max(0, min(int(in.PartitionMaxBytes), room))
	result, err := p.Read(record.Offset(in.FetchOffset), limit)
	if err != nil {
		part.code = errorCode(err)
		return
	}
	if f.size > 0 && result.Size > limit {
		result.Release()
	}
	part.result = result
	f.size += result.Size
}

// checkEpoch holds the leader epoch that a client knows against the real one;
// -1 is a client that does not say (KIP-320).
func checkEpoch(client, current int32) int16 {
	switch {
	case client == -1 || client == current:
		return codeNone
	case client < current:
		return codeFencedLeaderEpoch
	}
	return codeUnknownLeaderEpoch
}

// watch has c signalled when any of the partitions has more.
func (f *fetchResponse) watch(c chan struct{}) {
	for i := range f.topics {
		for j := range f.topics[i].parts {
			if p := &f.topics[i].parts[j]; p.partition != nil {
				p.partition.Watch(p.result.HighWatermark, c)
			}
		}
	}
}

func (f *fetchResponse) unwatch(c chan struct{}) {
	for i := range f.topics {
		for j := range f.topics[i].parts {
			if p := &f.topics[i].parts[j]; p.partition != nil {
				p.partition.Unwatch(c)
			}
		}
	}
}

// sent implements framer.
func (f *fetchResponse) sent() {
	for i := range f.topics {
		for j := range f.topics[i].parts {
			f.topics[i].parts[j].result.Release()
		}
	}
	f.s.fetches.give(f.granted)
	f.granted = 0
}
