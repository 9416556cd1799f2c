package storage

import (
	"fmt"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// segWriter appends chunks to a segment. Nothing of them is listed, and
// nothing is durable, before the flusher has synced the file.
type segWriter struct {
	seg  *segment
	file vfs.File
	buf  []byte // not yet written
	at   int64  // where in the file buf belongs
	out  int64  // what lies before it is with the disk

	// The chunk that is being written.
	log   *Log
	chunk *chunk // nil: none
	marks []mark

	written int64
}

// use directs the writer to a segment. What was written for another one must be flushed.
func (w *segWriter) use(s *segment) error {
	if w.seg == s {
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	f, err := s.handle()
	if err != nil {
		return err
	}
	w.seg, w.file, w.at, w.out = s, f, s.size, s.size
	return nil
}

func (w *segWriter) pos() int64 { return w.at + int64(len(w.buf)) }

func (w *segWriter) begin(l *Log) {
	w.log = l
	w.chunk = &chunk{seg: w.seg, pos: w.pos()}
	w.marks = w.marks[:0]
	w.buf = append(w.buf, make([]byte, chunkHeader)...)
}

// add appends an entry; its stored CRC is written, so that damage that
// happened to it in memory shows.
func (w *segWriter) add(it *item) error {
	c := w.chunk
	base := max(it.base, c.end) // differs for entries without offsets: see Log.next
	pos := w.pos() - c.dataPos()
	if n := len(w.marks); n == 0 || pos-w.marks[n-1].pos >= markEvery {
		w.marks = append(w.marks, mark{index: it.index(), base: base, pos: pos})
	}
	if c.count == 0 {
		c.first, c.base = it.index(), base
	}
	c.last, c.end = it.index(), base+record.Offset(it.count)
	c.count++
	w.buf = le.AppendUint32(w.buf, it.crc)
	w.buf = appendEntryFields(w.buf, it.e)
	if len(it.e.Data) >= uncopied {
		return w.through(it.e.Data)
	}
	w.buf = append(w.buf, it.e.Data...)
	if len(w.buf) >= maxRead {
		return w.flush()
	}
	return nil
}

// uncopied is the size from which data is written from where it is.
const uncopied = 64 << 10

// through writes what is buffered, and b behind it.
func (w *segWriter) through(b []byte) error {
	if err := w.flush(); err != nil {
		return err
	}
	if _, err := w.file.WriteAt(b, w.at); err != nil {
		return fmt.Errorf("write to %s: %w", w.seg.name(), err)
	}
	return w.wrote(len(b))
}

// writeOut is how much may gather in the page cache, or twice a batch of the WAL if that is
// more. The sync of the WAL shares the disk with it, and waits for that much at the most; a sync of
// a whole segment would hold it up for a quarter of a second. But segments have to get their
// share, lest the WAL has to wait for them altogether.
const writeOut = 1 << 20

// wrote notes that n bytes were written, and sees to it that the disk gets them.
func (w *segWriter) wrote(n int) error {
	w.at += int64(n)
	w.written += int64(n)
	if w.at-w.out < max(writeOut, 2*w.seg.set.walBatch.Load()) {
		return nil
	}
	if err := w.file.WriteOut(w.out, w.at-w.out); err != nil {
		return mustNotRetry{fmt.Errorf("write to %s: %w", w.seg.name(), err)}
	}
	w.out = w.at
	return nil
}

// dataLen is how much the chunk holds.
func (w *segWriter) dataLen() int64 { return w.pos() - w.chunk.dataPos() }

// finish completes the chunk.
func (w *segWriter) finish() (*chunk, error) {
	c := w.chunk
	c.data, c.marks = w.dataLen(), uint32(len(w.marks))
	c.live = c.size()
	w.buf = appendMarks(w.buf, w.marks, c)
	w.seg.size = w.pos()
	w.chunk = nil
	header := c.appendHeader(nil, w.log.id)
	if c.pos >= w.at {
		copy(w.buf[c.pos-w.at:], header)
		return c, nil
	}
	if _, err := w.file.WriteAt(header, c.pos); err != nil {
		return nil, fmt.Errorf("write to %s: %w", w.seg.name(), err)
	}
	return c, nil
}

// flush writes what is buffered.
func (w *segWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if _, err := w.file.WriteAt(w.buf, w.at); err != nil {
		return fmt.Errorf("write to %s: %w", w.seg.name(), err)
	}
	n := len(w.buf)
	w.buf = w.buf[:0]
	return w.wrote(n)
}

// write writes items as chunks of at most maxChunk.
func (w *segWriter) write(l *Log, items []item, chunks []*chunk) ([]*chunk, error) {
	for i := range items {
		if w.chunk != nil && w.dataLen()+int64(entryLen(items[i].e)) > maxChunk {
			c, err := w.finish()
			if err != nil {
				return nil, err
			}
			chunks = append(chunks, c)
		}
		if w.chunk == nil {
			w.begin(l)
		}
		if err := w.add(&items[i]); err != nil {
			return nil, err
		}
	}
	return chunks, nil
}

// endRun finishes the chunk that write left open.
func (w *segWriter) endRun(chunks []*chunk) ([]*chunk, error) {
	if w.chunk == nil {
		return chunks, nil
	}
	c, err := w.finish()
	if err != nil {
		return nil, err
	}
	return append(chunks, c), nil
}
