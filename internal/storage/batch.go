package storage

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// A WAL file is a row of batches, each beginning at a multiple of sector, so
// that no write touches a sector that holds an earlier batch. Integers are
// little endian.
//
//	uint32  magic
//	uint32  CRC32 (IEEE) of all that follows, seeded with the key
//	uint64  key, of the store's id and the number in the file's name: see walKey
//	uint64  sequence: 1 for the first batch of the store, then one more each
//	uint64  durable-through: the last sequence that was synced before this was written
//	uint64  size of the file, which was synced before this was written; 0: not known yet
//	uint32  length of the records
//	uint32  flags
//	records, then zeros up to the next multiple of sector
//
// A record:
//
//	uint32  CRC32C of the 13 bytes that follow, seeded with the batch's sequence
//	uint8   kind
//	uint64  log id
//	uint32  length of the body
//	body    kindEntries: frames of entries; all others: ends with its own CRC32C,
//	        seeded likewise
//
// The batch's CRC says whether the batch is whole. The others say, when it is
// not, which logs it hurts.
//
// What a torn write did not reach holds the remains of a recycled file's former life, perhaps
// records of the same logs in the same places. Two rows of bytes that both end in their own CRC differ
// by a multiple of the polynomial, so a CRC of the same polynomial over both does not tell them apart: the
// batch's has another one. And in a batch that is damaged a record of another batch
// does not pass for one of this: hence the sequence.
//
// After a crash recovery looks for batches in the remains of a torn one and of
// a recycled file's former life. There lies what clients have published, so
// nobody but the store may know what a batch looks like: hence the key.
const (
	batchMagic   = 0x4c415757 // "WWAL"
	batchHeader  = 48
	recordHeader = 17
	sector       = 512
)

const (
	// flagRebase marks the first batch of a WAL file that repeats all that the
	// files before it hold and is still needed; they are not read any more. It
	// has no records, is written last, and its durable-through is the last batch of the
	// repetition.
	flagRebase = 1 << iota
)

type recordKind uint8

const (
	kindEntries   recordKind = iota + 1 // frames of contiguous entries
	kindHardState                       // term, vote, commit: 3 × uint64
	kindSnapshot                        // a Checkpoint: see appendCheckpoint
	kindDelete                          // nothing
	kindDamage                          // text: what of the log is lost
	kindDamageAll                       // text: any log may have lost something (log id 0)
	kindInstall                         // a stage took the log's place: see installation
	kindShared                          // contiguous entries, with parts that lie elsewhere in the file: see Span
	kinds
)

var kindNames = [...]string{"?", "entries", "hard-state", "snapshot", "delete", "damage", "damage-all", "install", "shared entries"}

func (k recordKind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

var errRecord = errors.New("record is malformed")

// walKey is the key of a WAL file. It cannot be guessed without the store's
// id, and each file of a store has another.
func walKey(store string, id uint64) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", store, id))
	return le.Uint64(sum[:])
}

func alignUp(n int64) int64 { return (n + sector - 1) &^ (sector - 1) }

// batchWriter encodes one batch into a buffer that it uses again.
type batchWriter struct {
	buf    []byte
	seed   uint32 // of the CRCs of records: see batch.seed
	placed bool   // it refers to positions in the file: it is for one place in one file
}

// grow makes room for the next batch, of so many bytes at most, in memory that direct I/O takes.
func (b *batchWriter) grow(n int) {
	if n > cap(b.buf) || !vfs.IsAligned(b.buf) {
		b.buf = vfs.Aligned(max(n, min(2*cap(b.buf), 2*maxBatch)))
	}
}

// reset begins the batch with that sequence.
func (b *batchWriter) reset(seq uint64) {
	b.placed = false
	b.buf = append(b.buf[:0], make([]byte, batchHeader)...)
	le.PutUint64(b.buf[16:], seq)
	b.seed = crc32.Checksum(b.buf[16:24], castagnoli)
}

func (b *batchWriter) empty() bool { return len(b.buf) <= batchHeader }

// begin starts a record and returns where.
func (b *batchWriter) begin(k recordKind, log record.LogID) int {
	start := len(b.buf)
	b.buf = append(b.buf, 0, 0, 0, 0, byte(k))
	b.buf = le.AppendUint64(b.buf, uint64(log))
	b.buf = append(b.buf, 0, 0, 0, 0)
	return start
}

// finish completes the record that began at start.
func (b *batchWriter) finish(start int) {
	le.PutUint32(b.buf[start+13:], uint32(len(b.buf)-start-recordHeader))
	le.PutUint32(b.buf[start:], crc32.Update(b.seed, castagnoli, b.buf[start+4:start+recordHeader]))
}

// sealLen is the length of the CRC that seals a body.
const sealLen = 4

// finishSealed is finish for a body that needs a CRC of its own.
func (b *batchWriter) finishSealed(start int) {
	b.buf = le.AppendUint32(b.buf, crc32.Update(b.seed, castagnoli, b.buf[start+recordHeader:]))
	b.finish(start)
}

// entries adds entries, and appends their CRCs to crcs.
func (b *batchWriter) entries(l *Log, entries []*raftpb.Entry, crcs []uint32) []uint32 {
	start := b.begin(kindEntries, l.id)
	for _, e := range entries {
		var crc uint32
		b.buf, crc = appendEntry(b.buf, l.seed, e)
		crcs = append(crcs, crc)
	}
	b.finish(start)
	return crcs
}

func (b *batchWriter) hardState(log record.LogID, h hardState) {
	start := b.begin(kindHardState, log)
	b.buf = le.AppendUint64(b.buf, h.term)
	b.buf = le.AppendUint64(b.buf, h.vote)
	b.buf = le.AppendUint64(b.buf, h.commit)
	b.finishSealed(start)
}

func (b *batchWriter) snapshot(log record.LogID, c *Checkpoint) {
	start := b.begin(kindSnapshot, log)
	b.buf = appendCheckpoint(b.buf, c)
	b.finishSealed(start)
}

func (b *batchWriter) install(log record.LogID, number uint64, cut record.Index, c *Checkpoint, chunks []*chunk) {
	start := b.begin(kindInstall, log)
	b.buf = appendInstallation(b.buf, number, cut, c, chunks)
	b.finishSealed(start)
}

func (b *batchWriter) deletion(log record.LogID) {
	b.finishSealed(b.begin(kindDelete, log))
}

func (b *batchWriter) damage(k recordKind, log record.LogID, text string) {
	start := b.begin(k, log)
	b.buf = append(b.buf, text...)
	b.finishSealed(start)
}

// seal completes the batch and returns its bytes, whole sectors of them.
func (b *batchWriter) seal(f *walFile, durable uint64, flags uint32) []byte {
	h := b.buf
	le.PutUint32(h, batchMagic)
	le.PutUint64(h[8:], f.key)
	le.PutUint64(h[24:], durable)
	le.PutUint64(h[32:], uint64(f.size))
	le.PutUint32(h[40:], uint32(len(h)-batchHeader))
	le.PutUint32(h[44:], flags)
	le.PutUint32(h[4:], crc32.Update(f.seed, crc32.IEEETable, h[8:]))
	var zeros [sector]byte
	b.buf = append(b.buf, zeros[:alignUp(int64(len(h)))-int64(len(h))]...)
	return b.buf
}

// batch is a batch as it was read.
type batch struct {
	pos, size int64 // in the file, whole sectors
	seq       uint64
	durable   uint64
	fileSize  int64 // 0: not known
	flags     uint32
	records   []byte
}

// parseBatch reads the batch at the start of b, which lies at pos of the WAL
// file with that key and the seed made of it. whole is false when its CRC or a field is wrong; then the fields say
// what the header claims, records is no longer than b, and size is 0
// when the header is not that of a batch of this file at all.
func parseBatch(b []byte, pos int64, key uint64, seed uint32) (out batch, whole bool) {
	out.pos = pos
	if len(b) < batchHeader || le.Uint32(b) != batchMagic || le.Uint64(b[8:]) != key {
		return out, false
	}
	n := uint64(le.Uint32(b[40:]))
	if n > uint64(len(b)-batchHeader) {
		return out, false
	}
	out.seq, out.durable, out.fileSize, out.flags = le.Uint64(b[16:]), le.Uint64(b[24:]), int64(le.Uint64(b[32:])), le.Uint32(b[44:])
	out.records = b[batchHeader : batchHeader+n]
	out.size = min(alignUp(int64(batchHeader+n)), int64(len(b)))
	return out, crc32.Update(seed, crc32.IEEETable, b[8:batchHeader+n]) == le.Uint32(b[4:])
}

// seed starts the CRCs of the records.
func (b *batch) seed() uint32 { return seed64(b.seq) }

// walRecord is one record of a batch. body aliases the file's buffer, without the
// CRC that seals it.
type walRecord struct {
	kind recordKind
	log  record.LogID
	body []byte
	ok   bool // the seal matches; entries have their own
}

// nextRecord splits the first record off b, records of a batch with that seed. After an
// error nothing that follows can be found.
func nextRecord(b []byte, seed uint32) (r walRecord, rest []byte, err error) {
	if len(b) < recordHeader || le.Uint32(b) != crc32.Update(seed, castagnoli, b[4:recordHeader]) {
		return r, nil, errRecord
	}
	n := uint64(le.Uint32(b[13:]))
	if n > uint64(len(b)-recordHeader) {
		return r, nil, errRecord
	}
	r = walRecord{kind: recordKind(b[4]), log: record.LogID(le.Uint64(b[5:])), ok: true}
	r.body, rest = b[recordHeader:recordHeader+n], b[recordHeader+n:]
	switch {
	case r.kind == 0 || r.kind >= kinds:
		return r, nil, fmt.Errorf("%w: kind %d", errRecord, r.kind)
	case r.kind != kindEntries:
		if len(r.body) < 4 {
			return r, nil, errRecord
		}
		k := len(r.body) - 4
		r.ok = le.Uint32(r.body[k:]) == crc32.Update(seed, castagnoli, r.body[:k])
		r.body = r.body[:k]
	}
	return r, rest, nil
}

func parseHardState(b []byte) (h hardState, err error) {
	if len(b) != 24 {
		return h, errRecord
	}
	return hardState{le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:])}, nil
}
