package kafka

import (
	"encoding/binary"

	"waybill/internal/record"
)

func (f *fetchResponse) isFlexible(version int16) bool { return version >= 12 }

// appendTo implements framer. The batches are not copied.
func (f *fetchResponse) appendTo(out *output, version int16) {
	flexible := f.isFlexible(version)
	out.b = append(out.b, 0, 0, 0, 0) // not throttled
	if version >= 7 {
		out.b = binary.BigEndian.AppendUint16(out.b, uint16(f.code))
		out.b = append(out.b, 0, 0, 0, 0) // no session
	}
	out.b = appendArrayLen(out.b, len(f.topics), flexible)
	for i := range f.topics {
		t := &f.topics[i]
		if version >= 13 {
			out.b = append(out.b, t.id[:]...)
		} else {
			out.b = appendString(out.b, t.name, flexible)
		}
		out.b = appendArrayLen(out.b, len(t.parts), flexible)
		for j := range t.parts {
			t.parts[j].appendTo(out, version, flexible)
		}
		out.b = appendNoTags(out.b, flexible)
	}
	out.b = appendNoTags(out.b, flexible)
	f.s.metrics.fetched(f)
}

func (p *fetchPart) appendTo(out *output, version int16, flexible bool) {
	b := out.b
	b = binary.BigEndian.AppendUint32(b, uint32(p.number))
	b = binary.BigEndian.AppendUint16(b, uint16(p.code))
	b = binary.BigEndian.AppendUint64(b, uint64(p.result.HighWatermark))
	b = binary.BigEndian.AppendUint64(b, uint64(p.result.LastStable))
	if version >= 5 {
		b = binary.BigEndian.AppendUint64(b, uint64(p.result.LogStart))
	}
	if flexible { // no list of aborted transactions
		b = append(b, 0)
	} else {
		b = append(b, 0xff, 0xff, 0xff, 0xff)
	}
	if version >= 11 {
		b = append(b, 0xff, 0xff, 0xff, 0xff) // no preferred replica
	}
	out.b = appendArrayLen(b, p.result.Size, flexible)
	for _, run := range p.result.Batches {
		out.share(run)
	}
	out.b = appendNoTags(out.b, flexible)
}

// records is the number of records in the response, as their headers say.
func (f *fetchResponse) records() (n int) {
	for i := range f.topics {
		for j := range f.topics[i].parts {
			for _, run := range f.topics[i].parts[j].result.Batches {
				n += recordsIn(run)
			}
		}
	}
	return n
}

func recordsIn(run []byte) (n int) {
	for len(run) > 0 {
		batch, rest, err := record.NextBatch(run)
		if err != nil {
			return n // the log checked it: this cannot be
		}
		n += int(batch.Count())
		run = rest
	}
	return n
}
