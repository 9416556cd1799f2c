package topic

import "waybill/internal/record"

// epochStart says that a leader epoch began at an offset.
type epochStart struct {
	epoch int32
	start record.Offset
}

// epochs are the epochs in which something was appended that is still kept, in
// increasing order.
type epochs []epochStart

// begin notes that an entry of the epoch was applied.
func (e *epochs) begin(epoch int32, at record.Offset) {
	if n := len(*e); n == 0 || (*e)[n-1].epoch < epoch {
		*e = append(*e, epochStart{epoch, at})
	}
}

// trim forgets what lies before the log's start.
func (e *epochs) trim(start record.Offset) {
	s := *e
	for len(s) > 1 && s[1].start <= start {
		s = s[1:]
	}
	if len(s) > 0 {
		s[0].start = max(s[0].start, start)
	}
	*e = append((*e)[:0], s...)
}

// EndOfEpoch returns the largest leader epoch not above epoch, and the offset
// at which it ended (KIP-101, KIP-279). current is the epoch of the leader, who
// may not have written yet. -1, -1 means: the epoch is above current.
func (t *Topic) EndOfEpoch(epoch, current int32) (int32, record.Offset) {
	if epoch < 0 || epoch > current {
		return -1, -1
	}
	if epoch == current {
		return current, t.end
	}
	found, end := epoch, t.end
	if n := len(t.epochs); n > 0 {
		found, end = -1, t.end
		for i := n - 1; i >= 0; i-- {
			if t.epochs[i].epoch <= epoch {
				found = t.epochs[i].epoch
				break
			}
			end = t.epochs[i].start
		}
		if found == -1 {
			found = epoch // nothing older is known: it ended before the first one
		}
	}
	return found, end
}

// EpochAt is the leader epoch in which the record at an offset was written; -1
// when that is not known.
func (t *Topic) EpochAt(off record.Offset) int32 {
	for i := len(t.epochs) - 1; i >= 0; i-- {
		if t.epochs[i].start <= off {
			return t.epochs[i].epoch
		}
	}
	return -1
}
