package replica

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"waybill/internal/record"
)

// Raft and the store panic on what an own message can never be, because then
// an invariant of this node is broken. Another replica must not be able to do that
// to us: what it sends is looked at before. What needs the group's state for
// it is in Group.trusts.

var errMessage = errors.New("replica: invalid message")

// validate refuses a message that no correct replica sends.
func validate(m *raftpb.Message) error {
	if err := validateType(m); err != nil {
		return fmt.Errorf("%w: %s from replica %d: %w", errMessage, m.GetType(), m.GetFrom(), err)
	}
	return nil
}

func validateType(m *raftpb.Message) error {
	switch m.GetType() {
	case raftpb.MsgApp:
		if err := validateEntries(m); err != nil {
			return err
		}
	case raftpb.MsgSnap:
		if err := validateSnapshot(m.GetSnapshot()); err != nil {
			return err
		}
	case raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp:
		if n := len(m.GetContext()); n != 0 && n != 8 {
			return fmt.Errorf("a context of %d bytes", n)
		}
	case raftpb.MsgReadIndexResp:
		if len(m.GetEntries()) != 1 {
			return fmt.Errorf("%d contexts", len(m.GetEntries()))
		}
	case raftpb.MsgReadIndex:
		if len(m.GetEntries()) != 1 {
			return fmt.Errorf("%d contexts", len(m.GetEntries()))
		}
		if m.GetTerm() != 0 {
			return errors.New("a term")
		}
		return nil
	case raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp,
		raftpb.MsgTimeoutNow, kindSleep, kindLeave:
	default:
		return errors.New("not a message between replicas")
	}
	if m.GetTerm() == 0 {
		return errors.New("no term") // raft would take it for its own
	}
	return nil
}

// validateEntries: contiguous, terms in order, and offsets that do not go back.
func validateEntries(m *raftpb.Message) error {
	index, term, next := m.GetIndex(), m.GetLogTerm(), record.Offset(0)
	for _, e := range m.GetEntries() {
		index++
		if e.GetIndex() != index || e.GetTerm() < term || e.GetTerm() > m.GetTerm() {
			return fmt.Errorf("entry %d of term %d after index %d of term %d", e.GetIndex(), e.GetTerm(), index-1, term)
		}
		term = e.GetTerm()
		switch e.GetType() {
		case raftpb.EntryConfChangeV2:
			if _, err := parseConfChange(e.GetData()); err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
		case raftpb.EntryNormal:
			if len(e.GetData()) == 0 {
				continue
			}
			h, _, err := record.ParseHeader(e.GetData())
			if err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
			if h.Base < next {
				return fmt.Errorf("entry %d: offset %d after %d", index, h.Base, next)
			}
			next = h.End()
		default:
			return fmt.Errorf("entry %d has type %d", index, e.GetType())
		}
	}
	return nil
}

// parseConfChange reads a change of the membership: one replica at a time.
func parseConfChange(data []byte) (*raftpb.ConfChangeV2, error) {
	c := &raftpb.ConfChangeV2{}
	if err := proto.Unmarshal(data, c); err != nil {
		return nil, err
	}
	if len(c.GetChanges()) != 1 || c.GetTransition() != raftpb.ConfChangeTransitionAuto {
		return nil, fmt.Errorf("%d changes of the membership at once", len(c.GetChanges()))
	}
	if change := c.GetChanges()[0]; change.GetNodeId() == 0 || change.GetType() > raftpb.ConfChangeAddLearnerNode {
		return nil, fmt.Errorf("change %d of replica %d", change.GetType(), change.GetNodeId())
	}
	return c, nil
}

func validateSnapshot(s *raftpb.Snapshot) error {
	meta := s.GetMetadata()
	if meta.GetIndex() == 0 || meta.GetTerm() == 0 {
		return fmt.Errorf("a snapshot at index %d of term %d", meta.GetIndex(), meta.GetTerm())
	}
	return validateConfState(meta.GetConfState())
}

// validateConfState: some voters, nobody twice, no joint membership.
func validateConfState(c *raftpb.ConfState) error {
	if len(c.GetVoters()) == 0 || len(c.GetVotersOutgoing()) > 0 || len(c.GetLearnersNext()) > 0 {
		return fmt.Errorf("membership %v", c)
	}
	seen := map[uint64]bool{0: true}
	for _, ids := range [][]uint64{c.GetVoters(), c.GetLearners()} {
		for _, id := range ids {
			if seen[id] {
				return fmt.Errorf("membership with replica %d twice", id)
			}
			seen[id] = true
		}
	}
	return nil
}
