package broker

import (
	"waybill/internal/record"
)

// newPartition is called on the catalog's shard. It opens its group with
// b.openGroup(what, log, machine) and starts it; when that fails the partition
// is offline: every verb answers with the reason.
// (To be filled in by the kafka engineer; the lead's code calls exactly these.)
func newPartition(b *Broker, topic string, number int32, log record.LogID, configs map[string]string) *Partition {
	panic("broker")
}

// configure tells the partition that its topic's configs changed.
func (p *Partition) configure(configs map[string]string) { panic("broker") }

// remove: the topic was deleted. b.host.Remove(log) calls Follow(ErrRemoved).
func (p *Partition) remove() { panic("broker") }

// Partition is one partition of a topic: one log. Safe for concurrent use.
type Partition struct{}

// AppendResult is what became of an appended batch.
type AppendResult struct {
	Base     record.Offset // offset of the batch's first record
	LogStart record.Offset
	Time     int64 // log append time in ms, -1 when the topic keeps the producer's
	Err      error // an *Error with its Kafka Code, or nil: durable
}

// Appender hears what became of its appends; called from a shard, must not block.
type Appender interface {
	Appended(tag int, r AppendResult)
}

// Append adds one record batch (magic 2), given byte for byte as the producer
// sent it and already checked by the caller (length, CRC, record count). It
// belongs to the broker from now on. to hears of it once it is committed, or refused.
func (p *Partition) Append(batch []byte, to Appender, tag int) { panic("broker") }

// ReadResult is a stretch of a partition.
type ReadResult struct {
	HighWatermark record.Offset
	LastStable    record.Offset
	LogStart      record.Offset
	Batches       [][]byte // whole record batches; the first one holds the offset asked for. Shared: read only
}

// Read returns batches from off on, only committed ones, at least one when there is any
// and then no more than maxBytes. OutOfRange when off is below the log start or
// beyond the high watermark. It may read the disk.
func (p *Partition) Read(off record.Offset, maxBytes int) (ReadResult, error) { panic("broker") }

// Offsets returns the log start and the high watermark.
func (p *Partition) Offsets() (start, high record.Offset) { panic("broker") }

// Epoch returns the current leader epoch.
func (p *Partition) Epoch() int32 { panic("broker") }

// EndOfEpoch returns the largest leader epoch not above epoch, and the offset
// at which it ended (KIP-101); -1, -1 when none is known.
func (p *Partition) EndOfEpoch(epoch int32) (int32, record.Offset) { panic("broker") }

// OffsetAtTime returns the first offset whose record has a timestamp at or after ms, and
// that timestamp; ok is false when there is none.
func (p *Partition) OffsetAtTime(ms int64) (off record.Offset, timestamp int64, ok bool, err error) {
	panic("broker")
}

// MaxTimestamp returns the largest timestamp and its offset (ListOffsets -3).
func (p *Partition) MaxTimestamp() (off record.Offset, timestamp int64, ok bool, err error) {
	panic("broker")
}

// Watch has c signalled (without blocking, once) when the high watermark
// passes off; it signals at once when it already has. Unwatch forgets c.
func (p *Partition) Watch(off record.Offset, c chan<- struct{}) { panic("broker") }
func (p *Partition) Unwatch(c chan<- struct{})                  { panic("broker") }
