package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

// offsetFetch answers with what is committed. RequireStable asks to wait for
// the end of transactions that commit offsets; there are none.
func (s *Server) offsetFetch(r *request, req *kmsg.OffsetFetchRequest) {
	groups := req.Groups
	if r.version < 8 {
		groups = []kmsg.OffsetFetchRequestGroup{oldOffsetFetch(req)}
	}
	first := onlyOnce()
	gather(len(groups), func(i int, done func(kmsg.OffsetFetchResponseGroup)) {
		if !first(groups[i].Group) {
			again := kmsg.NewOffsetFetchResponseGroup()
			again.Group, again.ErrorCode = groups[i].Group, codeInvalidRequest
			done(again)
			return
		}
		s.fetchGroup(r.version, &groups[i], done)
	}, func(answers []kmsg.OffsetFetchResponseGroup) {
		resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
		if r.version < 8 {
			oldOffsetFetched(resp, &answers[0])
		} else {
			resp.Groups = answers
		}
		r.reply(resp)
	})
}

// fetchGroup fetches the offsets of one group.
func (s *Server) fetchGroup(version int16, g *kmsg.OffsetFetchRequestGroup, done func(kmsg.OffsetFetchResponseGroup)) {
	byID := version >= 10
	fetch := &broker.FetchOffsets{Group: g.Group, All: g.Topics == nil}
	resp := kmsg.NewOffsetFetchResponseGroup()
	resp.Group = g.Group
	var spots []spot // of fetch.Partitions
	for i := range g.Topics {
		rt := &g.Topics[i]
		t, code := s.groupTopic(byID, rt.TopicID, rt.Topic)
		out := kmsg.NewOffsetFetchResponseGroupTopic()
		out.Topic, out.TopicID = rt.Topic, rt.TopicID
		for j, partition := range rt.Partitions {
			p := noOffset(partition)
			if t != nil {
				spots = append(spots, spot{i, j})
				fetch.Partitions = append(fetch.Partitions, broker.TopicPartition{Topic: t.Name, Partition: partition})
			} else if byID { // a name that nothing was committed for is no error
				p.ErrorCode = code
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	s.cfg.Broker.FetchOffsets(fetch, func(f *broker.FetchOffsetsResult) {
		switch {
		case f.Code != 0:
			refuseOffsets(version, &resp, int16(f.Code))
		case fetch.All:
			s.allOffsets(&resp, f.Offsets)
		}
		for i, at := range spots {
			if f.Code == 0 && f.Offsets[i].Found && s.current(&f.Offsets[i]) {
				fillOffset(&resp.Topics[at.topic].Partitions[at.partition], &f.Offsets[i])
			}
		}
		done(resp)
	})
}

// refuseOffsets tells an error of the group. Version 1 has no place for it but
// the partitions.
func refuseOffsets(version int16, resp *kmsg.OffsetFetchResponseGroup, code int16) {
	resp.ErrorCode = code
	if version >= 2 {
		resp.Topics = nil
	}
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			resp.Topics[i].Partitions[j].ErrorCode = code
		}
	}
}

// allOffsets puts all offsets, which come in the order of their topics, into
// the response.
func (s *Server) allOffsets(resp *kmsg.OffsetFetchResponseGroup, offsets []broker.FetchedOffset) {
	for i := range offsets {
		o := &offsets[i]
		if !s.current(o) {
			continue
		}
		if n := len(resp.Topics); n == 0 || resp.Topics[n-1].Topic != o.Topic {
			t := kmsg.NewOffsetFetchResponseGroupTopic()
			t.Topic, t.TopicID = o.Topic, o.TopicID
			resp.Topics = append(resp.Topics, t)
		}
		t := &resp.Topics[len(resp.Topics)-1]
		p := noOffset(o.Partition)
		fillOffset(&p, o)
		t.Partitions = append(t.Partitions, p)
	}
}

// current reports whether the topic that the offset was committed for is still
// the one of that name.
func (s *Server) current(o *broker.FetchedOffset) bool {
	t, ok := s.cfg.Broker.Topic(o.Topic)
	return ok && t.ID == o.TopicID
}

// noOffset is the answer where nothing is committed.
func noOffset(partition int32) kmsg.OffsetFetchResponseGroupTopicPartition {
	p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = partition, -1, -1, new(string)
	return p
}

func fillOffset(p *kmsg.OffsetFetchResponseGroupTopicPartition, o *broker.FetchedOffset) {
	p.Offset, p.LeaderEpoch, p.Metadata = o.Offset.Offset, o.LeaderEpoch, &o.Metadata
}

// oldOffsetFetch is the one group of a request before version 8.
func oldOffsetFetch(req *kmsg.OffsetFetchRequest) kmsg.OffsetFetchRequestGroup {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = req.Group
	if req.Topics != nil {
		g.Topics = []kmsg.OffsetFetchRequestGroupTopic{} // nil would be all topics
	}
	for _, t := range req.Topics {
		gt := kmsg.NewOffsetFetchRequestGroupTopic()
		gt.Topic, gt.Partitions = t.Topic, t.Partitions
		g.Topics = append(g.Topics, gt)
	}
	return g
}

// oldOffsetFetched moves the one group into a response before version 8.
func oldOffsetFetched(resp *kmsg.OffsetFetchResponse, g *kmsg.OffsetFetchResponseGroup) {
	resp.ErrorCode = g.ErrorCode
	for _, t := range g.Topics {
		out := kmsg.NewOffsetFetchResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			op := kmsg.NewOffsetFetchResponseTopicPartition()
			op.Partition, op.Offset, op.LeaderEpoch, op.Metadata = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata
			op.ErrorCode = p.ErrorCode
			out.Partitions = append(out.Partitions, op)
		}
		resp.Topics = append(resp.Topics, out)
	}
}
